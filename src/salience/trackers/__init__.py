"""Trackers: optional sinks for finished runs, off by default."""

from .base import Tracked, Tracker, tell, track

__all__ = ["Tracked", "Tracker", "tell", "track"]
