"""Do methods say the same of the same examples? Descriptive: agreement is no sign of being right."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..attribution.explanation import Explanation
from ..errors import WrongInput
from .correlation import spearman


@dataclass(frozen=True)
class Agreement:
    """Matrices [methods, methods] of mean agreement over the examples, and where methods disagree most.

    Krishna et al. 2022 (The disagreement problem). Pairs are compared over the examples where both are defined; nan
    where there is none.
    """

    methods: tuple[str, ...]
    rank: Tensor
    """Spearman's correlation of |attributions| over features, -1 to 1."""
    sign: Tensor
    """Share of features to which both give a sign and the same one, of those to which either gives one."""
    top_k: Tensor
    """Share of the k largest |attributions| that both have."""
    k: int
    index: Tensor
    """The row of each example in its split [examples]."""
    disagreement: Tensor
    """1 - the mean rank agreement of all pairs of methods [examples]."""

    def most_disputed(self, count: int = 5) -> list[tuple[int, float]]:
        """The examples on which methods disagree most: row in the split, and disagreement, largest first."""
        order = self.disagreement.nan_to_num(-1.0).argsort(descending=True, stable=True)[:count]
        return [(int(self.index[i]), float(self.disagreement[i])) for i in order if self.disagreement[i] >= 0]


def agreement(methods: Mapping[str, Iterable[Explanation]], k: int = 5) -> Agreement:
    """Compare methods on the same examples; each gives its explanations in parts, as `RunResult.explanations` does.

    An `Explanation` by itself may stand for its only part. Layer explanations are left out. WrongInput below two
    methods, or where the examples differ.
    """
    maps, index, present = {}, None, None
    for name, parts in methods.items():
        found = [parts] if isinstance(parts, Explanation) else list(parts)
        if not all(part.of_inputs for part in found):
            continue
        rows = torch.cat([part.index for part in found])
        if index is not None and not torch.equal(rows, index):
            raise WrongInput(f"{name}: explains other examples than the methods before it")
        index, present = rows, torch.cat([part.present for part in found])
        maps[name] = torch.cat([part.per_feature().double() for part in found])
    if len(maps) < 2 or index is None or present is None:
        raise WrongInput("agreement compares two or more methods that explain the inputs")
    pairs = {(a, b): _pair(maps[a], maps[b], present, k) for a in maps for b in maps}
    names = tuple(maps)

    def matrix(which: int) -> Tensor:
        return torch.stack([torch.stack([pairs[a, b][which].nanmean() for b in names]) for a in names])

    between = torch.stack([pairs[a, b][0] for i, a in enumerate(names) for b in names[i + 1 :]], 1)
    return Agreement(names, matrix(0), matrix(1), matrix(2), k, index, 1 - between.nanmean(1))


def _pair(a: Tensor, b: Tensor, present: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rank, sign and top-k agreement of two maps [examples]."""
    rank = spearman(a.abs(), b.abs(), present)
    either = ((a != 0) | (b != 0)) & present
    same = (a.sign() == b.sign()) & either
    signs = same.sum(1).double() / either.sum(1)  # 0 / 0 is nan: neither gives a sign
    count = present.sum(1).clamp(max=k)
    both = (_top(a, present, count) & _top(b, present, count)).sum(1).double() / count
    return rank, signs, both


def _top(values: Tensor, present: Tensor, count: Tensor) -> Tensor:
    """The `count` [examples] largest sizes; at equal sizes the first ones."""
    order = values.abs().masked_fill(~present, -1.0).argsort(stable=True, dim=1, descending=True)
    return order.argsort(1) < count[:, None]
