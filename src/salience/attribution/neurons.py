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
        return explainer.attribute(
            inputs, baselines, None, additional_forward_args, n_steps, method, internal_batch_size,
            return_convergence_delta,
        )  # fmt: skip

    def has_convergence_delta(self) -> bool:
        """Captum's gives none."""
        return True


class NeuronConductance(captum.attr.NeuronConductance):
    """Captum's NeuronConductance (Dhamdhere 2018): how much of the target flows from each input through the unit."""

    def attribute(  # type: ignore[override]
        self,
        inputs: Any,
        neuron_selector: Any,
        baselines: Any = None,
        target: Any = None,
        additional_forward_args: Any = None,
        n_steps: int = 50,
        method: str = "riemann_trapezoid",
        attribute_to_neuron_input: bool = False,
    ) -> Any:
        """As Captum's."""
        call = Call(self.forward_func, inputs, baselines, target, additional_forward_args)
        pick, of_input = selected(neuron_selector), attribute_to_neuron_input
        whole = super().attribute

        def one(rows: Tensor) -> tuple[Tensor, ...]:
            own, wanted, context = call.at(rows)
            base = call.baselines_at(rows)
            return whole(
                own, pick, base, wanted, context or None, n_steps, method, attribute_to_neuron_input=of_input
            )

        return streamed(call, one, max(1, call.rows // n_steps))


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
