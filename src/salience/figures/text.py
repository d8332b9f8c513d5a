"""Tokens: words shaded by their attributions, wrapped like text."""

import unicodedata
from typing import Any

from ..modality import Tokens
from .canvas import COLOURS, MUTED, Box, Sheet, plain
from .panels import Cell, Panel, panel_for

SIZE = 9.0
LETTER = SIZE * 0.602 / 72
"""Width of one letter of the monospaced font in inches: all are equally wide, so lines can be broken exactly."""
LINE_HEIGHT = 0.24


def letters_of(word: str) -> int:
    """The width of a word in letters: wide characters (Chinese, emoji) take two."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in word)


class Words(Panel):
    """Shaded words; padding is left out, special tokens are grey."""

    middle = 1.0
    modality: Tokens

    def size(self, cell: Cell, columns: int) -> tuple[float, float]:
        width = 6.5 if columns == 1 else 2.9
        return width, LINE_HEIGHT * (1 + max(line for _, line, _, _ in self.places(cell, width))) + 0.1

    def words(self, cell: Cell) -> list[str]:
        """The text of every token that is not padding, with its position implied."""
        return [plain(word, 24) or "␣" for word in self.modality.words(cell.raw[0].tolist())]

    def places(self, cell: Cell, width: float) -> list[tuple[int, int, int, str]]:
        """Position, line, first letter and text of every token that is drawn."""
        letters, line, column, found = int(width / LETTER), 0, 0, []
        for position, word in enumerate(self.words(cell)):
            if int(cell.raw[0, position]) == self.modality.padding_id:
                continue
            if column and column + letters_of(word) > letters:
                line, column = line + 1, 0
            found.append((position, line, column, word))
            column += letters_of(word) + 1
        return found or [(0, 0, 0, "(empty)")]

    def draw(self, sheet: Sheet, box: Box, cell: Cell, limit: float, order: list[int], labels: bool) -> None:
        import matplotlib

        left, top, width, height = box
        axes = sheet.axes(box, frame=False)
        axes.set_xlim(0, width)
        axes.set_ylim(height, 0)
        for position, line, column, word in self.places(cell, width):
            x, y = column * LETTER, 0.05 + line * LINE_HEIGHT
            present = bool(cell.present[position])
            share = max(-1.0, min(1.0, float(cell.values[position]) / limit)) if present else 0.0
            colour = matplotlib.colormaps[COLOURS]((share + 1) / 2)
            ink = "white" if abs(share) > 0.7 else "#202124"
            shade = matplotlib.patches.Rectangle(
                (x, y), letters_of(word) * LETTER, LINE_HEIGHT * 0.86, color=colour
            )
            axes.add_patch(shade)
            style: dict[str, Any] = {"color": ink} if present else {"color": MUTED, "style": "italic"}
            middle = y + LINE_HEIGHT * 0.43
            axes.text(
                x, middle, word, fontsize=SIZE, family="monospace", va="center", parse_math=False, **style
            )


@panel_for.register
def _(modality: Tokens) -> Panel:
    return Words(modality)
