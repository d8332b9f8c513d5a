"""Inputs that carry no information. Each is called with the run's data and the raw inputs that are explained."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from ..data.base import Examples
from ..errors import WrongInput
from ..modality import Modality
from ..randomness import Streams
from .explanation import Explicand


class Baseline(ABC):
    """Gives raw inputs (all modalities at once; the network embeds them afterwards) to start from or to compare with.

    One row for all examples, one row per example, or, where `is_distribution`, rows to average over.
    """

    is_distribution: ClassVar[bool] = False
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
        self.n = _at_least_one(n)

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
        self.n = _at_least_one(n)

    def __call__(self, modalities, train, inputs, streams):
        rows = torch.randperm(len(train), generator=streams.generator("baseline/samples"))[: self.n]
        return tuple(t[rows.to(t.device)] for t in train.inputs)


def _at_least_one(n: int) -> int:
    if not isinstance(n, int) or n < 1:
        raise WrongInput(f"baseline.n={n}: must be 1 or more")
    return n
