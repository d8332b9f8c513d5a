"""Examples explained in parts that are joined again: some rows, one target or one baseline at a time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Result:
    """What a method gave for some rows."""

    attributions: tuple[Tensor, ...]
    """One tensor per input."""
    delta: Tensor | None = None
    """The convergence delta [rows], where the method has one."""
    details: Mapping[str, Tensor] = field(default_factory=dict)
    """What else it says of each row, one number [rows] each: steps, the fit of a surrogate."""


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
    attributions = tuple(torch.cat(p) for p in zip(*(r.attributions for r in results), strict=True))
    deltas = [r.delta for r in results if r.delta is not None]
    details = {name: torch.cat([r.details[name] for r in results]) for name in results[0].details}
    return Result(attributions, torch.cat(deltas) if deltas else None, details)


def target_by_target(
    call: Call, rows: Rows, pool: tuple[Tensor, ...], rows_for: Callable[[int], slice]
) -> Result:
    """The examples of one target after the other, each with the rows of a distribution that are for it."""
    places = [(rows.target == value).nonzero()[:, 0] for value in rows.target.unique()]
    own = (tuple(p[rows_for(int(rows.target[at[0]]))] for p in pool) for at in places)
    found = joined([call(rows.at(at), some) for at, some in zip(places, own, strict=True)])
    back = torch.cat(places).argsort()
    return Result(
        tuple(a[back] for a in found.attributions),
        None if found.delta is None else found.delta[back],
        {name: value[back] for name, value in found.details.items()},
    )


def averaged(call: Call, rows: Rows, pool: tuple[Tensor, ...]) -> Result:
    """The mean over the rows of a distribution, added up as they come so that no two results are held for long."""
    count = len(pool[0])
    parts = (call(rows, tuple(p[at : at + 1] for p in pool)) for at in range(count))
    total = _share(next(parts), count)
    for part in parts:
        share = _share(part, count)
        total = Result(
            tuple(t + s for t, s in zip(total.attributions, share.attributions, strict=True)),
            None if total.delta is None or share.delta is None else total.delta + share.delta,
            {name: value + share.details[name] for name, value in total.details.items()},
        )
    return total


def _share(result: Result, count: int) -> Result:
    return Result(
        tuple(a / count for a in result.attributions),
        None if result.delta is None else result.delta / count,
        {name: value.to(torch.float64) / count for name, value in result.details.items()},
    )
