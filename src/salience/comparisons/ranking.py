"""Methods over several data sets or leaderboards: how often first, mean ranks, and which differences are real."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import listed
from .boards import Board
from .friedman import friedman

LEAST = 3
"""Data sets from which ranks are tested; below, they only say how often a method came first."""


@dataclass(frozen=True)
class Ranking:
    """The ranks of methods over leaderboards that all have them; 1 is best."""

    metric: str
    ranks: dict[str, float]
    """Mean rank of each method and control, best first."""
    blocks: int
    """Data sets, or leaderboards where there are not enough data sets."""
    firsts: dict[str, int]
    """How often each method has the best mean."""
    p: float | None
    """Friedman's test that all are alike; None with fewer than three data sets."""
    difference: float | None
    """The least difference of mean ranks that Nemenyi's test calls one, at 0.05; None where `p` is."""
    groups: tuple[tuple[str, ...], ...] = ()
    """Methods whose ranks do not differ by as much, best first; empty where no test applies."""
    controls: tuple[str, ...] = ()
    unit: str = "data sets"

    @property
    def sentence(self) -> str:
        """What may be said, with its evidence."""
        methods = [name for name in self.ranks if name not in self.controls]
        if not methods:
            return f"No method has scores on {self.metric}."
        top, rank = methods[0], self.ranks[methods[0]]
        often = f"{self.firsts.get(top, 0)} of {self.blocks} {self.unit}"
        said = f"{top} has the best mean rank on {self.metric}, {rank:.2f}, and is first in {often}"
        if self.difference is None or self.p is None:
            return (
                f"{said}; ranks are only tested over {LEAST} or more data sets, so read the verdict of each."
            )
        if self.p > 0.05:
            chance = f"the ranks do not differ more than chance would have it (Friedman p = {self.p:.2g})"
            return f"{said}, but over {self.blocks} {self.unit} {chance}."
        limit = self.difference
        tied = [m for m in self.ranks if m != top and abs(self.ranks[m] - rank) < limit]
        how = f"Friedman p = {self.p:.2g}, critical difference {limit:.2f}"
        return f"{said} ({how}); {'it cannot be told from ' + listed(tied) if tied else 'it differs from all others'}."


def ranking(boards: Sequence[Board], metric: str) -> Ranking | None:
    """Ranks of the methods that all boards with this metric have; None with fewer than two boards or methods.

    Boards of the same data set are ranked as one: they are no independent witnesses.
    """
    found = [
        (b.data, means, c)
        for b in boards
        for c in b.columns
        if c.name == metric and (means := _means(b, metric))
    ]
    if len(found) < 2:
        return None
    methods = [m for m in found[0][1] if all(m in means for _, means, _ in found)]
    if len(methods) < 2:
        return None
    sign = -1.0 if found[0][2].higher_is_better else 1.0
    each = [_ranked(np.array([sign * means[m] for m in methods])) for _, means, _ in found]
    data = list(dict.fromkeys(name for name, _, _ in found))
    if len(data) > 1:
        by_data = [[r for r, (d, _, _) in zip(each, found, strict=True) if d == name] for name in data]
        each = [_ranked(np.mean(ranked, 0)) for ranked in by_data]
    table = np.stack(each)
    firsts = {m: int(sum(row[i] == row.min() for row in table)) for i, m in enumerate(methods)}
    mean = dict(zip(methods, map(float, table.mean(0)), strict=True))
    p, difference = None, None
    groups: list[tuple[str, ...]] = []
    if len(data) >= LEAST:
        tested = friedman({m: table[:, i] for i, m in enumerate(methods)}, higher_is_better=False)
        p, difference, groups = tested.p, tested.critical_difference, tested.groups
    return Ranking(
        metric,
        dict(sorted(mean.items(), key=lambda item: item[1])),
        len(table),
        firsts,
        p,
        difference,
        tuple(g for g in groups if len(g) > 1),
        tuple(m for m in methods if any(m in b.controls for b in boards)),
        "data sets" if len(data) > 1 else "leaderboards",
    )


def _means(board: Board, metric: str) -> dict[str, float]:
    return {m: float(np.nanmean(v)) for m, v in board.scores(metric).items() if np.isfinite(v).any()}


def _ranked(values: np.ndarray) -> np.ndarray:
    """Ranks from 1, equal values share one."""
    below, level = (values[:, None] > values).sum(1), (values[:, None] == values).sum(1)
    return below + (level + 1) / 2
