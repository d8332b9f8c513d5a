"""The page of a run and the page of a comparison: one file that opens anywhere, without a network."""

from .build import leaderboard_html, page
from .compared import comparison_html, comparison_page

__all__ = ["comparison_html", "comparison_page", "leaderboard_html", "page"]
