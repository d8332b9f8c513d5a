"""Where a training stands, every few seconds, so that a killed one goes on instead of starting over."""

import time
from pathlib import Path

from .parts import Parts, Piece

EVERY = 30.0
"""Seconds between two checkpoints."""
KEPT = 2
"""Checkpoints that are kept: where the last is damaged the one before it serves."""


class Checkpoints:
    """The last states of one training, in a folder of its own: tensors and numbers only, each file whole or absent."""

    def __init__(self, folder: Path | str, every: float | None = None):
        self.parts = Parts(folder)
        self.every = EVERY if every is None else every
        self.saved = time.monotonic()

    def due(self) -> bool:
        """Whether it is time for another one."""
        return time.monotonic() - self.saved >= self.every

    def save(self, step: int, piece: Piece) -> None:
        """Keep the state after `step` steps, and the one before it."""
        self.parts.write(f"{step:012d}", *piece)
        for name in self.parts.names()[:-KEPT]:
            self.parts.remove(name)
        self.saved = time.monotonic()

    def last(self) -> Piece | None:
        """The latest state that is whole."""
        for name in reversed(self.parts.names()):
            if (piece := self.parts.read(name)) is not None:
                return piece
        return None

    def discard(self) -> None:
        """The training is over."""
        self.parts.discard()
