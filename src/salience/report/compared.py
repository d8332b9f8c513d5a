"""The page of a comparison: verdict, leaderboards, figures, examples, and every run that it is made of."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import files
from ..artifacts import ENVIRONMENT
from ..comparisons.boards import Board
from ..comparisons.verdict import Verdict, ordered
from ..figures import judged
from ..figures.curves import curves_figure
from . import described, tables
from .across import together
from .explained import Gallery
from .pictures import Album, Picture
from .shared import agreement_picture, bands, front_picture
from .template import render, template

if TYPE_CHECKING:
    from ..comparison import Comparison

BOARDS = 12
"""Leaderboards with figures and tests of every metric; those after them have the table and the verdict."""
VALUES = 60
"""The most values that a setting is drawn for."""
RUNS = 1000
"""Rows of the table of runs; the CSV has all."""


def comparison_page(found: "Comparison", path: Path, examples: int = 12) -> Path:
    """Write the page of a comparison; returns its path."""
    return files.atomic_write(path, render("comparison.html", **_Compared(found, examples).content()))


def comparison_html(found: "Comparison") -> str:
    """Verdict and leaderboards alone, for notebooks."""
    shown = [(b.label, b.table, v.sentence) for b, v in found.verdicts][:6]
    return template("compared_notebook.html").render(verdict=found.verdict, boards=shown, failed=found.failed)


class _Compared:
    """Everything that the template shows."""

    def __init__(self, found: "Comparison", examples: int):
        self.found, self.examples, self.album = found, examples, Album()

    def content(self) -> dict[str, Any]:
        found = self.found
        boards = [self.board(board, number) for number, board in enumerate(found.boards)]
        first = found.complete[0] if found.complete else None
        gallery = self.gallery()
        config = first.config if first else {}
        methods = {m[0]: m for r in found.complete for m in described.method_cards(r.config)}
        columns = [c for board in found.boards for c in board.columns]
        metrics = {m[0]: m for r in found.complete[:20] for m in described.metric_cards(r.config, columns)}
        shown = {
            "title": self.title(),
            "about": f"{len(found.complete)} of {len(found.records)} runs, {len(found.boards)} leaderboards",
            "verdict": found.verdict,
            "order": self.order(),
            "primary": found.primary,
            "ranking": self.ranking(),
            "boards": boards,
            "settings": self.settings(),
            "gallery": gallery,
            "warnings": found.warnings,
            "failed": found.failed,
            "runs": self.runs(),
            "ruler": first.ruler if first else {},
            "method_cards": list(methods.values()),
            "metric_cards": list(metrics.values()),
            "controls": list(config.get("controls") or ()),
            "place": self.place(),
        }
        return shown | {"missing": [f"missing or damaged: {line}" for line in self.album.missing]}

    def title(self) -> str:
        names = [
            list(dict.fromkeys(getattr(r, key) for r in self.found.records)) for key in ("model", "data")
        ]
        told = [", ".join(n[:3]) + (f" and {len(n) - 3} more" if len(n) > 3 else "") for n in names]
        return f"Comparison: {told[0]} on {told[1]}" if all(names) else "Comparison"

    def order(self) -> str:
        said = self.found.verdicts
        return ordered(said[0][1]) if len(said) == 1 and len(said[0][1].order) > 1 else ""

    def board(self, board: Board, number: int) -> dict[str, Any]:
        """One leaderboard with its verdict; the first ones with everything."""
        whole = number < BOARDS
        said = board.verdict(self.found.primary)
        names = [c.name for c in board.columns] if whole else [self.found.primary] if said else []
        verdicts = {name: v for name in names if (v := board.verdict(name))}
        spread = board.spread(said.metric) if said else {}
        return {
            "id": f"board-{number}",
            "label": board.label,
            "table": board.table,
            "letters": {name: v.letters for name, v in verdicts.items()},
            "verdict": said.sentence if said else "Nothing was measured here.",
            "first": ", ".join(said.winners) or "nobody beats the controls" if said else "–",
            "order": ordered(said) if said and len(said.order) > 1 else "",
            "evidence": tables.evidence(said),
            "winners": tables.winners(list(verdicts.values())),
            "networks": len(board.networks),
            "spread": [[name, low, high] for name, (low, high) in spread.items()],
            "pictures": self.pictures(board, said) if whole else [],
        }

    def pictures(self, board: Board, said: Verdict | None) -> list[Picture]:
        """Quality against cost, curves and agreement of one leaderboard."""
        return [*self.front(board, said), *self.agreement(board), *self.curves(board)]

    def front(self, board: Board, said: Verdict | None) -> list[Picture]:
        column = tables.column_of(board.table, said.metric) if said else None
        return front_picture(self.album, board.table, column, board.controls, board.label)

    def curves(self, board: Board) -> list[Picture]:
        """Mean curves of the first network of a leaderboard, every method from the run that measured it."""
        found: dict[str, dict[str, Any]] = {}
        read: dict[Path, Any] = {}
        for label, by_network in board.sources.items():
            source = by_network.get(board.networks[0]) if board.networks else None
            if source is None:
                continue
            try:
                path = source.record.path
                read[path] = read[path] if path in read else bands(source.record.folder)
            except (ValueError, OSError, KeyError) as mistake:
                self.album.missing.append(f"curves: {' '.join(str(mistake).split())}"[:200])
                continue
            for (method, metric), band in read[source.record.path].items():
                if method == source.method:
                    found.setdefault(metric, {})[label] = band
        if not found:
            return []
        means = {(method, metric): (b.at, b.mean) for metric, by in found.items() for method, b in by.items()}
        better = {c.name: c.higher_is_better for c in board.columns}
        return self.album.draw(
            lambda: curves_figure(found, board.controls, better),
            "Curves",
            f"Mean score against the share of features for {', '.join(found)}, with a band per method, on one network.",
            f"curves-{board.label}",
            tables.curve_table(means),
        )

    def agreement(self, board: Board) -> list[Picture]:
        explained = together(board)
        return agreement_picture(self.album, explained) if explained else []

    def gallery(self) -> Gallery | None:
        """Examples of the first network of the first leaderboard, all its methods side by side."""
        if not self.examples or not self.found.boards:
            return None
        board = self.found.boards[0]
        explained = together(board, drawn=True)
        if explained is None:
            return None
        scores = {
            (label, metric): values
            for label, by_network in board.sources.items()
            for network, source in by_network.items()
            if network == board.networks[0]
            for (method, metric), values in source.record.scores.items()
            if method == source.method
        }
        gallery = explained.gallery(self.examples, board.columns, scores)
        self.album.missing += explained.missing
        return gallery

    def ranking(self) -> dict[str, Any] | None:
        """Mean ranks, and the critical-difference diagram where there are enough data sets."""
        found = self.found.ranking
        if found is None:
            return None
        rows = [[name, rank, found.firsts.get(name, 0)] for name, rank in found.ranks.items()]
        pictures: list[Picture] = []
        if found.difference is not None:
            difference = found.difference
            told = "; ".join(" = ".join(group) for group in found.groups) or "none"
            pictures = self.album.draw(
                lambda: judged.difference_figure(found.ranks, difference, found.groups, found.controls),
                f"Critical differences on {found.metric}",
                f"Mean ranks over {found.blocks} {found.unit}: "
                f"{', '.join(f'{n} {r:.2f}' for n, r in found.ranks.items())}. Not told apart: {told}.",
                "ranks",
                (["method", "mean rank", "times first"], rows),
            )
        return {
            "rows": rows,
            "pictures": pictures,
            "metric": found.metric,
            "about": f"{found.blocks} {found.unit}",
        }

    def settings(self) -> list[Picture]:
        """The primary metric along every setting that the sweep varied and that has two values or more."""
        metric, keys = self.found.primary, self.found.settings[:8]
        rows = [row for row in self.found.rows() if row["metric"] == metric and row["mean"] is not None]
        return [picture for key in keys for picture in self.setting(key, str(metric), rows)]

    def setting(self, key: str, metric: str, rows: Sequence[dict[str, Any]]) -> list[Picture]:
        """The plot of one setting; nothing where no method has scores for two of its values."""
        values = sorted({_plain(row[key]) for row in rows if row[key] is not None}, key=_order)
        if not 2 <= len(values) <= VALUES:
            return []
        methods = list(dict.fromkeys(row["method"] for row in rows))
        means = {m: [_mean(rows, m, key, v) for v in values] for m in methods}
        means = {m: v for m, v in means.items() if np.isfinite(v).sum() > 1}
        if not means:
            return []
        higher, controls = bool(rows[0]["higher_is_better"]), {r["method"] for r in rows if r["control"]}
        return self.album.draw(
            lambda: judged.setting_figure(key, values, means, metric, higher, controls),
            f"{metric} along {key}",
            f"Mean {metric} of {', '.join(means)} for {key} = {', '.join(map(str, values))}.",
            f"setting-{key}",
            (["method", *map(str, values)], [[m, *v] for m, v in means.items()]),
        )

    def runs(self) -> dict[str, Any]:
        """Every run with its state."""
        keys = self.found.settings[:6]
        header = ["run", "state", "data", "model", "seed", *keys, "network", "cause"]
        rows = [
            [
                r.path.name,
                r.state,
                r.data,
                r.model,
                r.seed,
                *(_plain(r.flat.get(k)) for k in keys),
                ", ".join(f"{k} {v:.3g}" for k, v in list(r.network_scores.items())[:1]),
                r.cause,
            ]
            for r in self.found.records[:RUNS]
        ]
        if not any(row[-1] for row in rows):  # nothing failed, so there is no cause to show
            header, rows = header[:-1], [row[:-1] for row in rows]
        return {"header": header, "rows": rows, "left": len(self.found.records) - len(rows)}

    def place(self) -> dict[str, Any]:
        """Versions and hardware of the first run."""
        for record in self.found.complete[:1]:
            try:
                return dict(record.folder.json(ENVIRONMENT))
            except (ValueError, OSError, TypeError):
                return {}
        return {}


def _plain(value: Any) -> Any:
    return " ".join(map(str, value)) if isinstance(value, list) else value


def _order(value: Any) -> tuple[int, list[float], str]:
    """Numbers and lists of numbers by size, then words."""
    try:
        return 0, [float(word) for word in str(value).split()], ""
    except ValueError:
        return 1, [], str(value)


def _mean(rows: Sequence[dict[str, Any]], method: str, key: str, value: Any) -> float:
    found = [row["mean"] for row in rows if row["method"] == method and _plain(row[key]) == value]
    return float(np.mean(found)) if found else float("nan")
