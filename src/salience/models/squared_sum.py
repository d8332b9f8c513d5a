"""A white box: a network whose attributions are known in closed form."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..errors import WrongInput
from ..modality import Modality


class SquaredSum(nn.Module):
    """The sum of squares of the elements that the context names: nothing to train, integrated gradients are x squared.

    Reads one input and, as context, which of its elements count (bool, of the same shape); for `data=rare`.
    Crabbe and van der Schaar (2021), Dynamask.
    """

    weight: Tensor

    def __init__(self, modalities: Sequence[Modality], num_outputs: int = 1):
        super().__init__()
        if len(modalities) != 1 or num_outputs != 1:
            raise WrongInput(
                "model=squared_sum: reads one input and has one output; it is made for data=rare"
            )
        # a network without any tensor cannot be kept
        self.register_buffer("weight", torch.ones(1))

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        if not context:
            raise WrongInput(
                "model=squared_sum: needs to be told which elements count; it is made for data=rare"
            )
        return self.weight * (x * context[0]).square().flatten(1).sum(1, keepdim=True)
