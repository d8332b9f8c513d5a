"""DeepLift and DeepLiftShap by the rescale rule, right where Captum 0.9 is not.

Captum's hooks lose contributions where two non-linearities follow each other directly (ReLU then max-pool), divide
by the wrong difference in overlapping pools, and fall back to the gradient, silently, for activations they do not
know. Here the reference activations are recorded in a first pass, and every non-linear module gets its own backward
rule in the second: grad_out * (y - y_ref) / (x - x_ref) for what works element by element, a scatter for pooling.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import captum.attr
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..explanation import blended
from ..planner import Call, chunks, gradients
from .gradients import total

ELEMENTWISE = (
    nn.ReLU, nn.ELU, nn.LeakyReLU, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.GELU, nn.SiLU, nn.ReLU6, nn.PReLU, nn.SELU,
    nn.CELU, nn.Mish, nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.LogSigmoid, nn.Softsign, nn.Softshrink,
    nn.Hardshrink, nn.Tanhshrink, nn.Threshold, nn.RReLU,
)  # fmt: skip
"""Modules that work element by element: the rescale rule is exact for each of them."""
POOLS: dict[type[nn.Module], int] = {nn.MaxPool1d: 1, nn.MaxPool2d: 2, nn.MaxPool3d: 3}
TINY = 1e-6
"""Below this difference of inputs the ratio of differences is replaced by the derivative, its limit."""


class _Rescale(torch.autograd.Function):
    """The output as it is; backwards (y - y_ref) / (x - x_ref) in place of the derivative."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, ratio: Tensor) -> Tensor:
        ctx.save_for_backward(ratio)
        return y.clone()  # a view could not be changed in place by what follows

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple:  # type: ignore[override]
        (ratio,) = ctx.saved_tensors
        return grad * ratio, None, None


class _MaxPool(torch.autograd.Function):
    """Max-pooling; backwards each window's change is shared between the winners of the input and of the reference.

    With m = max(y, y_ref): y's winner gets grad (y - y_ref split as m - y_ref) and the reference's winner the rest,
    each divided by its own change, so that sum (multiplier * dx) = grad * dy in every window, overlapping or not.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, y: Tensor, at: Tensor, dx: Tensor, y_ref: Tensor, at_ref: Tensor
    ) -> Tensor:
        top = each_reference(torch.maximum, y, y_ref)
        ctx.save_for_backward(dx, each_reference(torch.sub, top, y_ref), y - top, at, at_ref)
        return y.clone()  # a view could not be changed in place by what follows

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple:  # type: ignore[override]
        dx, up, down, at, at_ref = ctx.saved_tensors
        at, at_ref = at.flatten(2), at_ref.flatten(2)
        at_ref = at_ref.repeat(len(at) // len(at_ref), 1, 1)
        change = torch.zeros_like(dx).flatten(2)
        change.scatter_add_(2, at, (grad * up).flatten(2)).scatter_add_(2, at_ref, (grad * down).flatten(2))
        ratio = change.reshape(dx.shape) / dx
        near = dx.abs() < TINY
        if bool(near.any()):
            plain = torch.zeros_like(change).scatter_add_(2, at, grad.flatten(2))
            ratio = blended(near, plain.reshape(dx.shape), ratio)
        return ratio, None, None, None, None, None


def each_reference(operation: Callable[[Tensor, Tensor], Tensor], rows: Tensor, references: Tensor) -> Tensor:
    """An operation of rows [examples x references, ...] with the references [references, ...] over and over."""
    return operation(rows.unflatten(0, (-1, len(references))), references).flatten(0, 1)


def _pooled(pool: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """What a max-pooling module gives, and which element won each window."""
    function = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[POOLS[type(pool)] - 1]
    options = (pool.kernel_size, pool.stride, pool.padding, pool.dilation, pool.ceil_mode)
    return function(x, *options, return_indices=True)  # type: ignore[operator, call-overload, no-any-return]


def _slope(module: nn.Module, x: Tensor) -> Tensor:
    """The derivative of an element-wise module."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        return torch.autograd.grad(type(module).forward(module, leaf.clone()).sum(), leaf)[0]


