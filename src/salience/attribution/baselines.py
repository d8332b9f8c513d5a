"""Inputs that carry no information. Each is called with the run's data and the raw inputs that are explained."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..data.base import Examples
from ..errors import WrongInput, listed
from ..modality import Modality
from ..randomness import Streams
from .explanation import Explicand


class Baseline(ABC):
    """Gives raw inputs (all modalities at once; the network embeds them afterwards) to start from or to compare with.

    One row for all examples, one row per example, or, where `is_distribution`, rows to average over.
    """

    is_distribution: ClassVar[bool] = False
    per_example: ClassVar[bool] = False
    """Whether each example has a row of its own, which says nothing to the others."""
    by_target: ClassVar[bool] = False
    """Whether the rows of a distribution differ between targets; `rows_for` says which are for one."""
    name: ClassVar[str]

    def of(
        self, modalities: tuple[Modality, ...], train: Examples, x: Explicand, streams: Streams
    ) -> tuple[Tensor, ...]:
        """The baselines of embedded examples, whose targets are settled; what depends on them overrides this."""
        return self(modalities, train, x.raw, streams)

    def rows_for(self, target: int) -> slice:
        """The rows of a distribution that examples with this target are compared with: all of them."""
        return slice(None)

    @abstractmethod
    def __call__(
        self, modalities: tuple[Modality, ...], train: Examples, inputs: tuple[Tensor, ...], streams: Streams
    ) -> tuple[Tensor, ...]:
        """Baselines [1, rows of `inputs` or rows of a distribution, *modality.shape], one per modality."""


class Blank(Baseline):
    """What the modality calls empty: zeros in the network's space (a table's training mean), padding for tokens."""

    name = "blank"

    def __call__(self, modalities, train, inputs, streams):
        return tuple(m.blank(x) for m, x in zip(modalities, inputs, strict=True))


class Mean(Baseline):
    """The mean of the training inputs; blank for token ids, which have none."""

    name = "mean"

    def __call__(self, modalities, train, inputs, streams):
        return tuple(
            t.mean(0, keepdim=True) if t.is_floating_point() else m.blank(x)
            for m, t, x in zip(modalities, train.inputs, inputs, strict=True)
        )


class Median(Baseline):
    """The median of the training inputs, element by element; blank for token ids."""

    name = "median"

    def __call__(self, modalities, train, inputs, streams):
        return tuple(
            t.median(0, keepdim=True).values if t.is_floating_point() else m.blank(x)
            for m, t, x in zip(modalities, train.inputs, inputs, strict=True)
        )


class Black(Baseline):
    """Zero in the units that a person knows: a black image, the value 0 of a column; blank for token ids."""

    name = "black"

    def __call__(self, modalities, train, inputs, streams):
        return tuple(
            m.model_space(torch.zeros_like(x[:1])) if x.is_floating_point() else m.blank(x)
            for m, x in zip(modalities, inputs, strict=True)
        )


class Blur(Baseline):
    """Each input with its detail smoothed away by a Gaussian; WrongInput where neighbours mean nothing (tables).

    `sigma` is in pixels or steps; None takes an eighth of the last axis.
    """

    name = "blur"
    per_example = True

    def __init__(self, sigma: float | None = None):
        if sigma is not None and not sigma > 0:
            raise WrongInput(f"baseline.sigma={sigma}: must be greater than 0")
        self.sigma = sigma

    def __call__(self, modalities, train, inputs, streams):
        return tuple(self._blurred(m, x) for m, x in zip(modalities, inputs, strict=True))

    def _blurred(self, modality: Modality, x: Tensor) -> Tensor:
        blurred = modality.blurred(x, self.sigma or max(x.shape[-1] / 8, 0.5))
        if blurred is None:
            raise WrongInput(
                f"baseline=blur: {modality.name} is not an image or a series; use baseline=blank, mean or samples"
            )
        return blurred


class Uniform(Baseline):
    """Rows drawn uniformly between the smallest and the largest training value of each element.

    `n` rows, a distribution; ids are drawn from the training rows at their position.
    """

    name = "uniform"
    is_distribution = True

    def __init__(self, n: int = 20):
        self.n = at_least_one(n)

    def __call__(self, modalities, train, inputs, streams):
        generator = streams.generator("baseline/uniform")
        return tuple(self._draw(t, generator) for t in train.inputs)

    def _draw(self, t: Tensor, generator: torch.Generator) -> Tensor:
        if not t.is_floating_point():
            return t[torch.randint(len(t), (self.n,), generator=generator).to(t.device)]
        low, high = t.amin(0), t.amax(0)
        return low + (high - low) * torch.rand((self.n, *t.shape[1:]), generator=generator).to(t)


class Samples(Baseline):
    """`n` training rows drawn at random, the same for every example: a distribution to average over."""

    name = "samples"
    is_distribution = True

    def __init__(self, n: int = 20):
        self.n = at_least_one(n)

    def __call__(self, modalities, train, inputs, streams):
        rows = torch.randperm(len(train), generator=streams.generator("baseline/samples"))[: self.n]
        return tuple(t[rows.to(t.device)] for t in train.inputs)


class Frequency(Baseline):
    """Each group of columns (a one-hot encoded category) at its training frequencies, every other column at its median.

    All zeros, which `blank` may be, is no category at all. The same as `median` where no columns are grouped.
    """

    name = "frequency"

    def __call__(self, modalities, train, inputs, streams):
        middle = Median()(modalities, train, inputs, streams)
        return tuple(self._filled(m, t, x) for m, t, x in zip(modalities, train.inputs, middle, strict=True))

    @staticmethod
    def _filled(modality: Modality, train: Tensor, median: Tensor) -> Tensor:
        groups = torch.tensor(getattr(modality, "groups", ()), dtype=torch.long, device=train.device)
        if not len(groups):
            return median
        return torch.where(groups.bincount()[groups] > 1, train.mean(0, keepdim=True), median)


class MaskToken(Baseline):
    """Every token that is there replaced by one that says nothing, special tokens and padding kept; blank for numbers.

    `token` is a word of the vocabulary; None takes the first that it has of [MASK], <mask>, [UNK], <unk>, <unknown>,
    and else padding. Unlike `blank`, the network has been trained to read something there.
    """

    name = "mask_token"
    per_example = True
    usual: ClassVar[tuple[str, ...]] = ("[MASK]", "<mask>", "[UNK]", "<unk>", "<unknown>")

    def __init__(self, token: str | None = None):
        self.token = token

    def __call__(self, modalities, train, inputs, streams):
        return tuple(
            m.blank(x) if m.vocabulary_size is None else self._masked(m, x)
            for m, x in zip(modalities, inputs, strict=True)
        )

    def _masked(self, modality: Any, ids: Tensor) -> Tensor:
        words = modality.vocabulary
        if self.token is not None and self.token not in words:
            known = [w for w in self.usual if w in words]
            raise WrongInput(f"baseline.token={self.token}: not in the vocabulary; it has {listed(known)}")
        found = [w for w in ((self.token,) if self.token is not None else self.usual) if w in words]
        number = words.index(found[0]) if found else modality.padding_id
        return torch.where(modality.present(ids), torch.full_like(ids, number), ids)


class Interpolation(Baseline):
    """Each segment of a series on the line between its neighbours; at the ends the one neighbour's value.

    So hiding a segment leaves what its surroundings suggest. WrongInput for anything but series [channels, time].
    """

    name = "interpolation"
    per_example = True

    def __call__(self, modalities, train, inputs, streams):
        return tuple(self._bridged(m, x) for m, x in zip(modalities, inputs, strict=True))

    def _bridged(self, modality: Modality, x: Tensor) -> Tensor:
        if len(modality.shape) != 2 or modality.blurred(x, 1.0) is None:
            raise WrongInput(
                f"baseline={self.name}: {modality.name} is no series; use baseline=blank, mean or blur"
            )
        features = modality.feature_mask(x)[0, 0]
        cuts = [0, *(features.diff().nonzero()[:, 0] + 1).tolist(), x.shape[2]]
        bridged = x.mean(2, keepdim=True).expand_as(x).clone()  # where one segment is all there is
        for start, end in zip(cuts[:-1], cuts[1:], strict=True):
            sides = [x[..., at] for at in (start - 1, end) if 0 <= at < x.shape[2]]
            if sides:
                share = torch.arange(1, end - start + 1, device=x.device, dtype=x.dtype) / (end - start + 1)
                bridged[..., start:end] = sides[0][..., None] + share * (sides[-1] - sides[0])[..., None]
        return bridged


def at_least_one(n: int) -> int:
    """`n`, or WrongInput."""
    if not isinstance(n, int) or n < 1:
        raise WrongInput(f"baseline.n={n}: must be 1 or more")
    return n
