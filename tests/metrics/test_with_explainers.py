"""Metrics on what real explainers give: the same draws again for a copy, the same averages, the same network."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from salience.attribution.baselines import Baseline, Blank, Uniform
from salience.attribution.explainer import Explainer
from salience.attribution.explanation import Explained, Explanation, explicand
from salience.config import build, shipped
from salience.data.base import Classification, Examples
from salience.metrics.axioms import CompletenessGap
from salience.metrics.base import Reference
from salience.metrics.faithfulness import Deletion
from salience.metrics.robustness import Sensitivity, explained_again
from salience.modality import Tabular
from salience.randomness import Streams

STREAMS = Streams(3)
METHODS = [
    "integrated_gradients",
    "deep_lift",
    "gradient_shap",
    "kernel_shap",
    "lrp",
    "random",
    "shapley_value_sampling",
    "smooth_grad",
]


def explained(name: str, baseline: Baseline | None = None) -> tuple[Explainer, Explanation]:
    """Six rows of a table with five columns, explained by the shipped config `name`."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 12), nn.ReLU(), nn.Linear(12, 3))
    modalities, task = (Tabular((5,), columns=tuple("abcde")),), Classification(("x", "y", "z"))
    train = Examples((torch.randn(30, 5),), torch.zeros(30, dtype=torch.long), torch.arange(30))
    spec, model = shipped("attribution", name)[name], Explained(network)
    own = build(spec["baseline"]) if spec.get("baseline") else Blank()
    factory = build({**spec["method"], "_partial_": True})
    explainer = Explainer(
        name, factory, model, modalities, task, train, baseline or own, STREAMS, spec.get("arguments")
    )
    return explainer, explainer.explain(explicand(model, modalities, task, train[:6]))


def zeros(explanation: Explanation) -> Reference:
    return Reference((torch.zeros_like(explanation.inputs[0][:1]),))


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("baseline", [None, Uniform(4)], ids=["own baseline", "distribution"])
def test_a_copy_without_noise_gets_the_same_attributions(name, baseline):
    explainer, explanation = explained(name, baseline)
    again = explained_again(explainer, explanation, explanation.inputs)
    assert torch.equal(again, explanation.per_feature())


@pytest.mark.parametrize("name", METHODS)
def test_sensitivity_of_real_methods_counts_no_noise_of_their_own(name):
    explainer, explanation = explained(name)
    scores = Sensitivity(STREAMS, radius=1e-4)(explainer, explanation, zeros(explanation)).scores
    # another draw would change attributions by far more than inputs change; a kink of ReLU is seldom met
    assert scores.nanmedian() < 0.01
    alone = explanation.rows(slice(4, 5))
    assert torch.allclose(
        Sensitivity(STREAMS)(explainer, alone, zeros(alone)).scores,
        Sensitivity(STREAMS)(explainer, explanation, zeros(explanation)).scores[4:5],
        rtol=1e-3, atol=1e-4,
    )  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
def test_measuring_leaves_the_network_as_it_was(name):
    explainer, explanation = explained(name)
    before = explainer.model.uncounted(*explanation.inputs)
    Sensitivity(STREAMS, samples=2)(explainer, explanation, zeros(explanation))
    assert torch.equal(before, explainer.model.uncounted(*explanation.inputs))
    assert not any(
        m._forward_hooks or m._backward_hooks or hasattr(m, "rule") for m in explainer.model.modules()
    )
    assert all(p.requires_grad for p in explainer.model.parameters())


@pytest.mark.parametrize("baseline", [Blank(), Uniform(4)], ids=["one row", "distribution"])
def test_integrated_gradients_are_complete_from_their_own_baseline(baseline):
    explainer, explanation = explained("integrated_gradients", baseline)
    far = Reference((torch.full((1, 5), 3.0),))  # the reference of the run does not matter here
    assert CompletenessGap()(explainer, explanation, far).scores.nanmedian() < 0.02
    unknown = replace(explanation, baselines=None, background=None)
    assert CompletenessGap()(explainer, unknown, far).scores.nanmedian() > 0.1


def test_rows_through_the_network_are_what_the_definition_requires():
    explainer, explanation = explained("integrated_gradients")
    before = explainer.model.counter.forward_rows
    Deletion(STREAMS)(explainer, explanation, zeros(explanation))
    assert (
        explainer.model.counter.forward_rows - before == 6 * 5
    )  # f(x) is known; five features, one after the other