class Rules:
    """Forward hooks that record the reference's activations first and then apply the backward rules."""

    def __init__(self, model: nn.Module):
        self.model = model
        self.recorded: dict[nn.Module, list[tuple[Tensor, ...]]] = defaultdict(list)
        self.calls: dict[nn.Module, int] = defaultdict(int)
        self.rows: Tensor | None = None

    def folded(self, rows: int) -> bool:
        """Whether some activation saw other rows than the batch's (positions folded into them, or put first).

        Which row belongs to which reference is then the network's secret: both passes must have the same rows.
        """
        return any(len(seen[0]) != rows for calls in self.recorded.values() for seen in calls)

    @contextmanager
    def recording(self) -> Iterator[None]:
        self.recorded.clear()

        def keep(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            x = inputs[0].detach().clone()
            done = _pooled(module, x) if type(module) in POOLS else (type(module).forward(module, x.clone()),)
            self.recorded[module].append((x, *done))
            return inputs

        hooks = [m.register_forward_pre_hook(keep) for m in self._modules()]
        try:
            with torch.no_grad():
                yield
        finally:
            for hook in hooks:
                hook.remove()

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Rules for passes of rows that meet the recorded references in order, over and over."""
        self.calls.clear()
        before: dict[nn.Module, Tensor] = {}

        def keep(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            before[module] = inputs[0]
            # an in-place activation must not overwrite what the rule needs
            return (inputs[0].clone(),) if getattr(module, "inplace", False) else inputs

        def apply(module: nn.Module, _: Any, output: Tensor) -> Tensor:
            recorded = self.recorded[module][self.calls[module]]
            self.calls[module] += 1
            return self._rule(module, before.pop(module), output.detach(), recorded)

        modules = self._modules()
        hooks = [m.register_forward_pre_hook(keep) for m in modules] + [
            m.register_forward_hook(apply) for m in modules
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _modules(self) -> list[nn.Module]:
        return [m for m in self.model.modules() if isinstance(m, ELEMENTWISE) or type(m) in POOLS]

    @staticmethod
    def _rule(module: nn.Module, x: Tensor, y: Tensor, reference: tuple[Tensor, ...]) -> Tensor:
        dx = each_reference(torch.sub, x.detach(), reference[0])
        if type(module) in POOLS:
            _, at = _pooled(module, x.detach())
            return _MaxPool.apply(x, y, at, dx, *reference[1:])  # type: ignore[no-any-return]
        ratio = each_reference(torch.sub, y, reference[1]).div_(dx)
        near = dx.abs_() < TINY
        if bool(near.any()):
            ratio = blended(near, _slope(module, x), ratio)
        return _Rescale.apply(x, y, ratio)  # type: ignore[no-any-return]


def tiled(references: tuple[Tensor, ...], times: int) -> tuple[Tensor, ...]:
    """The references over and over."""
    return tuple(r.repeat(times, *(1,) * (r.dim() - 1)) for r in references)


class Multipliers:
    """DeepLift multipliers of rows against some references, whose activations are recorded once for all rows."""

    def __init__(self, call: Call, model: nn.Module, references: tuple[Tensor, ...]):
        self.call, self.references, self.rules = call, references, Rules(model)
        self.paired = bool(call.context)
        """Whether the references must pass row by row beside what they are compared with."""
        if not self.paired:
            self._record(references, ())
            self.paired = self.rules.folded(len(references[0]))

    def _record(self, references: tuple[Tensor, ...], context: tuple) -> None:
        with self.rules.recording():
            self.call.forward(*references, *context)

    def of(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Of `rows` [examples x references], each example against every reference in order."""
        inputs, target, context = self.call.at(rows)
        if self.paired:
            times = len(rows) // len(self.references[0])
            self._record(tiled(self.references, times), context)
        with self.rules.applied():
            return gradients(self.call.forward, inputs, target, context)[1]


class DeepLift(captum.attr.DeepLift):
    """Captum's DeepLift (Shrikumar 2017, rescale rule) with the rules above: complete with pooling and any activation.

    Attributions sum to f(x) - f(baseline) for networks of linear layers, element-wise activation modules and
    max-pooling. What is not a module of its own (functional activations, softmax, LayerNorm, products) still counts
    as linear; the convergence delta shows it.
    """

    def attribute(  # type: ignore[override]
        self,
        inputs: Any,
        baselines: Any = None,
        target: Any = None,
        additional_forward_args: Any = None,
        return_convergence_delta: bool = False,
        custom_attribution_func: Any = None,
    ) -> Any:
        """As Captum's; the delta is [rows]."""
        if custom_attribution_func is not None:
            return super().attribute(
                inputs,
                baselines,
                target,
                additional_forward_args,
                return_convergence_delta,
                custom_attribution_func,
            )
        call = Call(self.model, inputs, baselines, target, additional_forward_args)
        shared = all(len(b) == 1 for b in call.baselines)
        against = Multipliers(call, self.model, call.baselines) if shared else None
        pieces: list[tuple[Tensor, ...]] = []
        for part in chunks(len(call), call.gradient_rows):
            rows = torch.arange(part.start, part.stop, device=call.inputs[0].device)
            own, base = call.at(rows)[0], call.baselines_at(rows)
            found = (against or Multipliers(call, self.model, base)).of(rows)
            if self.multiplies_by_inputs:
                found = tuple(m * (x - b) for m, x, b in zip(found, own, base, strict=True))
            pieces.append(found)
        attributions = tuple(torch.cat(p) for p in zip(*pieces, strict=True))
        if not return_convergence_delta:
            return call.result(attributions)
        return call.result(attributions, total(attributions) - (call.all_scores() - call.baseline_scores()))


class DeepLiftShap(captum.attr.DeepLiftShap):
    """DeepLift averaged over a distribution of baselines (Lundberg & Lee 2017), with the rules above.

    Every row is compared with every baseline; memory stays one pass. The delta is [rows]: the sum of attributions
    minus f(x) - mean f(baselines). ValueError for fewer than two baselines.
    """

    def attribute(  # type: ignore[override]
        self,
        inputs: Any,
        baselines: Any,
        target: Any = None,
        additional_forward_args: Any = None,
        return_convergence_delta: bool = False,
        custom_attribution_func: Any = None,
    ) -> Any:
        """As Captum's; `baselines` [2 or more rows, ...] or a function of the inputs that gives them."""
        pool = baselines(inputs) if callable(baselines) else baselines
        pool = pool if isinstance(pool, tuple) else (pool,)
        if len(pool[0]) < 2:
            raise ValueError("DeepLiftShap averages over a distribution: give two or more baseline rows")
        call = Call(self.model, inputs, None, target, additional_forward_args)
        count = len(pool[0])
        totals = tuple(torch.zeros_like(x) for x in call.inputs)
        for block in chunks(count, call.gradient_rows):
            references = tuple(p[block] for p in pool)
            against, size = Multipliers(call, self.model, references), len(references[0])
            for part in chunks(len(call), call.gradient_rows // size):
                found = against.of(
                    torch.arange(part.start, part.stop, device=pool[0].device).repeat_interleave(size)
                )
                for sum_, m, x, r in zip(totals, found, call.inputs, references, strict=True):
                    m = m.unflatten(0, (-1, size))
                    sum_[part] += (m * (x[part, None] - r) if self.multiplies_by_inputs else m).sum(1) / count
        if not return_convergence_delta:
            return call.result(totals)
        return call.result(totals, total(totals) - (call.all_scores() - self._expected(call, pool)))

    @staticmethod
    def _expected(call: Call, pool: tuple[Tensor, ...]) -> Tensor:
        """The mean of f over the pool, at each row's target and in its context."""
        count, values = len(pool[0]), []
        rows = torch.arange(len(call), device=pool[0].device).repeat_interleave(count)
        which = torch.arange(count, device=pool[0].device).repeat(len(call))
        for part in chunks(len(rows), call.rows):
            _, target, context = call.at(rows[part])
            values.append(call.scores(tuple(p[which[part]] for p in pool), target, context))
        return torch.cat(values).reshape(len(call), -1).mean(1)
