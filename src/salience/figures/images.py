"""Pixels and spectrograms: the input, and beside it the input in the colours of its attributions."""

import torch
from torch import Tensor

from ..modality import Audio, Image
from .canvas import COLOURS, MUTED, Box, Sheet
from .panels import Cell, Panel, panel_for, scale


class Overlay(Panel):
    """Attributions in diverging colours, darkened where the image differs from its usual grey.

    So the colours of the background are those of the colour bar, and the outlines can still be seen.
    """

    shows_input = True
    percentile = 99.0
    modality: Image

    def size(self, cell: Cell, columns: int) -> tuple[float, float]:
        _, rows, across = self.modality.shape
        longest = 2.6 if columns == 1 else 1.45
        return longest * min(1, across / rows), longest * min(1, rows / across) + self.axis_room

    axis_room = 0.08

    def pixels(self, cell: Cell) -> Tensor:
        """The image in [0, 1]: [height, width, 3] where it has colours, else [height, width]."""
        image = self.modality.original(cell.raw)[0].detach().float()
        low, high = image.min(), image.max()
        if low < -1e-3 or high > 1 + 1e-3:  # nobody said how to undo its normalisation
            image = (image - low) / (high - low).clamp(min=1e-12)
        image = image.clamp(0, 1)
        return image.permute(1, 2, 0) if len(image) == 3 else image.mean(0)

    def draw_input(self, sheet: Sheet, box: Box, cell: Cell) -> None:
        axes = self.frame(sheet, box)
        axes.imshow(self.pixels(cell).numpy(), cmap="gray", vmin=0, vmax=1, **self.extent())

    def draw(self, sheet: Sheet, box: Box, cell: Cell, limit: float, order: list[int], labels: bool) -> None:
        import matplotlib

        axes = self.frame(sheet, box, labels=False)
        grey = self.pixels(cell)
        grey = grey.mean(2) if grey.dim() == 3 else grey
        shade = 1 - 0.25 * (grey - grey.median()).abs()[..., None]
        share = (cell.painted().mean(0) / limit).clamp(-1, 1)
        colours = torch.as_tensor(matplotlib.colormaps[COLOURS]((share.numpy() + 1) / 2)[..., :3])
        axes.imshow((colours * shade).numpy(), **self.extent())

    def has_means(self, mean: Tensor) -> bool:
        return len(mean) == self.modality.num_features

    def draw_mean(self, sheet: Sheet, box: Box, mean: Tensor) -> None:
        left, top, width, height = box
        side = min(width - 0.3, height - 0.3)
        axes = self.frame(sheet, (left + 0.1, top, side, side))
        axes.imshow(mean.reshape(self.modality.grid).numpy(), cmap="Greys", vmin=0, vmax=scale([mean], 99))

    def frame(self, sheet: Sheet, box: Box, labels: bool = True):
        left, top, width, height = box
        return sheet.axes((left, top, width, height - self.axis_room), frame=False)

    def extent(self) -> dict:
        return {"interpolation": "nearest", "aspect": "auto"}


class Spectrogram(Overlay):
    """The same with time and frequency at its axes, low frequencies below."""

    axis_room = 0.4
    modality: Audio

    def size(self, cell: Cell, columns: int) -> tuple[float, float]:
        return (3.6, 2.2) if columns == 1 else (2.1, 1.6)

    def frame(self, sheet: Sheet, box: Box, labels: bool = True):
        left, top, width, height = box
        room = 0.4 if labels else 0.0
        axes = sheet.axes((left + room, top, width - room, height - self.axis_room))
        axes.set_xlabel("s", fontsize=8, color=MUTED, labelpad=1)
        axes.tick_params(labelleft=labels)
        axes.locator_params(nbins=3)
        if labels:
            axes.set_ylabel("Hz", fontsize=8, color=MUTED, labelpad=1)
        return axes

    def extent(self) -> dict:
        _, rows, across = self.modality.shape
        end, highest = across * self.modality.seconds, rows * self.modality.hertz
        return {
            "interpolation": "nearest",
            "aspect": "auto",
            "origin": "lower",
            "extent": (0, end, 0, highest),
        }


@panel_for.register
def _(modality: Image) -> Panel:
    return Overlay(modality)


@panel_for.register
def _(modality: Audio) -> Panel:
    return Spectrogram(modality)
