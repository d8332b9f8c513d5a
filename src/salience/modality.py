"""What one input of a network means: its features, what 'no information' is, and which of it is really there.

Two spaces occur. `inputs` are what the data holds (floats, or token ids); `embedded` is the differentiable form
that attribution works in: the same tensor for floats, the embedding vectors [batch, length, width] for ids.
Nobody else asks which kind a modality is: what differs between kinds is a method here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

import torch
from torch import Tensor


@dataclass(frozen=True)
class Modality:
    """Any tensor, each element a feature of its own. `shape` is that of one example, without the batch axis."""

    shape: tuple[int, ...]
    name: str = "input"

    # -- meaning -------------------------------------------------------------------------------------------------

    @property
    def num_features(self) -> int:
        """How many things a person would name."""
        return prod(self.shape)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """One name per feature, in the order of `feature_mask`."""
        return tuple(f"{self.name} {i}" for i in range(self.num_features))

    @property
    def vocabulary_size(self) -> int | None:
        """Number of ids where inputs are ids that a network must embed; None where inputs are numbers."""
        return None

    def original(self, inputs: Tensor) -> Tensor:
        """`inputs` in the units a person knows (undoes standardisation)."""
        return inputs

    def model_space(self, original: Tensor) -> Tensor:
        """The inverse of `original`: raw values as the network reads them."""
        return original

    # -- attribution ---------------------------------------------------------------------------------------------

    def embedded_shape(self, width: int) -> tuple[int, ...]:
        """Shape of one embedded example, where ids get `width` numbers each."""
        return self.shape

    def blank(self, inputs: Tensor) -> Tensor:
        """Inputs of the same shape that carry no information."""
        return torch.zeros_like(inputs)

    def feature_mask(self, embedded: Tensor) -> Tensor:
        """Which feature each element belongs to: integers [1, *embedded.shape[1:]] from 0 upwards."""
        return torch.arange(self.num_features, device=embedded.device).reshape(1, *self.shape)

    def window(self, embedded: Tensor) -> tuple[int, ...] | None:
        """The smallest block of one embedded example that is one feature; None where no block is."""
        return (1,) * len(self.shape)

    def present(self, inputs: Tensor) -> Tensor:
        """Bool [batch, features]: False for what is only filling (padding, special tokens)."""
        return torch.ones(len(inputs), self.num_features, dtype=torch.bool, device=inputs.device)

    @property
    def places(self) -> int:
        """How many of the last axes are places, whose neighbours resemble each other: 2 in images, 0 in tables."""
        return 0

    def sequence(self, embedded: Tensor) -> Tensor:
        """The embedded inputs as a sequence [batch, length, width] for networks that read sequences."""
        return embedded.reshape(embedded.shape[0], -1, 1)  # len() would be fixed in an exported network

    def steps(self, embedded: Tensor) -> Tensor:
        """The embedded inputs one step of time (or position) at a time [batch, length, width], unlike `sequence` never
        several steps at once."""
        return self.sequence(embedded)

    def blurred(self, inputs: Tensor, sigma: float) -> Tensor | None:
        """Inputs with detail removed but layout kept; None where neighbours mean nothing."""
        return None


@dataclass(frozen=True)
class Tabular(Modality):
    """Columns of a table, standardised: `original = inputs * scale + mean`.

    `groups` gives the feature of each column, where several columns are one thing (a one-hot encoded category).
    """

    columns: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    groups: tuple[int, ...] = ()
    group_names: tuple[str, ...] = ()

    @property
    def num_features(self) -> int:
        return max(self.groups) + 1 if self.groups else self.shape[0]

    @property
    def feature_names(self) -> tuple[str, ...]:
        return self.group_names or self.columns or super().feature_names

    def original(self, inputs: Tensor) -> Tensor:
        if not self.mean:
            return inputs
        return inputs * inputs.new_tensor(self.scale) + inputs.new_tensor(self.mean)

    def model_space(self, original: Tensor) -> Tensor:
        if not self.mean:
            return original
        return (original - original.new_tensor(self.mean)) / original.new_tensor(self.scale)

    def feature_mask(self, embedded: Tensor) -> Tensor:
        groups = self.groups or tuple(range(self.shape[0]))
        return torch.tensor(groups, device=embedded.device).reshape(1, -1)

    def window(self, embedded: Tensor) -> tuple[int, ...] | None:
        return None if self.groups else (1,)


@dataclass(frozen=True)
class Image(Modality):
    """Pixels [channels, height, width]; a feature is a patch of `patch` x `patch` pixels over all channels.

    `mean` and `scale` (one per channel) undo the normalisation: `original = inputs * scale + mean` lies in [0, 1].
    """

    patch: int = 1
    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches; those at the right and lower edge may be smaller."""
        return -(-self.shape[1] // self.patch), -(-self.shape[2] // self.patch)

    @property
    def num_features(self) -> int:
        return self.grid[0] * self.grid[1]

    @property
    def feature_names(self) -> tuple[str, ...]:
        p, kind = self.patch, "pixel" if self.patch == 1 else "patch"
        return tuple(f"{kind} ({r * p}, {c * p})" for r in range(self.grid[0]) for c in range(self.grid[1]))

    def original(self, inputs: Tensor) -> Tensor:
        if not self.mean:
            return inputs
        return (
            inputs * inputs.new_tensor(self.scale)[:, None, None]
            + inputs.new_tensor(self.mean)[:, None, None]
        )

    def model_space(self, original: Tensor) -> Tensor:
        if not self.mean:
            return original
        mean, scale = (original.new_tensor(v)[:, None, None] for v in (self.mean, self.scale))
        return (original - mean) / scale

    def feature_mask(self, embedded: Tensor) -> Tensor:
        _, height, width = self.shape
        rows = torch.arange(height, device=embedded.device) // self.patch
        columns = torch.arange(width, device=embedded.device) // self.patch
        return (rows[:, None] * self.grid[1] + columns).expand(1, *self.shape)

    def window(self, embedded: Tensor) -> tuple[int, ...] | None:
        return self.shape[0], self.patch, self.patch

    @property
    def places(self) -> int:
        return 2

    def sequence(self, embedded: Tensor) -> Tensor:
        p, (channels, height, width) = self.patch, self.shape
        padded = torch.nn.functional.pad(embedded, (0, -width % p, 0, -height % p))
        cut = padded.reshape(embedded.shape[0], channels, self.grid[0], p, self.grid[1], p)
        return cut.permute(0, 2, 4, 1, 3, 5).reshape(embedded.shape[0], self.num_features, channels * p * p)

    def blurred(self, inputs: Tensor, sigma: float) -> Tensor | None:
        return _smooth(_smooth(inputs, sigma, -1), sigma, -2)


@dataclass(frozen=True)
class Series(Modality):
    """Channels over time [channels, time]; a feature is `segment` steps of one channel."""

    segment: int = 1
    channels: tuple[str, ...] = ()
    step: str = "step"
    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()

    @property
    def segments(self) -> int:
        return -(-self.shape[1] // self.segment)

    @property
    def num_features(self) -> int:
        return self.shape[0] * self.segments

    @property
    def feature_names(self) -> tuple[str, ...]:
        channels = self.channels or tuple(f"channel {c}" for c in range(self.shape[0]))
        return tuple(f"{c}, {self.step} {s * self.segment}" for c in channels for s in range(self.segments))

    def original(self, inputs: Tensor) -> Tensor:
        if not self.mean:
            return inputs
        return inputs * inputs.new_tensor(self.scale)[:, None] + inputs.new_tensor(self.mean)[:, None]

    def model_space(self, original: Tensor) -> Tensor:
        if not self.mean:
            return original
        return (original - original.new_tensor(self.mean)[:, None]) / original.new_tensor(self.scale)[:, None]

    def feature_mask(self, embedded: Tensor) -> Tensor:
        segments = torch.arange(self.shape[1], device=embedded.device) // self.segment
        channels = torch.arange(self.shape[0], device=embedded.device)
        return (channels[:, None] * self.segments + segments)[None]

    def window(self, embedded: Tensor) -> tuple[int, ...] | None:
        return 1, self.segment

    @property
    def places(self) -> int:
        return 1

    def sequence(self, embedded: Tensor) -> Tensor:
        padded = torch.nn.functional.pad(embedded, (0, -self.shape[1] % self.segment))
        cut = padded.reshape(embedded.shape[0], self.shape[0], self.segments, self.segment)
        return cut.permute(0, 2, 1, 3).reshape(embedded.shape[0], self.segments, -1)

    def steps(self, embedded: Tensor) -> Tensor:
        return embedded.transpose(1, 2)

    def blurred(self, inputs: Tensor, sigma: float) -> Tensor | None:
        return _smooth(inputs, sigma, -1)


@dataclass(frozen=True)
class Audio(Image):
    """A spectrogram [1, frequencies, times]; a feature is a patch of frequency x time.

    `seconds` and `hertz` are the steps of the two axes, for drawing. A recording that is shorter than the others ends
    in zeros: a patch of nothing but zeros is absent.
    """

    seconds: float = 1.0
    hertz: float = 1.0

    def present(self, inputs: Tensor) -> Tensor:
        heard = torch.zeros(len(inputs), self.num_features, dtype=torch.bool, device=inputs.device)
        mask = self.feature_mask(inputs).flatten(1).expand(len(inputs), -1)
        return heard.scatter_reduce(1, mask, inputs.flatten(1) != 0, "amax")

    def steps(self, embedded: Tensor) -> Tensor:
        return embedded.flatten(1, 2).transpose(1, 2)

    @property
    def feature_names(self) -> tuple[str, ...]:
        p = self.patch
        return tuple(
            f"{r * p * self.hertz:.0f} Hz at {c * p * self.seconds:.2f} s"
            for r in range(self.grid[0])
            for c in range(self.grid[1])
        )


@dataclass(frozen=True)
class Tokens(Modality):
    """Token ids [length], filled up with `padding_id`; a feature is one token at its position.

    `special_ids` (start, separator, ...) and padding count as absent: they are never scored, drawn or hidden.
    """

    vocabulary: tuple[str, ...] = field(default=(), repr=False)
    padding_id: int = 0
    special_ids: tuple[int, ...] = ()

    @property
    def feature_names(self) -> tuple[str, ...]:
        return tuple(f"token {i}" for i in range(self.shape[0]))

    @property
    def vocabulary_size(self) -> int | None:
        return len(self.vocabulary)

    def words(self, ids: Sequence[int]) -> list[str]:
        """The tokens of one example as text."""
        return [self.vocabulary[int(i)] for i in ids]

    def embedded_shape(self, width: int) -> tuple[int, ...]:
        return *self.shape, width

    def blank(self, inputs: Tensor) -> Tensor:
        return torch.where(self.present(inputs), torch.full_like(inputs, self.padding_id), inputs)

    def feature_mask(self, embedded: Tensor) -> Tensor:
        positions = torch.arange(self.shape[0], device=embedded.device)
        return positions.reshape(1, -1, *(1,) * (embedded.dim() - 2)).expand(1, *embedded.shape[1:])

    def window(self, embedded: Tensor) -> tuple[int, ...] | None:
        return 1, *embedded.shape[2:]

    def present(self, inputs: Tensor) -> Tensor:
        absent = torch.tensor((self.padding_id, *self.special_ids), device=inputs.device)
        return ~torch.isin(inputs, absent)

    def sequence(self, embedded: Tensor) -> Tensor:
        return embedded


def _smooth(inputs: Tensor, sigma: float, axis: int) -> Tensor:
    """Gaussian smoothing along one axis, the border repeated."""
    radius = max(1, round(3 * sigma))
    offsets = torch.arange(-radius, radius + 1, device=inputs.device, dtype=inputs.dtype)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    length = inputs.shape[axis]
    at = torch.arange(length, device=inputs.device)[:, None] + offsets.long()
    weights = torch.zeros(length, length, device=inputs.device, dtype=inputs.dtype)
    weights.scatter_add_(1, at.clamp(0, length - 1), (kernel / kernel.sum()).expand(length, -1))
    return torch.tensordot(inputs, weights, dims=([axis], [1])).movedim(-1, axis)
