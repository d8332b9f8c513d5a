"""The table of a run: methods by metrics, read from its summary. Terminal, page and notebook show the same."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Column:
    """One metric."""

    name: str
    higher_is_better: bool

    @property
    def arrow(self) -> str:
        """Which way is better."""
        return "↑" if self.higher_is_better else "↓"


@dataclass(frozen=True)
class Entry:
    """What one method scores on one metric: mean, half of its 95 % interval, and over how many examples."""

    mean: float | None
    half: float | None
    n: int
    undefined: int

    @property
    def text(self) -> str:
        """`0.312 ±0.021`, with as many digits as the interval bears; a dash where nothing was defined."""
        if self.mean is None:
            return "–"
        if not self.half:
            return f"{self.mean:.3g}"
        digits = max(0, 2 - _magnitude(self.half))
        if digits > 5 or abs(self.mean) >= 1e5:
            return f"{self.mean:.1e} ±{self.half:.0e}"
        return f"{self.mean:.{digits}f} ±{self.half:.{digits}f}"


@dataclass(frozen=True)
class Row:
    """One method or control."""

    method: str
    control: bool
    entries: dict[str, Entry]
    warnings: tuple[str, ...]
    cost: Mapping[str, Any]
    details: Mapping[str, Any] = field(default_factory=dict)
    """What the method says of its examples (`steps`, `gap`, ...): mean, least and most of each."""

    @property
    def said(self) -> str:
        """The details in words: `steps 50 to 400, complete 0.98`."""
        return ", ".join(
            f"{name.replace('_', ' ')} {_range(found) if name != 'complete' else format(found['mean'], '.3g')}"
            for name, found in self.details.items()
        )


@dataclass(frozen=True)
class Leaderboard:
    """Methods in the order of the run, controls last."""

    columns: list[Column]
    rows: list[Row]
    doubt: str | None = None
    """What is to be said against explaining this network at all."""

    @property
    def warnings(self) -> list[str]:
        """What a reader must know before believing the numbers: warnings, undefined scores, missing controls."""
        lines = [self.doubt] if self.doubt else []
        lines += [f"{row.method}: {warning}" for row in self.rows for warning in row.warnings]
        for column in self.columns:
            missing = [(r.method, e) for r in self.rows if (e := r.entries.get(column.name)) and e.undefined]
            if missing and len({e.undefined for _, e in missing}) == 1 and len(missing) == len(self.rows):
                entry = missing[0][1]
                lines.append(f"{column.name}: undefined for {_share(entry)}, for every method")
            else:
                lines += [f"{column.name}: undefined for {_share(e)} for {method}" for method, e in missing]
        if not any(row.control for row in self.rows):
            remedy = "controls=[random, input] adds them"
            lines.append(f"no controls: nothing here shows that a method beats random numbers; {remedy}")
        return lines


def leaderboard(summary: Mapping[str, Any], controls: Collection[str] = ()) -> Leaderboard:
    """The table of `summary` (the content of summary.json)."""
    methods: Mapping[str, Any] = summary.get("methods") or {}
    columns: dict[str, Column] = {}
    rows = []
    for method, found in methods.items():
        metrics = found.get("metrics") or {}
        for name, entry in metrics.items():
            columns.setdefault(name, Column(name, bool(entry.get("higher_is_better"))))
        entries = {name: _entry(entry) for name, entry in metrics.items()}
        warnings = tuple(map(str, found.get("warnings") or ()))
        rows.append(
            Row(
                method,
                method in controls,
                entries,
                warnings,
                found.get("cost") or {},
                found.get("details") or {},
            )
        )
    doubt = (summary.get("network") or {}).get("warning")
    return Leaderboard(list(columns.values()), sorted(rows, key=lambda row: row.control), doubt)


def network_scores(summary: Mapping[str, Any]) -> dict[str, float]:
    """What the network reaches on the test split: the numbers of its part of the summary."""
    network: Mapping[str, Any] = summary.get("network") or {}
    return {k: v for k, v in network.items() if isinstance(v, int | float) and not isinstance(v, bool)}


def _entry(entry: Mapping[str, Any]) -> Entry:
    mean, low, high = (_number(entry.get(name)) for name in ("mean", "low", "high"))
    half = None if low is None or high is None else (high - low) / 2
    return Entry(mean, half, int(entry.get("n") or 0), int(entry.get("undefined") or 0))


def _number(value: float | None) -> float | None:
    """A number, or None for what a file has as null and memory as nan."""
    return None if value is None or value != value else value


def _magnitude(value: float) -> int:
    """Digits before the point: 1 for 3.2, -1 for 0.032."""
    return int(f"{value:e}".rpartition("e")[2]) + 1


def _share(entry: Entry) -> str:
    return f"{entry.undefined} of {entry.n + entry.undefined} examples"


def _range(found: Mapping[str, float]) -> str:
    """`50`, or `50 to 400`."""
    least, most = (f"{found[name]:.4g}" for name in ("least", "most"))
    return least if least == most else f"{least} to {most}"
