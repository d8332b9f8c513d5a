"""Curves with bands: how the score falls as features are hidden, and how a network learned."""

from dataclasses import dataclass


import numpy as np


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
