"""A convolutional network over time."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from ..modality import Modality
from .sequential import StepByStep, mean_over_steps


class TemporalCNN(StepByStep):
    """Blocks of convolution over time, batch normalisation and ReLU, the mean over time, a linear layer.

    The fully convolutional network of Wang, Yan and Oates (2017). Each block reaches `dilation` times as far as the one
    before it. `explained_layer` is the ReLU of the last block [batch, channels, time].
    """

    def __init__(
        self,
        modalities: Sequence[Modality],
        num_outputs: int,
        channels: Sequence[int] = (32, 64, 32),
        kernel: int = 5,
        dilation: int = 2,
        dropout: float = 0.0,
        embedding: int = 32,
    ):
        super().__init__(modalities, embedding)
        self.require_whole(num_outputs=num_outputs, channels=channels, kernel=kernel, dilation=dilation)
        self.require(
            len(channels) > 0, "channels", channels, "at least one number is needed, such as [32, 64]"
        )
        self.require(kernel % 2 == 1, "kernel", kernel, "must be odd")
        self.blocks = nn.ModuleList()
        width = self.step_width
        for number, size in enumerate(channels):
            self.blocks.append(block(width, size, kernel, dilation**number))
            width = size
        self.dropout = self.dropout_module(dropout)
        self.head = nn.Linear(width, num_outputs)
        self.explained_layer = self.hidden_layer = f"blocks.{len(channels) - 1}.relu"

    def forward(self, *tensors: Tensor) -> Tensor:
        steps, padded = self.steps(tensors)
        x = steps.transpose(1, 2)
        for part in self.blocks:
            x = part(x)
            if padded is not None:
                x = x.masked_fill(padded[:, None], 0.0)
        return self.head(self.dropout(mean_over_steps(x.transpose(1, 2), padded)))


def block(width: int, size: int, kernel: int, dilation: int) -> nn.Sequential:
    """Convolution that keeps the length, batch normalisation, ReLU."""
    convolution = nn.Conv1d(width, size, kernel, padding=dilation * (kernel // 2), dilation=dilation)
    layers = OrderedDict(convolution=convolution, normalisation=nn.BatchNorm1d(size), relu=nn.ReLU())
    return nn.Sequential(layers)
