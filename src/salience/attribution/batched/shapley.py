"""Shapley values: exact by enumeration, and estimated by permutations."""

from collections.abc import Sequence
from math import comb
from typing import Any

import captum.attr
import torch
from torch import Tensor

from ..planner import Call
from .coalitions import Game
from .sampling import ranks, uniform_draws

MASKS = 1 << 24
"""Elements of coalitions that are laid out at a time."""
MOST_PLAYERS = 16
"""Above this, exact values need more than 65,536 coalitions a row."""


class ShapleyValues(captum.attr.ShapleyValues):
    """Exact Shapley values (Shapley 1953) of features: each coalition is evaluated once, 2^M rows instead of M! * M.

    They sum to f(x) - f(baseline). Features that equal their baseline are no players and get 0. ValueError with more
    than 16 players in a row.
    """

    def attribute(  # type: ignore[override]
        self,
        inputs: Any,
        baselines: Any = None,
        target: Any = None,
        additional_forward_args: Any = None,
        feature_mask: Any = None,
        perturbations_per_eval: int = 1,
        show_progress: bool = False,
    ) -> Any:
        """As Captum's; `perturbations_per_eval` is not needed."""
        game = Game(Call(self.forward_func, inputs, baselines, target, additional_forward_args), feature_mask)
        return game.call.result(game.spread(exact_values(game)))


def enumerable(game: Game, rows: int, exact: bool | str) -> bool:
    """Whether exact values are taken in place of an estimate that costs `rows` rows an example.

    "auto" decides by the number of features, not of players, so that every row of a run is treated alike.
    """
    if exact == "auto":
        return game.num_features <= MOST_PLAYERS and 1 << game.num_features <= 5 * rows
    return bool(exact)


def exact_values(game: Game) -> Tensor:
    """Shapley values of every feature [rows, features]; rows with the same number of players share their passes."""
    counts = game.players.sum(1)
    if int(counts.max()) > MOST_PLAYERS:
        raise ValueError(
            f"exact Shapley values of {int(counts.max())} features need 2^{int(counts.max())} coalitions a row; "
            f"up to {MOST_PLAYERS} features are possible: group features by a feature mask, or estimate by sampling"
        )
    totals = torch.zeros(len(game.call), game.num_features, dtype=torch.float64, device=counts.device)
    for count in counts.unique().tolist():
        if count:
            rows = (counts == count).nonzero()[:, 0]
            for row in rows.split(max(1, (1 << 16) >> count)):
                _add_exact(game, row, count, totals)
    return totals.to(game.call.inputs[0].dtype if game.call.inputs[0].is_floating_point() else torch.float32)


def _add_exact(game: Game, rows: Tensor, count: int, totals: Tensor) -> None:
    """Fill in `totals` for rows that have `count` players each."""
    bits = (
        torch.arange(1 << count, device=rows.device)[:, None] >> torch.arange(count, device=rows.device)
    ) & 1
    players = game.players[rows].nonzero()[:, 1].reshape(len(rows), count)
    shown = torch.ones(len(rows), 1 << count, game.num_features, dtype=torch.bool, device=rows.device)
    shown.scatter_(2, players[:, None].expand(-1, 1 << count, -1), bits.bool().expand(len(rows), -1, -1))
    values = game._evaluate(
        rows.repeat_interleave(1 << count),
        lambda part, _: shown.reshape(-1, game.num_features)[part],
    ).reshape(len(rows), -1)
    sizes = bits.sum(1)
    gain = torch.tensor([1 / (count * comb(count - 1, s)) for s in range(count)], dtype=torch.float64)
    gain = gain.to(rows.device)
    with_it = torch.where(sizes > 0, gain[(sizes - 1).clamp(min=0)], 0.0)[:, None] * bits
    without = torch.where(sizes < count, gain[sizes.clamp(max=count - 1)], 0.0)[:, None] * (1 - bits)
    totals[rows[:, None], players] = values.double() @ (with_it - without)


class ShapleyValueSampling(captum.attr.ShapleyValueSampling):
    """Shapley values estimated by random orders (Castro 2009): the average gain when a feature joins those before it.

    Each row has its own orders (one generator per row in `generators`, else the global stream). They sum to
    f(x) - f(baseline) exactly. Features that equal their baseline get 0.
    """

    def attribute(  # type: ignore[override]
        self,
        inputs: Any,
        baselines: Any = None,
        target: Any = None,
        additional_forward_args: Any = None,
        feature_mask: Any = None,
        n_samples: int = 25,
        perturbations_per_eval: int = 1,
        show_progress: bool = False,
        antithetic: bool = False,
        exact: bool | str = "auto",
        generators: Sequence[torch.Generator] | None = None,
    ) -> Any:
        """As Captum's; `antithetic` also walks every order backwards (half as many drawn): less variance.

        `exact`: "auto" enumerates all coalitions where that takes less than five times the rows of the orders.
        """
        if n_samples < 1:
            raise ValueError(f"n_samples={n_samples}: must be 1 or more")
        game = Game(Call(self.forward_func, inputs, baselines, target, additional_forward_args), feature_mask)
        if enumerable(game, n_samples * max(game.num_features - 1, 1), exact):
            return game.call.result(game.spread(exact_values(game)))
        drawn = -(-n_samples // 2) if antithetic else n_samples
        device = game.players.device
        positions = ranks(uniform_draws(generators, len(game.call), (drawn, game.num_features), device))
        if antithetic:
            positions = torch.cat([positions, game.num_features - 1 - positions], 1)[:, :n_samples]
        return game.call.result(game.spread(self._walk(game, positions)))

    @staticmethod
    def _walk(game: Game, positions: Tensor) -> Tensor:
        """Average gains along the orders in which feature i comes at `positions[..., i]` [rows, orders, features]."""
        full, empty = game.call.all_scores(), game.call.baseline_scores()
        totals = full.new_zeros(len(full), game.num_features)
        # Comparing whole orders with all steps is a good part of the work: in as few bytes as their numbers need.
        small = torch.int16 if game.num_features < 1 << 15 else torch.int32
        steps = torch.arange(1, game.num_features, device=full.device, dtype=small)
        together = max(1, MASKS // max(1, len(full) * game.num_features * len(steps)))
        for orders in positions.split(together, 1):
            shown = (orders.to(small)[:, :, None] < steps[:, None]).flatten(1, 2)
            inner = game.values(shown).reshape(len(full), orders.shape[1], len(steps))
            ends = (v[:, None, None].expand(-1, orders.shape[1], 1) for v in (empty, full))
            path = torch.cat([next(ends), inner, next(ends)], 2)
            totals += path.diff(dim=2).gather(2, orders).sum(1)
        return totals / positions.shape[1]
