"""Coalitions of features and their values: what every method that hides features asks of a network."""

from collections.abc import Iterator
from copy import copy

import torch
from torch import Tensor

from ..explanation import blended, feature_totals, in_order, shown_elements
from ..planner import Call, batched, chunks

HELD = 1 << 22
"""Elements of coalitions that are held at a time."""


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
        self.compact = [compact(m) for m in self.masks]
        self.plain = len(self.masks) == 1 and in_order(self.masks[0], self.num_features)
        """Whether every element is its own feature, in order: coalitions are then element masks already."""

    def parts(self, samples: int) -> Iterator[tuple[slice, "Game"]]:
        """The game of some rows after the other, so that `samples` coalitions of each fit into memory."""
        size = max(1, HELD // max(1, samples * self.num_features))
        if len(self.call) <= size:
            yield slice(0, len(self.call)), self
            return
        for rows in chunks(len(self.call), size):
            part = copy(self)
            part.call, part.players = self.call.part(rows), self.players[rows]
            part.masks = tuple(m[rows] if len(m) > 1 else m for m in self.masks)
            part.compact = [compact(m) for m in part.masks]
            yield rows, part

    def values(self, shown: Tensor) -> Tensor:
        """f at the target for `shown`, bool [rows or 1, coalitions, features], as [rows, coalitions].

        Whole blocks of rows x coalitions pass together, so that a row's inputs are laid out once per block.
        """
        call, count = self.call, shown.shape[1]
        values = []
        for rows in chunks(len(call), call.rows // max(count, 1)):
            block = shown if len(shown) == 1 else shown[rows]
            size = rows.stop - rows.start
            pieces = [self._block(rows, block[:, part]) for part in chunks(count, call.rows // size)]
            values.append(torch.cat(pieces, 1) if pieces else call.inputs[0].new_zeros(size, 0))
        return torch.cat(values)

    def _block(self, rows: slice, shown: Tensor) -> Tensor:
        """f for some rows and some coalitions [rows or 1, coalitions, features], as [rows, coalitions]."""
        call, count = self.call, shown.shape[1]
        size = rows.stop - rows.start
        mixed = tuple(
            blended(self._visible(i, rows, shown), x[rows][:, None], (b[rows] if len(b) > 1 else b)[:, None])
            .expand(size, count, *x.shape[1:])
            .flatten(0, 1)
            for i, (x, b) in enumerate(zip(call.inputs, call.baselines, strict=True))
        )
        at = torch.arange(rows.start, rows.stop, device=shown.device).repeat_interleave(count)
        target = None if call.target is None else call.target[at]
        context = tuple(c[at] if batched(c, call.inputs) else c for c in call.context)
        return call.scores(mixed, target, context).reshape(size, count)

    def _visible(self, i: int, rows: slice, shown: Tensor) -> Tensor:
        """Which elements of input `i` are shown, in a form that broadcasts to [rows, coalitions, *input]."""
        mask, trailing = self.compact[i]
        if len(mask) > 1:
            own = mask[rows].reshape(rows.stop - rows.start, 1, -1)
            full = shown.expand(len(own), -1, -1)
            picked = full.gather(2, own.expand(-1, shown.shape[1], -1))
        elif self.plain:
            picked = shown
        else:
            picked = shown.index_select(2, mask.reshape(-1))
        return picked.reshape(len(picked), shown.shape[1], *mask.shape[1:], *(1,) * trailing)

    def without_each(self, full: Tensor) -> Tensor:
        """f without each feature [rows, features]; for what is no player that is f itself, `full` [rows]."""
        if bool(self.players.all()):  # nothing to skip: blocks are cheaper than a list of pairs
            return self.values(~torch.eye(self.num_features, dtype=torch.bool, device=full.device)[None])
        row, feature = self.players.nonzero(as_tuple=True)

        def shown(part: Tensor, rows: Tensor) -> Tensor:
            visible = torch.ones(len(part), self.num_features, dtype=torch.bool, device=rows.device)
            return visible.scatter_(1, feature[part][:, None], False)

        values = full[:, None].repeat(1, self.num_features)
        values[row, feature] = self._evaluate(row, shown)
        return values

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
                blended(v, x, b) for v, x, b in zip(visible, inputs, call.baselines_at(at), strict=True)
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


def compact(mask: Tensor) -> tuple[Tensor, int]:
    """A mask without the last axes along which it does not vary (a token's width), and how many those are."""
    trailing = 0
    while mask.dim() > 2 and bool((mask == mask[..., :1]).all()):
        mask, trailing = mask[..., 0], trailing + 1
    return mask, trailing
