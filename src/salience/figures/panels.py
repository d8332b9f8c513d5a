"""What a figure shows of one modality of one example, and which panel draws it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import singledispatch

import torch
from torch import Tensor

from ..attribution.explanation import Explanation
from ..modality import Modality
from .canvas import Box, Sheet

NO_SIGNAL = 1e-6
"""Attributions that are all smaller than this share of the score are rounding errors, not a map."""


@dataclass(frozen=True)
class Cell:
    """One modality of one example as one method explains it."""

    raw: Tensor
    """The input as the data holds it [1, ...]."""
    values: Tensor
    """Signed attribution per feature of this modality [features]."""
    present: Tensor
    """Bool [features]: False for padding."""
    mask: Tensor
    """Element -> feature [...], numbered from 0 within this modality."""

    def painted(self) -> Tensor:
        """The value of its feature on every element, in the shape of one embedded input."""
        return self.values[self.mask]


def cells(explanation: Explanation, example: int) -> list[Cell]:
    """The cells of one example, one per modality."""
    values, found = explanation.per_feature()[example].detach().float().cpu(), []
    for raw, mask in zip(explanation.raw, explanation.feature_mask, strict=True):
        own = mask[example if len(mask) > 1 else 0].cpu()
        first, last = int(own.min()), int(own.max()) + 1
        present = explanation.present[example, first:last].cpu()
        one = raw[example if len(raw) > 1 else 0][None].detach().cpu()
        found.append(Cell(one, values[first:last], present, own - first))
    return found


def modalities(explanation: Explanation) -> tuple[Modality, ...]:
    """The modalities, or plain ones where nobody said what the inputs are."""
    if explanation.modalities:
        return explanation.modalities
    return tuple(Modality(tuple(x.shape[1:]), f"input {i}") for i, x in enumerate(explanation.inputs))


def flaw(explanation: Explanation, example: int) -> str | None:
    """Why there is nothing to draw: `no signal`, `not a number`; None where there is."""
    values = explanation.per_feature()[example]
    if not values.isfinite().all():
        return "not a number"
    least = NO_SIGNAL * max(abs(float(explanation.score[example])), 0.01)
    return "no signal" if float(values.abs().max()) <= least else None


class Panel(ABC):
    """How one modality is drawn. Sizes are inches, without the margin on the left that labels need."""

    shows_input = False
    """Whether the input itself is worth a picture beside its attributions."""
    coloured = True
    """Whether values are read from the colour bar."""
    middle = 0.5
    """Where a note such as `no signal` goes, as a share of the height."""
    percentile = 100.0
    """The share of |attribution| that the scale covers; what lies beyond is drawn in the last colour."""

    def __init__(self, modality: Modality):
        self.modality = modality

    @abstractmethod
    def size(self, cell: Cell, columns: int) -> tuple[float, float]:
        """Width and height of one drawing, where `columns` methods stand side by side."""

    def margin(self, cell: Cell) -> float:
        """Room for labels to the left of the first method."""
        return 0.1

    def order(self, weight: Tensor, cell: Cell) -> list[int]:
        """The features that are drawn, first to last; `weight` [features] is their mean |attribution|."""
        return list(range(len(weight)))

    @abstractmethod
    def draw(self, sheet: Sheet, box: Box, cell: Cell, limit: float, order: list[int], labels: bool) -> None:
        """Draw the attributions into `box`; `limit` is the largest value of the scale."""

    def draw_input(self, sheet: Sheet, box: Box, cell: Cell) -> None:  # noqa: B027 (only where shows_input)
        """Draw the input itself."""

    def has_means(self, mean: Tensor) -> bool:
        """Whether a feature keeps its meaning from one example to the next, so that means can be drawn."""
        return False

    def draw_mean(self, sheet: Sheet, box: Box, mean: Tensor) -> None:  # noqa: B027 (only where has_means)
        """Draw mean |attribution| [features] over examples."""


@singledispatch
def panel_for(modality: Modality) -> Panel:
    """The panel of a kind of modality; kinds register theirs in modules of their own."""
    raise TypeError(f"no panel draws {type(modality).__name__}")


def scale(values: list[Tensor], percentile: float) -> float:
    """The largest value of a scale that covers `percentile` of all |values|; never 0."""
    sizes = torch.cat([v.abs().flatten() for v in values]) if values else torch.zeros(0)
    sizes = sizes[sizes.isfinite()]
    if not len(sizes) or not sizes.max() > 0:
        return 1.0
    robust = float(sizes.double().quantile(percentile / 100)) if len(sizes) < 1 << 20 else float(sizes.max())
    return robust or float(sizes.max())
