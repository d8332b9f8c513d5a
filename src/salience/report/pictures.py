"""Figures on a page: within a budget, with alternative text and with their numbers as a table."""

import base64
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..files import slug

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BUDGET = 3_200_000
"""Bytes of pictures that a page takes in, so that it stays under 5 MB in base64 with everything else."""


@dataclass(frozen=True)
class Picture:
    """One figure: its bytes as text, or nothing where the page would grow too large."""

    title: str
    alt: str
    name: str
    """Its file in the run folder, or the name under which it is saved."""
    data: str | None
    id: str
    header: Sequence[str] = ()
    rows: Sequence[Sequence[Any]] = ()
    """What it shows, in numbers."""

    @property
    def file(self) -> str:
        return f"{slug(self.name.rpartition('/')[2].removesuffix('.png'))}.png"


@dataclass
class Album:
    """Takes pictures in until the budget is spent; what cannot be drawn is said in `missing`."""

    budget: int = BUDGET
    missing: list[str] = field(default_factory=list)
    _number: Any = field(default_factory=itertools.count)

    def file(self, content: bytes, title: str, alt: str, name: str, table: Any = ((), ())) -> Picture:
        """A picture that a file holds."""
        self.budget -= len(content)
        data = base64.b64encode(content).decode() if self.budget >= 0 else None
        return Picture(title, alt, name, data, f"numbers-{next(self._number)}", *table)

    def draw(
        self, make: Callable[[], "Figure"], title: str, alt: str, name: str, table: Any = ((), ())
    ) -> list[Picture]:
        """A picture that is drawn now, as a list; empty where drawing fails, for a page must not."""
        from ..figures.canvas import png

        try:
            content = png(make(), 130)
        except (ValueError, TypeError, ArithmeticError, LookupError) as mistake:
            self.missing.append(f"{title}: {' '.join(str(mistake).split())}"[:200])
            return []
        return [self.file(content, title, alt, name, table)]
