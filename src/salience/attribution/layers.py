"""Layer methods where Captum's own are wrong, fail or loop: what does each unit of a hidden layer contribute?

Results have the shape of the layer's output. The others are Captum's classes as they are (configs/attribution).
"""

from collections import defaultdict
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import captum.attr
import torch
from captum.attr._utils.lrp_rules import IdentityRule
from torch import Tensor, nn

from .batched.deep_lift import Rules, each_reference, tiled
from .batched.lrp import PASSED_THROUGH, OnCopy, modules_called
from .inside import activations, once, read, replaced, row_parts
from .planner import Call, chunks, select


class LayerDeepLift(captum.attr.LayerDeepLift):
    """Captum's LayerDeepLift (Shrikumar 2017) with the rules of `batched.DeepLift`, which are complete.

    A unit's multiplier times the difference of its activation: sums to f(x) - f(baseline) under the conditions of
    `batched.DeepLift`.
    """

    def attribute(  # type: ignore[override]
        self,
        inputs: Any,
        baselines: Any = None,
        target: Any = None,
        additional_forward_args: Any = None,
        return_convergence_delta: bool = False,
    ) -> Any:
        """As Captum's; the delta is [rows]."""
        call = Call(self.model, inputs, baselines, target, additional_forward_args)
        pieces = []
        for rows in row_parts(call):
            pieces.append(layer_contributions(self, call, rows, call.baselines_at(rows)))
        found = torch.cat(pieces)
        if not return_convergence_delta:
            return found
        return found, found.flatten(1).sum(1) - (call.all_scores() - call.baseline_scores())


