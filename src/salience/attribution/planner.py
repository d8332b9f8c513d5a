"""The one engine that rows pass through: how many at once, how they are counted, how gradients are taken.

How many rows share a pass is a pure function of the network and of the shapes, never of the clock, so that the same
command gives the same bits. Where memory runs out all the same, passes are halved.
"""

from collections.abc import Callable, Iterator, Sequence
from copy import copy, deepcopy
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from .. import memory
from .remembered import Weights

BUDGET, GRADIENT_BUDGET = 16 << 20, 24 << 20
"""Bytes of activations that one pass may hold on a CPU without and with its way back: about the size of the caches,
beyond which rows get slower; the fixed cost of a backward pass pays for more rows."""
FEWEST, MOST = 8, 4096
UNKNOWN = 1024
"""Rows a pass for a function that is no module, whose activations cannot be seen."""

_known: "WeakKeyDictionary[nn.Module, dict[tuple, int]]" = WeakKeyDictionary()


def rows_per_pass(
    forward: Callable, inputs: Sequence[Tensor], context: Sequence[Any] = (), backward: bool = False
) -> int:
    """How many rows of `inputs` [rows, ...] should pass through `forward` (and back) together: a power of two."""
    fit = memory.most_rows(forward, memory.GRADIENTS if backward else memory.SCORES) or MOST
    if not isinstance(forward, nn.Module):
        return min(fit, UNKNOWN)
    key = tuple((x.shape[1:], x.dtype, x.device.type) for x in inputs)
    known = _known.setdefault(forward, {})
    if key not in known:
        known[key] = max(activation_bytes(forward, inputs, context), 1)
    fitting = _budget(inputs[0].device, backward) // known[key]
    return min(fit, max(FEWEST, min(MOST, 1 << (fitting | 1).bit_length() - 1)))


def _budget(device: torch.device, backward: bool) -> int:
    if device.type != "cuda":
        return GRADIENT_BUDGET if backward else BUDGET
    return torch.cuda.get_device_properties(device).total_memory // 32


def activation_bytes(model: nn.Module, inputs: Sequence[Tensor], context: Sequence[Any] = ()) -> int:
    """Bytes that one row's activations take, over all innermost modules, measured by one pass of one row."""
    total = sum(x[:1].numel() * x.element_size() for x in inputs)

    def add(module: nn.Module, args: tuple, output: Any) -> None:
        nonlocal total
        if isinstance(output, Tensor):
            total += output.numel() * output.element_size()

    hooks = [m.register_forward_hook(add) for m in model.modules() if not any(True for _ in m.children())]
    counted = getattr(model, "uncounted", None)
    try:
        with torch.no_grad():
            row = tuple(x[:1] for x in inputs), tuple(c[:1] if batched(c, inputs) else c for c in context)
            (counted or model)(*row[0], *row[1])
    finally:
        for hook in hooks:
            hook.remove()
    return total


_copies: "WeakKeyDictionary[nn.Module, tuple[tuple[Weights, list[bool]], nn.Module]]" = WeakKeyDictionary()


def for_scores(forward: Callable, inputs: Sequence[Tensor]) -> Callable:
    """The function in the layout in which scores without gradients are cheapest: convolutions over images run two to
    three times faster with channels last.

    A copy, renewed when a weight changes; gradients keep the network itself, since ties (max-pooling over a flat
    background) resolve differently there. The network itself also where it carries hooks that must see every pass.
    """
    if (
        not isinstance(forward, nn.Module)
        or inputs[0].device.type != "cpu"
        or not any(x.dim() == 4 for x in inputs)
    ):
        return forward
    modules = list(forward.modules())
    if memory.hooked(forward) or not any(isinstance(m, nn.Conv2d) for m in modules):
        return forward
    now = Weights(forward), [m.training for m in modules]
    known = _copies.get(forward)
    if known is None or known[0] != now:
        known = now, deepcopy(forward).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        _copies[forward] = known
    return known[1]


def batched(value: Any, inputs: Sequence[Tensor]) -> bool:
    """Whether an additional argument has one row per example (else it is shared by all, and passed on as it is)."""
    return isinstance(value, Tensor) and value.dim() > 0 and len(value) == len(inputs[0])


