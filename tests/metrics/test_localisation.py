"""Against scikit-learn and closed forms; equal sizes count by their expectation."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from metric_cases import linear_case, uniform, with_map, zeros
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from salience.errors import WrongInput
from salience.metrics import localisation


def measured(metric, values: torch.Tensor, relevant: torch.Tensor, present: torch.Tensor | None = None):
    method, explanation = linear_case([1.0] * values.shape[1], [[1.0] * values.shape[1]] * len(values))
    known = replace(with_map(explanation, values), relevant=relevant)
    known = known if present is None else replace(known, present=present)
    return metric(method, known, zeros(known)).scores


def tied_maps(count: int = 40, features: int = 9) -> tuple[torch.Tensor, torch.Tensor]:
    """Signed maps with many ties, some and not all features relevant."""
    relevant = uniform(count, features, seed=2) > 0.2
    relevant[:, 0], relevant[:, 1] = True, False
    return (uniform(count, features, seed=1) * 4).round(), relevant


def area(values, relevant, which: int) -> float:
    """AUP (0) or AUR (1): the exact integral of scikit-learn's curve, whose values hold down to the threshold below."""
    scaled = (values - values.min()) / (values.max() - values.min())
    curve = precision_recall_curve(relevant, scaled)
    return float((np.diff(curve[2]) * curve[which][1:-1]).sum())


@pytest.mark.parametrize(
    "metric, theirs",
    [
        (localisation.Auroc(), lambda a, r: roc_auc_score(r, a)),
        (localisation.Auprc(), lambda a, r: average_precision_score(r, a)),
        (localisation.Aup(), lambda a, r: area(a, r, 0)),
        (localisation.Aur(), lambda a, r: area(a, r, 1)),
        (
            localisation.MedianRank(),
            lambda a, r: np.median((a > a[r][:, None]).sum(1) + ((a == a[r][:, None]).sum(1) + 1) / 2),
        ),
    ],
    ids=lambda value: getattr(value, "key", None),
)
@pytest.mark.parametrize("ties", [True, False])
def test_equal_to_scikit_learn(metric, theirs, ties):
    values, relevant = tied_maps()
    values = values if ties else values + 0.1 * uniform(*values.shape, seed=3)
    pairs = zip(values.abs().double().numpy(), relevant.numpy(), strict=True)
    assert measured(metric, values, relevant).tolist() == pytest.approx(
        [theirs(a, r) for a, r in pairs], abs=1e-6
    )


@pytest.mark.parametrize(
    "metric, expected",
    [
        (localisation.RelevanceMass(), 0.6),
        (localisation.RelevanceRank(), 0.5),
        (localisation.PointingGame(), 1.0),
        (localisation.TopKIntersection(k=3), 2 / 3),
        (localisation.TopKIntersection(k=50), 0.5),
        (localisation.PrecisionAtN(), 0.5),
        (localisation.PrecisionAtN(n=3), 1.0),
        (localisation.PrecisionAtN(n=1), 1.0),
        (localisation.MaskInformation(), (-math.log2(1e-5) - math.log2(2 / 3 + 1e-5)) / 2),
        (localisation.MaskEntropy(), -(math.log2(1 / 3) / 3 + 2 / 3 * math.log2(2 / 3)) / 2),
        (localisation.MedianRank(), 2.0),
    ],
    ids=lambda value: getattr(value, "key", None),
)
@pytest.mark.parametrize("absent", [0, 2])
def test_closed_forms_with_and_without_absent_features(metric, expected, absent):
    values = torch.tensor([[-4.0, 3.0, 2.0, 1.0] + [99.0] * absent])  # scaled: 1, 2/3, 1/3, 0
    relevant = torch.tensor([[True, False, True, False] + [True] * absent])
    present = torch.tensor([[True] * 4 + [False] * absent])
    assert measured(metric, values, relevant, present).tolist() == pytest.approx([expected], abs=1e-6)


def test_equal_sizes_count_by_their_expectation():
    values, relevant = torch.tensor([[2.0, -2.0, 2.0, 1.0]]), torch.tensor([[True, False, False, True]])
    assert measured(localisation.PointingGame(), values, relevant).item() == pytest.approx(1 / 3)
    assert measured(localisation.RelevanceRank(), values, relevant).item() == pytest.approx(1 / 3)
    assert measured(localisation.TopKIntersection(k=3), values, relevant).item() == pytest.approx(1 / 3)


EVERY = [
    localisation.Auprc(),
    localisation.Auroc(),
    localisation.RelevanceMass(),
    localisation.RelevanceRank(),
    localisation.PointingGame(),
    localisation.TopKIntersection(),
    localisation.PrecisionAtN(),
    localisation.MedianRank(),
    localisation.Aup(),
    localisation.Aur(),
    localisation.MaskInformation(),
    localisation.MaskEntropy(),
]


@pytest.mark.parametrize("metric", EVERY, ids=lambda m: m.key)
def test_undefined_where_nothing_is_to_be_told_apart(metric):
    values, relevant = uniform(3, 5), torch.zeros(3, 5, dtype=torch.bool)
    relevant[1], relevant[2, 0] = True, True
    assert measured(metric, values, relevant).isnan().tolist() == [True, True, False]


@pytest.mark.parametrize("metric", EVERY, ids=lambda m: m.key)
def test_data_without_known_features_is_wrong_input(metric):
    method, explanation = linear_case([1.0, 2.0], [[1.0, 1.0]])
    with pytest.raises(WrongInput, match=f"metric={metric.key}: needs known relevant features"):
        metric(method, explanation, zeros(explanation))
    assert metric.needs_relevant


@pytest.mark.parametrize(
    "metric, ceiling, floor",
    [
        (localisation.Auprc(), 1.0, 0.434),  # the mean average precision over all orders of 2 among 8
        (localisation.Auroc(), 1.0, 0.5),
        (localisation.RelevanceMass(), 1.0, 0.25),
        (localisation.RelevanceRank(), 1.0, 0.25),
        (localisation.PointingGame(), 1.0, 0.25),
        (localisation.TopKIntersection(), 0.4, 0.25),  # two of five can be relevant
        (localisation.MedianRank(), 1.5, 4.5),
    ],
    ids=lambda value: getattr(value, "key", None),
)
def test_the_true_map_is_at_the_ceiling_and_a_random_one_at_its_floor(metric, ceiling, floor):
    relevant = torch.zeros(3000, 8, dtype=torch.bool)
    relevant[:, [1, 4]] = True
    random = measured(metric, uniform(3000, 8), relevant).mean().item()
    true = measured(metric, relevant.float(), relevant).mean().item()
    assert true == pytest.approx(ceiling)
    assert random == pytest.approx(floor, abs=0.03, rel=0.03)
