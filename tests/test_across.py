"""Comparing runs: one ruler, seeds as a level, data sets as blocks, agreement between methods, the gate."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats

from salience import gate
from salience.attribution.explanation import Explanation
from salience.comparisons.friedman import friedman
from salience.data.base import Classification, Regression
from salience.errors import WrongInput
from salience.metrics.agreement import agreement
from salience.statistics import interval, interval_over_runs, same_ruler, skill


def test_friedman_equals_scipys_and_the_tabulated_critical_difference():
    scores = np.random.default_rng(5).normal(size=(14, 4)) + [0.0, 1.2, 0.1, 1.0]
    found = friedman(dict(zip("abcd", scores.T, strict=True)), higher_is_better=True)
    chi = stats.friedmanchisquare(*scores.T).statistic
    f = 13 * chi / (14 * 3 - chi)  # Iman and Davenport 1980
    assert found.p == pytest.approx(stats.f.sf(f, 3, 39))
    assert list(found.ranks.values()) == pytest.approx(stats.rankdata(-scores, axis=1).mean(0))
    assert found.critical_difference == pytest.approx(
        1.25, abs=0.005
    )  # Demsar 2006, 4 methods and 14 data sets
    for group in found.groups:
        assert found.ranks[group[-1]] - found.ranks[group[0]] <= found.critical_difference
    apart = [(a, b) for a in "abcd" for b in "abcd" if found.ranks[b] - found.ranks[a] > 1.25]
    assert apart and not any(set(pair) <= set(group) for pair in apart for group in found.groups)


def test_friedman_tells_apart_what_always_wins_and_turns_with_the_direction():
    noise = np.random.default_rng(0).normal(size=(3, 20))
    table = {"a": noise[0] + 9, "b": noise[1], "c": noise[2]}
    assert friedman(table, True).groups == [
        ("a",),
        tuple(sorted("bc", key=lambda m: friedman(table, True).ranks[m])),
    ]
    assert friedman(table, False).ranks["a"] == 3.0 and friedman(table, True).p < 1e-4


def test_friedman_is_refused_below_three_data_sets():
    with pytest.raises(WrongInput, match="three or more"):
        friedman({"a": [1.0, 2.0], "b": [2.0, 1.0]}, True)
    with pytest.raises(WrongInput, match="here are 2"):
        friedman({"a": [1.0, 2.0, np.nan], "b": [2.0, 1.0, 3.0]}, True)


def test_an_interval_over_seeds_is_wider_where_seeds_differ():
    rng = np.random.default_rng(1)
    alike = [rng.normal(0, 1, 200) for _ in range(5)]
    apart = [values + shift for values, shift in zip(alike, (-2, -1, 0, 1, 2), strict=True)]
    narrow, wide = interval_over_runs(alike), interval_over_runs(apart)
    assert wide.high - wide.low > 5 * (narrow.high - narrow.low)
    assert narrow.n == 1000 and wide.low < 0 < wide.high
    assert interval_over_runs(alike[:1]) == interval(alike[0])


def test_an_interval_over_five_seeds_covers_as_often_as_it_says():
    rng, hits = np.random.default_rng(2), 0
    for trial in range(150):
        runs = [rng.normal(shift, 1, 40) for shift in rng.normal(0, 1, 5)]
        found = interval_over_runs(runs, seed=trial)
        hits += found.low <= 0 <= found.high
    assert hits / 150 > 0.88


def test_runs_with_different_rulers_are_refused_and_the_difference_is_named():
    ruler = {"reference": "blank", "output": "logit", "features": "30 of table"}
    assert same_ruler({"a": {"ruler": ruler}, "b": {"ruler": dict(ruler)}}) == ruler
    for key, value in (("reference", "mean"), ("output", "probability"), ("features", "10 of table")):
        with pytest.raises(WrongInput, match=f"{key} is {ruler[key]} there and {value} here"):
            same_ruler({"a": {"ruler": ruler}, "b": {"ruler": ruler | {key: value}}})
    assert same_ruler({}) == {}


def test_skill_runs_from_the_floor_to_the_best_in_both_directions():
    assert skill(0.75, 0.5, 1.0) == pytest.approx(0.5)
    assert skill(0.1, 0.4, 0.0) == pytest.approx(0.75)
    assert skill(0.3, 0.5, 1.0) == pytest.approx(-0.4)
    assert (
        skill(0.3, None, 1.0) is None
        and skill(0.3, 1.0, 1.0) is None
        and skill(float("nan"), 0.0, 1.0) is None
    )


# -- agreement between methods --------------------------------------------------------------------------------


def explanation(values: torch.Tensor) -> Explanation:
    rows, features = values.shape
    index = torch.arange(rows) + 10
    return Explanation(
        raw=(values,), inputs=(values,), context=(), feature_mask=(torch.arange(features)[None],),
        present=torch.ones(rows, features, dtype=torch.bool), target=torch.zeros(rows, dtype=torch.long),
        score=torch.zeros(rows), index=index, attributions=(values,),
    )  # fmt: skip


def test_agreement_of_known_maps():
    a = torch.tensor([[4.0, 3.0, -2.0, 1.0, 0.5, 0.0], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]])
    backwards = a.clone()
    backwards[1] = a[1].flip(0)
    found = agreement({"a": explanation(a), "minus": explanation(-a), "b": explanation(backwards)}, k=2)
    assert found.methods == ("a", "minus", "b")
    assert torch.allclose(found.rank, torch.tensor([[1.0, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=torch.float64))
    assert torch.allclose(found.sign, torch.tensor([[1.0, 0, 1], [0, 1, 0], [1, 0, 1]], dtype=torch.float64))
    assert torch.allclose(
        found.top_k, torch.tensor([[1, 1, 0.5], [1, 1, 0.5], [0.5, 0.5, 1]], dtype=torch.float64)
    )
    assert found.disagreement.tolist() == pytest.approx([0.0, 1 + 1 / 3])
    assert found.most_disputed(1) == [(11, pytest.approx(4 / 3))]


def test_agreement_reads_parts_and_refuses_other_examples():
    a = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    whole = explanation(a)
    parts = [whole.rows(slice(0, 2)), whole.rows(slice(2, 6))]
    assert torch.allclose(agreement({"a": parts, "b": whole}).rank, torch.ones(2, 2, dtype=torch.float64))
    with pytest.raises(WrongInput, match="other examples"):
        agreement({"a": whole, "b": replace(whole, index=whole.index + 1)})
    with pytest.raises(WrongInput, match="two or more"):
        agreement({"a": whole, "layer": [SimpleNamespace(of_inputs=False)]})


# -- the gate --------------------------------------------------------------------------------


def test_the_gate_flags_what_is_not_clearly_above_chance():
    task, labels = Classification(("a", "b")), torch.tensor([0] * 60 + [1] * 40)
    assert gate.warning(task, {"accuracy": 0.8}, labels) is None
    assert "0.650 is not clearly above chance (0.600)" in str(gate.warning(task, {"accuracy": 0.65}, labels))
    assert "below the gate of 0.9" in str(gate.warning(task, {"accuracy": 0.8}, labels, 0.9))
    assert gate.warning(task, {"accuracy": 0.65}, labels, 0.6) is None
    numbers = Regression(("y",))
    assert gate.warning(numbers, {"r2": 0.5}, torch.zeros(9, 1)) is None
    assert "r2 of 0.050" in str(gate.warning(numbers, {"r2": 0.05}, torch.zeros(9, 1)))
