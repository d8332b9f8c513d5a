"""report.html from what lies in a run folder; whatever is missing is said instead of shown."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import artifacts, files, formats
from ..artifacts import RunFolder
from ..boards import modules_of, primary
from ..figures import judged
from ..leaderboard import Leaderboard, leaderboard, network_scores
from ..records import Scores, read_scores
from ..terminal import clean, repeat
from ..verdict import Verdict, ceilings, ordered, verdict
from . import described, tables
from .explained import Explained
from .network import layers, weights
from .pictures import Album, Picture
from .template import render, template

if TYPE_CHECKING:
    from torch import nn

    from ..data.base import Data

EXAMPLES = 12
"""Examples of the gallery."""


def page(path: Path | str, data: "Data | None" = None, model: "nn.Module | None" = None) -> Path:
    """Write report.html into a run folder, also of a run that did not finish; returns its path.

    `data` gives names and units to examples, `model` shapes to layers; without them the page has less to say.
    """
    folder = RunFolder(path)
    return files.atomic_write(
        folder.path / artifacts.PAGE, render("page.html", **_Run(folder, data, model).content())
    )


def leaderboard_html(summary: Mapping[str, Any], controls: Any = ()) -> str:
    """The table alone, for notebooks."""
    board = leaderboard(summary, controls)
    return template("notebook.html").render(board=board, scores=network_scores(summary))


class _Run:
    """Everything that the template shows of one run."""

    def __init__(self, folder: RunFolder, data: "Data | None", model: "nn.Module | None"):
        self.folder, self.model, self.album = folder, model, Album()
        self.missing = self.album.missing
        self.summary = self.read(folder.json, artifacts.SUMMARY)
        self.config = self.read(folder.yaml, artifacts.CONFIG)
        self.overrides = self.read(folder.yaml, artifacts.OVERRIDES, list)
        self.status = self.read(folder.json, artifacts.STATUS)
        self.choices = self.read(folder.json, artifacts.CHOICES)
        self.place = self.read(folder.json, artifacts.ENVIRONMENT)
        self.network = self.read(folder.json, artifacts.NETWORK)
        self.controls = tuple(map(str, self.config.get("controls") or ()))
        self.board: Leaderboard = leaderboard(self.summary, set(self.controls))
        self.scores: Scores = self.read(lambda name: read_scores(folder.path / name), artifacts.SCORES)
        self.explained = Explained(folder, self.controls, data, missing=self.missing)

    def read(self, reader: Callable[[str], Any], name: str, kind: type = dict) -> Any:
        """The content of one file, or nothing and a line that says why."""
        try:
            found = reader(name)
        except (ValueError, OSError) as mistake:
            self.missing.append(f"{name}: {clean(mistake)}"[:200])
            return kind()
        return found if isinstance(found, kind) else kind()

    def content(self) -> dict[str, Any]:
        verdicts = self.verdicts()
        metric = primary(list(verdicts), modules_of(self.config))
        said = verdicts.get(metric or "")
        gallery = self.explained.gallery(EXAMPLES, self.board.columns, self.scores)
        shown = {
            "title": f"{self.chosen('model')} on {self.chosen('data')}",
            "status": self.status,
            "board": self.board,
            "letters": {name: v.letters for name, v in verdicts.items()},
            "verdict": said.sentence if said else "",
            "order": ordered(said) if said and len(said.order) > 1 else "",
            "evidence": tables.evidence(said),
            "winners": tables.winners(list(verdicts.values())),
            "scores": network_scores(self.summary),
            "trained": (self.summary.get("network") or {}).get("trained"),
            "ruler": self.summary.get("ruler") or {},
            "warnings": self.board.warnings if self.board.rows else [],
            "judged": self.judged(metric) + self.agreement(),
            "gallery": gallery,
            "pictures": self.drawn() + self.swarm(),
            "predictions": self.predictions(),
            "layers": self.layers(),
            "method_cards": described.method_cards(self.config),
            "metric_cards": described.metric_cards(self.config, self.board.columns),
            "settings": {k: v for k, v in self.config.items() if not isinstance(v, dict)},
            "groups": {
                k: ", ".join(map(str, v)) if isinstance(v, list) else v for k, v in self.choices.items()
            },
            "config": self.text(artifacts.CONFIG),
            "place": self.place,
            "command": repeat(self.overrides),
            "folder": self.folder.path.name,
        }
        return shown | {
            "missing": [f"missing or damaged: {line}" for line in self.missing]
        }  # last, for drawing may add to it

    # -- what may be said ------------------------------------------------------------------------------------

    def verdicts(self) -> dict[str, Verdict]:
        """What the tests say on every metric."""
        found = {}
        for column in self.board.columns:
            values = _aligned(self.scores, [row.method for row in self.board.rows], column.name)
            if values:
                found[column.name] = verdict(values, column, self.controls, above=ceilings(self.config))
        return found

    def judged(self, metric: str | None) -> list[Picture]:
        column = tables.column_of(self.board, metric) if metric else None
        if column is None:
            return []
        points, bars = tables.points(self.board, column.name)
        if len(points) < 2:
            return []
        best = judged.front(points, column.higher_is_better)
        alt = f"{column.name} against rows through the network. Nothing beats on both: {', '.join(best)}."
        rows = [[name, cost, score, name in best] for name, (cost, score) in points.items()]
        table = (["method", "rows through the network", column.name, "on the front"], rows)
        return self.album.draw(
            lambda: judged.front_figure(points, column.name, column.higher_is_better, self.controls, bars),
            "Quality against cost",
            alt,
            "front",
            table,
        )

    def agreement(self) -> list[Picture]:
        return agreement_picture(self.album, self.explained)

    # -- figures ---------------------------------------------------------------------------------------------

    def drawn(self) -> list[Picture]:
        """The figures of the run folder, with their numbers."""
        try:
            found = self.folder.drawn()
        except (ValueError, OSError, KeyError, TypeError) as mistake:
            self.missing.append(f"{artifacts.FIGURES}: {clean(mistake)}"[:200])
            return []
        pictures = []
        for path, title, alt in found:
            content = path.read_bytes()
            if not content.startswith(b"\x89PNG"):
                self.missing.append(f"{path.name} is no PNG file")
                continue
            name = f"{artifacts.FIGURES}/{path.name}"
            pictures.append(self.album.file(content, title, alt, name, self.numbers(path.stem)))
        return pictures

    def numbers(self, figure: str) -> tables.Table:
        """What a figure of the run folder shows, in numbers."""
        known: dict[str, Callable[[], tables.Table]] = {
            "curves": lambda: tables.curve_table(mean_curves(self.folder)),
            "training": lambda: tables.history_table(self.folder.history()),
            "features": self.features,
        }
        try:
            return known.get(figure, lambda: tables.NOTHING)()
        except (ValueError, OSError, KeyError) as mistake:
            self.missing.append(f"numbers of {figure}: {clean(mistake)}"[:200])
            return tables.NOTHING

    def features(self) -> tables.Table:
        """Mean |attribution| of the features that are largest, over the examples that the page reads."""
        values = self.explained.values
        if not values:
            return tables.NOTHING
        sizes = np.stack([np.nanmean(np.abs(v), 0) if len(v) else v for v in values.values()])
        names = self.feature_names(sizes.shape[1])
        order = np.argsort(-np.nan_to_num((sizes / (sizes.max(1, keepdims=True) + 1e-30)).mean(0)))[:50]
        return ["feature", *values], [[names[i], *map(float, sizes[:, i])] for i in order]

    def feature_names(self, count: int) -> list[str]:
        one = next(iter(self.explained.methods.values()))
        names = [name for modality in one.modalities for name in modality.feature_names]
        return names if len(names) == count else [f"feature {i}" for i in range(count)]

    def swarm(self) -> list[Picture]:
        """A beeswarm of the first method, where every feature is one element that keeps its meaning."""
        return swarm_picture(self.album, self.explained, self.feature_names)

    def predictions(self) -> list[Picture]:
        """Confusion and calibration, where classes are predicted."""
        try:
            rows = list(formats.csv_rows(self.folder.file(artifacts.PREDICTIONS)))
            found = tables.outcomes(rows)
        except (ValueError, OSError, KeyError) as mistake:
            self.missing.append(f"{artifacts.PREDICTIONS}: {clean(mistake)}"[:200])
            return []
        if found is None:
            return []
        names, counts, bins = found
        error = tables.calibration_error(bins)
        right = int(np.trace(counts))
        alt = f"Confusion matrix: {right} of {counts.sum()} predictions are right. Calibration error {error:.3f}."
        table = tables.matrix_table(names, counts, "label \\ prediction")
        return self.album.draw(
            lambda: judged.predictions_figure(names, counts, bins), "Predictions", alt, "predictions", table
        )

    def layers(self) -> list[tuple[str, str, str, int]]:
        """The network, layer by layer; without it, what the file with the weights says."""
        try:
            if self.model is not None and self.folder.shards():
                explicand, _ = self.folder.read_examples(self.folder.shards()[0])
                device = next((p.device for p in self.model.parameters()), None)
                inputs = [x[:1].to(device) for x in (*explicand.inputs, *explicand.context)]
                return layers(self.model, inputs)
            if (self.folder.path / artifacts.WEIGHTS).is_file():
                return weights(self.folder.tensors(artifacts.WEIGHTS)[0])
        except (ValueError, OSError, KeyError, RuntimeError, TypeError) as mistake:
            self.missing.append(f"layers: {clean(mistake)}"[:200])
        return []

    # -- words -----------------------------------------------------------------------------------------------

    def chosen(self, group: str) -> str:
        named = self.choices.get(group) or self.network.get("name" if group == "model" else group)
        return clean(named) if isinstance(named, str) else group

    def text(self, name: str) -> str:
        path = self.folder.path / name
        readable = path.is_file() and path.stat().st_size <= 1 << 18
        return path.read_text(encoding="utf-8", errors="replace") if readable else ""


def _aligned(scores: Scores, methods: Sequence[str], metric: str) -> dict[str, np.ndarray]:
    """Scores [examples] by method over the same examples; nan where there is none."""
    found = {m: scores[m, metric] for m in methods if (m, metric) in scores}
    if not found:
        return {}
    rows = np.unique(np.concatenate([index for index, _ in found.values()]))
    made = {}
    for method, (index, values) in found.items():
        made[method] = np.full(len(rows), np.nan)
        made[method][np.searchsorted(rows, index)] = values
    return made


def mean_curves(folder: RunFolder) -> dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]:
    """Steps and mean curve by method and metric."""
    return {key: (band.at, band.mean) for key, band in bands(folder).items()}


def bands(folder: RunFolder) -> dict[tuple[str, str], Any]:
    """Mean curves with bands by method and metric, from the files of a run."""
    from ..figures.curves import Moments

    found = {}
    for method, metric, path in folder.curves():
        with open(path, encoding="utf-8") as opened:
            at = np.array([float(x) for x in opened.readline().strip().split(",")[1:]])
            table = np.loadtxt(opened, delimiter=",", ndmin=2)
        moments = Moments(at)
        moments.add(at, table[:, 1:])
        found[method, metric] = moments.band()
    return found


def agreement_picture(album: Album, explained: Explained) -> list[Picture]:
    """How alike methods rank the features, as a matrix; nothing with fewer than two."""
    found = explained.agreement
    if found is None:
        return []
    names, matrix = list(found.methods), found.rank.numpy()
    own = [i for i, name in enumerate(names) if name not in explained.controls]
    pairs = [
        (matrix[i, j], names[i], names[j]) for i in own for j in own if i < j and np.isfinite(matrix[i, j])
    ]
    alt = f"Mean rank correlation of |attributions| between {', '.join(names)}."
    if pairs:
        low, high = min(pairs), max(pairs)
        alt += f" Most alike: {high[1]} and {high[2]}, {high[0]:.2f}; least: {low[1]} and {low[2]}, {low[0]:.2f}."
    label = f"Mean rank correlation of |attributions| over {len(explained)} examples"
    parts = (found.rank, found.sign, found.top_k)
    rows = [
        [a, b, *(float(m[i, j]) for m in parts)]
        for i, a in enumerate(names)
        for j, b in enumerate(names)
        if i < j
    ]
    header = ["method", "and", "rank correlation", "same sign", f"shared among the {found.k} largest"]
    return album.draw(
        lambda: judged.agreement_figure(names, matrix, label),
        "Agreement between methods",
        alt,
        "agreement",
        (header, rows),
    )


def swarm_picture(
    album: Album, explained: Explained, feature_names: Callable[[int], Sequence[str]]
) -> list[Picture]:
    """A dot per example and feature of the first method; nothing where inputs are more than a table of numbers."""
    own = [name for name in explained.values if name not in explained.controls]
    if not own or len(explained) < 2:
        return []
    one, values = explained.methods[own[0]], explained.values[own[0]]
    inputs = one.raw[0].detach().double().numpy() if len(one.raw) == 1 else np.zeros((0, 0))
    if (
        inputs.ndim != 2
        or inputs.shape != values.shape
        or not np.isfinite(values).all()
        or one.raw[0].dtype.is_complex
    ):
        return []
    order = np.argsort(-np.abs(values).mean(0), kind="stable")
    names = [feature_names(values.shape[1])[i] for i in order]
    rows = [
        [
            name,
            float(np.abs(values[:, i]).mean()),
            float(values[:, i].mean()),
            float(values[:, i].min()),
            float(values[:, i].max()),
        ]
        for name, i in zip(names, order, strict=True)
    ]
    return album.draw(
        lambda: judged.swarm_figure(names, values[:, order], inputs[:, order], own[0]),
        "Attributions of every example",
        f"Attributions by {own[0]}: a dot per example for each of {min(10, len(names))} features, the largest first: "
        f"{', '.join(names[:3])}.",
        "swarm",
        (["feature", "mean |attribution|", "mean", "lowest", "highest"], rows[:50]),
    )
