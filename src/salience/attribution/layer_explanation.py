"""What came out where a hidden layer was explained."""

from dataclasses import dataclass
from typing import Any, ClassVar, cast

from torch import Tensor

from .explanation import Explanation


@dataclass(frozen=True)
class LayerExplanation(Explanation):
    """What the units of a hidden layer contribute: `attributions` have the shape of the layer's output, one tensor.

    It has no features of the input, so metrics do not apply: each of them is undefined for every example.
    """

    layer: str = ""
    """The name of the module in the network."""
    of_inputs: ClassVar[bool] = False

    @property
    def stored(self) -> dict[str, str]:
        return {"layer": self.layer}

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

        shown = self if example is None else self.rows(slice(example, example + 1))
        return layer_figure(cast(LayerExplanation, shown))

    def _repr_html_(self) -> str:
        from ..figures.canvas import image_tag, png

        return image_tag(png(self.show()), f"Attributions of {self.method} to the layer {self.layer}.")
