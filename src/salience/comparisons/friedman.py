"""Do methods differ over several data sets? Friedman's test, and Nemenyi's critical difference of mean ranks."""

from collections.abc import Mapping
from math import sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..errors import WrongInput
from ..statistics import longest_runs


class Friedman(NamedTuple):
    """Whether methods differ over several data sets, and which: mean ranks, and groups that cannot be told apart."""

    p: float
    """Of the hypothesis that all methods are equally good (Iman and Davenport's F form of Friedman's test)."""
    ranks: dict[str, float]
    """Mean rank over the data sets, 1 is best; equal scores share a rank."""
    critical_difference: float
    """Mean ranks that are closer than this cannot be told apart (Nemenyi)."""
    groups: list[tuple[str, ...]]
    """Longest runs of methods within the critical difference, best first; what a diagram joins with a bar."""


def friedman(table: Mapping[str, ArrayLike], higher_is_better: bool, level: float = 0.95) -> Friedman:
    """Compare methods by one score per data set [data sets], the same data sets for all (Demsar 2006).

    Examples of one data set are no data sets: WrongInput below three, where use `pairwise` over examples. Data sets
    on which a score is not finite are left out.
    """
    from scipy import stats

    scores = np.stack([np.asarray(v, dtype=np.float64).ravel() for v in table.values()], 1)
    scores = scores[np.isfinite(scores).all(1)]
    n, k = scores.shape
    if n < 3:
        raise WrongInput(f"Friedman's test compares over three or more data sets, and here are {n}")
    if k < 2:
        raise WrongInput("Friedman's test compares two or more methods, and here is one")
    each = stats.rankdata(-scores if higher_is_better else scores, axis=1)
    mean_ranks = each.mean(0)
    chi = 12 * n / (k * (k + 1)) * (np.square(mean_ranks).sum() - k * (k + 1) ** 2 / 4)
    left = n * (k - 1) - chi
    p = 0.0 if left <= 1e-12 else float(stats.f.sf((n - 1) * chi / left, k - 1, (k - 1) * (n - 1)))
    q = stats.studentized_range.ppf(level, k, np.inf) / sqrt(2)
    critical = float(q * sqrt(k * (k + 1) / (6 * n)))
    found = {name: float(r) for name, r in zip(table, mean_ranks, strict=True)}
    order = sorted(found, key=lambda name: found[name])
    return Friedman(p, found, critical, longest_runs(order, lambda a, b: found[b] - found[a] > critical))
