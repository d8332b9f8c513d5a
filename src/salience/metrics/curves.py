"""Features hidden or shown one after the other: the order, the steps, and the scores along the way."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor

from ..attribution.explanation import Explained, Explanation, Explicand
from ..randomness import Streams
from .base import Reference, row_scores

ANY = (float("-inf"), float("inf"))
"""The range of a score that the network alone bounds."""


def descending(values: Tensor, explicand: Explicand, streams: Streams, purpose: str) -> Tensor:
    """The rank of every feature [examples, features], 0 for the largest of `values`; absent ones come last.

    Equal values are put in a random order, drawn per example from the stream `purpose`: any fixed order would
    favour features by their place.
    """
    order = _order(values, explicand.present)
    in_order = values.gather(1, order)
    inside = explicand.present.gather(1, order)[:, 1:]
    tied = ((in_order[:, 1:] == in_order[:, :-1]) & inside).any(1).nonzero()[:, 0]
    if len(tied):
        shuffle = torch.stack([_shuffle(explicand, e, streams, purpose) for e in tied.tolist()]).to(
            order.device
        )
        again = _order(values[tied].gather(1, shuffle), explicand.present[tied].gather(1, shuffle))
        order[tied] = shuffle.gather(1, again)
    return order.argsort(1)


def _order(values: Tensor, present: Tensor) -> Tensor:
    return values.masked_fill(~present, -torch.inf).argsort(stable=True, dim=1, descending=True)


def _shuffle(explicand: Explicand, example: int, streams: Streams, purpose: str) -> Tensor:
    """A random order of the present features [features], the absent ones at the end.

    Only as much is drawn as there are present features, so that padding changes no draw.
    """
    present = explicand.present[example].cpu()
    here = present.nonzero()[:, 0]
    generator = streams.generator(purpose, int(explicand.index[example]))
    return torch.cat([here[torch.randperm(len(here), generator=generator)], (~present).nonzero()[:, 0]])


def reverse(ranks: Tensor, explicand: Explicand) -> Tensor:
    """The opposite order: rank 0 for what came last; absent features stay last."""
    last = explicand.present.sum(1, keepdim=True) - 1
    return torch.where(explicand.present, last - ranks, ranks)


@dataclass(frozen=True)
class Steps:
    """How many features each step touches: `counts` [examples, columns], where `valid`; from 0 to the end.

    An example with fewer features than steps has one step per feature and fewer valid columns.
    """

    counts: Tensor
    valid: Tensor

    @staticmethod
    def equal(explicand: Explicand, steps: int, share: float = 1.0) -> "Steps":
        """0, then `steps` equal parts of that share of the present features (at least one feature)."""
        last = leading(explicand, [share])
        num_steps = last.clamp(max=steps)
        columns = torch.arange(
            min(steps, ceil(share * explicand.num_features - 1e-9)) + 1, device=last.device
        )
        counts = (2 * columns * last + num_steps) // (2 * num_steps).clamp(min=1)  # rounded to the nearest
        return Steps(counts.minimum(last), columns <= num_steps)

    def mean(self, values: Tensor) -> Tensor:
        """The mean over the valid steps [examples]."""
        return values.masked_fill(~self.valid, 0.0).sum(1) / self.valid.sum(1)

    def moves(self, values: Tensor) -> Tensor:
        """Differences between neighbouring steps [examples, columns - 1]; 0 where there is no step."""
        return values.diff(dim=1).masked_fill(~self.valid[:, 1:], 0.0)

    def stretched(self, values: Tensor) -> Tensor:
        """`values` on one axis for all examples (shares 0 to 1), linear between the steps an example has."""
        last = self.valid.sum(1, keepdim=True) - 1
        columns = values.shape[1]
        place = torch.arange(columns, device=values.device) * last / max(1, columns - 1)
        low = place.floor().long()
        high = torch.minimum(low + 1, last)
        part = (place - low).to(values.dtype)
        return values.gather(1, low) * (1 - part) + values.gather(1, high) * part

    def axis(self, share: float = 1.0) -> Tensor:
        """The axis of `stretched` [columns]."""
        return torch.linspace(0, share, self.counts.shape[1], dtype=torch.float64)


def leading(explicand: Explicand, shares: Sequence[float]) -> Tensor:
    """How many features each share of the present ones is [examples, shares]: rounded up, so at least one."""
    present = explicand.present.sum(1, keepdim=True)
    shares_tensor = torch.tensor(list(shares), dtype=torch.float64, device=present.device)
    return (present * shares_tensor - 1e-9).ceil().long()  # 0.1 * 30 is a little more than 3


def hiding(
    model: Explained,
    explanation: Explanation,
    reference: Reference,
    ranks: Tensor,
    steps: Steps,
    rows: int | None,
) -> Tensor:
    """The target's score [examples, columns] with the first `counts` features hidden; 0 where not valid."""
    return _along(model, explanation, reference, ranks, steps, rows, hide=True)


def showing(
    model: Explained,
    explanation: Explanation,
    reference: Reference,
    ranks: Tensor,
    steps: Steps,
    rows: int | None,
) -> Tensor:
    """The target's score [examples, columns] with the first `counts` features shown; 0 where not valid."""
    return _along(model, explanation, reference, ranks, steps, rows, hide=False)


def _along(
    model: Explained,
    explanation: Explanation,
    reference: Reference,
    ranks: Tensor,
    steps: Steps,
    rows: int | None,
    hide: bool,
) -> Tensor:
    whole = steps.counts == (0 if hide else explanation.present.sum(1, keepdim=True))
    which, column = (steps.valid & ~whole).nonzero(as_tuple=True)  # f(x) itself is known
    count = steps.counts[which, column][:, None]

    def shown(at: slice) -> Tensor:
        first = ranks[which[at]] < count[at]
        return ~first if hide else first

    scores = torch.where(whole & steps.valid, explanation.score[:, None], 0.0)
    scores[which, column] = row_scores(model, explanation, reference, which, shown, rows)
    return scores
