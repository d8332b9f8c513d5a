"""Channels over time: the curve, on a background in the colours of its attributions."""

from typing import Any

import torch
from torch import Tensor

from ..modality import Series
from .canvas import COLOURS, MUTED, Box, Sheet, plain
from .panels import Cell, Panel, panel_for

CHANNELS = 6
"""The channels with the largest attributions are drawn."""


class Curves(Panel):
    """One strip per channel."""

    modality: Series
    percentile = 99.0

    def size(self, cell: Cell, columns: int) -> tuple[float, float]:
        strip = 1.3 if columns == 1 else 0.75
        return (6.0 if columns == 1 else 2.4), strip * min(CHANNELS, self.modality.shape[0]) + 0.45

    def margin(self, cell: Cell) -> float:
        return 0.55 + 0.06 * max(len(name) for name in self.names())

    def names(self) -> list[str]:
        """The channels as a person would name them; nothing where there is one without a name."""
        count = self.modality.shape[0]
        unnamed = [f"channel {c}" for c in range(count)] if count > 1 else [""]
        return [plain(c, 20) for c in self.modality.channels or unnamed]

    def draw(self, sheet: Sheet, box: Box, cell: Cell, limit: float, order: list[int], labels: bool) -> None:
        left, top, width, height = box
        curves, painted = self.modality.original(cell.raw)[0], cell.painted()
        chosen = sorted(self.largest(painted))
        strip = (height - 0.45) / len(chosen)
        for row, channel in enumerate(chosen):
            axes = sheet.axes((left, top + row * strip, width, strip * 0.9))
            curve, steps = curves[channel].numpy(), curves.shape[1]
            low, high = float(curve.min()), float(curve.max())
            room = 0.08 * (high - low) or 1.0
            span = (-0.5, steps - 0.5, low - room, high + room)
            shade: dict[str, Any] = {
                "cmap": COLOURS,
                "vmin": -limit,
                "vmax": limit,
                "aspect": "auto",
                "extent": span,
            }
            axes.imshow(painted[channel].numpy()[None], interpolation="nearest", **shade)
            axes.plot(range(steps), curve, color="#202124", linewidth=1.1)
            axes.locator_params(axis="y", nbins=3)
            axes.tick_params(labelleft=labels, labelbottom=row == len(chosen) - 1)
            if labels:
                axes.set_ylabel(self.names()[channel], fontsize=8, rotation=0, ha="right", va="center")
                axes.yaxis.label.set_parse_math(False)
        axes.set_xlabel(plain(self.modality.step), fontsize=8, color=MUTED, labelpad=1)

    def largest(self, painted: Tensor) -> list[int]:
        """The channels with the largest sum of |attribution|."""
        sizes = painted.abs().flatten(1).sum(1)
        return torch.argsort(sizes, descending=True, stable=True)[:CHANNELS].tolist()


@panel_for.register
def _(modality: Series) -> Panel:
    return Curves(modality)
