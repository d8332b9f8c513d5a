"""One example as a page shows it: every method on one scale, as text, tables and layers of pictures."""

import base64
import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import ClassVar

import torch

from ..attribution.explanation import Explanation
from ..modality import Audio, Image, Modality, Series, Tokens
from .canvas import COLOURS, Sheet, number, plain, png
from .compare import Grid, grid_of
from .images import Overlay
from .panels import Cell, Panel, flaw
from .tables import feature_labels
from .text import Words

LEVELS = 10
"""Shades of either sign."""
FEATURES = 8
"""Rows of a table: the features that methods find largest."""
GLUED = "##"
"""What tokenisers write before the rest of a word that they cut."""


@dataclass(frozen=True)
class Shaded:
    """Features by methods, every cell with its number and its shade."""

    template: ClassVar[str] = "shaded.html"
    rows: list[tuple[str, list[tuple[str, int]]]]
    """Label of the feature; number and level of every method."""
    left: int
    """Features that are not shown."""


@dataclass(frozen=True)
class Layers:
    """The picture, and one layer of colours per method that lies over it."""

    template: ClassVar[str] = "layers.html"
    under: str
    over: list[str]
    """PNG files in base64."""


@dataclass(frozen=True)
class Text:
    """The words of every method: text, level, and whether it goes on where the word before ended."""

    template: ClassVar[str] = "words.html"
    words: list[list[tuple[str, int, bool]]]


@dataclass(frozen=True)
class Drawn:
    """One drawing per method: PNG files in base64."""

    template: ClassVar[str] = "drawn.html"
    pictures: list[str]


Block = Shaded | Layers | Text | Drawn


@dataclass(frozen=True)
class Card:
    """One example: a block per modality, and per method why there is nothing to see, where there is nothing."""

    blocks: list[tuple[str, Block]]
    notes: list[str | None]


def cards(
    explanations: Mapping[str, Explanation], rows: Sequence[int], controls: Collection[str] = ()
) -> list[Card]:
    """Examples (positions in the explanations) on the scale that `figures.compare` would draw them on."""
    grid = grid_of(explanations, rows, controls)
    names = [plain(p.modality.name) if len(grid.panels) > 1 else "" for p in grid.panels]
    return [
        Card(
            [(names[i], block(panel.modality, panel, grid, r, i)) for i, panel in enumerate(grid.panels)],
            [flaw(e, row) for e in grid.explanations],
        )
        for r, row in enumerate(grid.rows)
    ]


def level(value: float, limit: float) -> int:
    """The shade of a value, from -LEVELS to LEVELS; 0 where it is not a number."""
    share = value / limit if value == value else 0.0
    return round(LEVELS * max(-1.0, min(1.0, share)))


def shades() -> list[tuple[int, str, str]]:
    """Level, background and ink of every shade."""
    import matplotlib
    from matplotlib.colors import to_hex, to_rgb

    found = []
    for n in range(-LEVELS, LEVELS + 1):
        back = to_hex(matplotlib.colormaps[COLOURS]((n / LEVELS + 1) / 2))
        found.append((n, back, "#ffffff" if _luminance(to_rgb(back)) < 0.2 else "#14171c"))
    return found


def _luminance(colour: tuple[float, float, float]) -> float:
    """Relative luminance (WCAG 2): below 0.2 white text is read more easily than our dark ink."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@singledispatch
def block(modality: Modality, panel: Panel, grid: Grid, row: int, at: int) -> Block:
    """How a kind of modality is shown; a table of features where nothing better is known."""
    found = [grid.cells[row][k][at] for k in range(len(grid.methods))]
    labels, order = feature_labels(modality, found[0]), grid.order(row, at)[:FEATURES]
    rows = []
    for feature in order:
        values = [float(cell.values[feature]) for cell in found]
        shown = [(number(v), level(v, grid.limits[k][at])) for k, v in enumerate(values)]
        rows.append((labels[feature], shown))
    return Shaded(rows, max(0, int(found[0].present.sum()) - len(order)))


@block.register
def _(modality: Image, panel: Overlay, grid: Grid, row: int, at: int) -> Block:
    import matplotlib

    over = []
    for k in range(len(grid.methods)):
        share = (grid.cells[row][k][at].painted().mean(0) / grid.limits[k][at]).clamp(-1, 1).nan_to_num()
        colours = matplotlib.colormaps[COLOURS]((share.numpy() + 1) / 2)
        over.append(_picture(torch.as_tensor(colours[..., :3])))
    return Layers(_picture(panel.pixels(grid.cells[row][0][at])), over)


def _picture(pixels: torch.Tensor) -> str:
    """Pixels in [0, 1], [height, width] or [height, width, 3], as a PNG file in base64, pixel for pixel."""
    from matplotlib.image import imsave

    stream = io.BytesIO()
    imsave(stream, pixels.clamp(0, 1).numpy(), format="png", cmap="gray", vmin=0, vmax=1)
    return base64.b64encode(stream.getvalue()).decode()


@block.register
def _(modality: Tokens, panel: Words, grid: Grid, row: int, at: int) -> Block:
    first: Cell = grid.cells[row][0][at]
    words, ids = panel.words(first), first.raw[0].tolist()
    places = [p for p, i in enumerate(ids) if i != modality.padding_id]
    found = []
    for k in range(len(grid.methods)):
        values, limit = grid.cells[row][k][at].values, grid.limits[k][at]
        shown = [(words[p], level(float(values[p]), limit)) for p in places]
        found.append([(w.removeprefix(GLUED) if len(w) > 2 else w, n, w.startswith(GLUED)) for w, n in shown])
    return Text(found)


@block.register(Series)
@block.register(Audio)
def _(modality: Modality, panel: Panel, grid: Grid, row: int, at: int) -> Block:
    pictures = []
    for k in range(len(grid.methods)):
        cell = grid.cells[row][k][at]
        width, height = panel.size(cell, len(grid.methods))
        margin = panel.margin(cell)
        sheet = Sheet(width + margin + 0.1, height)
        panel.draw(
            sheet, (margin, 0.0, width, height), cell, grid.limits[k][at], grid.order(row, at), labels=True
        )
        pictures.append(base64.b64encode(png(sheet.figure, 90)).decode())
    return Drawn(pictures)
