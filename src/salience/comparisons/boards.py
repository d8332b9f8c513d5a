"""Runs of one data set and one network family side by side: one leaderboard, over one network or several."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ..statistics import interval, interval_over_runs
from .leaderboard import Column, Entry, Leaderboard, Row, leaderboard
from .records import Record, varied
from .verdict import Verdict, ceilings, entry_of, modules_of, primary, verdict

OWN = (
    "seed",
    "attribution.",
    "controls.",
    "metric.",
    "outputs",
    "device",
    "threads",
    "dry",
    "tracker",
    "explained",
)
"""Keys of a config that make no other setting: what a leaderboard compares or pools, and where it ran."""


MANY = 10
"""Networks from which on their means alone are resampled."""


@dataclass(frozen=True)
class Source:
    """Where the scores of one method on one network come from."""

    record: Record
    method: str
    """Its name in that run."""

    @property
    def found(self) -> Mapping[str, Any]:
        """Its part of the summary."""
        return self.record.summary["methods"][self.method]

    def scores(self, metric: str) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the examples and scores; empty where it was not measured."""
        return self.record.scores.get((self.method, metric), (np.zeros(0, int), np.zeros(0)))


@dataclass
class Board:
    """Methods on the same networks. Scores of an example are averaged over the networks, and examples are compared."""

    label: str
    data: str
    model: str
    sources: dict[str, dict[str, Source]]
    """By label of the method, by network."""
    controls: tuple[str, ...]
    notes: list[str] = field(default_factory=list)

    @property
    def records(self) -> list[Record]:
        """The runs that scores come from."""
        found = {id(s.record): s.record for by_network in self.sources.values() for s in by_network.values()}
        return list(found.values())

    @cached_property
    def networks(self) -> list[str]:
        """The networks that every method explained; all of them where there is none such."""
        every = list(dict.fromkeys(n for by_network in self.sources.values() for n in by_network))
        shared = [n for n in every if all(n in by_network for by_network in self.sources.values())]
        if shared and len(shared) < len(every):
            absent = sorted({m for m, by in self.sources.items() for n in every if n not in by})
            self.notes.append(
                f"{len(every) - len(shared)} of {len(every)} networks are left out: not every method explained them "
                f"(missing somewhere: {', '.join(absent)})"
            )
        elif not shared and len(every) > 1:
            self.notes.append(
                "no network was explained by every method, so methods are compared over different networks"
            )
        return shared or every

    @cached_property
    def columns(self) -> list[Column]:
        """The metrics, in the order of the runs."""
        found: dict[str, Column] = {}
        for by_network in self.sources.values():
            for source in by_network.values():
                for name, stored in (source.found.get("metrics") or {}).items():
                    found.setdefault(name, Column(name, bool(stored.get("higher_is_better"))))
        return list(found.values())

    @cached_property
    def modules(self) -> dict[str, str]:
        """The module of every metric."""
        return {k: v for record in self.records for k, v in modules_of(record.config).items()}

    @property
    def primary(self) -> str | None:
        """The metric that tells most."""
        return primary([c.name for c in self.columns], self.modules)

    def by_network(self, metric: str) -> dict[str, np.ndarray]:
        """Scores [networks, examples] by method; nan where there is none. Every method has the same examples."""
        parts = {m: [self._source(m, n, metric) for n in self.networks] for m in self.sources}
        rows = np.unique(
            np.concatenate([index for found in parts.values() for index, _ in found] or [np.zeros(0, int)])
        )
        made = {}
        for method, found in parts.items():
            table = np.full((len(self.networks), len(rows)), np.nan)
            for number, (index, values) in enumerate(found):
                table[number, np.searchsorted(rows, index)] = values
            made[method] = table
        return made

    def _source(self, method: str, network: str, metric: str) -> tuple[np.ndarray, np.ndarray]:
        source = self.sources[method].get(network)
        return source.scores(metric) if source else (np.zeros(0, int), np.zeros(0))

    def scores(self, metric: str) -> dict[str, np.ndarray]:
        """The mean over networks of every example [examples] by method; nan where no network has a score."""
        return {method: _mean(table) for method, table in self.by_network(metric).items()}

    @property
    def ceilings(self) -> tuple[str, ...]:
        """Rows that know the truth."""
        found = {(id(r), name) for r in self.records for name in ceilings(r.config)}
        return tuple(
            label
            for label, by in self.sources.items()
            if any((id(s.record), s.method) in found for s in by.values())
        )

    @cached_property
    def _verdicts(self) -> dict[str, Verdict]:
        return {}

    def verdict(self, metric: str | None = None) -> Verdict | None:
        """What the tests say on one metric, by default the one that tells most; None where nothing was measured."""
        name = metric or self.primary
        column = next((c for c in self.columns if c.name == name), None)
        if column is None:
            return None
        if column.name not in self._verdicts:
            cells = {row.method: e for row in self.table.rows if (e := row.entries.get(column.name))}
            self._verdicts[column.name] = verdict(
                self.scores(column.name), column, self.controls, above=self.ceilings, cells=cells
            )
        return self._verdicts[column.name]

    @cached_property
    def table(self) -> Leaderboard:
        """Means with intervals over examples, and over networks where there are several."""
        networks = self.networks
        if len(networks) == 1 and len(self.records) == 1:
            return leaderboard(self.records[0].summary, self.controls)
        cells = {
            c.name: {m: _entry(t) for m, t in self.by_network(c.name).items() if t.size} for c in self.columns
        }
        rows = [
            Row(
                method,
                method in self.controls,
                {name: found[method] for name, found in cells.items() if method in found},
                tuple(
                    dict.fromkeys(
                        str(w) for n in networks for w in self._found(method, n).get("warnings") or ()
                    )
                ),
                self.cost(method),
            )
            for method in self.sources
        ]
        return Leaderboard(self.columns, sorted(rows, key=lambda row: row.control))

    def _found(self, method: str, network: str) -> Mapping[str, Any]:
        source = self.sources[method].get(network)
        return source.found if source else {}

    def cost(self, method: str) -> dict[str, float]:
        """Seconds and rows of one method, averaged over networks."""
        costs = [c for n in self.networks if (c := self._found(method, n).get("cost"))]
        names = ("seconds", "forward_rows", "backward_rows")
        return {name: float(np.mean([c.get(name) or 0 for c in costs])) for name in names} if costs else {}

    def spread(self, metric: str) -> dict[str, tuple[float, float]]:
        """Lowest and highest mean of any network by method, where there are several."""
        found = {}
        for method, table in self.by_network(metric).items():
            means = [float(np.nanmean(row)) for row in table if np.isfinite(row).any()]
            if len(means) > 1:
                found[method] = (min(means), max(means))
        return found


