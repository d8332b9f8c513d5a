"""report.html from what lies in a run folder; whatever is missing is said instead of shown."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import artifacts, files
from ..artifacts import RunFolder
from ..comparisons.boards import modules_of, primary
from ..comparisons.leaderboard import Leaderboard, leaderboard, network_scores
from ..comparisons.records import Scores, read_scores
from ..comparisons.verdict import Verdict, ceilings, ordered, verdict
from ..figures import judged
from ..storage import formats
from ..terminal import clean, repeat
from . import described, tables
from .explained import Explained
from .model_card import of_folder
from .network import Layer, flow, layers, shape, weights
from .pictures import Album, Picture
from .shared import agreement_picture, front_picture, mean_curves, swarm_picture
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
        self.entering = ""
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
        found = self.layers()
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
            "layers": found,
            "flow": flow(found) if self.entering else [],
            "entering": self.entering,
            "method_cards": described.method_cards(self.config),
            "metric_cards": described.metric_cards(self.config, self.board.columns),
            "card": of_folder(self.folder),
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
        return front_picture(self.album, self.board, column, self.controls)

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
        sizes = np.stack([_mean_size(v) for v in values.values()])
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

    def layers(self) -> list[Layer]:
        """The network, layer by layer; without it, what the file with the weights says."""
        try:
            if self.model is not None and self.folder.shards():
                explicand, _ = self.folder.read_examples(self.folder.shards()[0])
                device = next((p.device for p in self.model.parameters()), None)
                inputs = [x[:1].to(device) for x in (*explicand.inputs, *explicand.context)]
                found = layers(self.model, inputs)
                self.entering = ", ".join(shape(x) for x in inputs[: len(explicand.inputs)])
                return found
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


def _mean_size(values: np.ndarray) -> np.ndarray:
    """Mean |value| of each column, absent (nan) entries left out; nan where all are absent."""
    there = ~np.isnan(values)
    total, count = np.where(there, np.abs(values), 0.0).sum(0), there.sum(0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
