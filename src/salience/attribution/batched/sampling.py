"""Random coalitions and orders, one stream per row; drawn on the CPU, so that devices agree."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations
from math import comb

import torch
from torch import Tensor

Generators = Sequence[torch.Generator] | None
"""One generator per row; None: all rows draw from the global stream."""


def uniform_draws(generators: Generators, rows: int, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Uniform numbers [rows, *shape], each row from its own generator."""
    if generators is None:
        return torch.rand(rows, *shape).to(device)
    draws = torch.empty(rows, *shape)
    for own, generator in zip(draws, generators, strict=False):
        own.uniform_(generator=generator)
    return draws.to(device)


def coin_tosses(generators: Generators, rows: int, shape: tuple[int, int], device: torch.device) -> Tensor:
    """Fair coins, bool [rows, *shape]: eight to a random byte."""
    count, width = shape
    packed = torch.empty(rows, count, -(-width // 8), dtype=torch.uint8)
    for row, own in enumerate(packed):
        own.random_(0, 256, generator=None if generators is None else generators[row])
    bits = torch.tensor([1, 2, 4, 8, 16, 32, 64, 128], dtype=torch.uint8)
    return (packed[..., None] & bits).bool().flatten(2)[..., :width].to(device)


def ranks(noise: Tensor) -> Tensor:
    """The rank of each element along the last axis (a random permutation where the noise is random)."""
    order = ascending(noise, places=True)
    places = torch.arange(noise.shape[-1], device=noise.device).expand_as(order)
    return torch.empty_like(order).scatter_(-1, order, places)


def smallest(noise: Tensor, sizes: Tensor) -> Tensor:
    """Bool like `noise`: the `sizes` [...] smallest elements along the last axis (at least one)."""
    return noise <= ascending(noise).gather(-1, (sizes - 1)[..., None])


def ascending(noise: Tensor, places: bool = False) -> Tensor:
    """Sorted along the last axis (`places`: where each came from), by NumPy where it can be.

    On many short rows that is many times faster than torch.
    """
    if noise.device.type != "cpu":
        return noise.argsort(-1) if places else noise.sort(-1).values
    import numpy as np

    return torch.from_numpy((np.argsort if places else np.sort)(noise.numpy(), -1))


@dataclass(frozen=True)
class Strata:
    """How `count` coalitions of M players are spent under the Shapley kernel.

    Sizes whose share of the samples suffices for all their coalitions are taken whole, from 1 (and M - 1) on; the rest
    are drawn from the sizes between. (Lundberg & Lee 2017, as in their KernelExplainer.)
    """

    players: int
    whole: int
    """Sizes up to this, and from M minus this, are taken whole."""
    weights: tuple[float, ...]
    """Of each coalition: those taken whole first, by size; then those that are drawn."""

    @cached_property
    def weight(self) -> Tensor:
        """The weights as a tensor."""
        return torch.tensor(self.weights, dtype=torch.float64)

    @cached_property
    def taken(self) -> Tensor:
        """The coalitions that are taken whole, bool [some, players]."""
        sizes = [k for k in range(1, self.players) if min(k, self.players - k) <= self.whole]
        sizes.sort(key=lambda k: min(k, self.players - k))
        rows = [subset for k in sizes for subset in combinations(range(self.players), k)]
        shown = torch.zeros(len(rows), self.players, dtype=torch.bool)
        for row, subset in zip(shown, rows, strict=True):
            row[list(subset)] = True
        return shown

    @cached_property
    def drawn(self) -> int:
        """How many are drawn at random."""
        whole = (k for k in range(1, self.players) if min(k, self.players - k) <= self.whole)
        return len(self.weights) - sum(comb(self.players, k) for k in whole)


def kernel_mass(players: int) -> list[float]:
    """The Shapley kernel's share of each size 1..M-1, proportional to 1 / (k (M - k))."""
    weights = [1 / (k * (players - k)) for k in range(1, players)]
    return [weight / sum(weights) for weight in weights]


@lru_cache(256)
def strata(players: int, count: int) -> Strata:
    """How to spend `count` coalitions of `players` (2 or more)."""
    mass, left, rest, whole = kernel_mass(players), count, 1.0, 0
    weights: list[float] = []
    while whole < players // 2:
        size = whole + 1
        sizes = sorted({size, players - size})
        number, share = sum(comb(players, k) for k in sizes), sum(mass[k - 1] for k in sizes)
        if left * share < rest * number * (1 - 1e-9):
            break
        weights += [share / number] * number
        left, rest, whole = left - number, rest - share, size
    drawn = 0 if whole == players // 2 else left
    return Strata(players, whole, (*weights, *[rest / max(drawn, 1)] * drawn))


def random_sizes(uniform: Tensor, players: int, whole: int = 0) -> Tensor:
    """Sizes between `whole` and M - `whole`, by the Shapley kernel, from uniform numbers."""
    mass = torch.tensor(kernel_mass(players)[whole : players - 1 - whole], dtype=torch.float64)
    bounds = (mass.cumsum(0) / mass.sum())[:-1].to(uniform.device, uniform.dtype)
    return 1 + whole + torch.bucketize(uniform.contiguous(), bounds, right=True)
