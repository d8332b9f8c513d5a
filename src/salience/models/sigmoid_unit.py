"""A single unit with given weights."""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from ..errors import WrongInput
from ..modality import Modality


class SigmoidUnit(nn.Module):
    """One output, weights x inputs + bias, of which the sigmoid is the probability of the second class.

    The weights are given, one per input element; training changes them, `training=none` leaves them. WrongInput where
    their number is not that of the inputs.
    """

    def __init__(
        self,
        modalities: Sequence[Modality],
        num_outputs: int = 1,
        weights: Sequence[float] = (1.0, 1.0),
        bias: float = 0.0,
    ):
        super().__init__()
        size = sum(prod(m.shape) for m in modalities)
        if len(weights) != size:
            raise WrongInput(
                f"model.sigmoid_unit.weights={list(weights)}: there are {size} inputs, so {size} weights"
            )
        self.linear = nn.Linear(size, 1)
        with torch.no_grad():
            self.linear.weight.copy_(torch.tensor([list(map(float, weights))]))
            self.linear.bias.fill_(bias)

    def forward(self, *tensors: Tensor) -> Tensor:
        return self.linear(torch.cat([x.flatten(1) for x in tensors], 1))
