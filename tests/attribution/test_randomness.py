"""An example's draws are its own: other batch mates, chunk sizes and orders change no draw, and no global stream."""

import random
from functools import partial

import captum.attr
import numpy as np
import pytest
import torch
from known_networks import Fixed, make_explainer, make_explicand
from small_worlds import MODALITIES, largest, network, rows
from torch import nn

import salience
from salience.attribution import planner
from salience.config import options
from salience.errors import WrongInput
from salience.randomness import global_state, same_state

pytestmark = pytest.mark.filterwarnings("ignore")  # Captum narrates its hooks
DRAWS = {"exact": False, "n_samples": 24, "n_steps": 8, "nt_samples": 6}
"""Small numbers of samples, and no enumeration in place of sampling."""
WHERE = {"edge_filter": ("cnn", "image"), "layer_grad_cam": ("cnn", "image"), "guided_grad_cam": ("cnn", "image"),
         "grad_cam_plus_plus": ("cnn", "image"), "score_cam": ("cnn", "image"),
         "attention_rollout": ("transformer", "tokens"), "gradient_x_attention": ("transformer", "tokens"),
         "transformer_lrp": ("transformer", "tokens")}  # fmt: skip
"""Where a method is tried that cannot explain the network of a table."""
CLASSES = {
    "GradientShap": captum.attr.GradientShap,
    "Lime": captum.attr.Lime,
    "KernelShap": captum.attr.KernelShap,
    "ShapleyValueSampling": captum.attr.ShapleyValueSampling,
    "NoiseTunnel": partial(captum.attr.NoiseTunnel, attribution_method=captum.attr.Saliency),
    "Saliency": captum.attr.Saliency,
}
SAMPLING = (
    "lime", "kernel_shap", "shapley_value_sampling", "gradient_shap", "feature_permutation", "smooth_grad", "rise",
)  # fmt: skip
BATCH_DEPENDENT = "captum_feature_permutation", "layer_feature_permutation"
"""What their class documents: other rows take part in each row's result."""
METHODS = [name for name in options("attribution") if name not in (*BATCH_DEPENDENT, "oracle")]
"""All others; the oracle needs a data set whose weights are known, and draws nothing."""


def explainer_of(name, seed=0):
    model, kind = WHERE.get(name, ("mlp", "table"))
    data = rows(kind)
    given = {"stdevs": 0.1} if name == "GradientShap" else {}
    distribution = (
        {"baseline": Fixed(data.inputs[0][:5], is_distribution=True)} if name == "GradientShap" else {}
    )
    explainer = make_explainer(
        CLASSES.get(name, name),
        network(model, kind),
        data,
        (MODALITIES[kind],),
        arguments=given,
        seed=seed,
        **distribution,
    )
    explainer.arguments |= {k: v for k, v in DRAWS.items() if k in explainer.parameters and k != "n_steps"}
    if name in ("integrated_gradients", "neuron_conductance"):
        explainer.arguments["n_steps"] = DRAWS["n_steps"]
    return explainer


def values(explainer, which=None):
    """Attributions of the rows `which` of the table, in their order there."""
    kind = WHERE.get(explainer.key, ("mlp", "table"))[1]
    data = rows(kind)
    chosen = data if which is None else data[torch.tensor(which)]
    return explainer.explain(make_explicand(explainer, chosen, 1)).attributions


def assert_near(got, wanted):
    for g, w in zip(got, wanted, strict=True):
        assert (g - w).abs().max() <= 1e-5 * largest(wanted)


@pytest.mark.parametrize("name", [*METHODS, *CLASSES])
def test_the_same_call_twice_is_bit_identical(name):
    first, again = values(explainer_of(name)), values(explainer_of(name))
    explainer = explainer_of(name)
    torch.manual_seed(12345)  # the state of the global streams is nobody's business
    values(explainer)
    later = values(explainer)
    for other in (again, later):
        assert all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("name", [*METHODS, *CLASSES])
def test_global_streams_are_left_as_found(name):
    before = global_state()
    values(explainer_of(name), [0, 1, 2])
    assert same_state(before, global_state())
    if name in CLASSES or name == "smooth_grad":
        data = rows("table").inputs[0]
        given = (
            {"baselines": data[:4]}
            if "Shap" in name and name not in ("KernelShap", "ShapleyValueSampling")
            else {}
        )
        salience.explain(network("mlp", "table"), data, CLASSES.get(name, name), **given)
        assert same_state(before, global_state())


@pytest.mark.parametrize("name", [*METHODS, *CLASSES])
def test_batch_mates_and_orders_change_nothing(name):
    everything = values(explainer_of(name))
    for which in ([7], [3, 0], [11, 7, 3, 5, 0]):
        part = values(explainer_of(name), which)
        assert_near(part, tuple(a[which] for a in everything))


