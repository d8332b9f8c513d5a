"""How sure is a score, and is a difference one? Over the examples, which all methods share; undefined scores are nan.

Only numpy is needed: importing scipy's statistics would cost every run two seconds. Over data sets see friedman.py.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from math import erfc, sqrt
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import WrongInput

RESAMPLES = 2000
FLIPS = 10_000
ELEMENTS = 2**22
"""Random numbers that are held at a time."""


class Interval(NamedTuple):
    """A mean over examples with its confidence interval."""

    mean: float
    low: float
    high: float
    n: int
    """Examples with a score."""
    undefined: int
    """Examples without one."""


class Difference(NamedTuple):
    """What a paired test says of two methods on the same examples."""

    mean: float
    """Mean of a - b over the examples where both are defined."""
    p: float
    """Two-sided; nan with fewer than two examples."""
    effect: float
    """Mean over standard deviation of the differences (Cohen's d for pairs)."""
    n: int


def interval(scores: ArrayLike, level: float = 0.95, seed: int = 0) -> Interval:
    """The mean of `scores` [examples] with a bootstrap interval over examples; what is not finite is left out.

    The expanded percentile interval (Hesterberg 2015): the plain one is too narrow for few examples, so its
    tails are moved out to where Student's t would put them. Equal scores give an interval of no width. A
    single score says nothing of its spread: `low` and `high` are nan; without any, the mean is nan too.
    """
    values = np.asarray(scores, dtype=np.float64).ravel()
    kept = values[np.isfinite(values)]
    n, undefined = len(kept), int(len(values) - len(kept))
    if n < 2:
        return Interval(float(kept.mean()) if n else np.nan, np.nan, np.nan, n, undefined)
    means = _resampled_means(kept, seed)
    tail = NormalDist().cdf(-sqrt(n / (n - 1)) * _student_t(level, n - 1))
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(kept.mean()), float(low), float(high), n, undefined)


