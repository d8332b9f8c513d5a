"""Gini, entropy and counts against closed forms."""

import math
from dataclasses import replace

import pytest
import torch
from metric_cases import linear_case, with_map, zeros

from salience.metrics import complexity


def score(metric, values: list[float], absent: int = 0) -> float:
    """Of one map, with some absent features behind it."""
    method, explanation = linear_case([1.0] * (len(values) + absent), [[1.0] * (len(values) + absent)])
    shown = with_map(explanation, torch.tensor([values + [9.0] * absent]))
    present = torch.arange(len(values) + absent)[None] < len(values)
    return metric(method, replace(shown, present=present), zeros(shown)).scores.item()


@pytest.mark.parametrize("absent", [0, 3])
@pytest.mark.parametrize(
    "metric, values, expected",
    [
        (complexity.Sparseness(), [1.0, -1.0, 1.0, 1.0], 0.0),
        (complexity.Sparseness(), [0.0, 0.0, -5.0, 0.0], 0.75),  # 1 - 1/n
        (complexity.Sparseness(), [1.0, 2.0, 3.0], 2 / 9),
        (complexity.Complexity(), [2.0, -2.0, 2.0, 2.0], math.log(4)),
        (complexity.Complexity(), [0.0, 7.0, 0.0], 0.0),
        (complexity.Complexity(), [1.0, 3.0], -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))),
        (
            complexity.EffectiveComplexity(),
            [10.0, 1.0, -1.1, 0.5],
            2.0,
        ),  # the threshold itself does not count
        (complexity.EffectiveComplexity(threshold=0.01), [10.0, 1.0, -1.1, 0.5], 4.0),
    ],
    ids=lambda value: getattr(value, "key", None),
)
def test_closed_forms_with_and_without_absent_features(metric, values, expected, absent):
    assert score(metric, values, absent) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    "metric",
    [complexity.Sparseness(), complexity.Complexity(), complexity.EffectiveComplexity()],
    ids=lambda m: m.key,
)
def test_undefined_for_zeros_and_for_what_is_not_finite(metric):
    assert math.isnan(score(metric, [0.0, 0.0, 0.0]))
    assert math.isnan(score(metric, [1.0, math.nan, 0.0]))
    assert math.isnan(score(metric, [1.0, math.inf, 0.0]))