@pytest.mark.parametrize("name", [*METHODS, *CLASSES])
@pytest.mark.parametrize("size", [8, 64])
def test_f16_chunk_sizes_change_nothing(name, size, monkeypatch):
    everything = values(explainer_of(name))
    monkeypatch.setattr(planner, "FEWEST", size)
    monkeypatch.setattr(planner, "MOST", size)
    assert_near(values(explainer_of(name)), everything)


@pytest.mark.parametrize("name", ["random", *SAMPLING, *sorted(set(CLASSES) - {"Saliency"})])
def test_another_seed_is_another_draw_and_each_example_has_its_own(name):
    first, other = values(explainer_of(name)), values(explainer_of(name, seed=1))
    assert not torch.equal(first[0], other[0])
    explainer = explainer_of(name)
    data = rows("table")
    twins = type(data)((data.inputs[0][:1].repeat(2, 1),), data.labels[:1].repeat(2), torch.tensor([0, 1]))
    got = explainer.explain(make_explicand(explainer, twins, 1)).attributions[0]
    assert not torch.equal(got[0], got[1]), "two examples that are alike do not share their noise"


class Recording(nn.Module):
    """Adds up its input and keeps every row that came by."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        self.seen.append(x.detach().clone())
        return torch.stack([x.sum(1), x.prod(1), -x.sum(1)], 1)


@pytest.mark.parametrize("name", SAMPLING)
def test_draws_are_identical_to_the_bit(name, monkeypatch):
    """What the network was asked for one example: the same rows alone, among others, and in small passes."""
    data = rows("table")

    def asked(which, size=None):
        if size:
            monkeypatch.setattr(planner, "FEWEST", size)
            monkeypatch.setattr(planner, "MOST", size)
        model = Recording()
        explainer = make_explainer(name, model, data)
        explainer.arguments |= {k: v for k, v in DRAWS.items() if k in explainer.parameters}
        x = make_explicand(explainer, data[torch.tensor(which)], 1)
        planner.rows_per_pass(explainer.model, x.inputs)
        model.seen.clear()
        explainer.explain(x)
        return {tuple(row.tolist()) for row in torch.cat(model.seen)}

    alone = asked([4])
    assert len(alone) > 5
    assert alone <= asked([2, 4, 9])
    assert alone <= asked([9, 4], size=8)


def test_shared_coalitions_do_not_depend_on_who_is_first():
    data = rows("table")
    first, last = (
        make_explainer(
            "kernel_shap",
            network("mlp", "table"),
            data,
            arguments={"shared": True, "exact": False, "n_samples": 20},
        )
        for _ in range(2)
    )
    everything = first.explain(make_explicand(first, data, 1)).attributions
    part = last.explain(make_explicand(last, data[torch.tensor([7, 3])], 1)).attributions
    assert_near(part, tuple(a[[7, 3]] for a in everything))


def test_perturbed_copies_get_the_draws_of_their_original():
    """What robustness metrics call: the same index gives the same draws, whatever the inputs are."""
    explainer = explainer_of("random")
    x = make_explicand(explainer, rows("table"), 1)
    moved = explainer.attribute(tuple(i + 1 for i in x.inputs), None, x.target, x.index, (), x.feature_mask)[
        0
    ]
    assert torch.equal(moved[0], explainer.explain(x).attributions[0])


@pytest.mark.parametrize("name", BATCH_DEPENDENT)
def test_methods_that_mix_their_batch_repeat_at_least(name):
    assert all(
        torch.equal(a, b) for a, b in zip(values(explainer_of(name)), values(explainer_of(name)), strict=True)
    )


class Careless(captum.attr.Attribution):
    """Draws from all three global streams."""

    def attribute(self, inputs, target=None):
        noise = torch.randn(inputs.shape) + np.random.rand() + random.random()
        return noise.to(inputs.dtype)


@pytest.mark.parametrize("first", [1, 3])
def test_a_stranger_that_draws_from_global_streams(first):
    """Found out by watching the streams; then one example at a time under its own seed."""
    data = rows("table")
    explainer = make_explainer(Careless, network("mlp", "table"), data)
    before = global_state()
    start = explainer.explain(make_explicand(explainer, data[:first], 1)).attributions[0]
    everything = explainer.explain(make_explicand(explainer, data, 1)).attributions[0]
    assert explainer.stochastic and same_state(before, global_state())
    assert torch.equal(start, everything[:first])
    assert len({tuple(r.tolist()) for r in everything}) == 12


def test_methods_that_draw_nothing_are_called_once():
    calls = []

    class Counted(captum.attr.Saliency):
        def attribute(self, inputs, **known):
            calls.append(len(inputs))
            return super().attribute(inputs, **known)

    data = rows("table")
    explainer = make_explainer(Counted, network("mlp", "table"), data)
    explainer.explain(make_explicand(explainer, data, 1))
    assert explainer.stochastic is False and calls == [12]


def test_every_method_is_covered():
    """A new method must not slip through because it was refused above."""
    for name in METHODS:
        try:
            values(explainer_of(name), [0, 1])
        except WrongInput as refusal:
            raise AssertionError(f"{name} needs an entry in WHERE: {refusal}") from refusal
