"""Explanations as pictures. Nothing here draws at import, and nothing keeps global state."""

from . import images, series, tables, text  # noqa: F401  each registers the panels of its kind
from .compare import compare
from .curves import curves_figure, training_figure
from .gallery import INDEX, as_html, draw, save_all
from .summary import means, summary_figure

__all__ = [
    "INDEX",
    "as_html",
    "compare",
    "curves_figure",
    "draw",
    "means",
    "save_all",
    "summary_figure",
    "training_figure",
]
