"""What attributions must fulfil, and whether people agree."""

from dataclasses import replace

import pytest
import torch
from metric_cases import Curved, Method, explained, linear_case, uniform, with_map, zeros
from scipy import stats

from salience.errors import WrongInput
from salience.metrics.axioms import CompletenessGap, Dummy
from salience.metrics.plausibility import RatingCorrelation

WEIGHTS = [3.0, 1.0, -2.0, 0.0]


def test_completeness_of_exact_and_of_scaled_attributions():
    method, explanation = linear_case(WEIGHTS, uniform(6, 4).tolist())
    gap = CompletenessGap()
    assert gap(method, explanation, zeros(explanation)).scores.tolist() == pytest.approx([0.0] * 6, abs=1e-5)
    thrice = with_map(explanation, 3 * explanation.per_feature())
    assert gap(method, thrice, zeros(thrice)).scores.tolist() == pytest.approx([2.0] * 6, rel=1e-4)


def test_completeness_is_measured_from_the_methods_own_baseline():
    method, explanation = linear_case(WEIGHTS, uniform(6, 4).tolist())
    w = torch.tensor(WEIGHTS)
    own = uniform(6, 4, seed=1)
    other = replace(with_map(explanation, (explanation.inputs[0] - own) * w), baselines=(own,))
    assert CompletenessGap()(method, other, zeros(other)).scores.tolist() == pytest.approx(
        [0.0] * 6, abs=1e-4
    )
    rows = uniform(5, 4, seed=2)
    averaged = replace(with_map(explanation, (explanation.inputs[0] - rows.mean(0)) * w), background=(rows,))
    scores = CompletenessGap()(method, averaged, zeros(averaged)).scores
    assert scores.tolist() == pytest.approx([0.0] * 6, abs=1e-4)


def test_completeness_is_undefined_where_nothing_changed():
    method, explanation = linear_case([1.0, -1.0], [[1.0, 1.0], [1.0, 2.0]])
    assert CompletenessGap()(method, explanation, zeros(explanation)).scores.isnan().tolist() == [True, False]


def test_dummy_is_the_share_on_features_that_change_nothing():
    method, explanation = linear_case(WEIGHTS, (uniform(5, 4) + 2).tolist())
    assert Dummy()(method, explanation, zeros(explanation)).scores.tolist() == [0.0] * 5
    even = with_map(explanation, torch.tensor([[1.0, -1.0, 1.0, 1.0]] * 5))
    assert Dummy()(method, even, zeros(even)).scores.tolist() == [0.25] * 5
    assert Dummy()(method, with_map(even, torch.zeros(5, 4)), zeros(even)).scores.isnan().all()


def test_dummy_needs_a_feature_that_matters_neither_here_nor_alone():
    class Both(torch.nn.Module):  # or: either feature alone is enough, so hiding one changes nothing
        def forward(self, x):
            return x.amax(1, keepdim=True)

    method = Method(Both(), lambda xs, target, index: (torch.ones_like(xs[0]),))
    explanation = explained(method, torch.tensor([[1.0, 1.0, 0.0]]))
    assert Dummy()(method, explanation, zeros(explanation)).scores.tolist() == pytest.approx([1 / 3])
    without = explained(method, torch.tensor([[1.0, 1.0, 1.0]]))
    assert Dummy()(method, without, zeros(without)).scores.isnan().all()


def test_rating_correlation_equals_scipy_and_turns_with_the_class():
    model = Curved(8, outputs=2)
    method = Method(model, lambda xs, target, index: (xs[0],))
    target = torch.tensor([1, 0, 1, 0])
    ratings = uniform(4, 8, seed=3)
    ratings[:, 6:] = torch.nan
    ratings[2, 2:] = torch.nan
    rated = explained(method, uniform(4, 8), target=target, ratings=ratings)
    scores = RatingCorrelation()(method, rated, zeros(rated)).scores
    for e in (0, 1, 3):
        r = stats.spearmanr(rated.inputs[0][e, :6], ratings[e, :6])[0]
        assert scores[e].item() == pytest.approx(r if target[e] == 1 else -r)
    assert scores[2].isnan()  # two rated words
    with pytest.raises(WrongInput, match="metric=rating_correlation: needs human ratings"):
        RatingCorrelation()(method, replace(rated, ratings=None), zeros(rated))