class LayerDeepLiftShap(captum.attr.LayerDeepLiftShap):
    """LayerDeepLift averaged over a distribution of baselines (Lundberg & Lee 2017), with the same rules.

    The delta is [rows]: the sum of attributions minus f(x) - mean f(baselines). ValueError for fewer than two.
    """

    def attribute(  # type: ignore[override]
        self,
        inputs: Any,
        baselines: Any,
        target: Any = None,
        additional_forward_args: Any = None,
        return_convergence_delta: bool = False,
    ) -> Any:
        """As Captum's; `baselines` [2 or more rows, ...]."""
        pool = baselines if isinstance(baselines, tuple) else (baselines,)
        if len(pool[0]) < 2:
            raise ValueError("LayerDeepLiftShap averages over a distribution: give two or more baseline rows")
        call = Call(self.model, inputs, None, target, additional_forward_args)
        count, device = len(pool[0]), pool[0].device
        total: Tensor | None = None
        empty = call.inputs[0].new_zeros(len(call))
        for block in chunks(count, call.rows):
            references = tuple(p[block] for p in pool)
            size = len(references[0])
            for part in chunks(len(call), call.rows // size):
                rows = torch.arange(part.start, part.stop, device=device).repeat_interleave(size)
                found = layer_contributions(self, call, rows, references).unflatten(0, (-1, size)) / count
                total = found.new_zeros(len(call), *found.shape[2:]) if total is None else total
                total[part] += found.sum(1)
                _, wanted, context = call.at(rows)
                there = call.scores(tiled(references, len(rows) // size), wanted, context)
                empty[part] += there.reshape(-1, size).sum(1) / count
        assert total is not None
        if not return_convergence_delta:
            return total
        return total, total.flatten(1).sum(1) - (call.all_scores() - empty)


def layer_contributions(method: Any, call: Call, rows: Tensor, references: tuple[Tensor, ...]) -> Tensor:
    """Multipliers of the layer's units, times the difference of activations, of `rows` [examples x references].

    Each example meets every reference, in order.
    """
    rules = Rules(method.model)
    inputs, target, context = call.at(rows)

    def recorded(references: tuple[Tensor, ...]) -> Tensor:
        with rules.recording(), read(method.layer) as kept:
            call.forward(*references, *context)
        return once(kept).detach()

    reference = None if context else recorded(references)
    if reference is None or rules.folded(len(references[0])):  # they must pass row by row beside the rows
        reference = recorded(tiled(references, len(rows) // len(references[0])))
    with torch.enable_grad(), rules.applied(), read(method.layer) as kept:
        scores = select(call.forward(*(x.requires_grad_() for x in inputs), *context), target)
        given = once(kept)
        multiplier = torch.autograd.grad(scores.sum(), given)[0]
    if not method.multiplies_by_inputs:
        return multiplier
    return multiplier * each_reference(torch.sub, given.detach(), reference)


class LayerLRP(captum.attr.LayerLRP):
    """Captum's LayerLRP (Bach 2015), as safe as `batched.LRP`: on a copy, with its table of rules.

    Activations, whose relevance Captum does not keep, can be read too. TypeError names a layer that has no rule.
    """

    def attribute(  # type: ignore[override]
        self,
        inputs: Any,
        target: Any = None,
        additional_forward_args: Any = None,
        return_convergence_delta: bool = False,
        attribute_to_layer_input: bool = False,
        verbose: bool = False,
    ) -> Any:
        """As Captum's."""
        model, layer = deepcopy((self.model, self.layer))
        if type(layer) in PASSED_THROUGH and not hasattr(layer, "rule"):
            layer.rule = IdentityRule()
            layer.activations = {}
            layer.rule.relevance_input = defaultdict(list)
            layer.rule.relevance_output = {}
        copy = _LayerOnCopy(model, layer)
        copy.used = modules_called(model, inputs, additional_forward_args)
        return captum.attr.LayerLRP.attribute(
            copy,
            inputs,
            target,
            additional_forward_args,
            return_convergence_delta,
            attribute_to_layer_input,
            verbose,
        )

    def has_convergence_delta(self) -> bool:
        """Captum's delta is the relevance that biases absorb: no error, so it is not taken for one."""
        return False


class _LayerOnCopy(OnCopy, captum.attr.LayerLRP):
    """Captum's machinery with our tables, on a copy that is thrown away."""


class LayerFeatureAblation(captum.attr.LayerFeatureAblation):
    """Captum's LayerFeatureAblation: f minus f with a unit of the layer replaced, many rows and units in a pass.

    Captum's fails with `perturbations_per_eval` above 1 and one target per row. Units that already give their baseline
    are not evaluated and get 0. Units of a group in `layer_mask` hold the group's value.
    """

    def attribute(  # type: ignore[override]
        self,
        inputs: Any,
        layer_baselines: Any = 0,
        target: Any = None,
        additional_forward_args: Any = None,
        layer_mask: Any = None,
    ) -> Any:
        """`layer_baselines`: a number, or a tensor [1 or rows, ...]; `layer_mask`: integers [1 or rows, ...]."""
        call = Call(self.forward_func, inputs, None, target, additional_forward_args)
        given = activations(call, self.layer)
        other = torch.as_tensor(0 if layer_baselines is None else layer_baselines).to(given).expand_as(given)
        return unit_effects(call, self.layer, given, other, unit_mask(given, layer_mask))


class LayerFeaturePermutation(captum.attr.LayerFeaturePermutation):
    """f minus the average of f with a unit's activation taken from another example (Fisher 2019).

    Captum's takes it from the other examples of the batch and fails with any target. Here it comes from rows of
    `baselines` (training rows), `n_samples` of them drawn for each row, so that a row's result does not depend on the
    others in its batch. Row i draws from `generators[i]`, else from the global stream.
    """

    def attribute(  # type: ignore[override]
        self,
        inputs: Any,
        baselines: Any,
        target: Any = None,
        additional_forward_args: Any = None,
        layer_mask: Any = None,
        n_samples: int = 5,
        generators: Sequence[torch.Generator] | None = None,
    ) -> Any:
        """`baselines` [rows of a distribution, ...]; ValueError for fewer than 1 sample."""
        if n_samples < 1:
            raise ValueError(f"n_samples={n_samples}: must be 1 or more")
        pool = baselines if isinstance(baselines, tuple) else (baselines,)
        call = Call(self.forward_func, inputs, None, target, additional_forward_args)
        given = activations(call, self.layer)
        mask = unit_mask(given, layer_mask)
        picks = torch.stack([
            torch.randint(len(pool[0]), (n_samples,), generator=None if generators is None else generators[i])
            for i in range(len(call))
        ])  # fmt: skip
        total = torch.zeros_like(given)
        for sample in picks.to(pool[0].device).unbind(1):
            donor = Call(self.forward_func, tuple(p[sample] for p in pool), context=call.context)
            total += unit_effects(call, self.layer, given, activations(donor, self.layer), mask) / n_samples
        return total


def unit_mask(given: Tensor, layer_mask: Any) -> Tensor:
    """Which unit each element of a layer's output belongs to [1 or rows, ...]; None: one each."""
    if layer_mask is None:
        return torch.arange(given[0].numel(), device=given.device).reshape(1, *given.shape[1:])
    mask = torch.as_tensor(layer_mask, device=given.device)
    mask = mask if mask.dim() == given.dim() else mask[None]
    return (mask - mask.min()).expand(len(mask), *given.shape[1:])


def unit_effects(call: Call, layer: nn.Module, given: Tensor, other: Tensor, mask: Tensor) -> Tensor:
    """f minus f with the activation of one unit taken from `other`, for each unit, in the shape of the layer."""
    count, flat = int(mask.max()) + 1, mask.expand_as(given).flatten(1)
    full = call.all_scores()
    differs = torch.zeros(len(given), count, device=given.device)
    differs.scatter_add_(1, flat, (given != other).flatten(1).float())
    pairs, effects = differs.nonzero(), full.new_zeros(len(given), count)
    for part in chunks(len(pairs), call.rows):
        row, unit = pairs[part].unbind(1)
        at = (flat[row] == unit[:, None]).reshape(len(row), *given.shape[1:])
        inputs, target, context = call.at(row)
        with replaced(layer, torch.where(at, other[row], given[row])):
            effects[row, unit] = full[row] - call.scores(inputs, target, context)
    return effects.gather(1, flat).reshape(given.shape)
