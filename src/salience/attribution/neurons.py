"""Neuron methods: what makes one unit of a hidden layer active? Results have the shape of the inputs.

Each takes the arguments of the Captum class that it replaces. `neuron_selector` is the number of the unit, counted row
by row through the layer's shape, its place along each axis (slices are summed), or a function of the layer's output.
What explains outputs explains units here: a network whose output is the unit.
"""

from collections.abc import Callable, Sequence
from typing import Any

import captum.attr
import torch
from torch import Tensor

from .batched import DeepLift, DeepLiftShap, FeatureAblation, GradientShap, IntegratedGradients
from .batched.gradients import ABSOLUTE, FIRST_STEPS, MOST_STEPS, RELATIVE, first_steps, total
from .inside import Unit, row_parts, selected
from .planner import Call, gradients


class NeuronGradient(captum.attr.NeuronGradient):
    """Captum's NeuronGradient: the gradient of a unit with respect to the inputs."""

    def attribute(  # type: ignore[override]
        self,
        inputs: Any,
        neuron_selector: Any,
        additional_forward_args: Any = None,
        attribute_to_neuron_input: bool = False,
    ) -> Any:
        """As Captum's."""
        unit = Unit(self.forward_func, self.layer, neuron_selector, attribute_to_neuron_input)
        call = Call(unit, inputs, context=additional_forward_args)

        def one(rows: Tensor) -> tuple[Tensor, ...]:
            own, _, context = call.at(rows)
            return gradients(unit, own, None, context)[1]

        return streamed(call, one)


class NeuronIntegratedGradients(captum.attr.NeuronIntegratedGradients):
    """Captum's NeuronIntegratedGradients (Shrikumar 2018) in bounded memory, with `n_steps="auto"`."""

    def attribute(  # type: ignore[override]
        self,
        inputs: Any,
        neuron_selector: Any,
        baselines: Any = None,
        additional_forward_args: Any = None,
        n_steps: int | str = 50,
        method: str = "gausslegendre",
        internal_batch_size: int | None = None,
        attribute_to_neuron_input: bool = False,
        return_convergence_delta: bool = False,
    ) -> Any:
        """As Captum's; the delta is the sum minus the unit's change."""
        unit = Unit(self.forward_func, self.layer, neuron_selector, attribute_to_neuron_input)
        explainer = IntegratedGradients(unit, self.multiplies_by_inputs)
        found = explainer.attribute(
            inputs, baselines, None, additional_forward_args, n_steps, method, internal_batch_size,
            return_convergence_delta,
        )  # fmt: skip
        self.details = explainer.details
        return found

    def has_convergence_delta(self) -> bool:
        """Captum's gives none."""
        return True


