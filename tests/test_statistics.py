"""Intervals and tests against scipy, coverage, and cases whose answer is known."""

import math
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from salience.statistics import (
    _student_t,
    examples_needed,
    holm,
    indistinguishable,
    interval,
    paired_test,
    pairwise,
    ranks,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_interval_holds_the_mean_and_counts_what_is_undefined(rng):
    scores = np.append(rng.normal(2.0, 1.0, size=60), [np.nan, np.inf, np.nan])
    found = interval(scores)
    assert found.n == 60 and found.undefined == 3
    assert found.mean == pytest.approx(scores[:60].mean())
    assert found.low < found.mean < found.high
    half = 1.96 * scores[:60].std() / 60**0.5
    assert found.high - found.low == pytest.approx(2 * half, rel=0.1)


@pytest.mark.parametrize("count, least", [(8, 0.90), (20, 0.92), (60, 0.93)])
def test_interval_covers_the_true_mean_about_as_often_as_it_says(rng, count, least):
    hits = [i.low <= 0 <= i.high for i in (interval(rng.normal(size=count), seed=s) for s in range(400))]
    assert least <= np.mean(hits) <= 0.985


def test_interval_depends_on_level_and_seed_only(rng):
    scores = rng.normal(size=30)
    assert interval(scores) == interval(scores) != interval(scores, seed=1)
    wide, narrow = interval(scores, level=0.99), interval(scores, level=0.8)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_interval_of_few_or_equal_scores():
    alone = interval([3.0, np.nan])
    assert (
        (alone.mean, alone.n, alone.undefined) == (3.0, 1, 1)
        and math.isnan(alone.low)
        and math.isnan(alone.high)
    )
    none = interval([np.nan, np.nan])
    assert none.n == 0 and none.undefined == 2 and math.isnan(none.mean) and math.isnan(none.low)
    assert interval([]).n == 0
    assert interval([2.5] * 7)[:3] == (2.5, 2.5, 2.5)


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_quantiles_of_students_t(level):
    for freedom in (1, 2, 4, 9, 30, 500):
        assert _student_t(level, freedom) == pytest.approx(stats.t.ppf((1 + level) / 2, freedom), rel=0.01)


@pytest.mark.parametrize("count", [6, 12, 40])
def test_paired_test_equals_scipys_permutation_test(rng, count):
    a, b = rng.normal(size=count), rng.normal(0.3, 1.0, size=count)
    theirs = stats.permutation_test(
        (a - b,), lambda x, axis: x.mean(axis), permutation_type="samples", n_resamples=20_000, random_state=0
    )
    found = paired_test(a, b)
    assert found.p == pytest.approx(theirs.pvalue, abs=1e-9 if count <= 12 else 0.02)
    assert found.mean == pytest.approx((a - b).mean()) and found.n == count
    assert found.effect == pytest.approx((a - b).mean() / (a - b).std(ddof=1))
    assert paired_test(b, a).p == pytest.approx(found.p)


def test_paired_test_is_continuous_across_its_three_ways_of_counting(rng):
    a = np.append(rng.normal(0.08, 1.0, size=1000), 0.0)
    assert paired_test(a, np.zeros(1001)).p == pytest.approx(
        paired_test(a[:1000], np.zeros(1000)).p, abs=0.02
    )
    few = rng.normal(0.5, 1.0, size=13)
    assert 0 < paired_test(few, np.zeros(13)).p <= 1


def test_paired_test_keeps_its_level_without_a_difference(rng):
    p = [paired_test(*rng.exponential(size=(2, 25)), seed=s).p for s in range(300)]
    assert np.mean(np.array(p) <= 0.05) <= 0.09


def test_paired_test_leaves_out_undefined_examples(rng):
    a, b = rng.normal(1.0, 1.0, size=20), rng.normal(size=20)
    with_gaps = paired_test(np.append(a, [np.nan, 5.0]), np.append(b, [1.0, np.nan]))
    assert with_gaps == paired_test(a, b)
    assert math.isnan(paired_test([1.0, np.nan], [0.0, 1.0]).p)
    assert paired_test([1.0, 2.0], [1.0, 2.0]).p == 1.0
    with pytest.raises(ValueError, match="same examples"):
        paired_test([1.0], [1.0, 2.0])


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    found = holm([0.02, np.nan, 0.01])
    assert found[[0, 2]].tolist() == pytest.approx([0.02, 0.02]) and math.isnan(found[1])
    assert holm([0.9, 0.8]).tolist() == [1.0, 1.0]
    assert holm([]).tolist() == []


def methods(rng, count: int = 80) -> dict[str, np.ndarray]:
    """Two that are alike, one worse, one much worse; the noise of an example is common to all."""
    common = rng.normal(0, 5, size=count)
    means = {"far": -3.0, "good": 2.0, "alike": 2.01, "worse": 0.0}
    return {name: mean + common + rng.normal(0, 0.5, size=count) for name, mean in means.items()}


def test_pairs_show_what_unpaired_intervals_hide(rng):
    scores = methods(rng)
    good, worse = interval(scores["good"]), interval(scores["worse"])
    assert good.low < worse.high  # the intervals overlap
    tests = pairwise(scores)
    assert len(tests) == 6 and tests["good", "worse"].p < 0.01 and tests["good", "alike"].p > 0.05


@pytest.mark.parametrize("higher", [True, False])
def test_groups_that_cannot_be_told_apart(rng, higher):
    scores = methods(rng) | {"unknown": np.full(80, np.nan)}
    groups = indistinguishable(scores, higher)
    groups = groups if higher else groups[::-1]
    assert [set(g) for g in groups] == [{"good", "alike"}, {"worse"}, {"far"}]


def test_groups_may_overlap(rng):
    noise = rng.normal(size=(3, 20))
    noise = (noise - noise.mean(1, keepdims=True)) / noise.std(1, keepdims=True)
    steps = {
        name: noise[i] + 0.5 * i for i, name in enumerate("abc")
    }  # neighbours are too close, a and c are not
    assert indistinguishable(steps, True) == [("c", "b"), ("b", "a")]
    assert indistinguishable(steps, False) == [("a", "b"), ("b", "c")]
    assert indistinguishable({"only": np.ones(3)}, True) == [("only",)]
    assert indistinguishable({}, True) == []


def test_ranks_share_ties_and_leave_out_incomplete_examples():
    scores = {"a": [3.0, 3.0, 9.0], "b": [1.0, 3.0, np.nan], "c": [2.0, 0.0, 1.0]}
    found = ranks(scores, higher_is_better=True)
    assert {name: i.mean for name, i in found.items()} == {"a": 1.25, "b": 2.25, "c": 2.5}
    assert found["a"].n == 2 and found["a"].undefined == 1
    assert ranks(scores, higher_is_better=False)["c"].mean == 1.5


def test_examples_needed(rng):
    a = rng.normal(0.5, 1.0, size=4000)
    assert examples_needed(a, np.zeros(4000)) == pytest.approx(7.85 / 0.25 + 2, rel=0.2)
    assert examples_needed([1.0, 1.0], [1.0, 1.0]) is None


def test_neither_scipy_nor_torch_is_imported():
    code = "import sys, salience.statistics as s; s.interval([1, 2, 3]); print({'scipy', 'torch'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "set()"
