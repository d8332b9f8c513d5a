"""Speed by counting: rows through the network and passes that they share. Seconds are for benchmarks/."""

from collections.abc import Callable
from dataclasses import replace

import captum.attr
import pytest
import torch
from metrics.metric_cases import Method, explained, gradient_times_input, uniform, zeros
from torch import Tensor

import salience
from salience.attribution import batched
from salience.attribution.explanation import Counter, Explained
from salience.attribution.planner import rows_per_pass
from salience.attribution.remembered import Remembered
from salience.metrics import complexity, faithfulness, robustness, subsets
from salience.metrics.base import Reference
from salience.modality import Image, Tabular
from salience.models.cnn import CNN
from salience.models.mlp import MLP
from salience.randomness import Streams
from salience.settings import Training
from salience.training import fit

N, M = 40, 12
STREAMS = Streams(3)


class Passes(Counter):
    """Also how many passes there were."""

    def __init__(self) -> None:
        super().__init__()
        self.passes = 0

    def count(self, rows: int, outputs: Tensor) -> None:
        self.passes += 1
        super().count(rows, outputs)


def network(features: int = M) -> Explained:
    torch.manual_seed(0)
    model = Explained(MLP((Tabular((features,)),), 2, hidden=[16]))
    model.counter = Passes()
    return model


def rows(features: int = M) -> Tensor:
    return uniform(N, features) + 2.0  # no element equals the baseline