def _entry(table: np.ndarray) -> Entry:
    """The cell for scores [networks, examples]; of many networks, their means tell both levels of spread."""
    if len(table) < MANY:
        return entry_of(interval_over_runs(list(table)))
    means = np.array([np.nanmean(row) for row in table if np.isfinite(row).any()])
    defined = int(np.isfinite(table).sum())
    return entry_of(interval(means)._replace(n=defined, undefined=table.size - defined))


def _mean(table: np.ndarray) -> np.ndarray:
    """The mean over the first axis of what is defined; nan where nothing is."""
    defined = np.isfinite(table)
    count = defined.sum(0)
    return np.where(count, np.where(defined, table, 0.0).sum(0) / np.maximum(count, 1), np.nan)


def boards(records: Sequence[Record]) -> list[Board]:
    """The leaderboards of completed runs: one for each data set, model and setting of them, pooled over seeds."""
    settings = _settings(records)
    groups: dict[tuple[str, ...], list[Record]] = {}
    for record in records:
        label = (record.data, record.model, *(f"{k}={record.flat[k]}" for k in settings if k in record.flat))
        groups.setdefault(label, []).append(record)
    return [_board(" · ".join(label), group) for label, group in groups.items()]


def _settings(records: Sequence[Record]) -> list[str]:
    """Keys that differ between runs of the same data and model: they make boards of their own."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        groups.setdefault((record.data, record.model), []).append(record)
    return list(dict.fromkeys(key for group in groups.values() for key in varied(group, OWN)))


def _board(label: str, records: Sequence[Record]) -> Board:
    names = _labels(records)
    sources: dict[str, dict[str, Source]] = {}
    controls: dict[str, None] = {}
    notes: list[str] = []
    for record in records:
        for method in record.summary["methods"]:
            name, source = names[id(record), method], Source(record, method)
            controls |= {name: None} if method in record.controls else {}
            before = sources.setdefault(name, {}).get(record.network)
            if before is None or _size(source) > _size(before):
                sources[name][record.network] = source
            if before is not None and _differ(before, source):
                notes.append(
                    f"{name}: {before.record.path.name} and {record.path.name} have the same settings but not "
                    "the same scores; the larger is shown"
                )
    return Board(
        label, records[0].data, records[0].model, sources, tuple(controls), list(dict.fromkeys(notes))
    )


def _size(source: Source) -> int:
    return max((stored.get("n") or 0 for stored in (source.found.get("metrics") or {}).values()), default=0)


def _differ(a: Source, b: Source) -> bool:
    """Whether two runs of the same thing on as many examples tell different means."""
    first, second = a.found.get("metrics") or {}, b.found.get("metrics") or {}
    return any(
        first[m].get("n") == second[m].get("n") and first[m].get("mean") != second[m].get("mean")
        for m in first
        if m in second
    )


def _labels(records: Sequence[Record]) -> dict[tuple[int, str], str]:
    """What each method of each run is called: its name, with the settings that it does not have in all runs."""
    by_method: dict[str, list[tuple[Record, str]]] = {}
    for record in records:
        for method in record.summary["methods"]:
            group = "controls" if method in record.controls else "attribution"
            by_method.setdefault(method, []).append((record, f"{group}.{method}."))
    found = {}
    for method, where in by_method.items():
        nodes = [{k.removeprefix(p): v for k, v in r.flat.items() if k.startswith(p)} for r, p in where]
        keys = [
            k for k in dict.fromkeys(k for n in nodes for k in n) if len({repr(n.get(k)) for n in nodes}) > 1
        ]
        for (record, _), node in zip(where, nodes, strict=True):
            details = ", ".join(f"{k.rpartition('.')[2]}={node[k]}" for k in keys if k in node)
            found[id(record), method] = f"{method} ({details})" if details else method
    return found
