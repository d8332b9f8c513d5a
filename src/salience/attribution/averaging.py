"""Examples explained in parts that are joined again: some rows, one target or one baseline at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Result = tuple[tuple[Tensor, ...], Tensor | None]
"""Attributions, one tensor per input, and the convergence delta [rows] where there is one."""


@dataclass(frozen=True)
class Rows:
    """Embedded examples and what belongs to each of them."""

    inputs: tuple[Tensor, ...]
    target: Tensor
    index: Tensor
    context: tuple[Tensor, ...]
    feature_mask: tuple[Tensor, ...]

    def at(self, rows: Tensor) -> "Rows":
        """Some of them; a mask that all examples share stays as it is."""
        return Rows(
            tuple(x[rows].detach() for x in self.inputs),
            self.target[rows],
            self.index[rows],
            tuple(c[rows] for c in self.context),
            tuple(m[rows] if len(m) > 1 else m for m in self.feature_mask),
        )


Call = Callable[[Rows, tuple[Tensor, ...]], Result]
"""Explains examples against baselines."""


def joined(results: Sequence[Result]) -> Result:
    """The results of parts, one after the other."""
    attributions = tuple(torch.cat(p) for p in zip(*(a for a, _ in results), strict=True))
    deltas = [d for _, d in results if d is not None]
    return attributions, torch.cat(deltas) if deltas else None


def target_by_target(
    call: Call, rows: Rows, pool: tuple[Tensor, ...], rows_for: Callable[[int], slice]
) -> Result:
    """The examples of one target after the other, each with the rows of a distribution that are for it."""
    places = [(rows.target == value).nonzero()[:, 0] for value in rows.target.unique()]
    own = (tuple(p[rows_for(int(rows.target[at[0]]))] for p in pool) for at in places)
    attributions, delta = joined([call(rows.at(at), some) for at, some in zip(places, own, strict=True)])
    back = torch.cat(places).argsort()
    return tuple(a[back] for a in attributions), None if delta is None else delta[back]


def averaged(call: Call, rows: Rows, pool: tuple[Tensor, ...]) -> Result:
    """The mean over the rows of a distribution, added up as they come so that no two results are held for long."""
    totals: tuple[Tensor, ...] | None = None
    total_delta: Tensor | None = None
    count = len(pool[0])
    for at in range(count):
        attributions, delta = call(rows, tuple(p[at : at + 1] for p in pool))
        shares = tuple(a / count for a in attributions)
        totals = shares if totals is None else tuple(t + s for t, s in zip(totals, shares, strict=True))
        if delta is not None:
            total_delta = delta / count if total_delta is None else total_delta + delta / count
    assert totals is not None
    return totals, total_delta