def paired_test(a: ArrayLike, b: ArrayLike, seed: int = 0) -> Difference:
    """Whether the means of `a` and `b` [examples] differ: a permutation test that swaps the two within examples.

    Two-sided, over examples where both are finite. All 2^n swaps are counted for up to 12 examples, 10,000
    random ones up to 1,000; above that the sum of swaps is taken as normal. Nothing but the pairing is
    assumed. Equal scores give p = 1.
    """
    first, second = (np.asarray(x, dtype=np.float64).ravel() for x in (a, b))
    if first.shape != second.shape:
        raise ValueError(f"a paired test needs the same examples: {len(first)} and {len(second)} scores")
    gap = first - second
    gap = gap[np.isfinite(gap)]
    n = len(gap)
    if n < 2:
        return Difference(float(gap.mean()) if n else np.nan, np.nan, np.nan, n)
    spread = gap.std(ddof=1)
    effect = (
        float(gap.mean() / spread)
        if spread > 0
        else float(np.sign(gap.mean()) * np.inf)
        if gap.any()
        else 0.0
    )
    return Difference(float(gap.mean()), _swap_p(gap, seed), effect, n)


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """p-values corrected for how many there are (Holm 1979), in the same order; nan stays nan and does not count."""
    p = np.asarray(p_values, dtype=np.float64)
    corrected = np.full(p.shape, np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    steps = p[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1) if len(order) else steps
    return corrected


def pairwise(scores: Mapping[str, ArrayLike], seed: int = 0) -> dict[tuple[str, str], Difference]:
    """The paired test of every two methods, its p-value corrected by Holm for the number of pairs."""
    pairs = list(combinations(scores, 2))
    tests = [paired_test(scores[a], scores[b], seed) for a, b in pairs]
    corrected = holm([t.p for t in tests])
    return {pair: t._replace(p=float(p)) for pair, t, p in zip(pairs, tests, corrected, strict=True)}


def indistinguishable(
    scores: Mapping[str, ArrayLike], higher_is_better: bool, level: float = 0.95, seed: int = 0
) -> list[tuple[str, ...]]:
    """Groups of methods that cannot be told apart, best first.

    Methods are put in order of their mean; a group is a longest run in which no two differ (paired tests
    with Holm's correction). Groups may overlap, as in a critical-difference diagram; methods that no score
    is known of are left out.
    """
    means = {name: interval_mean(values) for name, values in scores.items()}
    known = [name for name in scores if np.isfinite(means[name])]
    order = sorted(known, key=lambda name: -means[name] if higher_is_better else means[name])
    tests = pairwise({name: scores[name] for name in order}, seed)
    apart = {pair for pair, test in tests.items() if test.p <= 1 - level}
    return longest_runs(order, lambda a, b: (a, b) in apart)


def longest_runs(order: Sequence[str], differ: Callable[[str, str], bool]) -> list[tuple[str, ...]]:
    """The longest runs of neighbours in `order` of which no two differ."""
    groups: list[tuple[str, ...]] = []
    end = 0
    for start in range(len(order)):
        stop = start + 1
        while stop < len(order) and not any(differ(order[i], order[stop]) for i in range(start, stop)):
            stop += 1
        if stop > end:  # else it lies within the group before
            groups.append(tuple(order[start:stop]))
            end = stop
    return groups


def ranks(
    scores: Mapping[str, ArrayLike], higher_is_better: bool, level: float = 0.95, seed: int = 0
) -> dict[str, Interval]:
    """The mean rank of every method over examples (1 is best, equal scores share a rank), with its interval.

    Only examples where all methods have a score count, since a rank among fewer would be another rank.
    """
    table = np.stack([np.asarray(v, dtype=np.float64).ravel() for v in scores.values()], 1)
    complete = np.isfinite(table).all(1, keepdims=True)
    better = -table if higher_is_better else table
    below = (better[:, :, None] > better[:, None, :]).sum(2)
    level_with = (better[:, :, None] == better[:, None, :]).sum(2)
    each = np.where(complete, below + (level_with + 1) / 2, np.nan)
    return {name: interval(each[:, i], level, seed) for i, name in enumerate(scores)}


def interval_over_runs(runs: Sequence[ArrayLike], level: float = 0.95, seed: int = 0) -> Interval:
    """The mean over runs (seeds, folds), each with its scores [examples], with an interval that covers both levels.

    Runs are drawn with replacement, then examples within each; the tails are moved out as in `interval`, for the
    number of runs, which is the smaller one. With a single run nothing is known of the spread between runs: that is
    the interval over its examples. `n` counts examples over all runs.
    """
    kept = [v[np.isfinite(v)] for v in (np.asarray(r, dtype=np.float64).ravel() for r in runs)]
    total = sum(np.asarray(r).size for r in runs)
    kept = [values for values in kept if len(values)]
    n = sum(map(len, kept))
    if len(kept) < 2:
        return interval(np.concatenate([np.asarray(r, dtype=np.float64).ravel() for r in runs]), level, seed)
    generator, count = np.random.default_rng(seed), len(kept)
    drawn = [_resampled_means(values, seed + 1 + i) for i, values in enumerate(kept)]
    picks = generator.integers(count, size=(RESAMPLES, count))
    means = np.stack(drawn, 1)[np.arange(RESAMPLES)[:, None], picks].mean(1)
    tail = NormalDist().cdf(-sqrt(count / (count - 1)) * _student_t(level, count - 1))
    low, high = np.quantile(means, [tail, 1 - tail])
    mean = float(np.mean([values.mean() for values in kept]))
    return Interval(mean, float(low), float(high), n, total - n)


def same_ruler(summaries: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The ruler that all runs share, given their summaries by name; WrongInput names what differs.

    What hides features, the output space and what a feature is decide a score as much as the method does.
    """
    named = [(name, dict(s.get("ruler") or {})) for name, s in summaries.items()]
    if not named:
        return {}
    first, ruler = named[0]
    for name, other in named[1:]:
        for key in sorted(ruler.keys() | other.keys()):
            if ruler.get(key) != other.get(key):
                raise WrongInput(
                    f"{first} and {name} are measured with different rulers: {key} is "
                    f"{ruler.get(key)} there and {other.get(key)} here; compare runs that share it"
                )
    return ruler


def skill(score: float | None, floor: float | None, best: float | None) -> float | None:
    """(score - floor) / (best - floor): 0 is the floor (random numbers), 1 the best; None where one is not known."""
    known = [v for v in (score, floor, best) if v is not None and np.isfinite(v)]
    if len(known) < 3 or known[1] == known[2]:
        return None
    return (known[0] - known[1]) / (known[2] - known[1])


def examples_needed(a: ArrayLike, b: ArrayLike, level: float = 0.95, power: float = 0.8) -> int | None:
    """How many examples would show a difference as large as the one seen, with that power; None where there is none."""
    effect = abs(paired_test(a, b).effect)
    if not np.isfinite(effect) or effect == 0:
        return None
    quantiles = NormalDist().inv_cdf((1 + level) / 2) + NormalDist().inv_cdf(power)
    return int(np.ceil((quantiles / effect) ** 2)) + 2  # 2: the spread is estimated too


def interval_mean(scores: ArrayLike) -> float:
    """The mean of what is finite; nan without any."""
    values = np.asarray(scores, dtype=np.float64)
    kept = values[np.isfinite(values)]
    return float(kept.mean()) if len(kept) else float("nan")


def _resampled_means(values: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Means of `RESAMPLES` draws with replacement, a bounded number at a time."""
    generator = np.random.default_rng(seed)
    n, pieces = len(values), []
    for count in _portions(RESAMPLES, n):
        pieces.append(values[generator.integers(n, size=(count, n), dtype=np.int32)].mean(1))
    return np.concatenate(pieces)


def _swap_p(gap: NDArray[np.float64], seed: int) -> float:
    """Share of sign changes whose sum is at least as far from 0 as what was seen."""
    n, seen = len(gap), abs(gap.sum())
    if not gap.any():
        return 1.0
    least = seen * (1 - 1e-12)  # a sum in another order differs in its last bit
    if n > 1000:
        return erfc(seen / sqrt(2 * np.square(gap).sum()))
    if n <= 12:
        signs = np.array(np.meshgrid(*[[-1.0, 1.0]] * n)).reshape(n, -1)
        return float((np.abs(gap @ signs) >= least).mean())
    generator = np.random.default_rng(seed)
    extreme = sum(
        int((np.abs((2.0 * generator.integers(2, size=(count, n), dtype=np.int8) - 1) @ gap) >= least).sum())
        for count in _portions(FLIPS, n)
    )
    return (extreme + 1) / (FLIPS + 1)


def _portions(total: int, width: int) -> list[int]:
    """`total` rows of `width` numbers in portions that fit."""
    size = max(1, ELEMENTS // width)
    return [min(size, total - start) for start in range(0, total, size)]


def _student_t(level: float, freedom: int) -> float:
    """The two-sided quantile of Student's t (Abramowitz and Stegun 26.7.5; exact for 1 and 2 degrees of freedom)."""
    p = (1 + level) / 2
    if freedom == 1:
        return float(np.tan(np.pi * (p - 0.5)))
    if freedom == 2:
        return (2 * p - 1) * sqrt(2 / (4 * p * (1 - p)))
    z = NormalDist().inv_cdf(p)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / freedom ** (i + 1) for i, term in enumerate(terms))
