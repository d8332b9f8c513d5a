"""A multi-layer perceptron."""

from collections.abc import Sequence
from math import prod

from torch import Tensor, nn

from ..modality import Modality
from .base import Network, activation


class MLP(Network):
    """Fully connected layers over all inputs, flattened. `hidden` lists the widths of the hidden layers."""

    def __init__(
        self,
        modalities: Sequence[Modality],
        num_outputs: int,
        hidden: Sequence[int] = (64, 64),
        activation: str = "relu",
        dropout: float = 0.0,
        embedding: int = 32,
    ):
        super().__init__(modalities, embedding)
        width = sum(prod(s) for s in self.embedded_shapes)
        self.layers = nn.Sequential()
        for size in hidden:
            self.hidden_layer = f"layers.{len(self.layers) + 1}"  # the activation of the last hidden layer
            for layer in hidden_layer(width, size, activation, dropout):
                self.layers.append(layer)
            width = size
        self.layers.append(nn.Linear(width, num_outputs))

    def forward(self, *tensors: Tensor) -> Tensor:
        return self.layers(self.flattened(tensors))


def hidden_layer(width: int, size: int, name: str, dropout: float) -> list[nn.Module]:
    """Linear, activation and (where it does something) dropout."""
    layer: list[nn.Module] = [nn.Linear(width, size), activation(name, "mlp")]
    return [*layer, nn.Dropout(dropout)] if dropout else layer
