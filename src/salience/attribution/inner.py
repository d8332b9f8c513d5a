"""Explanations of hidden layers and of single neurons: how a run makes and keeps what Captum's inner methods give."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import captum.attr
from torch import Tensor

from . import guards
from .explainer import Explainer
from .explanation import Explanation


@dataclass(frozen=True)
class LayerExplanation(Explanation):
    """What the units of a hidden layer contribute: `attributions` have the shape of the layer's output, one tensor.

    It has no features of the input, so metrics do not apply: each of them is undefined for every example.
    """

    layer: str = ""
    """The name of the module in the network."""

    def per_feature(self) -> Tensor:
        """ValueError: units are not features of the input."""
        raise ValueError(f"{self.method} explains the layer {self.layer}, not the features of the input")

    def per_unit(self) -> Tensor:
        """Signed attribution of each unit or channel, added up over its places [examples, channels]."""
        values = self.attributions[0]
        return values.reshape(len(values), values.shape[1] if values.dim() > 1 else 1, -1).sum(2)

    def measured_by(self, metric: Any, explainer: Any, reference: Any) -> Any:
        """Undefined for every example."""
        return metric.undefined(self)

    def show(self, example: int | None = None):
        """A matplotlib figure of one example, or of the mean over all."""
        from ..figures.layers import layer_figure

        return layer_figure(self if example is None else self.rows(slice(example, example + 1)))

    def _repr_html_(self) -> str:
        from ..figures.canvas import image_tag, png

        return image_tag(png(self.show()), f"Attributions of {self.method} to the layer {self.layer}.")


class InnerExplainer(Explainer):
    """A method that reads a hidden layer: the network's own `hidden_layer` where none is named."""

    layer_needs = ""

    @property
    def default_layer(self) -> str | None:
        return self.model.hidden_layer

    @property
    def layer_name(self) -> str:
        """The module that is read."""
        return self.layer or self.default_layer or ""


class NeuronExplainer(InnerExplainer):
    """Explains one unit of a hidden layer, in the shape of the inputs."""

    def _check(self, explanation: Explanation) -> tuple[str, ...]:
        note = f"explains a unit of the layer {self.layer_name}, not the output that metrics look at"
        return (*super()._check(explanation), note)


class LayerExplainer(InnerExplainer):
    """Explains the output by the units of a hidden layer."""

    def _explanation(self, **known: Any) -> LayerExplanation:
        return LayerExplanation(**known, layer=self.layer_name)

    def _formed(self, result: tuple[Tensor, ...], inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(a.detach() for a in result)

    def _check(self, explanation: Explanation) -> tuple[str, ...]:
        guards.finite(explanation)
        note = f"metrics do not apply: it explains the layer {self.layer_name}, not the input"
        return (*guards.incomplete(explanation, self.method), note)


def explainer_of(factory: Callable[..., captum.attr.Attribution]) -> type[Explainer]:
    """Which explainer a method needs: Captum's classes say whether they explain inputs, a layer or a neuron."""
    made = factory.func if isinstance(factory, partial) else factory
    if not isinstance(made, type) or getattr(made, "laid_over_inputs", False):
        return Explainer
    if issubclass(made, captum.attr.NeuronAttribution):
        return NeuronExplainer
    return LayerExplainer if issubclass(made, captum.attr.LayerAttribution) else Explainer
