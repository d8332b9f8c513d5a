"""Curves with bands: how the score changes as features are hidden or shown, and how a network learned."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .canvas import LINE, MUTED, Sheet, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INKS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#332288", "#882255")
"""Okabe and Ito's colours, told apart with every kind of colour blindness, and two dark ones."""
DASHES = ("-", "--", ":", "-.")
ACROSS = 3
WIDTH, HEIGHT = 3.0, 2.2


@dataclass(frozen=True)
class Band:
    """A mean curve with its 95 % band over examples; all [steps]."""

    at: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


class Moments:
    """Running sums of curves, so that their band never needs all of them in memory; nan does not count."""

    def __init__(self, at: np.ndarray):
        self.at = at
        self.count, self.sum, self.squares = (np.zeros(len(at)) for _ in range(3))

    def add(self, at: np.ndarray, curves: np.ndarray) -> None:
        """Count curves [examples, steps] in; ValueError where their steps are not those of the first."""
        if at.shape != self.at.shape or not np.allclose(at, self.at):
            raise ValueError("curves of one metric must share their horizontal axis")
        defined = np.isfinite(curves)
        values = np.where(defined, curves, 0.0)
        self.count += defined.sum(0)
        self.sum += values.sum(0)
        self.squares += (values**2).sum(0)

    def band(self) -> Band:
        """Mean and 95 % band (normal approximation); nan where nothing was defined."""
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = self.sum / self.count
            variance = np.maximum(self.squares / self.count - mean**2, 0) * self.count / (self.count - 1)
            half = 1.96 * np.sqrt(variance / self.count)
        return Band(self.at, mean, mean - np.nan_to_num(half), mean + np.nan_to_num(half))


def curves_figure(
    bands: Mapping[str, Mapping[str, Band]],
    controls: Collection[str] = (),
    higher_is_better: Mapping[str, bool] | None = None,
) -> "Figure":
    """Mean curves by metric and method, controls in grey. ValueError where there is none."""
    if not bands:
        raise ValueError("no metric of this run keeps curves")
    methods = list(dict.fromkeys(method for by_method in bands.values() for method in by_method))
    across = 2 if len(bands) == 4 else min(ACROSS, len(bands))
    down = -(-len(bands) // across)
    legend = 0.18 * -(-len(methods) // (across * 2)) + 0.2
    span, drop = WIDTH + 0.75, HEIGHT + 0.85
    sheet = Sheet(0.1 + span * across, drop * down + legend)
    styles = dict(zip(methods, _styles(methods, controls), strict=True))
    handles: dict[str, Any] = {}
    for i, (metric, by_method) in enumerate(bands.items()):
        axes = sheet.axes((0.7 + span * (i % across), 0.4 + drop * (i // across), WIDTH, HEIGHT))
        better = {True: " ↑ higher is better", False: " ↓ lower is better", None: ""}
        direction = better[(higher_is_better or {}).get(metric)]
        axes.set_title(plain(metric) + direction, fontsize=9, loc="left", parse_math=False)
        axes.set_xlabel("share of features", fontsize=8, color=MUTED)
        axes.set_ylabel("mean over examples", fontsize=8, color=MUTED)
        axes.grid(color=LINE, linewidth=0.5)
        for method, band in by_method.items():
            axes.fill_between(band.at, band.low, band.high, color=styles[method]["color"], alpha=0.15, lw=0)
            handles[method] = axes.plot(band.at, band.mean, **styles[method])[0]
    names = [plain(m) + (" (control)" if m in controls else "") for m in handles]
    _legend(sheet, list(handles.values()), names, across * 2)
    return sheet.figure


def training_figure(history: Sequence[Mapping[str, Any]]) -> "Figure":
    """Losses and validation scores by epoch. ValueError where nothing was trained."""
    if not history:
        raise ValueError("nothing was trained in this run")
    names = list(dict.fromkeys(name for row in history for name in row))
    losses = [name for name in names if name.endswith("loss")]
    scores = [name for name in names if name.startswith("validation_") and name not in losses]
    groups = [(title, found) for title, found in (("loss", losses), ("validation score", scores)) if found]
    sheet = Sheet(0.1 + (WIDTH + 0.75) * max(1, len(groups)), HEIGHT + 1.0)
    epochs = [row.get("epoch", i) for i, row in enumerate(history)]
    for i, (title, found) in enumerate(groups):
        axes = sheet.axes((0.7 + (WIDTH + 0.75) * i, 0.4, WIDTH, HEIGHT))
        axes.set_title(title, fontsize=9, loc="left")
        axes.set_xlabel("epoch", fontsize=8, color=MUTED)
        axes.locator_params(axis="x", nbins=6, integer=True)
        axes.grid(color=LINE, linewidth=0.5)
        for name, style in zip(found, _styles(found, ()), strict=True):
            label = plain(name.removeprefix("validation_") if title != "loss" else name).replace("_", " ")
            marker = "o" if len(history) == 1 else None
            axes.plot(epochs, [_value(row.get(name)) for row in history], label=label, marker=marker, **style)
        _own_legend(axes)
    return sheet.figure


def _value(cell: Any) -> float:
    return float(cell) if cell not in (None, "") else float("nan")


def _styles(names: Sequence[str], controls: Collection[str]) -> list[dict[str, Any]]:
    """Colours first, then dashes; controls are grey."""
    found, plain_count, control_count = [], 0, 0
    for name in names:
        if name in controls:
            found.append({"color": "#8a8a8a", "ls": DASHES[1 + control_count % 3], "lw": 1.3})
            control_count += 1
        else:
            ink, dash = INKS[plain_count % len(INKS)], DASHES[plain_count // len(INKS) % len(DASHES)]
            found.append({"color": ink, "ls": dash, "lw": 1.5})
            plain_count += 1
    return found


def _legend(sheet: Sheet, handles: list[Any], names: list[str], columns: int) -> None:
    style: dict[str, Any] = {"loc": "lower left", "ncols": columns, "fontsize": 8, "frameon": False}
    legend = sheet.figure.legend(handles, names, bbox_to_anchor=(0.01, 0.01), **style)
    for text in legend.get_texts():
        text.set_parse_math(False)


def _own_legend(axes: "Axes") -> None:
    for text in axes.legend(fontsize=8, frameon=False).get_texts():
        text.set_parse_math(False)
