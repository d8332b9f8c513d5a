"""Explanations of hidden layers and of single neurons: how a run makes and keeps what Captum's inner methods give."""

from collections.abc import Callable
from functools import partial
from typing import Any

import captum.attr
from torch import Tensor

from . import guards
from .explainer import Explainer
from .explanation import Explanation
from .layer_explanation import LayerExplanation


class InnerExplainer(Explainer):
    """A method that reads a hidden layer: the network's own `hidden_layer` where none is named."""

    layer_needs = note = ""
    """`note`: what a reader of the results must know."""

    def _construct(self) -> captum.attr.Attribution:
        method = super()._construct()
        self.notes = (*self.notes, self.note.format(layer=self.layer_name))
        return method

    @property
    def default_layer(self) -> str | None:
        return self.model.hidden_layer

    @property
    def layer_name(self) -> str:
        """The module that is read."""
        return self.layer or self.default_layer or ""


class NeuronExplainer(InnerExplainer):
    """Explains one unit of a hidden layer, in the shape of the inputs."""

    note = "explains a unit of the layer {layer}, not the output that metrics look at"


class LayerExplainer(InnerExplainer):
    """Explains the output by the units of a hidden layer."""

    note = "metrics do not apply: it explains the layer {layer}, not the input"

    def _explanation(self, **known: Any) -> LayerExplanation:
        return LayerExplanation(**known, layer=self.layer_name)

    def _formed(self, result: tuple[Tensor, ...], inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(a.detach() for a in result)

    def _check(self, explanation: Explanation) -> tuple[str, ...]:
        guards.finite(explanation)
        return guards.incomplete(explanation, self.method)


def explainer_of(factory: Callable[..., captum.attr.Attribution]) -> type[Explainer]:
    """Which explainer a method needs: Captum's classes say whether they explain inputs, a layer or a neuron."""
    made = factory.func if isinstance(factory, partial) else factory
    if not isinstance(made, type) or getattr(made, "laid_over_inputs", False):
        return Explainer
    if issubclass(made, captum.attr.NeuronAttribution):
        return NeuronExplainer
    return LayerExplainer if issubclass(made, captum.attr.LayerAttribution) else Explainer
