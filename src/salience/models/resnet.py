"""A small residual network for images."""

from collections.abc import Sequence

from torch import Tensor, nn

from ..modality import Modality
from .base import Network


class Resnet(Network):
    """A convolution, then residual blocks, the mean over places, a linear layer (He et al. 2016).

    Each entry of `channels` is one block of two convolutions; from the second on, a block halves height and width.
    `explained_layer` is the last ReLU. Reads one image; WrongInput for any other input.
    """

    def __init__(
        self,
        modalities: Sequence[Modality],
        num_outputs: int,
        channels: Sequence[int] = (16, 32, 64),
        dropout: float = 0.0,
    ):
        super().__init__(modalities)
        self.require_one_image()
        self.require_whole(num_outputs=num_outputs, channels=channels)
        self.require(
            len(channels) > 0, "channels", channels, "at least one number is needed, such as [16, 32]"
        )
        depth = self.embedded_shapes[0][0]
        self.stem = nn.Sequential(
            nn.Conv2d(depth, channels[0], 3, padding=1, bias=False), nn.BatchNorm2d(channels[0]), nn.ReLU()
        )
        widths = [channels[0], *channels]
        self.blocks = nn.ModuleList(
            Residual(before, after, 1 if number == 0 else 2)
            for number, (before, after) in enumerate(zip(widths, channels, strict=False))
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = self.dropout_module(dropout)
        self.head = nn.Linear(channels[-1], num_outputs)
        self.explained_layer = self.hidden_layer = f"blocks.{len(channels) - 1}.relu_out"

    def forward(self, image: Tensor, *context: Tensor) -> Tensor:
        x = self.stem(image)
        for part in self.blocks:
            x = part(x)
        return self.head(self.dropout(self.pool(x).flatten(1)))


class Residual(nn.Module):
    """Two convolutions, added to what they read (which a 1 x 1 convolution fits where shapes differ)."""

    def __init__(self, before: int, after: int, stride: int):
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.normalise_first = nn.BatchNorm2d(after)
        self.relu = nn.ReLU()
        self.second = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.normalise_second = nn.BatchNorm2d(after)
        same = before == after and stride == 1
        self.shortcut: nn.Module | None = None if same else nn.Conv2d(before, after, 1, stride, bias=False)
        self.relu_out = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        inner = self.relu(self.normalise_first(self.first(x)))
        inner = self.normalise_second(self.second(inner))
        return self.relu_out(inner + (x if self.shortcut is None else self.shortcut(x)))
