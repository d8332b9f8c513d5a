"""Several inputs read apart, each by a network that fits it, then joined."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..modality import Modality
from .base import Network


class Fusion(Network):
    """A branch per modality, their features side by side, and a fully connected part that answers.

    Images go through convolutions with pooling and the maximum over places; series and tokens through a convolution
    over steps and the maximum over steps; columns of a table through a linear layer. `channels` are those of the
    convolutions over images; every branch ends in `width` features. Maxima are modules, so DeepLift and LRP have rules.
    """

    def __init__(
        self,
        modalities: Sequence[Modality],
        num_outputs: int,
        channels: Sequence[int] = (16, 32),
        width: int = 64,
        hidden: Sequence[int] = (128,),
        dropout: float = 0.0,
        embedding: int = 32,
    ):
        super().__init__(modalities, embedding)
        self.require_whole(num_outputs=num_outputs, channels=channels, width=width, hidden=hidden)
        self.branches = nn.ModuleList(
            BRANCHES[len(shape)](modality, shape, channels, width)
            for modality, shape in zip(modalities, self.embedded_shapes, strict=True)
        )
        size = width * len(modalities)
        self.joined = nn.Identity()
        self.layers = nn.Sequential()
        for units in hidden:
            self.layers.extend((nn.Linear(size, units), nn.ReLU(), self.dropout_module(dropout)))
            size = units
        self.layers.append(nn.Linear(size, num_outputs))
        self.hidden_layer = "joined"

    def forward(self, *tensors: Tensor) -> Tensor:
        embedded, padding = self.split(tensors)
        parts = [b(x, p) for b, x, p in zip(self.branches, embedded, padding, strict=True)]
        return self.layers(self.joined(torch.cat(parts, 1)))


class OverPlaces(nn.Module):
    """Convolutions, ReLU and pooling, then the maximum over places: [batch, channels, ...] -> [batch, width]."""

    def __init__(self, modality: Modality, shape: tuple[int, ...], channels: Sequence[int], width: int):
        super().__init__()
        self.layers = nn.Sequential()
        depth, side = shape[0], min(shape[1:])
        for size in (*channels, width):
            self.layers.extend((nn.Conv2d(depth, size, 3, padding=1), nn.ReLU()))
            if side >= 4:
                self.layers.append(nn.MaxPool2d(2))
                side //= 2
            depth = size
        self.layers.append(nn.AdaptiveMaxPool2d(1))

    def forward(self, x: Tensor, padded: Tensor | None) -> Tensor:
        return self.layers(x).flatten(1)


class OverSteps(nn.Module):
    """A convolution over three steps, ReLU, the maximum over steps: [batch, ...] -> [batch, width]."""

    def __init__(self, modality: Modality, shape: tuple[int, ...], channels: Sequence[int], width: int):
        super().__init__()
        self.modality = modality
        self.convolution = nn.Conv1d(modality.steps(torch.zeros(1, *shape)).shape[2], width, 3, padding=1)
        self.relu = nn.ReLU()
        self.pool = nn.AdaptiveMaxPool1d(1)

    def forward(self, x: Tensor, padded: Tensor | None) -> Tensor:
        steps = self.modality.steps(x)
        steps = steps if padded is None else steps.masked_fill(padded[..., None], 0.0)
        found = self.relu(self.convolution(steps.transpose(1, 2)))
        found = found if padded is None else found.masked_fill(padded[:, None], 0.0)
        return self.pool(found).flatten(1)


class OverColumns(nn.Module):
    """A linear layer and ReLU: [batch, columns] -> [batch, width]."""

    def __init__(self, modality: Modality, shape: tuple[int, ...], channels: Sequence[int], width: int):
        super().__init__()
        self.linear = nn.Linear(shape[0], width)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor, padded: Tensor | None) -> Tensor:
        return self.relu(self.linear(x))


BRANCHES: dict[int, type[OverPlaces] | type[OverSteps] | type[OverColumns]] = {
    1: OverColumns,
    2: OverSteps,
    3: OverPlaces,
}
"""By the number of axes of an embedded example."""
