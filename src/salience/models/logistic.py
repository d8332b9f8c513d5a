"""Logistic (or linear) regression: the network whose attributions are known."""

from collections.abc import Sequence
from math import prod

from torch import Tensor, nn

from ..modality import Modality
from .base import Network


class Logistic(Network):
    """One linear layer over all inputs, flattened: the attribution of an element is weight x (input - baseline)."""

    def __init__(self, modalities: Sequence[Modality], num_outputs: int, embedding: int = 32):
        super().__init__(modalities, embedding)
        self.require_whole(num_outputs=num_outputs)
        self.linear = nn.Linear(sum(prod(s) for s in self.embedded_shapes), num_outputs)

    def forward(self, *tensors: Tensor) -> Tensor:
        return self.linear(self.flattened(tensors))
