"""The page of a run: one file that opens anywhere, without a network."""

from .build import leaderboard_html, page

__all__ = ["leaderboard_html", "page"]
