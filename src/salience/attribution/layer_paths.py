"""Layer methods that integrate along a path, in enough steps."""

from collections.abc import Callable
from typing import Any

import captum.attr
import torch
from torch import Tensor

from .batched.gradients import ABSOLUTE, MOST_STEPS, RELATIVE, first_steps
from .planner import Call


class LayerIntegratedGradients(captum.attr.LayerIntegratedGradients):
    """Captum's LayerIntegratedGradients (Sundararajan 2017), streamed, with `n_steps="auto"` as `batched` has it.

    The path lies between what the layer gives for the baseline and for the input. Sums to f(x) - f(baseline).
    """

    def attribute(  # type: ignore[override]
        self,
        inputs: Any,
        baselines: Any = None,
        target: Any = None,
        additional_forward_args: Any = None,
        n_steps: int | str = 50,
        method: str = "gausslegendre",
        return_convergence_delta: bool = False,
        attribute_to_layer_input: bool = False,
    ) -> Any:
        """As Captum's, for a layer that gives one tensor; `details["steps"]` [rows] are those that each row took."""
        call = Call(self.forward_func, inputs, baselines, target, additional_forward_args)
        return integrated(
            self, super().attribute, call, n_steps, method, return_convergence_delta, attribute_to_layer_input
        )


class LayerConductance(captum.attr.LayerConductance):
    """Captum's LayerConductance (Dhamdhere 2018), streamed, with `n_steps="auto"` as `batched` has it.

    How much of the change from f(baseline) to f(x) flows through each unit; sums to it.
    """

    def attribute(  # type: ignore[override]
        self,
        inputs: Any,
        baselines: Any = None,
        target: Any = None,
        additional_forward_args: Any = None,
        n_steps: int | str = 50,
        method: str = "gausslegendre",
        return_convergence_delta: bool = False,
        attribute_to_layer_input: bool = False,
    ) -> Any:
        """As Captum's, for a layer that gives one tensor; `details["steps"]` [rows] are those that each row took."""
        call = Call(self.forward_func, inputs, baselines, target, additional_forward_args)
        return integrated(
            self, super().attribute, call, n_steps, method, return_convergence_delta, attribute_to_layer_input
        )


def integrated(
    of: Any, whole: Callable, call: Call, n_steps: int | str, method: str, with_delta: bool, of_input: bool
) -> Any:
    """A Captum method that integrates along a path, for as many rows at a time as fit, in enough steps.

    `of` is the object that is told in its `details` how many steps each row took.
    """
    steps = first_steps(n_steps)

    def once_more(rows: Tensor, count: int) -> tuple[Tensor, Tensor]:
        pieces = []
        for part in rows.split(max(1, call.rows // count)):
            own, target, context = call.at(part)
            found, delta = whole(
                own, call.baselines_at(part), target, context or None, count, method,
                return_convergence_delta=True, attribute_to_layer_input=of_input,
            )  # fmt: skip
            pieces.append((found[0] if isinstance(found, tuple) else found, delta))
        attributions, deltas = zip(*pieces, strict=True)
        return torch.cat(attributions).detach(), torch.cat(deltas).detach()

    found, gap = once_more(torch.arange(len(call), device=call.inputs[0].device), steps)
    used = torch.full_like(gap, steps, dtype=torch.long)
    while n_steps == "auto" and steps < MOST_STEPS:
        change = found.flatten(1).sum(1) - gap
        open_ = (gap.abs() > RELATIVE * change.abs() + ABSOLUTE).nonzero()[:, 0]
        if not len(open_):
            break
        steps *= 2
        found[open_], gap[open_] = once_more(open_, steps)
        used[open_] = steps
    of.details = {"steps": used}
    return (found, gap) if with_delta else found
