"""The numbers behind figures, and the rows of verdicts, as a page shows them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..comparisons.leaderboard import Column, Leaderboard
from ..comparisons.verdict import Pair, Verdict, ordered

Table = tuple[list[str], list[list[Any]]]
"""Header and rows."""
NOTHING: Table = ([], [])


@dataclass(frozen=True)
class Evidence:
    """The tests behind a verdict."""

    metric: str
    pairs: tuple[Pair, ...]

    @property
    def rows(self) -> list[list[Any]]:
        return [
            [p.better, p.worse, p.test.mean, p.test.p, p.test.effect, p.test.n, p.apart, p.needed]
            for p in self.pairs
        ]


def evidence(found: Verdict | None) -> Evidence | None:
    """The tests of a verdict, where there is one."""
    return Evidence(found.metric, found.pairs) if found else None


def winners(verdicts: Sequence[Verdict]) -> list[list[str]]:
    """Metric, who is first, and the order, for every metric that was tested."""
    return [
        [v.metric, ", ".join(v.winners) or "nobody beats the controls", ordered(v)]
        for v in verdicts
        if v.order
    ]


def curve_table(curves: Mapping[tuple[str, str], tuple[np.ndarray, np.ndarray]]) -> Table:
    """Mean curves in long form: metric, method, share of features, mean."""
    rows = [
        [metric, method, float(x), float(y)]
        for (method, metric), (at, mean) in curves.items()
        for x, y in zip(at, mean, strict=True)
    ]
    return ["metric", "method", "share of features", "mean"], rows


def matrix_table(names: Sequence[str], matrix: np.ndarray, corner: str = "method") -> Table:
    """A square with its names."""
    return [corner, *names], [[name, *map(float, row)] for name, row in zip(names, matrix, strict=True)]


def history_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Epochs as they are kept."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return names, [[_number(row.get(name)) for name in names] for row in rows]


def _number(value: Any) -> Any:
    if value in (None, ""):
        return None
    number = float(value)
    return int(number) if number.is_integer() and abs(number) < 1e9 else number


def points(board: Leaderboard, metric: str) -> tuple[dict[str, tuple[float, float]], dict[str, float]]:
    """Rows through the network and mean score of every method, and half of the interval."""
    found, bars = {}, {}
    for row in board.rows:
        entry = row.entries.get(metric)
        if entry is not None and entry.mean is not None:
            cost = (row.cost.get("forward_rows") or 0) + (row.cost.get("backward_rows") or 0)
            found[row.method], bars[row.method] = (float(cost), entry.mean), entry.half or 0.0
    return found, bars


def column_of(board: Leaderboard, metric: str) -> Column | None:
    """The column of a metric."""
    return next((c for c in board.columns if c.name == metric), None)


def outcomes(
    rows: Sequence[Mapping[str, str]],
) -> tuple[list[str], np.ndarray, list[tuple[float, float, int]]] | None:
    """Class names, counts [labels, predictions], and per bin of confidence: mean, share right, count.

    None where predictions are numbers.
    """
    names = [
        name.removeprefix("probability_")
        for name in (rows[0] if rows else ())
        if name.startswith("probability_")
    ]
    if not names or any(row["label"] not in names or row["prediction"] not in names for row in rows):
        return None
    counts = np.zeros((len(names), len(names)), int)
    sure, right = np.zeros(len(rows)), np.zeros(len(rows))
    for i, row in enumerate(rows):
        counts[names.index(row["label"]), names.index(row["prediction"])] += 1
        sure[i] = max(float(row[f"probability_{name}"]) for name in names)
        right[i] = row["label"] == row["prediction"]
    bins = []
    for low in np.arange(0, 1, 0.1):
        at = (sure >= low) & (sure < low + 0.1 if low < 0.85 else sure <= 1.0 + 1e-9)
        if at.any():
            bins.append((float(sure[at].mean()), float(right[at].mean()), int(at.sum())))
    return names, counts, bins


def calibration_error(bins: Sequence[tuple[float, float, int]]) -> float:
    """The expected calibration error (Naeini et al. 2015): mean |confidence - share right|, weighted by count."""
    total = sum(count for _, _, count in bins)
    return sum(count * abs(sure - right) for sure, right, count in bins) / total if total else float("nan")
