"""Randomised and retrained networks: what changes, what must not, and cases whose answer is known."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from metric_cases import Curved, Linear, Method, explained, gradient_times_input, uniform, with_map, zeros
from scipy.stats import spearmanr
from torch import nn

from salience.attribution.explanation import Explained
from salience.data.base import Classification, Data, Examples
from salience.errors import WrongInput
from salience.metrics.randomisation import (
    CascadingRandomisation,
    EfficientRandomisation,
    IndependentRandomisation,
    RandomLogit,
    SmoothRandomisation,
    histogram_entropy,
    layers,
    randomised,
)
from salience.metrics.retraining import Kar, Roar, ShuffledLabels, blanked, shuffled
from salience.metrics.similarity import ssim
from salience.modality import Tabular, Tokens
from salience.randomness import Streams

STREAMS = Streams(3)
MODEL_TESTS = [CascadingRandomisation, IndependentRandomisation, SmoothRandomisation]


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 3)).eval()


def case(rows: int = 8):
    model = network()
    method = Method(model, gradient_times_input(model))
    explanation = explained(method, uniform(rows, 6))
    return method, explanation, zeros(explanation)


def deaf(case):
    """The same examples explained by a map that does not look at the network."""
    method, explanation, reference = case
    blind = Method(method.model.model, lambda xs, target, index: (xs[0],))
    return blind, with_map(explanation, explanation.inputs[0]), reference


def test_layers_are_those_the_score_depends_on_from_the_output_down():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.unused, self.first, self.last = nn.Linear(2, 2), nn.Linear(6, 4), nn.Linear(4, 3)

        def forward(self, x):
            return self.last(self.first(x).relu())

    model = Model()
    for parameter in model.first.parameters():
        parameter.requires_grad_(False)  # frozen layers count too
    _, explanation, _ = case()
    assert layers(Explained(model), explanation) == ["model.last", "model.first"]
    assert not model.first.weight.requires_grad


def test_randomised_networks_repeat_leave_the_original_and_the_global_streams_alone():
    model = Explained(network())
    before, state = deepcopy(model.state_dict()), torch.get_rng_state()
    first, again = (randomised(model, ["model.4"], STREAMS) for _ in range(2))
    assert torch.equal(first.model[4].weight, again.model[4].weight)
    assert not torch.equal(first.model[4].weight, model.model[4].weight)
    assert torch.equal(first.model[2].weight, model.model[2].weight)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())
    assert first.counter is model.counter  # rows of copies are rows of the run


def test_bare_parameters_are_drawn_anew_with_their_own_deviation():
    model = Curved(400)
    other = randomised(Explained(model), ["model"], STREAMS).model
    assert not torch.equal(other.first, model.first)
    assert other.first.std().item() == pytest.approx(model.first.std().item(), rel=0.1)


@pytest.mark.parametrize("test", MODEL_TESTS)
def test_a_map_that_ignores_the_network_has_similarity_one(test):
    assert test(STREAMS)(*deaf(case())).scores.tolist() == pytest.approx([1.0] * 8)


@pytest.mark.parametrize("test", MODEL_TESTS)
def test_gradients_change_with_the_network(test):
    measured = test(STREAMS)(*case(40))
    assert measured.scores.mean() < 0.7
    assert measured.curve.shape == (40, 3) and measured.at.tolist() == pytest.approx([1 / 3, 2 / 3, 1])


def test_cascading_ends_where_all_layers_are_random_and_independent_touches_one():
    method, explanation, reference = case()
    cascading = CascadingRandomisation(STREAMS)(method, explanation, reference).curve
    independent = IndependentRandomisation(STREAMS)(method, explanation, reference).curve
    assert torch.equal(cascading[:, 0], independent[:, 0])  # the output layer alone
    names = layers(method.model, explanation)
    everything = randomised(method.model, names, STREAMS)
    there = method.on(everything).formula(explanation.inputs, explanation.target, explanation.index)[0]
    expected = [
        spearmanr(a, b).statistic for a, b in zip(explanation.per_feature().abs(), there.abs(), strict=True)
    ]
    assert cascading[:, -1].tolist() == pytest.approx(expected)


def test_signs_count_only_where_they_are_asked_for():
    method, explanation, reference = case()
    flipped = Method(method.model, method.formula, lambda m: lambda *g: (-method.formula(*g)[0],))
    assert CascadingRandomisation(STREAMS)(flipped, explanation, reference).scores.tolist() == pytest.approx(
        [1.0] * 8
    )
    signed = CascadingRandomisation(STREAMS, absolute=False)(flipped, explanation, reference)
    assert signed.scores.tolist() == pytest.approx([-1.0] * 8)


def test_efficient_randomisation_is_the_relative_rise_of_entropy():
    method, explanation, reference = case()
    found = EfficientRandomisation(STREAMS, bins=10)(method, explanation, reference).scores
    everything = randomised(method.model, layers(method.model, explanation), STREAMS)
    there = method.on(everything).formula(explanation.inputs, explanation.target, explanation.index)[0]
    before, after = (
        histogram_entropy(v, explanation.present, 10) for v in (explanation.per_feature(), there)
    )
    assert torch.allclose(found, (after - before) / before)
    assert EfficientRandomisation(STREAMS)(*deaf(case())).scores.tolist() == pytest.approx([0.0] * 8)


def test_random_logit_of_two_opposite_outputs_is_minus_one_and_needs_two():
    weights = uniform(1, 6)
    model = Linear(torch.cat([-weights, weights]))
    method = Method(model, gradient_times_input(model))
    explanation = explained(method, uniform(8, 6))
    assert RandomLogit(STREAMS)(method, explanation, zeros(explanation)).scores.tolist() == pytest.approx(
        [-1.0] * 8
    )
    assert RandomLogit(STREAMS)(*deaf(case())).scores.tolist() == pytest.approx([1.0] * 8)
    single = replace(explanation, num_outputs=1)
    assert RandomLogit(STREAMS)(method, single, zeros(explanation)).scores.isnan().all()


def test_structural_similarity_of_known_maps():
    a = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    here = torch.ones(1, 4, dtype=torch.bool)
    assert ssim(a, a, here).item() == pytest.approx(1.0)
    assert ssim(a, 3 * a, here).item() == pytest.approx(1.0)
    assert ssim(a - 2.5, 2.5 - a, here).item() < -0.9  # mean 0: opposite structure
    assert ssim(a, torch.ones(1, 4), here).isnan()


def test_an_unknown_similarity_is_wrong_input():
    with pytest.raises(WrongInput, match="similarity=pearson"):
        CascadingRandomisation(STREAMS, similarity="pearson")


# -- retraining --------------------------------------------------------------------------------------------------------

WEIGHTS = torch.tensor([3.0, -2.0, 1.0, 0.0, 0.0, 0.0])


class LeastSquares:
    """Stands in for training: the linear network that fits the training rows best."""

    def __init__(self):
        def part(rows: int, seed: int) -> Examples:
            inputs = uniform(rows, 6, seed=seed)
            return Examples((inputs,), (inputs @ WEIGHTS > 0).long(), torch.arange(rows))

        self.data = Data(
            (Tabular((6,)),), Classification(("a", "b")), part(300, 1), part(20, 2), part(200, 3)
        )
        self.calls = []

    def __call__(self, data: Data) -> nn.Module:
        self.calls.append(data)
        inputs, signs = data.train.inputs[0].double(), 2.0 * data.train.labels.double() - 1
        found = torch.linalg.lstsq(inputs, signs[:, None], driver="gelsd").solution.T.float()
        return Linear(torch.cat([-found, found]))


def trained(weights: torch.Tensor = WEIGHTS):
    retrain = LeastSquares()
    model = Linear(torch.stack([-weights, weights]))
    method = Method(model, gradient_times_input(model))
    explanation = explained(method, retrain.data.test.inputs[0][:20])
    return retrain, method, explanation


def test_roar_and_kar_tell_the_true_map_from_a_wrong_one():
    retrain, method, explanation = trained()
    wrong = Method(method.model.model, lambda xs, t, i: (torch.arange(6.0).expand_as(xs[0]),))
    reference = zeros(explanation)
    for metric in (Roar(STREAMS, retrain), Kar(STREAMS, retrain)):
        true, false = metric(method, explanation, reference), metric(wrong, explanation, reference)
        assert true.scores.shape == (1,) and true.curve.shape == (1, 5)
        assert true.scores.item() > false.scores.item() + 0.1


def test_roar_hides_the_leading_features_of_every_split_and_kar_shows_only_them():
    retrain, method, explanation = trained()
    for metric in (Roar(STREAMS, retrain, [0.5]), Kar(STREAMS, retrain, [0.5])):
        retrain.calls.clear()
        metric(method, explanation, zeros(explanation))
        whole, lessened = retrain.calls
        assert torch.equal(whole.train.inputs[0], retrain.data.train.inputs[0])
        for split in ("train", "validation", "test"):
            kept = lessened.split(split).inputs[0] != 0
            size = (retrain.data.split(split).inputs[0] * WEIGHTS).abs()
            lead = torch.zeros_like(kept).scatter_(1, size.argsort(1, descending=True)[:, :3], True)
            assert torch.equal(kept, lead if isinstance(metric, Kar) else ~lead)


def test_a_network_trained_on_shuffled_labels_is_the_same_for_all_methods():
    retrain, method, explanation = trained()
    metric = ShuffledLabels(STREAMS, retrain)
    score = metric(method, explanation, zeros(explanation)).scores
    blind = Method(method.model.model, lambda xs, t, i: (xs[0],))
    same = metric(blind, with_map(explanation, explanation.inputs[0]), zeros(explanation)).scores
    assert same.tolist() == pytest.approx([1.0] * 20) and score.mean() < 0.95
    first, second = (call.train.labels for call in retrain.calls)
    assert torch.equal(first, second) and not torch.equal(first, retrain.data.train.labels)
    assert torch.equal(first.bincount(), retrain.data.train.labels.bincount())


def test_shuffling_leaves_the_test_split_and_the_inputs_alone():
    data = LeastSquares().data
    mixed = shuffled(data, STREAMS)
    assert torch.equal(mixed.test.labels, data.test.labels)
    assert torch.equal(mixed.train.inputs[0], data.train.inputs[0])


def test_ids_are_blanked_as_wholes_and_padding_stays():
    tokens = Tokens((4,), vocabulary=("pad", "a", "b", "c"), padding_id=0)
    ids = torch.tensor([[1, 2, 3, 0]])
    examples = Examples((ids,), torch.zeros(1, dtype=torch.long), torch.arange(1))
    data = Data((tokens,), Classification(("x", "y")), examples, examples, examples)
    mask = (torch.arange(4)[None, :, None].expand(1, 4, 5),)
    method = Method(Curved(20), lambda xs, t, i: (xs[0],))
    explanation = explained(method, torch.randn(1, 4, 5), mask=mask, present=ids != 0)
    shown = torch.tensor([[True, False, True, False]])
    assert blanked(data, examples, explanation, shown).inputs[0].tolist() == [[1, 0, 3, 0]]
