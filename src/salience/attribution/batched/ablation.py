"""Feature ablation and occlusion with the rows of different examples and features in shared passes."""

from typing import Any

import captum.attr
import torch
from torch import Tensor

from ..explanation import blended
from ..planner import Call, chunks
from .coalitions import Game, compact


def one_score_per_row(call: Call, forward: Any) -> bool:
    """Whether the fast path applies: one number per row at the target (Captum also knows outputs per batch)."""
    if call.target is not None:
        return True
    with torch.no_grad():
        outputs = forward(*call.inputs, *call.context)
    return (
        isinstance(outputs, Tensor) and outputs.numel() == len(call) and len(call) > 0 and outputs.dim() > 0
    )


class FeatureAblation(captum.attr.FeatureAblation):
    """Captum's FeatureAblation: f(x) - f(x without the feature), the same values in fewer and fuller passes.

    A feature that equals its baseline is not evaluated: its attribution is exactly 0. Attributions have the shape of
    the inputs; each element holds its whole feature's value.
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
        """As Captum's; `perturbations_per_eval` is not needed, rows are grouped by what fits the caches."""
        call = Call(self.forward_func, inputs, baselines, target, additional_forward_args)
        if not one_score_per_row(call, self.forward_func):
            return super().attribute(
                inputs,
                baselines,
                target,
                additional_forward_args,
                feature_mask,
                perturbations_per_eval,
                show_progress,
            )
        game = Game(call, feature_mask)
        full = call.all_scores()
        return call.result(game.spread(full[:, None] - game.without_each(full)))


class Occlusion(captum.attr.Occlusion):
    """Captum's Occlusion: hide a sliding window; where windows overlap, an element gets their average.

    `sliding_window_shapes` and `strides` as Captum takes them: one tuple per input, without the batch axis; a window
    moves by one element where no strides are given.
    Windows that change nothing are not evaluated.
    """

    def attribute(  # type: ignore[override]
        self,
        inputs: Any,
        sliding_window_shapes: Any,
        strides: Any = None,
        baselines: Any = None,
        target: Any = None,
        additional_forward_args: Any = None,
        perturbations_per_eval: int = 1,
        show_progress: bool = False,
    ) -> Any:
        """As Captum's; ValueError where a window is larger than the input or a stride than its window."""
        call = Call(self.forward_func, inputs, baselines, target, additional_forward_args)
        if not one_score_per_row(call, self.forward_func):
            return super().attribute(
                inputs, sliding_window_shapes, strides, baselines, target, additional_forward_args,
                perturbations_per_eval, show_progress,
            )  # fmt: skip
        shapes = _per_input(sliding_window_shapes, call)
        given = _per_input(1 if strides is None else strides, call)
        steps = tuple(_full(s, w) for s, w in zip(given, shapes, strict=True))
        full = call.all_scores()
        return call.result(
            tuple(self._one_input(call, i, shapes[i], steps[i], full) for i in range(len(call.inputs)))
        )

    @staticmethod
    def _one_input(call: Call, which: int, shape: tuple, stride: tuple, full: Tensor) -> Tensor:
        x, b = call.inputs[which], call.baselines[which]
        windows = torch.stack([w for w in _windows(x.shape[1:], shape, stride)]).to(x.device)
        differs = (x != b).reshape(len(x), -1).to(torch.float32)
        changes = differs @ windows.reshape(len(windows), -1).to(torch.float32).T > 0
        row, window = changes.nonzero(as_tuple=True)
        differences = full.new_zeros(len(x), len(windows))
        kept, trailing = compact(~windows)
        kept = kept.reshape(*kept.shape, *(1,) * trailing)
        for part in chunks(len(row), call.rows):
            inputs, target, context = call.at(row[part])
            hidden = blended(kept[window[part]], inputs[which], b[row[part]] if len(b) > 1 else b)
            mixed = (*inputs[:which], hidden, *inputs[which + 1 :])
            differences[row[part], window[part]] = full[row[part]] - call.scores(mixed, target, context)
        covered = windows.reshape(len(windows), -1).to(full.dtype)
        return (differences @ covered / covered.sum(0).clamp(min=1)).reshape(x.shape)


def _per_input(value: Any, call: Call) -> tuple:
    """One entry per input, where a single input may be given bare."""
    return (
        value
        if isinstance(value[0] if isinstance(value, tuple) else value, tuple)
        else (value,) * len(call.inputs)
    )


def _full(stride: Any, window: tuple) -> tuple:
    return (stride,) * len(window) if isinstance(stride, int) else tuple(stride)


def _windows(size: tuple, shape: tuple, stride: tuple):
    """Bool masks of all window positions; the last one along each axis may be cut off by the border."""
    if len(shape) != len(size):
        raise ValueError(
            f"sliding_window_shapes={shape}: needs {len(size)} numbers for inputs of shape {tuple(size)}"
        )
    for window, step, length in zip(shape, stride, size, strict=True):
        if not 1 <= window <= length or not 1 <= step <= window:
            raise ValueError(
                f"window {shape} with strides {stride} does not fit inputs of shape {tuple(size)}"
            )
    counts = [1 + -(-(length - w) // s) for length, w, s in zip(size, shape, stride, strict=True)]
    for position in torch.cartesian_prod(*(torch.arange(c) for c in counts)).reshape(-1, len(size)).tolist():
        mask = torch.zeros(size, dtype=torch.bool)
        mask[tuple(slice(p * s, p * s + w) for p, s, w in zip(position, stride, shape, strict=True))] = True
        yield mask
