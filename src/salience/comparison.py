"""Many runs as one table, one verdict and one page."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .comparisons.boards import Board, boards
from .comparisons.ranking import Ranking, ranking
from .comparisons.records import Record, chosen, find, varied
from .comparisons.verdict import Verdict
from .errors import WrongInput, listed, nearest
from .storage import formats

if TYPE_CHECKING:
    import pandas as pd

SHOWN = ("run", "data", "model", "seed")
NUMBERS = ("mean", "low", "high", "n", "undefined")
COSTS = ("seconds", "forward_rows", "backward_rows")
UNTOLD = ("outputs", "device", "threads", "seed", "tracker", "dry")
"""Keys of a config that are no column of the table: told otherwise, or no part of the experiment."""


def compare(
    paths: str | Path | Sequence[str | Path] = "outputs/latest",
    *,
    primary: str | None = None,
    method: str | Sequence[str] | None = None,
    metric: str | Sequence[str] | None = None,
    where: Mapping[str, Any] | None = None,
    **filters: Any,
) -> "Comparison":
    """The runs in folders, sweeps and globs, as one table with leaderboards and verdicts.

    `filters` (and `where`, for keys with dots) keep runs with one of the values: data="digits", seed=[0, 1],
    where={"training.epochs": 5}. `method` and `metric` keep rows. `primary` is the metric that verdicts are about.
    Raises WrongInput where nothing is found, a filter fits nothing, or the runs were not measured with one ruler.
    """
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    records = chosen(find(given), {**(where or {}), **filters})
    complete = [one_with(r, method, metric) for r in records if r.complete]
    complete = [r for r in complete if r.summary["methods"]]
    if method or metric:
        _check_rows(records, method, metric)
    same_ruler(complete)
    found = Comparison(records, complete, primary)
    if primary and complete and primary not in found.metrics:
        hint = nearest(primary, found.metrics)
        raise WrongInput(f"primary={primary}: no run has this metric.{hint} Metrics: {listed(found.metrics)}")
    return found


def one_with(record: Record, method: Any, metric: Any) -> Record:
    """The record with some of its methods and metrics only."""
    methods, metrics = _names(method), _names(metric)
    kept = {
        name: {
            **found,
            "metrics": {k: v for k, v in (found.get("metrics") or {}).items() if not metrics or k in metrics},
        }
        for name, found in record.summary["methods"].items()
        if not methods or name in methods
    }
    record.summary = {**record.summary, "methods": kept}
    return record


def _names(given: Any) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given or ())


def _check_rows(records: Sequence[Record], method: Any, metric: Any) -> None:
    """WrongInput for a method or metric that no run has."""
    for key, group, given in (
        ("method", ("attribution", "controls"), method),
        ("metric", ("metric",), metric),
    ):
        there = {str(name) for r in records for g in group for name in r.config.get(g) or ()}
        for name in _names(given):
            if name not in there:
                raise WrongInput(
                    f"{key}={name}: no run has it.{nearest(name, there)} There are: {listed(sorted(there))}"
                )


def same_ruler(records: Sequence[Record]) -> None:
    """WrongInput, with the difference named, unless all runs were measured alike; features only within a data set."""
    for data in dict.fromkeys(r.data for r in records):
        _alike([r for r in records if r.data == data], "features")
    for key in ("reference", "output", "target", "split", "only"):
        _alike(records, key)
    by_metric: dict[str, dict[str, Record]] = {}
    for record in records:
        for name, node in (record.config.get("metric") or {}).items():
            measured = any(name in (f.get("metrics") or {}) for f in record.summary["methods"].values())
            if measured:
                by_metric.setdefault(str(name), {}).setdefault(repr(node), record)
    for name, found in by_metric.items():
        if len(found) > 1:
            _refuse_settings(name, list(found.values()))


def _alike(records: Sequence[Record], key: str) -> None:
    counts: dict[str, int] = {}
    for record in records:
        value = record.ruler.get(key, "unknown")
        counts[value] = counts.get(value, 0) + 1
    if len(counts) > 1:
        told = ", ".join(f"{value} ({count} runs)" for value, count in counts.items())
        keep = {"reference": "baseline"}.get(key, key)
        remedy = "" if key == "features" else f"; compare one at a time: {keep}=..."
        raise WrongInput(f"{key}: {told}: scores measured differently are not compared{remedy}")


def _refuse_settings(metric: str, records: Sequence[Record]) -> None:
    keys = varied(records, ())
    mine = [k for k in keys if k.startswith(f"metric.{metric}.")] or [f"metric.{metric}"]
    told = ", ".join(str(v) for v in keys.get(mine[0], ["other settings"])[:5])
    raise WrongInput(
        f"{mine[0]}: {told}: scores measured differently are not compared; compare one at a time: {mine[0]}=..."
    )


class Comparison:
    """Runs side by side. `table` is tidy; `boards` are leaderboards; `verdict` is what may be said."""

    def __init__(self, records: Sequence[Record], complete: Sequence[Record], primary: str | None = None):
        self.records, self.complete, self._primary = list(records), list(complete), primary

    def __repr__(self) -> str:
        runs = f"{len(self.complete)} of {len(self.records)} runs completed"
        return f"Comparison({runs}, {len(self.boards)} leaderboards)"

    @property
    def failed(self) -> list[Record]:
        """Runs without scores: failed, interrupted, damaged, missing or still running."""
        return [r for r in self.records if r not in self.complete]

    @cached_property
    def boards(self) -> list[Board]:
        """One leaderboard for each data set, model and setting, pooled over seeds."""
        return boards(self.complete)

    @cached_property
    def metrics(self) -> list[str]:
        """Every metric that some run has."""
        return list(dict.fromkeys(c.name for board in self.boards for c in board.columns))

    @property
    def primary(self) -> str | None:
        """The metric that verdicts are about."""
        return self._primary or next((b.primary for b in self.boards if b.primary), None)

    @cached_property
    def ranking(self) -> Ranking | None:
        """Ranks over data sets, where there are several leaderboards with the same methods."""
        return ranking(self.boards, self.primary) if self.primary else None

    @property
    def verdicts(self) -> list[tuple[Board, Verdict]]:
        """What can be said of each leaderboard."""
        found = ((board, board.verdict(self.primary)) for board in self.boards)
        return [(board, said) for board, said in found if said]

    @property
    def verdict(self) -> str:
        """One sentence with its evidence."""
        found = self.verdicts
        if not found:
            return "Nothing was measured, so there is nothing to say."
        if len(found) == 1:
            return found[0][1].sentence
        return self.ranking.sentence if self.ranking else found[0][1].sentence

    @property
    def warnings(self) -> list[str]:
        """What a reader must know before believing the numbers."""
        lines = [f"{len(self.failed)} of {len(self.records)} runs have no scores"] if self.failed else []
        for board in self.boards:
            prefix = f"{board.label}: " if len(self.boards) > 1 else ""
            lines += [prefix + line for line in (*board.table.warnings, *board.notes)]
        return [*lines, *(f"{r.path.name}: {line}" for r in self.records for line in r.missing)]

    @cached_property
    def settings(self) -> list[str]:
        """The keys of the config that vary between runs; columns of the table."""
        return [k for k in varied(self.complete, UNTOLD) if not k.endswith("_target_")]

    def rows(self) -> list[dict[str, Any]]:
        """The tidy table: a row per run, method and metric."""
        return [row for record in self.complete for row in self._rows(record)]

    def _rows(self, record: Record) -> list[dict[str, Any]]:
        known = {"run": str(record.path), "data": record.data, "model": record.model, "seed": record.seed}
        known |= {key: record.flat.get(key) for key in self.settings}
        network = {f"network_{name}": value for name, value in record.network_scores.items()}
        rows = []
        for method, found in record.summary["methods"].items():
            cost = found.get("cost") or {}
            costs = {name: cost.get(name) for name in COSTS}
            for metric, stored in (found.get("metrics") or {}).items():
                row = {**known, "method": method, "control": method in record.controls, "metric": metric}
                row |= {"higher_is_better": stored.get("higher_is_better")}
                rows.append({**row, **{name: stored.get(name) for name in NUMBERS}, **costs, **network})
        return rows

    @cached_property
    def table(self) -> "pd.DataFrame":
        """The tidy table as a frame."""
        import pandas as pd

        return pd.DataFrame(self.rows())

    def save_csv(self, path: Path | str) -> Path:
        """Write the tidy table; returns its path."""
        rows = self.rows()
        header = list(dict.fromkeys(name for row in rows for name in row)) or [
            *SHOWN,
            "method",
            "metric",
            *NUMBERS,
        ]
        formats.write_csv(Path(path), header, ([_cell(row.get(name)) for name in header] for row in rows))
        return Path(path)

    def result(self) -> dict[str, Any]:
        """Verdicts, ranks and failures as plain values, for those who script against them."""
        ranked = self.ranking
        return {
            "verdict": self.verdict,
            "primary": self.primary,
            "ranks": ranked.ranks if ranked else {},
            "boards": [
                {
                    "label": b.label,
                    "networks": len(b.networks),
                    "order": v.order,
                    "groups": v.groups,
                    "winners": v.winners,
                    "verdict": v.sentence,
                }
                for b, v in self.verdicts
            ],
            "failed": [{"run": str(r.path), "state": r.state, "cause": r.cause} for r in self.failed],
            "warnings": self.warnings,
        }

    def save_page(self, path: Path | str, examples: int = 12) -> Path:
        """Write the page, one file; returns its path."""
        from .report import comparison_page

        return comparison_page(self, Path(path), examples)

    def _repr_html_(self) -> str:
        from .report import comparison_html

        return comparison_html(self)


def _cell(value: Any) -> Any:
    return "" if value is None else " ".join(map(str, value)) if isinstance(value, list) else value
