"""Integrated gradients, GradientShap and NoiseTunnel, streamed: memory is one pass, however many steps or samples."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import captum.attr
import torch
from captum.attr._utils.approximation_methods import approximation_parameters
from torch import Tensor

from ..planner import Call, batched, chunks, gradients

RELATIVE, ABSOLUTE = 1e-3, 1e-4
"""`n_steps: auto` is content when |gap| <= RELATIVE |f(x) - f(b)| + ABSOLUTE."""
FIRST_STEPS, MOST_STEPS = 50, 1600


Pass = Callable[[Tensor, slice], tuple[tuple[Tensor, ...], tuple[Tensor, ...] | Tensor]]
"""Rows and a part of their steps -> points [rows, steps, ...], and what multiplies the gradients there: one number per
step, or tensors like the points."""


def path_gradients(call: Call, count: int, at: Pass, which: Tensor | None = None) -> tuple[Tensor, ...]:
    """For every row the sum over its `count` points of weight x gradient, in passes of a fitting size."""
    rows = torch.arange(len(call), device=call.inputs[0].device) if which is None else which
    totals = tuple(torch.zeros_like(x) for x in call.inputs)
    for part in chunks(len(rows), call.gradient_rows // count):
        row = rows[part]
        for steps in chunks(count, call.gradient_rows // len(row)):
            points, factor = at(row, steps)
            length = steps.stop - steps.start
            target, context = call.beside(row.repeat_interleave(length))
            _, grads = gradients(call.forward, tuple(p.flatten(0, 1) for p in points), target, context)
            for i, (total, grad) in enumerate(zip(totals, grads, strict=True)):
                grad = grad.unflatten(0, (len(row), length))
                if isinstance(factor, tuple):
                    total[row] += (grad * factor[i]).sum(1)
                else:
                    total[row] += (factor.to(grad.dtype) @ grad.flatten(2)).reshape(total[row].shape)
    return totals


def along(values: Tensor, x: Tensor) -> Tensor:
    """Numbers [rows, steps], in a form that multiplies tensors [rows, steps, *x.shape[1:]]."""
    return values.reshape(*values.shape, *(1,) * (x.dim() - 1))


def first_steps(n_steps: int | str) -> int:
    """The number of steps to begin with; ValueError for what is neither `auto` nor a number from 1 on."""
    if n_steps == "auto":
        return FIRST_STEPS
    if not isinstance(n_steps, int) or n_steps < 1:
        raise ValueError(f"n_steps={n_steps}: must be 1 or more, or auto")
    return n_steps


class IntegratedGradients(captum.attr.IntegratedGradients):
    """Captum's IntegratedGradients (Sundararajan 2017) in bounded memory, with `n_steps="auto"`.

    Attributions sum to f(x) - f(baseline) as the number of steps grows. With "auto" it starts at 50 steps and doubles
    them, for the rows that need it, until the completeness gap is at most 1e-3 |f(x) - f(baseline)| + 1e-4 or 1,600
    steps are spent. After a call `details["steps"]` [rows] says how many each row took. A row whose gap lies within
    rounding of the tolerance may take twice the steps among other batch mates.
    """

    details: Mapping[str, Tensor] = {}

    def attribute(  # type: ignore[override]
        self,
        inputs: Any,
        baselines: Any = None,
        target: Any = None,
        additional_forward_args: Any = None,
        n_steps: int | str = 50,
        method: str = "gausslegendre",
        internal_batch_size: int | None = None,
        return_convergence_delta: bool = False,
    ) -> Any:
        """As Captum's. ValueError for fewer than 1 step, and for token ids, which cannot be interpolated."""
        call = Call(self.forward_func, inputs, baselines, target, additional_forward_args)
        if not all(x.is_floating_point() for x in call.inputs):
            raise ValueError("integrated gradients interpolate their input: give embedded tokens, not ids")
        if internal_batch_size is not None and internal_batch_size < 1:
            raise ValueError(f"internal_batch_size={internal_batch_size}: must be 1 or more")
        call.gradient_rows = internal_batch_size or call.gradient_rows
        steps = first_steps(n_steps)
        if n_steps == "auto":
            return self._until_complete(call, method, return_convergence_delta)
        attributions = self._integrate(call, steps, method)
        self.details = {"steps": torch.full((len(call),), steps, device=call.inputs[0].device)}
        return call.result(attributions, self._gap(call, attributions) if return_convergence_delta else None)

    def _integrate(
        self, call: Call, n_steps: int, method: str, which: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        step_sizes, alphas = approximation_parameters(method)
        like = call.inputs[0]
        weight = torch.tensor(step_sizes(n_steps), dtype=like.dtype, device=like.device)
        alpha = torch.tensor(alphas(n_steps), dtype=like.dtype, device=like.device)

        def at(row: Tensor, steps: slice) -> tuple[tuple[Tensor, ...], Tensor]:
            points = tuple(
                (x[row] - b)[:, None] * along(alpha[steps][None], x) + b[:, None]
                for x, b in zip(call.inputs, call.baselines_at(row), strict=True)
            )
            return points, weight[steps]

        totals = path_gradients(call, n_steps, at, which)
        if not self.multiplies_by_inputs:
            return totals
        return tuple(t * (x - b) for t, x, b in zip(totals, call.inputs, call.baselines, strict=True))

    def _gap(self, call: Call, attributions: tuple[Tensor, ...]) -> Tensor:
        return total(attributions) - (call.all_scores() - call.baseline_scores())

    def _until_complete(self, call: Call, method: str, with_delta: bool) -> Any:
        change = call.all_scores() - call.baseline_scores()
        steps = FIRST_STEPS
        attributions = self._integrate(call, steps, method)
        used = torch.full((len(call),), steps, device=change.device)
        gap = total(attributions) - change
        tolerance = RELATIVE * change.abs() + ABSOLUTE
        while steps < MOST_STEPS and bool((open_ := gap.abs() > tolerance).any()):
            steps *= 2
            rows = open_.nonzero()[:, 0]
            finer = self._integrate(call, steps, method, rows)
            attributions = tuple(
                a.index_copy(0, rows, f[rows]) for a, f in zip(attributions, finer, strict=True)
            )
            used[rows] = steps
            gap = total(attributions) - change
        self.details = {"steps": used}
        return call.result(attributions, gap if with_delta else None)


def total(attributions: tuple[Tensor, ...]) -> Tensor:
    """The sum of each row's attributions over all inputs [rows]."""
    return sum(a.reshape(len(a), -1).sum(1) for a in attributions)  # type: ignore[return-value]


class GradientShap(captum.attr.GradientShap):
    """Captum's GradientShap (Lundberg & Lee 2017; expected gradients, Erion 2021), each row with its own draws.

    `n_samples` times: a baseline row at random, a point at random on the line to the input (noise of `stdevs` added
    to it), gradient x (input - baseline); the average is returned. Row i draws from `generators[i]`, else from the
    global stream. The delta is [rows]: the sum of attributions minus f(x) - mean f(drawn baselines).
    """

    def attribute(  # type: ignore[override]
        self,
        inputs: Any,
        baselines: Any,
        n_samples: int = 5,
        stdevs: Any = 0.0,
        target: Any = None,
        additional_forward_args: Any = None,
        return_convergence_delta: bool = False,
        generators: Sequence[torch.Generator] | None = None,
    ) -> Any:
        """`baselines` [rows of a distribution, ...], or a function that gives them, as Captum's."""
        if n_samples < 1:
            raise ValueError(f"n_samples={n_samples}: must be 1 or more")
        pool = baselines() if callable(baselines) else baselines
        pool = pool if isinstance(pool, tuple) else (pool,)
        call = Call(self.forward_func, inputs, None, target, additional_forward_args)
        sigma = stdevs if isinstance(stdevs, tuple) else (stdevs,) * len(call.inputs)
        chosen, alpha, noise = self._draws(call, len(pool[0]), n_samples, sigma, generators)

        def at(row: Tensor, steps: slice) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
            points, factors = [], []
            for x, e, p in zip(call.inputs, noise, pool, strict=True):
                own = x[row][:, None] if e is None else x[row][:, None] + e[row, steps].to(x.dtype)
                base = p[chosen[row, steps]].to(x.dtype)
                points.append(base + along(alpha[row, steps].to(x.dtype), x) * (own - base))
                factors.append(
                    (own - base if self.multiplies_by_inputs else torch.ones_like(base)) / n_samples
                )
            return tuple(points), tuple(factors)

        attributions = path_gradients(call, n_samples, at)
        delta = self._gap(call, attributions, pool, chosen) if return_convergence_delta else None
        return call.result(attributions, delta)

    @staticmethod
    def _draws(
        call: Call, pool: int, count: int, sigma: tuple, generators: Sequence[torch.Generator] | None
    ) -> tuple[Tensor, Tensor, list[Tensor | None]]:
        chosen, alpha = [], []
        noise: list[list[Tensor]] = [[] for _ in call.inputs]
        for i in range(len(call)):
            generator = None if generators is None else generators[i]
            chosen.append(torch.randint(pool, (count,), generator=generator))
            alpha.append(torch.rand(count, generator=generator))
            for kept, x, s in zip(noise, call.inputs, sigma, strict=True):
                if s:
                    kept.append(s * torch.randn(count, *x.shape[1:], generator=generator))
        device = call.inputs[0].device
        return (
            torch.stack(chosen).to(device),
            torch.stack(alpha).to(device),
            [torch.stack(k).to(device) if k else None for k in noise],
        )

    @staticmethod
    def _gap(
        call: Call, attributions: tuple[Tensor, ...], pool: tuple[Tensor, ...], chosen: Tensor
    ) -> Tensor:
        pairs = torch.arange(len(call), device=chosen.device).repeat_interleave(chosen.shape[1])
        picked, values = chosen.reshape(-1), []
        for part in chunks(len(pairs), call.rows):
            _, target, context = call.at(pairs[part])
            values.append(call.scores(tuple(p[picked[part]] for p in pool), target, context))
        expected = torch.cat(values).reshape(len(call), -1).mean(1)
        return total(attributions) - (call.all_scores() - expected)


class NoiseTunnel(captum.attr.NoiseTunnel):
    """Captum's NoiseTunnel: SmoothGrad (Smilkov 2017), its square, and VarGrad (Adebayo 2018), streamed.

    Averages the attributions of `nt_samples` noisy copies of each row (standard deviation `stdevs`, in the network's
    input space). Row i draws from `generators[i]`, else from the global stream. The inner method must be a
    deterministic one; its own arguments are passed on.
    """

    def attribute(  # type: ignore[override]
        self,
        inputs: Any,
        nt_type: str = "smoothgrad",
        nt_samples: int = 5,
        nt_samples_batch_size: int | None = None,
        stdevs: Any = 1.0,
        draw_baseline_from_distrib: bool = False,
        generators: Sequence[torch.Generator] | None = None,
        **kwargs: Any,
    ) -> Any:
        """As Captum's, without `draw_baseline_from_distrib` and without a convergence delta."""
        if nt_type not in ("smoothgrad", "smoothgrad_sq", "vargrad"):
            raise ValueError(f"nt_type={nt_type}: one of smoothgrad, smoothgrad_sq, vargrad")
        if draw_baseline_from_distrib:
            raise ValueError(
                "draw_baseline_from_distrib is not offered: GradientShap draws its baselines per row"
            )
        if nt_samples < 1:
            raise ValueError(f"nt_samples={nt_samples}: must be 1 or more")
        kwargs.pop("return_convergence_delta", None)
        call = Call(self.attribution_method.forward_func, inputs)
        sigma = stdevs if isinstance(stdevs, tuple) else (stdevs,) * len(call.inputs)
        noise = self._noise(call, nt_samples, sigma, generators)
        sums, squares = (tuple(torch.zeros_like(x) for x in call.inputs) for _ in range(2))
        rows = torch.arange(len(call), device=call.inputs[0].device).repeat_interleave(nt_samples)
        sample = torch.arange(nt_samples, device=rows.device).repeat(len(call))
        for part in chunks(len(rows), call.gradient_rows):
            row = rows[part]
            noisy = tuple(x[row] + e[row, sample[part]] for x, e in zip(call.inputs, noise, strict=True))
            arguments = {name: _rows_of(value, row, call) for name, value in kwargs.items()}
            got = self.attribution_method.attribute(noisy if call.is_tuple else noisy[0], **arguments)
            for s, q, a in zip(sums, squares, got if isinstance(got, tuple) else (got,), strict=True):
                s.index_add_(0, row, a.detach())
                q.index_add_(0, row, a.detach() ** 2)
        return call.result(
            tuple(_combine(nt_type, s, q, nt_samples) for s, q in zip(sums, squares, strict=True))
        )

    def has_convergence_delta(self) -> bool:
        """The average of noisy explanations is not complete for the clean input."""
        return False

    @staticmethod
    def _noise(
        call: Call, count: int, sigma: tuple, generators: Sequence[torch.Generator] | None
    ) -> tuple[Tensor, ...]:
        drawn: list[list[Tensor]] = [[] for _ in call.inputs]
        for i in range(len(call)):
            generator = None if generators is None else generators[i]
            for kept, x, s in zip(drawn, call.inputs, sigma, strict=True):
                kept.append(s * torch.randn(count, *x.shape[1:], generator=generator, dtype=x.dtype))
        return tuple(torch.stack(d).to(x.device) for d, x in zip(drawn, call.inputs, strict=True))


def _combine(nt_type: str, total_: Tensor, squares: Tensor, count: int) -> Tensor:
    mean = total_ / count
    return {"smoothgrad": mean, "smoothgrad_sq": squares / count, "vargrad": squares / count - mean**2}[
        nt_type
    ]


def _rows_of(value: Any, rows: Tensor, call: Call) -> Any:
    """An argument of the inner method for the rows of a pass: what has one entry per example is repeated."""
    if isinstance(value, tuple):
        return tuple(_rows_of(v, rows, call) for v in value)
    if isinstance(value, list):  # a target per example
        return _rows_of(torch.as_tensor(value, device=rows.device), rows, call)
    return value[rows] if batched(value, call.inputs) and len(call) > 1 else _expanded(value, rows)


def _expanded(value: Any, rows: Tensor) -> Any:
    if isinstance(value, Tensor) and value.dim() > 0 and len(value) == 1:
        return value.expand(len(rows), *value.shape[1:])
    return value