class NeuronConductance(captum.attr.NeuronConductance):
    """Captum's NeuronConductance (Dhamdhere 2018): how much of the target flows from each input through the unit.

    With `n_steps="auto"` it starts at 50 steps and doubles them, for the rows that need it, until the sum over the
    inputs moves by at most 1e-3 of itself + 1e-4 (what it should be is known of no single unit) or 1,600 steps are
    spent. After a call `details` say for each row the `steps`, and with "auto" by how much the last doubling moved the
    sum (`gap`) and whether that is little enough (`complete`).
    """

    def attribute(  # type: ignore[override]
        self,
        inputs: Any,
        neuron_selector: Any,
        baselines: Any = None,
        target: Any = None,
        additional_forward_args: Any = None,
        n_steps: int | str = 50,
        method: str = "riemann_trapezoid",
        attribute_to_neuron_input: bool = False,
    ) -> Any:
        """As Captum's."""
        call = Call(self.forward_func, inputs, baselines, target, additional_forward_args)
        pick, of_input = selected(neuron_selector), attribute_to_neuron_input
        whole, steps = super().attribute, first_steps(n_steps)

        def in_steps(which: Tensor, count: int) -> tuple[Tensor, ...]:
            pieces = []
            for rows in which.split(max(1, call.rows // count)):
                own, wanted, context = call.at(rows)
                base = call.baselines_at(rows)
                pieces.append(
                    whole(
                        own, pick, base, wanted, context or None, count, method, attribute_to_neuron_input=of_input
                    )
                )  # fmt: skip
            return tuple(torch.cat([a.detach() for a in p]) for p in zip(*pieces, strict=True))

        rows = torch.arange(len(call), device=call.inputs[0].device)
        found = in_steps(rows, steps)
        self.details = {"steps": torch.full_like(rows, steps)}
        return call.result(self._settled(found, rows, in_steps) if n_steps == "auto" else found)

    def _settled(
        self, found: tuple[Tensor, ...], rows: Tensor, in_steps: Callable[[Tensor, int], tuple[Tensor, ...]]
    ) -> tuple[Tensor, ...]:
        """Double the steps of those rows whose sum still moves."""
        steps, used, gap = FIRST_STEPS, self.details["steps"], total(found).new_zeros(len(rows))
        while len(rows) and steps < MOST_STEPS:
            steps *= 2
            finer, before = in_steps(rows, steps), total(found)[rows]
            found = tuple(a.index_copy(0, rows, f) for a, f in zip(found, finer, strict=True))
            gap[rows], used[rows] = total(finer) - before, steps
            rows = rows[gap[rows].abs() > RELATIVE * total(finer).abs() + ABSOLUTE]
        complete = torch.ones(len(gap), dtype=torch.bool, device=gap.device).index_fill(0, rows, False)
        self.details = {"steps": used, "gap": gap, "complete": complete}
        return found


class NeuronDeepLift(captum.attr.NeuronDeepLift):
    """Captum's NeuronDeepLift (Shrikumar 2017) with the rules of `batched.DeepLift`, which are complete."""

    def attribute(  # type: ignore[override]
        self,
        inputs: Any,
        neuron_selector: Any,
        baselines: Any = None,
        additional_forward_args: Any = None,
        attribute_to_neuron_input: bool = False,
        return_convergence_delta: bool = False,
    ) -> Any:
        """As Captum's; the delta is the sum minus the unit's change."""
        unit = Unit(self.forward_func, self.layer, neuron_selector, attribute_to_neuron_input)
        return DeepLift(unit, self.multiplies_by_inputs).attribute(
            inputs, baselines, None, additional_forward_args, return_convergence_delta
        )

    def has_convergence_delta(self) -> bool:
        """Captum's gives none."""
        return True


class NeuronDeepLiftShap(captum.attr.NeuronDeepLiftShap):
    """NeuronDeepLift averaged over a distribution of baselines (Lundberg & Lee 2017), with the same rules."""

    def attribute(  # type: ignore[override]
        self,
        inputs: Any,
        neuron_selector: Any,
        baselines: Any,
        additional_forward_args: Any = None,
        attribute_to_neuron_input: bool = False,
        return_convergence_delta: bool = False,
    ) -> Any:
        """As Captum's; `baselines` [2 or more rows, ...]; the delta is the sum minus the unit's change."""
        unit = Unit(self.forward_func, self.layer, neuron_selector, attribute_to_neuron_input)
        return DeepLiftShap(unit, self.multiplies_by_inputs).attribute(
            inputs, baselines, None, additional_forward_args, return_convergence_delta
        )

    def has_convergence_delta(self) -> bool:
        """Captum's gives none."""
        return True


class NeuronGradientShap(captum.attr.NeuronGradientShap):
    """Captum's NeuronGradientShap (Lundberg & Lee 2017), each row with its own draws."""

    def attribute(  # type: ignore[override]
        self,
        inputs: Any,
        neuron_selector: Any,
        baselines: Any,
        n_samples: int = 5,
        stdevs: Any = 0.0,
        additional_forward_args: Any = None,
        attribute_to_neuron_input: bool = False,
        generators: Sequence[torch.Generator] | None = None,
    ) -> Any:
        """As Captum's; row i draws from `generators[i]`, else from the global stream."""
        unit = Unit(self.forward_func, self.layer, neuron_selector, attribute_to_neuron_input)
        return GradientShap(unit, self.multiplies_by_inputs).attribute(
            inputs, baselines, n_samples, stdevs, None, additional_forward_args, generators=generators
        )


class NeuronGuidedBackprop(captum.attr.NeuronGuidedBackprop):
    """Captum's NeuronGuidedBackprop (Springenberg 2014): only positive gradients pass a ReLU."""

    def attribute(  # type: ignore[override]
        self,
        inputs: Any,
        neuron_selector: Any,
        additional_forward_args: Any = None,
        attribute_to_neuron_input: bool = False,
    ) -> Any:
        """As Captum's."""
        return backward(
            super().attribute,
            self,
            inputs,
            neuron_selector,
            additional_forward_args,
            attribute_to_neuron_input,
        )


class NeuronDeconvolution(captum.attr.NeuronDeconvolution):
    """Captum's NeuronDeconvolution (Zeiler & Fergus 2014): ReLU on the way back in place of its gradient."""

    def attribute(  # type: ignore[override]
        self,
        inputs: Any,
        neuron_selector: Any,
        additional_forward_args: Any = None,
        attribute_to_neuron_input: bool = False,
    ) -> Any:
        """As Captum's."""
        return backward(
            super().attribute,
            self,
            inputs,
            neuron_selector,
            additional_forward_args,
            attribute_to_neuron_input,
        )


class NeuronFeatureAblation(captum.attr.NeuronFeatureAblation):
    """Captum's NeuronFeatureAblation: the unit minus the unit without a feature, in full passes."""

    def attribute(  # type: ignore[override]
        self,
        inputs: Any,
        neuron_selector: Any,
        baselines: Any = None,
        additional_forward_args: Any = None,
        feature_mask: Any = None,
        attribute_to_neuron_input: bool = False,
    ) -> Any:
        """As Captum's."""
        unit = Unit(self.forward_func, self.layer, neuron_selector, attribute_to_neuron_input)
        return FeatureAblation(unit).attribute(inputs, baselines, None, additional_forward_args, feature_mask)


def backward(whole: Callable, method: Any, inputs: Any, selector: Any, context: Any, of_input: bool) -> Any:
    """A method that changes how gradients pass ReLUs, streamed."""
    call = Call(method.forward_func, inputs, context=context)
    pick = selected(selector)

    def one(rows: Tensor) -> tuple[Tensor, ...]:
        own, _, more = call.at(rows)
        return whole(own, pick, more or None, of_input)

    return streamed(call, one)


def streamed(call: Call, one: Callable[[Tensor], tuple[Tensor, ...]], rows: int | None = None) -> Any:
    """`one` for some rows at a time, joined, in the form that was asked for."""
    pieces = [one(part) for part in row_parts(call, rows)]
    return call.result(tuple(torch.cat([a.detach() for a in p]) for p in zip(*pieces, strict=True)))
