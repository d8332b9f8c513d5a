"""The paper that figures are drawn on: placed in inches from the top left, so that nothing overlaps by surprise."""

import base64
import html
import io
import textwrap
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FOR, AGAINST, MUTED, LINE = "#b2182b", "#2166ac", "#5f6368", "#d0d0d0"
COLOURS = "RdBu_r"
"""Diverging, told apart with every kind of colour blindness: red speaks for the output, blue against, white is 0."""
Box = tuple[float, float, float, float]
"""Left, top, width, height in inches."""


def plain(text: object, length: int = 40) -> str:
    """One printable line of at most `length` characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return line if len(line) <= length else line[: length - 1] + "…"


def number(value: float) -> str:
    """Four significant digits."""
    return f"{value:.4g}".replace("-", "−")


class Sheet:
    """A figure of a fixed size without global state."""

    def __init__(self, width: float, height: float):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.width, self.height = width, height
        self.figure = Figure(figsize=(width, height), facecolor="white")
        FigureCanvasAgg(self.figure)
        # notebooks draw what has this method; a Figure made without pyplot has none
        self.figure._repr_png_ = partial(png, self.figure)  # type: ignore[attr-defined]

    def axes(self, box: Box, frame: bool = True) -> "Axes":
        """Axes whose drawing area is `box`; labels lie outside."""
        left, top, width, height = box
        at = (left / self.width, 1 - (top + height) / self.height, width / self.width, height / self.height)
        axes = self.figure.add_axes(at)
        axes.tick_params(labelsize=8, colors=MUTED, length=2)
        for side, spine in axes.spines.items():
            spine.set_visible(frame and side in ("left", "bottom"))
            spine.set_color(LINE)
        if not frame:
            axes.set_xticks([])
            axes.set_yticks([])
        return axes

    def text(self, left: float, top: float, text: str, size: float = 8.5, **style: Any) -> None:
        """Text that begins at a place; `$` is a dollar, not mathematics."""
        look: dict[str, Any] = {"va": "top", "color": "#202124", "linespacing": 1.3} | style
        self.figure.text(
            left / self.width, 1 - top / self.height, text, fontsize=size, parse_math=False, **look
        )

    def note(self, centre: float, middle: float, text: str) -> None:
        """A word on top of a drawing."""
        width = 0.085 * len(text)
        axes = self.axes((centre - width / 2, middle - 0.11, width, 0.22), frame=False)
        axes.set_zorder(10)
        axes.patch.set_alpha(0.9)
        axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=9, color=MUTED, style="italic")

    def colour_bar(self, box: Box, limit: float, label: str) -> None:
        """The scale of the diverging colours, from -limit to limit."""
        import numpy as np

        axes = self.axes(box, frame=False)
        span = (-limit, limit, 0, 1)
        axes.imshow(np.linspace(-1, 1, 256)[None], cmap=COLOURS, vmin=-1, vmax=1, aspect="auto", extent=span)
        axes.set_xticks([-limit, 0, limit], [number(-limit), "0", number(limit)])
        axes.set_title(label, fontsize=8, color=MUTED, pad=3, parse_math=False)


def wrapped(text: str, width: float, size: float = 8.5) -> list[str]:
    """Lines of proportional text that fit into `width` inches."""
    return textwrap.wrap(text, max(20, int(width / (size * 0.5 / 72)))) or [""]


def png(figure: "Figure", dpi: int = 110) -> bytes:
    """The figure as a PNG file; the same figure gives the same bytes."""
    import warnings

    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # drawn as a box, which says enough
        figure.savefig(stream, format="png", dpi=dpi, metadata={"Software": None})
    return stream.getvalue()


def image_tag(content: bytes, alt: str) -> str:
    """A PNG as an HTML image that needs no file."""
    encoded = base64.b64encode(content).decode()
    return f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{encoded}" style="max-width:100%">'
