"""Sums over sets against Captum, scipy, plain loops and closed forms."""

import numpy as np
import pytest
import torch
from captum.metrics import infidelity
from metric_cases import (
    Curved,
    Method,
    explained,
    gradient_times_input,
    linear_case,
    uniform,
    with_map,
    zeros,
)
from scipy import stats

from salience.metrics import subsets
from salience.metrics.base import masked_score
from salience.metrics.correlation import average_ranks, pearson, spearman
from salience.randomness import Streams

STREAMS = Streams(0)
WEIGHTS = [3.0, 1.0, -2.0, 0.5, 0.1, -0.7]


def curved_case(count: int = 8, features: int = 6):
    model = Curved(features)
    method = Method(model, gradient_times_input(model))
    return method, explained(method, uniform(count, features))


@pytest.mark.parametrize(
    "metric, best",
    [
        (subsets.Infidelity(STREAMS), 0.0),
        (subsets.InfidelityPlain(STREAMS), 0.0),
        (subsets.FaithfulnessCorrelation(STREAMS), 1.0),
        (subsets.SensitivityN(STREAMS), 1.0),
        (subsets.FaithfulnessEstimate(), 1.0),
        (subsets.MonotonicityCorrelation(), 1.0),
    ],
    ids=lambda value: getattr(value, "key", None),
)
def test_exact_attributions_of_a_linear_model_reach_the_best_value(metric, best):
    method, explanation = linear_case(WEIGHTS, uniform(9, 6).tolist())
    assert metric(method, explanation, zeros(explanation)).scores.tolist() == pytest.approx(
        [best] * 9, abs=1e-5
    )


@pytest.mark.parametrize("normalize", [True, False])
def test_infidelity_equals_captum_for_the_same_sets(normalize):
    method, explanation = curved_case()
    hidden = subsets.random_sets(explanation, STREAMS, "infidelity", 50)
    flat = hidden.reshape(-1, hidden.shape[-1]).float()

    def perturb(inputs):
        return flat, inputs * (1 - flat)

    expected = infidelity(
        method.model, perturb, explanation.inputs[0], explanation.attributions[0], target=explanation.target,
        n_perturb_samples=50, normalize=normalize,
    )  # fmt: skip
    metric = subsets.Infidelity(STREAMS) if normalize else subsets.InfidelityPlain(STREAMS)
    ours = metric(method, explanation, zeros(explanation)).scores
    assert torch.allclose(ours, expected.double(), rtol=1e-4, atol=1e-6)


def test_infidelity_of_a_map_of_zeros_is_that_of_predicting_no_change():
    method, explanation = curved_case()
    nothing = with_map(explanation, torch.zeros(8, 6))
    scores = [
        metric(method, nothing, zeros(nothing)).scores
        for metric in (subsets.Infidelity(STREAMS), subsets.InfidelityPlain(STREAMS))
    ]
    assert torch.equal(*scores) and scores[0].isfinite().all()


def test_random_sets_have_the_size_asked_for_and_only_present_features():
    _, explanation = curved_case(3, 10)
    present = torch.ones(3, 10, dtype=torch.bool)
    present[1, 4:] = False
    present[2] = False
    padded = type(explanation)(**{**vars(explanation), "present": present})
    sets = subsets.random_sets(padded, STREAMS, "x", 200, share=0.5)
    assert (sets[0].sum(1) == 5).all() and (sets[1].sum(1) == 2).all() and not sets[2].any()
    free = subsets.random_sets(padded, STREAMS, "x", 400)
    assert free[0].sum(1).unique().tolist() == list(range(1, 11))
    assert (free.sum(1)[0] / 400 - 0.55).abs().max() < 0.1  # every feature as often as any other
    assert not (free & ~present[:, None]).any()


def test_correlations_equal_plain_loops():
    method, explanation = curved_case()
    reference, a = zeros(explanation), explanation.per_feature().numpy()
    singles = masked_score(
        method.model, explanation, reference, ~torch.eye(6, dtype=torch.bool).expand(8, 6, 6)
    )
    falls = (explanation.score[:, None] - singles).numpy()
    estimate = subsets.FaithfulnessEstimate()(method, explanation, reference).scores
    assert estimate.tolist() == pytest.approx(
        [stats.pearsonr(*p)[0] for p in zip(a, falls, strict=True)], abs=1e-5
    )
    ranked = subsets.MonotonicityCorrelation()(method, explanation, reference).scores
    expected = [stats.spearmanr(abs(p), abs(q))[0] for p, q in zip(a, falls, strict=True)]
    assert ranked.tolist() == pytest.approx(expected, abs=1e-5)

    hidden = subsets.random_sets(explanation, STREAMS, "faithfulness_correlation", 100, 0.4)
    expected = []
    for e in range(8):
        filled = explanation.inputs[0][e] * ~hidden[e]
        with torch.no_grad():
            moved = explanation.score[e] - method.model(filled)[:, explanation.target[e]]
        expected.append(stats.pearsonr((hidden[e].numpy() * a[e]).sum(1), moved.numpy())[0])
    metric = subsets.FaithfulnessCorrelation(STREAMS, share=0.4)
    assert metric(method, explanation, reference).scores.tolist() == pytest.approx(expected, abs=1e-4)


def test_a_function_that_does_not_react_has_no_correlation():
    method, explanation = linear_case([0.0] * 6, uniform(3, 6).tolist())
    map_ = with_map(explanation, uniform(3, 6, seed=1))
    for metric in (subsets.FaithfulnessEstimate(), subsets.SensitivityN(STREAMS)):
        assert metric(method, map_, zeros(map_)).scores.isnan().all()


def test_sensitivity_n_keeps_a_curve_over_its_shares():
    method, explanation = curved_case()
    measured = subsets.SensitivityN(STREAMS)(method, explanation, zeros(explanation))
    assert measured.curve.shape == (8, 5) and measured.at.tolist() == pytest.approx([0.1, 0.2, 0.4, 0.6, 0.8])
    assert torch.allclose(measured.scores, measured.curve.nanmean(1))


def test_ranks_and_correlations_over_valid_columns():
    values = torch.tensor([[3.0, 1.0, 1.0, 9.0, 2.0], [0.0, 0.0, 0.0, 0.0, 0.0]])
    valid = torch.tensor([[True, True, True, False, True], [True] * 5])
    assert average_ranks(values, valid)[0, [0, 1, 2, 4]].tolist() == [4.0, 1.5, 1.5, 3.0]
    other = torch.tensor([[1.0, 0.5, 2.0, -50.0, 0.1], [1.0, 2.0, 3.0, 4.0, 5.0]])
    kept = valid[0].numpy()
    for ours, theirs in ((pearson, stats.pearsonr), (spearman, stats.spearmanr)):
        r = ours(values, other, valid)
        assert r[0].item() == pytest.approx(theirs(values[0].numpy()[kept], other[0].numpy()[kept])[0])
        assert np.isnan(r[1].item())