def chunks(total: int, rows: int) -> Iterator[slice]:
    """Slices that cover `total` rows, at most `rows` at a time."""
    for start in range(0, total, max(1, rows)):
        yield slice(start, min(start + max(1, rows), total))


def select(outputs: Tensor, target: Tensor | None) -> Tensor:
    """The explained output of each row [rows]; outputs without a second axis are it already."""
    if target is None or outputs.dim() == 1:
        return outputs if outputs.dim() == 1 else outputs.reshape(len(outputs))
    return outputs.gather(1, target[:, None])[:, 0]


def gradients(
    forward: Callable, inputs: tuple[Tensor, ...], target: Tensor | None, context: Sequence[Any] = ()
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Scores at the target [rows] and their gradients, for rows that do not influence one another.

    One backward pass from the sum of the scores: the same numbers as one root per row, at a fraction of the cost.
    """

    def one_pass(rows: slice) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            leaves = tuple(x[rows].detach().requires_grad_() for x in inputs)
            own = (c[rows] if batched(c, inputs) else c for c in context)
            scores = select(forward(*leaves, *own), None if target is None else target[rows])
            return scores.detach(), *torch.autograd.grad(scores.sum(), leaves)

    parts = memory.fitted(forward, memory.GRADIENTS, len(inputs[0]), one_pass)
    scores, *found = parts[0] if len(parts) == 1 else (torch.cat(p) for p in zip(*parts, strict=True))
    return scores, tuple(found)


def summed_gradients(
    forward_fn: Callable,
    inputs: Tensor | tuple[Tensor, ...],
    target_ind: Any = None,
    additional_forward_args: Any = None,
    grad_kwargs: dict[str, Any] | None = None,
) -> tuple[Tensor, ...]:
    """Stands in for Captum's `compute_gradients` (the same arguments), which makes one root per row."""
    from captum._utils.common import _run_forward

    with torch.enable_grad():
        outputs = _run_forward(forward_fn, inputs, target_ind, additional_forward_args)
        return torch.autograd.grad(outputs.sum(), inputs, **(grad_kwargs or {}))


class Call:
    """The arguments of one `attribute` call in one form: tuples of tensors, one target per row.

    Accepts what Captum accepts: a tensor or a tuple; scalar, single-row or full baselines; masks or None; a target
    as int, list or tensor. ValueError where a target is of another form (tuples for outputs of more than two axes).
    """

    def __init__(
        self, forward: Callable, inputs: Any, baselines: Any = None, target: Any = None, context: Any = None
    ):
        self.forward = forward
        self.is_tuple = isinstance(inputs, tuple)
        self.inputs: tuple[Tensor, ...] = inputs if self.is_tuple else (inputs,)
        self.inputs = tuple(x.detach() for x in self.inputs)
        self.context: tuple = () if context is None else context if isinstance(context, tuple) else (context,)
        self.target = self._target(target)
        given = baselines if isinstance(baselines, tuple) else (baselines,) * len(self.inputs)
        self.baselines = tuple(self._baseline(b, x) for b, x in zip(given, self.inputs, strict=True))
        self.rows = rows_per_pass(forward, self.inputs, self.context)
        self.gradient_rows = rows_per_pass(forward, self.inputs, self.context, backward=True)
        self.scoring = for_scores(forward, self.inputs)

    def __len__(self) -> int:
        return len(self.inputs[0])

    def _target(self, target: Any) -> Tensor | None:
        if target is None:
            return None
        value = torch.as_tensor(target, device=self.inputs[0].device)
        if value.numel() == 1:
            return value.reshape(1).expand(len(self)).long()
        if value.dim() != 1 or len(value) != len(self):
            raise ValueError(
                f"target of shape {tuple(value.shape)}: expected one number, or one per row ({len(self)})"
            )
        return value.long()

    @staticmethod
    def _baseline(baseline: Any, x: Tensor) -> Tensor:
        if baseline is None:
            return torch.zeros_like(x[:1])
        if not isinstance(baseline, Tensor):
            return torch.full_like(x[:1], baseline)
        return (
            baseline.detach().to(x.dtype)
            if baseline.dim() == x.dim()
            else baseline.detach()[None].to(x.dtype)
        )

    def mask(self, feature_mask: Any) -> tuple[Tensor, ...]:
        """Masks [1 or rows, ...] numbered from 0; every element its own feature where None is given."""
        if feature_mask is not None:
            masks = feature_mask if isinstance(feature_mask, tuple) else (feature_mask,)
            masks = tuple(
                m if m.dim() == x.dim() else m[None] for m, x in zip(masks, self.inputs, strict=True)
            )
            first = min(int(m.min()) for m in masks)
            return tuple(
                (m - first).expand(len(m), *x.shape[1:]).to(x.device)
                for m, x in zip(masks, self.inputs, strict=True)
            )
        masks, start = (), 0
        for x in self.inputs:
            masks += (torch.arange(start, start + x[0].numel(), device=x.device).reshape(1, *x.shape[1:]),)
            start += x[0].numel()
        return masks

    def part(self, rows: slice) -> "Call":
        """The same call for some of its rows."""
        other = copy(self)
        other.inputs = tuple(x[rows] for x in self.inputs)
        other.baselines = tuple(b[rows] if len(b) > 1 else b for b in self.baselines)
        other.context = tuple(c[rows] if batched(c, self.inputs) else c for c in self.context)
        other.target = None if self.target is None else self.target[rows]
        return other

    def at(self, rows: Tensor) -> tuple[tuple[Tensor, ...], Tensor | None, tuple]:
        """Inputs, target and context of the given rows (repeated as `rows` repeats them)."""
        return tuple(x[rows] for x in self.inputs), *self.beside(rows)

    def beside(self, rows: Tensor) -> tuple[Tensor | None, tuple]:
        """The same without the inputs."""
        context = tuple(c[rows] if batched(c, self.inputs) else c for c in self.context)
        return None if self.target is None else self.target[rows], context

    def baselines_at(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Baselines of the given rows."""
        return tuple(b[rows] if len(b) > 1 else b.expand(len(rows), *b.shape[1:]) for b in self.baselines)

    def scores(self, inputs: tuple[Tensor, ...], target: Tensor | None, context: tuple) -> Tensor:
        """f at the target [rows], without gradients."""
        with torch.inference_mode():
            return select(memory.scores(self.forward, self.scoring, inputs, context), target)

    def all_scores(self, inputs: tuple[Tensor, ...] | None = None) -> Tensor:
        """f of every row of `inputs` (of the call's own where None), in passes of a fitting size."""
        pieces = []
        for part in chunks(len(self), self.rows):
            rows = torch.arange(part.start, part.stop, device=self.inputs[0].device)
            own, target, context = self.at(rows)
            pieces.append(
                self.scores(own if inputs is None else tuple(x[rows] for x in inputs), target, context)
            )
        return torch.cat(pieces)

    def baseline_scores(self) -> Tensor:
        """f of the baseline at each row's target; one pass per distinct row where nothing else differs."""
        if self.context or any(len(b) > 1 for b in self.baselines) or self.target is None:
            everything = torch.arange(len(self), device=self.inputs[0].device)
            return self.all_scores(self.baselines_at(everything))
        with torch.no_grad():
            outputs = self.scoring(*self.baselines)
        return select(outputs.expand(len(self), *outputs.shape[1:]), self.target)

    def result(self, attributions: tuple[Tensor, ...], delta: Tensor | None = None) -> Any:
        """In the form that was asked for: a tensor for a tensor, a tuple for a tuple; with the delta where given."""
        formatted = attributions if self.is_tuple else attributions[0]
        return formatted if delta is None else (formatted, delta)


def drawn(
    generators: Sequence[torch.Generator] | None, rows: int, draw: Callable[[torch.Generator | None], Any]
) -> list:
    """`draw` once per row, each with its own generator; from the global stream where there are none."""
    return [draw(generators[i] if generators is not None else None) for i in range(rows)]
