"""Coalitions of features and their values: what every method that hides features asks of a network."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..explanation import feature_totals, shown_elements
from ..planner import Call, chunks


class Game:
    """For each row of a call: features are players, and a coalition's value is f with only its features shown.

    A player that changes nothing (a feature that equals its baseline, padding) is no player: its attribution is 0.
    """

    def __init__(self, call: Call, feature_mask: object = None):
        self.call = call
        self.masks = call.mask(feature_mask)
        self.num_features = max(int(m.max()) for m in self.masks) + 1
        changes = tuple((x != b).to(torch.float32) for x, b in zip(call.inputs, call.baselines, strict=True))
        self.players = feature_totals(changes, self.masks, self.num_features) > 0

    def values(self, shown: Tensor) -> Tensor:
        """f at the target for `shown`, bool [rows or 1, coalitions, features], as [rows, coalitions]."""
        call, count = self.call, shown.shape[1]
        return self._evaluate(
            torch.arange(len(call), device=shown.device).repeat_interleave(count),
            lambda part, rows: shown[rows if len(shown) > 1 else torch.zeros_like(rows), part % count],
        ).reshape(len(call), count)

    def without_each(self) -> tuple[Tensor, Tensor, Tensor]:
        """f without one feature, for players only: (row, feature, value) of each, one-dimensional."""
        row, feature = self.players.nonzero(as_tuple=True)

        def shown(part: Tensor, rows: Tensor) -> Tensor:
            visible = torch.ones(len(part), self.num_features, dtype=torch.bool, device=rows.device)
            return visible.scatter_(1, feature[part][:, None], False)

        return row, feature, self._evaluate(row, shown)

    def _evaluate(self, rows: Tensor, shown_of) -> Tensor:
        """f for a list of (row, coalition) pairs; `shown_of(positions, rows)` gives the coalitions of a chunk."""
        call, values = self.call, []
        for part in chunks(len(rows), call.rows):
            at = rows[part]
            positions = torch.arange(part.start, part.stop, device=rows.device)
            inputs, target, context = call.at(at)
            masks = tuple(m[at] if len(m) > 1 else m for m in self.masks)
            visible = shown_elements(shown_of(positions, at), masks)
            mixed = tuple(
                torch.where(v, x, b) for v, x, b in zip(visible, inputs, call.baselines_at(at), strict=True)
            )
            values.append(call.scores(mixed, target, context))
        return torch.cat(values) if values else call.inputs[0].new_zeros(0)

    def spread(self, per_feature: Tensor) -> tuple[Tensor, ...]:
        """Each feature's value written into all of its elements, in the shape of the inputs."""
        rows = len(self.call)
        return tuple(
            per_feature.gather(1, m.expand(rows, *m.shape[1:]).reshape(rows, -1)).reshape(x.shape).to(x.dtype)
            if x.is_floating_point()
            else per_feature.gather(1, m.expand(rows, *m.shape[1:]).reshape(rows, -1)).reshape(x.shape)
            for m, x in zip(self.masks, self.call.inputs, strict=True)
        )


def uniform_draws(
    generators: Sequence[torch.Generator] | None, rows: int, shape: tuple[int, ...], device: torch.device
) -> Tensor:
    """Uniform numbers [rows, *shape], each row from its own generator; drawn on the CPU so that devices agree."""
    return torch.stack(
        [torch.rand(shape, generator=None if generators is None else generators[i]) for i in range(rows)]
    ).to(device)


def ranks(noise: Tensor) -> Tensor:
    """The rank of each element along the last axis (a random permutation where the noise is random)."""
    return noise.argsort(-1).argsort(-1)
