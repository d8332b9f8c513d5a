"""Scores as they come in: numbers stay in memory, curves go to disk."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from . import files
from .figures.curves import Band, Moments
from .storage import formats


class Scorebook:
    """The scores of a run, by method and metric. Memory: 16 bytes a score; of curves only running sums."""

    def __init__(self) -> None:
        self._scores: dict[tuple[str, str], list[tuple[np.ndarray | None, np.ndarray]]] = {}
        self._curves: dict[tuple[str, str], tuple[files.Growing, Moments]] = {}

    def add(self, method: str, metric: str, index: np.ndarray | None, scores: np.ndarray) -> None:
        """Scores [examples] with the rows of the examples, or one score of the whole data set (`index` None)."""
        self._scores.setdefault((method, metric), []).append((index, scores))

    def add_curves(
        self, method: str, metric: str, path: Path, index: np.ndarray, curves: np.ndarray, at: np.ndarray
    ) -> None:
        """Curves [examples, steps] for the file `path`, which is there only after `finish`."""
        if (method, metric) not in self._curves:
            self._curves[method, metric] = files.Growing(path), Moments(at)
            self._curves[method, metric][0].write(formats.csv_text([["example", *at.tolist()]]))
        growing, moments = self._curves[method, metric]
        moments.add(at, curves)
        rows = ([i, *row] for i, row in zip(index.tolist(), curves.tolist(), strict=True))
        growing.write(formats.csv_text(rows))

    def scores(self, method: str, metric: str) -> np.ndarray:
        """All scores so far [examples], in the order in which they came."""
        return np.concatenate([values for _, values in self._scores[method, metric]])

    def bands(self) -> dict[str, dict[str, Band]]:
        """Mean curves with 95 % bands, by metric and method."""
        bands: dict[str, dict[str, Band]] = {}
        for (method, metric), (_, moments) in self._curves.items():
            bands.setdefault(metric, {})[method] = moments.band()
        return bands

    def rows(self) -> Iterator[list]:
        """The tidy table: method, metric, example (empty for the whole data set), score."""
        for (method, metric), parts in self._scores.items():
            for index, values in parts:
                for i, value in enumerate(values):
                    yield [method, metric, "" if index is None else int(index[i]), float(value)]

    def finish(self) -> None:
        """Give the files with curves their names."""
        for growing, _ in self._curves.values():
            if growing.part.exists():
                growing.finish()
