"""A multi-layer perceptron."""

from collections.abc import Sequence
from math import prod

from torch import Tensor, nn

from ..modality import Modality
from .base import Network


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
        self.require_whole(num_outputs=num_outputs, hidden=hidden)
        width = sum(prod(s) for s in self.embedded_shapes)
        self.layers = nn.Sequential()
        for size in hidden:
            self.layers.extend((nn.Linear(width, size), self.activation_module(activation)))
            self.hidden_layer = f"layers.{len(self.layers) - 1}"  # the last activation
            if dropout:
                self.layers.append(self.dropout_module(dropout))
            width = size
        self.layers.append(nn.Linear(width, num_outputs))

    def forward(self, *tensors: Tensor) -> Tensor:
        return self.layers(self.flattened(tensors))
