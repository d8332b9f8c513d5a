"""Recurrent networks, wrapped so that every layer gives one tensor."""

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..modality import Modality
from .sequential import StepByStep, last_step, mean_over_steps

POOLING: dict[str, Callable[[Tensor, Tensor | None], Tensor]] = {"last": last_step, "mean": mean_over_steps}


class Recurrent(StepByStep):
    """Recurrent layers over one input, then the last step (or the mean over steps) and a linear layer.

    Hook point (nn.Identity): `states` [batch, length, hidden]. Both directions are read where `bidirectional`; the
    backward one starts at the padding, which is 0.
    """

    cell: ClassVar[Callable[..., nn.RNNBase]]

    def __init__(
        self,
        modalities: Sequence[Modality],
        num_outputs: int,
        hidden: int = 64,
        depth: int = 1,
        bidirectional: bool = False,
        pooling: str = "last",
        dropout: float = 0.0,
        embedding: int = 32,
    ):
        super().__init__(modalities, embedding)
        self.require_whole(num_outputs=num_outputs, hidden=hidden, depth=depth)
        self.require(pooling in POOLING, "pooling", pooling, f"unknown; choose from {', '.join(POOLING)}")
        self.pool = POOLING[pooling]
        self.layers = nn.ModuleList()
        width = self.step_width
        for _ in range(depth):
            self.layers.append(
                OneTensor(self.cell(width, hidden, batch_first=True, bidirectional=bidirectional))
            )
            width = hidden * (1 + bidirectional)
        self.states = nn.Identity()
        self.dropout = self.dropout_module(dropout)
        self.head = nn.Linear(width, num_outputs)
        self.hidden_layer = "states"

    def forward(self, *tensors: Tensor) -> Tensor:
        x, padded = self.steps(tensors)
        for layer in self.layers:
            x = layer(x)
            if padded is not None:
                x = x.masked_fill(padded[..., None], 0.0)
        return self.head(self.dropout(self.pool(self.states(x), padded)))


class GRU(Recurrent):
    """Gated recurrent units (Cho et al. 2014); see `Recurrent`."""

    cell = nn.GRU


class LSTM(Recurrent):
    """Long short-term memory (Hochreiter and Schmidhuber 1997); see `Recurrent`."""

    cell = nn.LSTM


class OneTensor(nn.Module):
    """A recurrent layer that returns its outputs [batch, length, hidden] and not its states.

    In eval mode cuDNN is left out, since it cannot differentiate there.
    """

    def __init__(self, layer: nn.RNNBase):
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        with torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled and self.training):
            return self.layer(x)[0]
