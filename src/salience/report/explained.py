"""What a page shows of the explanations of one run: agreement between methods, and examples side by side."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch

from ..artifacts import RunFolder
from ..attribution.explanation import Explanation
from ..comparisons.leaderboard import Column
from ..data.base import Data
from ..figures.cards import Card, Layers, cards
from ..figures.compare import caption
from ..metrics.agreement import Agreement, agreement

EXAMPLES, ELEMENTS = 200, 20_000_000
"""The most examples that are read of a run, and the most input elements of a method."""


@dataclass(frozen=True)
class Entry:
    """One example of the gallery."""

    card: Card
    index: int
    caption: str
    right: bool | None
    confidence: float | None
    disagreement: float | None
    place: int
    """Its place among the shown ones, most disagreement first."""
    scores: Mapping[str, Mapping[str, float]]

    @property
    def right_text(self) -> str:
        return "" if self.right is None else str(self.right).lower()

    @property
    def confidence_text(self) -> str:
        return "" if self.confidence is None else f"{self.confidence:.6g}"

    @property
    def disagreement_text(self) -> str:
        return "" if self.disagreement is None else f"{self.disagreement:.6g}"

    @property
    def scores_json(self) -> str:
        return json.dumps(self.scores)


@dataclass(frozen=True)
class Gallery:
    """Examples by methods, all on one scale wherever units agree."""

    methods: list[str]
    controls: tuple[str, ...]
    columns: list[Column]
    entries: list[Entry]
    about: str

    @property
    def layered(self) -> bool:
        """Whether there are colours that lie over a picture."""
        return any(isinstance(block, Layers) for e in self.entries for _, block in e.card.blocks)


@dataclass
class Explained:
    """The first explained examples of a run, as all methods on inputs explain them."""

    folder: RunFolder
    controls: tuple[str, ...] = ()
    data: Data | None = None
    only: tuple[str, ...] = ()
    """Methods that are read; all where none is named."""
    missing: list[str] = field(default_factory=list)

    @cached_property
    def methods(self) -> dict[str, Explanation]:
        """Explanations of inputs by method, the same examples each."""
        known: dict[str, Any] = {}
        if self.data is not None and self._fits(self.data):
            known = {"modalities": self.data.modalities, "task": self.data.task}
        found: dict[str, Explanation] = {}
        try:
            names = [n for n in self.folder.methods() if not self.only or n in self.only]
            shards = self.folder.shards()
            for name in names if shards else ():
                one = self.folder.read_attributions(name, shards[0], **known)
                if one.of_inputs:
                    size = max(1, sum(x[0].numel() for x in one.inputs))
                    count = max(1, min(EXAMPLES, ELEMENTS // size, len(one)))
                    found[name] = cast(Explanation, one.rows(torch.arange(count)))
        except (ValueError, OSError, KeyError, TypeError) as mistake:
            self.missing.append(f"explanations: {' '.join(str(mistake).split())}"[:200])
            return {}
        return found

    def _fits(self, data: Data) -> bool:
        """Whether the data that a config rebuilds still has the shape of what was explained."""
        try:
            explicand, _ = self.folder.read_examples(self.folder.shards()[0])
        except (ValueError, OSError, LookupError, TypeError):
            return False
        return [tuple(m.shape) for m in data.modalities] == [tuple(x.shape[1:]) for x in explicand.raw]

    @cached_property
    def values(self) -> dict[str, np.ndarray]:
        """Signed attribution per feature [examples, features] by method; absent features are nan."""
        return {
            name: np.where(e.present.numpy(), e.per_feature().detach().double().numpy(), np.nan)
            for name, e in self.methods.items()
        }

    @cached_property
    def agreement(self) -> Agreement | None:
        """How far every two methods agree; None with fewer than two."""
        return agreement({name: [e] for name, e in self.methods.items()}) if len(self.methods) > 1 else None

    @cached_property
    def disagreement(self) -> np.ndarray:
        """1 - the mean rank agreement of any two methods that are no controls [examples]; nan without two."""
        own = {name: [e] for name, e in self.methods.items() if name not in self.controls}
        return agreement(own).disagreement.numpy() if len(own) > 1 else np.full(len(self), np.nan)

    def __len__(self) -> int:
        return len(next(iter(self.methods.values()))) if self.methods else 0

    def gallery(self, count: int, columns: Sequence[Column], scores: Mapping[Any, Any]) -> Gallery | None:
        """`count` examples: the first, wrong ones, and those on which methods disagree most; None without any.

        `scores` are those of records.Scores.
        """
        if not count or not len(self):
            return None
        one = next(iter(self.methods.values()))
        index = one.index.tolist()
        rows = {i: _outcome(row) for i, row in self.folder.predictions(index).items()}
        outcomes = [rows.get(i, ("", None, None)) for i in index]
        chosen = _chosen(count, [right for _, right, _ in outcomes], self.disagreement)
        by_example = _by_example(scores, {index[i] for i in chosen}, set(self.methods))
        most = sorted(chosen, key=lambda i: -np.nan_to_num(self.disagreement[i], nan=-np.inf))
        drawn = cards(self.methods, chosen, self.controls)
        said = {i: text for i, (text, _, _) in rows.items()}
        entries = [
            Entry(
                card,
                index[i],
                caption(one, i, said),
                outcomes[i][1],
                outcomes[i][2],
                None if np.isnan(self.disagreement[i]) else float(self.disagreement[i]),
                most.index(i),
                by_example.get(index[i], {}),
            )
            for i, card in zip(chosen, drawn, strict=True)
        ]
        known = [c for c in columns if any(c.name in e.scores for e in entries)]
        which = "The first explained examples, wrong predictions, and those on which methods disagree most"
        about = (
            f"{which if len(chosen) < len(self) else 'All explained examples'}. Red speaks for the explained output, "
            "blue against it; one scale for all methods whose units agree."
        )
        if any(entry.disagreement is not None for entry in entries):
            about += " Disagreement: 1 - the mean rank correlation of |attributions| between methods, without controls."
        return Gallery(list(self.methods), self.controls, known, entries, about)


def _outcome(row: Mapping[str, str]) -> tuple[str, bool | None, float | None]:
    """What the data and the network say, whether they agree, and how sure the network is."""
    from ..figures.gallery import _said

    sure = [float(value) for name, value in row.items() if name.startswith("probability_")]
    right = row["label"] == row["prediction"] if sure else None
    return _said(row), right, max(sure) if sure else None


def _chosen(count: int, right: Sequence[bool | None], disagreement: np.ndarray) -> list[int]:
    """Rows: a third wrong, a third of most disagreement, the first ones; in the order of the data."""
    wrong = [i for i, one in enumerate(right) if one is False][: -(-count // 3)]
    most = np.argsort(-np.nan_to_num(disagreement, nan=-np.inf), kind="stable").tolist()
    picked = list(dict.fromkeys([*wrong, *most[: -(-count // 3)], *range(len(right))]))
    return sorted(picked[:count])


def _by_example(
    scores: Mapping[Any, Any], wanted: set[int], methods: set[str]
) -> dict[int, dict[str, dict[str, float]]]:
    """Scores of some examples: by row, metric and method; what is undefined is left out."""
    found: dict[int, dict[str, dict[str, float]]] = {}
    for (method, metric), (index, values) in scores.items():
        for i, value in zip(index.tolist(), values.tolist(), strict=True):
            if i in wanted and method in methods and value == value:
                found.setdefault(i, {}).setdefault(metric, {})[method] = round(value, 9)
    return found
