"""Correlations and ranks of many rows at once, each row over its own valid columns."""

import torch
from torch import Tensor

from ..attribution.batched.sampling import ascending


def pearson(a: Tensor, b: Tensor, valid: Tensor) -> Tensor:
    """Pearson's correlation of rows of `a` and `b` over their `valid` columns [rows]; nan where constant."""
    count = valid.sum(-1, keepdim=True)

    def centred(x: Tensor) -> Tensor:
        x = x.double().masked_fill(~valid, 0.0)
        return (x - x.sum(-1, keepdim=True) / count).masked_fill(~valid, 0.0)

    scale_a, scale_b = (x.double().masked_fill(~valid, 0.0).abs().amax(-1) for x in (a, b))
    a, b = centred(a), centred(b)
    norm_a, norm_b = a.norm(dim=-1), b.norm(dim=-1)
    constant = (norm_a <= 1e-7 * scale_a) | (norm_b <= 1e-7 * scale_b)  # equal but for float32 rounding
    r = ((a * b).sum(-1) / (norm_a * norm_b)).clamp(-1, 1)
    return r.masked_fill(constant | (count[..., 0] < 2), torch.nan)


def average_ranks(values: Tensor, valid: Tensor) -> Tensor:
    """Ranks of each row's valid columns in ascending order, from 1; equal values share their mean rank."""
    filled = values.masked_fill(~valid, torch.inf).contiguous()
    ordered = ascending(filled)
    below = torch.searchsorted(ordered, filled)
    up_to = torch.searchsorted(ordered, filled, right=True)
    return (below + up_to + 1).double() / 2


def spearman(a: Tensor, b: Tensor, valid: Tensor) -> Tensor:
    """Spearman's rank correlation of each row over its `valid` columns [rows]; nan where one is constant."""
    return pearson(average_ranks(a, valid), average_ranks(b, valid), valid)