def passes(model: Explained, x: Tensor, count: int, backward: bool = False) -> int:
    return -(-count // rows_per_pass(model, (x,), backward=backward))


FORWARD: dict[str, tuple[Callable, int]] = {
    "feature ablation": (lambda m, x: batched.FeatureAblation(m).attribute(x, target=0), (M + 1) * N),
    "occlusion": (lambda m, x: batched.Occlusion(m).attribute(x, (3,), (1,), target=0), (M - 2 + 1) * N),
    "KernelShap": (
        lambda m, x: batched.KernelShap(m).attribute(x, target=0, n_samples=50, exact=False),
        48 * N + N + 1,  # two of the 50 are the end points, and the baseline is one row for all
    ),
    "KernelShap, shared": (
        lambda m, x: batched.KernelShap(m).attribute(x, target=0, n_samples=50, exact=False, shared=True),
        48 * N + N + 1,
    ),
    "exact Shapley values": (lambda m, x: batched.ShapleyValues(m).attribute(x, target=0), 2**M * N),
    "KernelShap that enumerates": (
        lambda m, x: batched.KernelShap(m).attribute(x, target=0, n_samples=2**M // 5 + 1),
        2**M * N,
    ),
    "Shapley value sampling": (
        lambda m, x: batched.ShapleyValueSampling(m).attribute(x, target=0, n_samples=7, exact=False),
        7 * (M - 1) * N + N + 1,
    ),
    "Lime": (lambda m, x: batched.Lime(m).attribute(x, target=0, n_samples=50), 50 * N),
}


@pytest.mark.parametrize("name", FORWARD)
def test_methods_that_hide_features_need_no_row_too_many(name):
    call, needed = FORWARD[name]
    model, x = network(), rows()
    call(model, x)
    counter = model.counter
    assert counter.forward_rows == needed
    assert counter.backward_rows == 0
    assert counter.passes <= passes(model, x, needed) + N // 8  # what is left over by blocks of whole rows


def tunnel(model: Explained, x: Tensor) -> None:
    inner = captum.attr.Saliency(model)
    batched.NoiseTunnel(inner).attribute(x, nt_samples=5, target=0)


BACKWARD: dict[str, tuple[Callable, int]] = {
    "integrated gradients": (
        lambda m, x: batched.IntegratedGradients(m).attribute(x, target=0, n_steps=50), 50 * N,
    ),
    "GradientShap": (
        lambda m, x: batched.GradientShap(m).attribute(x, x[:4], target=0, n_samples=6), 6 * N,
    ),
    "SmoothGrad": (tunnel, 5 * N),
}  # fmt: skip


@pytest.mark.parametrize("name", BACKWARD)
def test_methods_that_take_gradients_need_no_row_too_many(name):
    call, needed = BACKWARD[name]
    model, x = network(), rows()
    call(model, x)
    counter = model.counter
    assert (counter.forward_rows, counter.backward_rows) == (needed, needed)
    assert counter.passes <= passes(model, x, needed, True) + 1


def test_a_convergence_delta_costs_the_inputs_and_one_baseline():
    model, x = network(), rows()
    batched.IntegratedGradients(model).attribute(x, target=0, n_steps=50, return_convergence_delta=True)
    assert model.counter.forward_rows == 50 * N + N + 1


def test_features_at_their_baseline_cost_nothing():
    model, x = network(), rows()
    x[:, 3] = 0.0
    x[5, 4] = 0.0
    batched.FeatureAblation(model).attribute(x, target=0)
    assert model.counter.forward_rows == (M + 1) * N - N - 1


def test_an_image_of_background_costs_its_ink():
    torch.manual_seed(0)
    image = Image((1, 12, 12), patch=4)
    model = Explained(CNN((image,), 3, channels=[4]))
    x = torch.zeros(5, 1, 12, 12)
    x[:, :, :4, :4] = 1.0  # one patch of nine
    batched.FeatureAblation(model).attribute(x, target=0, feature_mask=image.feature_mask(x))
    assert model.counter.forward_rows == 5 + 5


def test_rows_of_many_examples_share_passes():
    model, x = network(), rows().repeat(10, 1)
    batched.FeatureAblation(model).attribute(x, target=0)
    assert model.counter.passes <= passes(model, x, len(x) * (M + 1)) + 3
    assert model.counter.largest_pass <= rows_per_pass(model, (x,))


def test_memory_of_a_pass_does_not_grow_with_examples_or_steps():
    model, x = network(), rows().repeat(100, 1)
    batched.IntegratedGradients(model).attribute(x, target=0, n_steps=20)
    assert model.counter.largest_pass <= rows_per_pass(model, (x,), backward=True)


# On a curve f(x) is known; f(reference), its other end, is a row of each example.
METRICS: dict[str, tuple[Callable, int]] = {
    "deletion": (lambda: faithfulness.Deletion(STREAMS), M * N),
    "insertion": (lambda: faithfulness.Insertion(STREAMS), M * N),
    "deletion in 4 steps": (lambda: faithfulness.Deletion(STREAMS, steps=4), 4 * N),
    "abpc": (lambda: faithfulness.Abpc(STREAMS), 2 * M * N),
    "comprehensiveness": (lambda: faithfulness.Comprehensiveness(STREAMS), 5 * N),
    "sufficiency": (lambda: faithfulness.Sufficiency(STREAMS), 5 * N),
    "infidelity": (lambda: subsets.Infidelity(STREAMS, samples=10), 10 * N),
    "faithfulness correlation": (lambda: subsets.FaithfulnessCorrelation(STREAMS, samples=10), 10 * N),
    "monotonicity correlation": (lambda: subsets.MonotonicityCorrelation(), M * N),
    "sparseness": (lambda: complexity.Sparseness(), 0),
}


@pytest.mark.parametrize("name", METRICS)
def test_metrics_need_no_row_too_many(name):
    make, needed = METRICS[name]
    model, x = network(), rows()
    method = Method(model, gradient_times_input(model.model))
    explanation = explained(method, x)
    model.counter = Passes()
    make()(method, explanation, zeros(explanation))
    assert model.counter.forward_rows == needed
    assert model.counter.passes <= passes(model, x, needed) + 1


def test_the_same_sets_pass_once_for_all_methods():
    """A second method's metric, and one that shares a curve, find their passes remembered, and cost what they cost."""
    model, x = network(), rows()
    one = explained(Method(model, gradient_times_input(model.model)), x)
    reference = zeros(one)
    other = replace(one, attributions=tuple(-a for a in one.attributions))
    for metric in (subsets.Infidelity(STREAMS, samples=10), subsets.FaithfulnessEstimate()):
        first = model.counter = Passes()
        metric(Method(model, None), one, reference)
        second = model.counter = Passes()
        again = metric(Method(model, None), other, reference)
        assert first.passes > second.passes == 0
        assert first.forward_rows == second.forward_rows > 0
        fresh = network()
        alone = metric(Method(fresh, None), other, reference)
        assert torch.equal(again.scores, alone.scores)
    faithfulness.Deletion(STREAMS)(Method(model, None), one, reference)
    counter = model.counter = Passes()
    faithfulness.Abpc(STREAMS)(Method(model, None), one, reference)
    assert counter.passes == passes(model, x, M * N), (
        "the deletion curve is known, the insertion curve is not"
    )


def test_what_was_remembered_of_other_weights_is_not_used():
    model, x = network(), rows()
    explanation = explained(Method(model, gradient_times_input(model.model)), x)
    metric, reference = subsets.FaithfulnessEstimate(), zeros(explanation)
    before = metric(Method(model, None), explanation, reference).scores
    with torch.no_grad():
        next(model.parameters()).mul_(-2.0)
    after = metric(Method(model, None), explanation, reference).scores
    assert not torch.equal(before, after)
    model.model.layers[0].weight = torch.nn.Parameter(torch.zeros_like(model.model.layers[0].weight))
    assert not torch.equal(after, metric(Method(model, None), explanation, reference).scores)
    assert not torch.equal(
        after, metric(Method(model, None), explanation, Reference((x.mean(0)[None],))).scores
    )


def test_nothing_is_remembered_of_a_network_whose_hooks_may_change_it():
    model, x = network(), rows()
    explanation = explained(Method(model, gradient_times_input(model.model)), x)
    metric, reference = subsets.FaithfulnessEstimate(), zeros(explanation)
    before = metric(Method(model, None), explanation, reference).scores
    with torch.no_grad():
        model.model.register_forward_hook(lambda m, args, out: out**2)
    assert not torch.equal(before, metric(Method(model, None), explanation, reference).scores)


def test_no_more_is_remembered_than_is_allowed(monkeypatch):
    monkeypatch.setattr(Remembered, "LIMIT", 3 * N)
    model, x = network(), rows()
    explanation = explained(Method(model, gradient_times_input(model.model)), x)
    for samples in range(1, 9):
        metric = subsets.Infidelity(STREAMS, samples=samples)
        metric(Method(model, None), explanation, zeros(explanation))
        assert model.remembered.size <= 3 * N
        assert model.remembered.size == sum(map(len, model.remembered.known.values()))


def test_other_examples_are_not_kept_in_memory():
    model = network()
    for x in (rows(), rows() + 1.0):
        explanation = explained(Method(model, gradient_times_input(model.model)), x)
        subsets.FaithfulnessEstimate()(Method(model, None), explanation, zeros(explanation))
        assert model.remembered.size == N * M


def test_robustness_explains_all_copies_in_one_stream():
    model, x = network(), rows()
    explanation = salience.explain(model.model, x, "saliency", target=0)
    counter = explanation.explainer.model.counter = Passes()
    robustness.Sensitivity(STREAMS, samples=10)(explanation.explainer, explanation, zeros(explanation))
    assert counter.backward_rows == 10 * N
    assert counter.passes <= passes(explanation.explainer.model, x, 10 * N, True) + 1


def test_an_epoch_passes_every_row_once():
    from small_data import make

    data = make("table", 100)
    seen: list[int] = []
    model = MLP(data.modalities, 2, hidden=[4])
    model.register_forward_hook(lambda m, args, out: seen.append(len(args[0])) if m.training else None)
    fit(model, data, Training(epochs=3, batch_size=32), seed=0)
    assert seen == [32, 32, 32, 4] * 3


def test_a_single_input_is_not_copied():
    x = torch.randn(3, 7)
    assert MLP((Tabular((7,)),), 2).flattened((x,)).data_ptr() == x.data_ptr()
