"""Agreement with known weights, prediction gaps, ROAD, the earth mover's distance, symmetry and input shift."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from metric_cases import Curved, Linear, Method, explained, gradient_times_input, uniform, with_map, zeros
from scipy.stats import spearmanr

from salience.errors import WrongInput
from salience.metrics.axioms import InputShift, Symmetry
from salience.metrics.base import Reference
from salience.metrics.gaps import GapOnImportant, GapOnUnimportant
from salience.metrics.imputation import Road, impute
from salience.metrics.known import (
    FeatureAgreement,
    PairwiseRankAgreement,
    RankAgreement,
    RankCorrelation,
    SignAgreement,
    SignedRankAgreement,
)
from salience.metrics.transport import EarthMovers, distances
from salience.modality import Image, Series, Tabular
from salience.randomness import Streams

STREAMS = Streams(5)
WEIGHTS = torch.tensor([[0.0] * 4, [4.0, -3.0, 2.0, 1.0]])


def linear(values: list[list[float]], inputs: torch.Tensor | None = None):
    """A map beside a linear function of four features whose second output weighs 4, -3, 2, 1; inputs of ones."""
    model = Linear(WEIGHTS)
    method = Method(model, gradient_times_input(model))
    x = torch.ones(len(values), 4) if inputs is None else inputs
    explanation = explained(method, x, target=torch.ones(len(values), dtype=torch.long))
    explanation = with_map(explanation, torch.tensor(values))
    return method, explanation, zeros(explanation)


MAPS = [
    [8.0, -6.0, 4.0, 2.0],  # the truth, scaled
    [8.0, 6.0, 4.0, 2.0],  # one sign is wrong
    [6.0, -8.0, 4.0, 2.0],  # the first two have changed places
    [1.0, -2.0, 3.0, 4.0],  # backwards
]


@pytest.mark.parametrize(
    "metric, expected",
    [
        (FeatureAgreement(STREAMS, WEIGHTS, share=0.5), [1, 1, 1, 0]),
        (RankAgreement(STREAMS, WEIGHTS, share=0.5), [1, 1, 0, 0]),
        (SignAgreement(STREAMS, WEIGHTS, share=0.5), [1, 0.5, 1, 0]),
        (SignedRankAgreement(STREAMS, WEIGHTS, share=0.5), [1, 0.5, 0, 0]),
        (RankCorrelation(WEIGHTS), [1, 1, 0.8, -1]),
        (PairwiseRankAgreement(WEIGHTS), [1, 1, 5 / 6, 0]),
    ],
)
def test_agreement_with_known_weights(metric, expected):
    assert metric(*linear(MAPS)).scores.tolist() == pytest.approx(expected)


def test_the_truth_is_what_a_feature_contributes_or_its_weight():
    inputs = torch.tensor([[0.1, 1.0, 1.0, 9.0]])
    method, explanation, reference = linear([[0.4, -3.0, 2.0, 9.0]], inputs)
    assert RankCorrelation(WEIGHTS)(method, explanation, reference).scores.item() == pytest.approx(1.0)
    weighed = RankCorrelation(WEIGHTS, times_input=False)(method, explanation, reference)
    expected = spearmanr([0.4, 3, 2, 9], [4, 3, 2, 1]).statistic
    assert weighed.scores.item() == pytest.approx(expected)
    moved = Reference((torch.tensor([[0.1, 0.0, 0.0, 0.0]]),))  # the first feature is at its reference
    assert RankCorrelation(WEIGHTS)(method, explanation, moved).scores.item() == pytest.approx(1.0)


def test_a_single_unit_speaks_for_the_last_class():
    method, explanation, reference = linear(MAPS)
    alone = replace(explanation, num_outputs=1, target=torch.zeros(4, dtype=torch.long))
    assert RankCorrelation(WEIGHTS)(method, alone, reference).scores[0].item() == pytest.approx(1.0)


def test_data_without_known_weights_is_wrong_input():
    for make in (lambda w: FeatureAgreement(STREAMS, w), RankCorrelation):
        with pytest.raises(WrongInput, match="needs known weights"):
            make(None)
    method, explanation, reference = linear(MAPS)
    with pytest.raises(WrongInput, match="3 known weights for 4 features"):
        RankCorrelation(torch.ones(2, 3))(method, explanation, reference)


# -- prediction gaps ---------------------------------------------------------------------------------------------------


def test_gaps_of_a_linear_function_are_the_mean_size_of_the_noise_times_the_weight():
    rows, radius = 400, 0.3
    true = linear([[8.0, -6.0, 4.0, 2.0]] * rows)
    on = GapOnImportant(STREAMS, share=0.25, radius=radius, samples=20)(*true).scores.mean().item()
    assert on == pytest.approx(4 * radius / 2, rel=0.03)
    backwards = linear([[1.0, 2.0, 3.0, 4.0]] * rows)
    assert GapOnImportant(STREAMS, 0.25, radius, 20)(*backwards).scores.mean() == pytest.approx(
        radius / 2, rel=0.03
    )
    off = [
        GapOnUnimportant(STREAMS, 0.25, radius, 20)(*case).scores.mean().item() for case in (true, backwards)
    ]
    assert off[0] < off[1]


# -- ROAD --------------------------------------------------------------------------------------------------------------


def test_imputation_continues_a_plane_from_symmetric_neighbours():
    rows, columns = np.meshgrid(range(5), range(5), indexing="ij")
    image = np.stack([2.0 * rows + columns, 7.0 - columns])
    hidden = np.zeros((2, 5, 5), dtype=bool)
    hidden[:, 2, 2] = hidden[:, 1, 3] = True
    assert impute(image, hidden) == pytest.approx(image)


def test_imputation_solves_for_all_hidden_pixels_at_once():
    generator = np.random.default_rng(0)
    image, hidden = generator.normal(size=(1, 4, 4)), generator.random((1, 4, 4)) < 0.5
    filled = impute(image, hidden)
    assert (filled[~hidden] == image[~hidden]).all()
    for row, column in np.argwhere(hidden[0]):
        total = weight = 0.0
        for r in range(max(0, row - 1), min(4, row + 2)):
            for c in range(max(0, column - 1), min(4, column + 2)):
                w = {0: 0, 1: 2, 2: 1}[abs(r - row) + abs(c - column)]
                total, weight = total + w * filled[0, r, c], weight + w
        assert filled[0, row, column] == pytest.approx(total / weight)
    assert (impute(image, np.ones_like(hidden)) == 0).all() and (
        impute(image, ~np.ones_like(hidden)) == image
    ).all()


def test_road_falls_where_the_deciding_pixels_go_first():
    """The brightest corner decides; the map that names it loses the class earlier than the one that names it last."""
    weights = torch.zeros(2, 36)
    weights[1, :2] = 1.0
    weights[0, 2:] = 0.05
    model = Linear(weights)
    inputs = torch.zeros(5, 1, 6, 6) - 1
    inputs[:, 0, 0, :2] = 6.0
    right = Method(model, lambda xs, t, i: (xs[0],))
    explanation = replace(explained(right, inputs), modalities=(Image((1, 6, 6)),))
    assert explanation.target.tolist() == [1] * 5
    found = Road(STREAMS)(right, explanation, zeros(explanation))
    wrong = replace(explanation, attributions=(-inputs,))
    late = Road(STREAMS)(right, wrong, zeros(explanation))
    assert found.scores.mean() < late.scores.mean() and found.curve.shape == (5, 7)
    assert Road(STREAMS)(right, replace(explanation, modalities=()), zeros(explanation)).scores.isnan().all()


# -- earth mover's distance --------------------------------------------------------------------------------------------


def on_places(modality, values: torch.Tensor, relevant: torch.Tensor):
    model = Curved(values[0].numel())
    method = Method(model, lambda xs, t, i: xs)
    explanation = explained(method, values.reshape(len(values), *modality.shape), relevant=relevant)
    return method, replace(explanation, modalities=(modality,)), zeros(explanation)


def test_the_longest_way_scores_zero_and_the_right_place_one():
    values, relevant = torch.zeros(3, 16), torch.zeros(3, 16, dtype=torch.bool)
    relevant[:, 0] = True
    values[0, 0] = values[1, 15] = values[2, 3] = 1.0  # there, in the opposite corner, along one edge
    scores = EarthMovers()(*on_places(Image((1, 4, 4)), values, relevant)).scores.tolist()
    assert scores == pytest.approx([1.0, 0.0, 1 - 3 / 18**0.5])


def test_in_a_table_every_way_is_as_long():
    values, relevant = torch.tensor([[1.0, 1.0, 2.0, 0.0]]), torch.tensor([[True, False, False, False]])
    assert EarthMovers()(*on_places(Tabular((4,)), values, relevant)).scores.tolist() == pytest.approx([0.25])


def test_segments_lie_along_time_and_inputs_lie_apart():
    series = on_places(Series((1, 6), segment=2), torch.rand(1, 6), torch.ones(1, 6, dtype=torch.bool))[1]
    mask = series.modalities[0].feature_mask(series.inputs[0])
    there = replace(series, feature_mask=(mask,), present=torch.ones(1, 3, dtype=torch.bool))
    assert distances(there).tolist() == [[0, 0.5, 1], [0.5, 0, 0.5], [1, 0.5, 0]]


# -- axioms ------------------------------------------------------------------------------------------------------------


def test_symmetry_compares_features_that_do_the_same():
    weights = torch.tensor([[2.0, 2.0, -1.0, 0.0]])
    model = Linear(weights)
    inputs = torch.tensor([[1.0, 1.0, 1.0, 1.0], [3.0, 3.0, 1.0, 1.0], [1.0, 2.0, 3.0, 1.0]])
    method = Method(model, gradient_times_input(model))
    explanation = explained(method, inputs)
    assert Symmetry()(method, explanation, zeros(explanation)).scores.tolist()[:2] == pytest.approx(
        [0.0, 0.0]
    )
    uneven = with_map(explanation, torch.tensor([[3.0, 1.0, 9.0, 9.0]] * 3))
    scores = Symmetry()(method, uneven, zeros(explanation)).scores
    assert scores[:2].tolist() == pytest.approx([0.5, 0.5])
    assert scores[2].isnan()  # 2 x 1, 2 x 2, -1 x 3 and the dummy: no twins


def test_gradients_do_not_see_a_shift_and_input_times_gradient_does():
    model = Curved(6)

    def gradient(network):
        inner = gradient_times_input(network)
        return lambda xs, t, i: tuple(a / x for a, x in zip(inner(xs, t, i), xs, strict=True))

    inputs = uniform(8, 6) + 3
    plain = Method(model, gradient(model), gradient)
    explanation = explained(plain, inputs)
    assert InputShift(shift=2.0)(plain, explanation, zeros(explanation)).scores.max() < 1e-5
    times = Method(model, gradient_times_input(model))
    explanation = explained(times, inputs)
    g = plain.formula((inputs,), explanation.target, explanation.index)[0].double()
    expected = (2 * g).norm(dim=1) / (g * inputs).norm(dim=1)
    found = InputShift(shift=2.0)(times, explanation, zeros(explanation)).scores
    assert torch.allclose(found, expected, rtol=1e-4)
    assert not model._forward_pre_hooks
