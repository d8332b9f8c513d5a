"""A small convolutional network for images."""

from collections import OrderedDict
from collections.abc import Sequence
from math import prod

from torch import Tensor, nn

from ..modality import Modality
from .base import Network

POOLING: dict[str, type[nn.Module]] = {"max": nn.MaxPool2d, "average": nn.AvgPool2d}


class CNN(Network):
    """Blocks of convolution, ReLU and pooling, one per entry of `channels`, then a linear layer.

    Reads one input [channels, height, width]; WrongInput for any other. `explained_layer` is the ReLU of the last
    block, before pooling. Images too small for a further halving are not pooled by the later blocks.
    """

    def __init__(
        self,
        modalities: Sequence[Modality],
        num_outputs: int,
        channels: Sequence[int] = (16, 32),
        kernel: int = 3,
        pooling: str = "max",
        dropout: float = 0.0,
    ):
        super().__init__(modalities)
        self.require_one_image()
        self.require_whole(num_outputs=num_outputs, channels=channels, kernel=kernel)
        self.require(
            len(channels) > 0, "channels", channels, "at least one number is needed, such as [16, 32]"
        )
        self.require(kernel % 2 == 1, "kernel", kernel, "must be odd")
        self.require(pooling in POOLING, "pooling", pooling, f"unknown; choose from {', '.join(POOLING)}")
        depth, height, width = self.embedded_shapes[0]
        self.blocks = nn.ModuleList()
        for size in channels:
            halve = min(height, width) >= 2
            self.blocks.append(block(depth, size, kernel, POOLING[pooling] if halve else None))
            depth, height, width = size, height // (1 + halve), width // (1 + halve)
        self.dropout = self.dropout_module(dropout)
        self.head = nn.Linear(prod((depth, height, width)), num_outputs)
        self.explained_layer = self.hidden_layer = f"blocks.{len(channels) - 1}.relu"

    def forward(self, image: Tensor, *context: Tensor) -> Tensor:
        for part in self.blocks:
            image = part(image)
        return self.head(self.dropout(image.flatten(1)))


def block(depth: int, size: int, kernel: int, pool: type[nn.Module] | None) -> nn.Sequential:
    """Convolution that keeps height and width, ReLU, and pooling that halves them."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        convolution=nn.Conv2d(depth, size, kernel, padding=kernel // 2), relu=nn.ReLU()
    )
    if pool is not None:
        layers["pool"] = pool(2)
    return nn.Sequential(layers)
