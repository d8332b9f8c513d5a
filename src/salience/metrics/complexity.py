"""Complexity: on how few features an explanation rests, of the n that are present in an example."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from .base import Explanation, Measurement, Metric, Reference, judged

if TYPE_CHECKING:
    from ..attribution.explainer import Explainer


@dataclass(frozen=True)
class Sparseness(Metric):
    """Gini index of |attributions|: 0 where all are equal, near 1 where one feature has everything.

    sum_i (2 i - n - 1) |a|_(i) / (n sum |a|), |a|_(i) in ascending order. Undefined where all are 0. Range
    [0, 1 - 1/n]; higher is better, best 1. Chalasani et al. 2020.
    """

    higher_is_better: ClassVar[bool] = True
    best: ClassVar[float | None] = 1.0
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        size, count = _sizes(explanation), explanation.present.sum(1, keepdim=True)
        absent = explanation.num_features - count
        # sorted with the absent ones (0) in front: their places do not count
        place = torch.arange(1, explanation.num_features + 1, device=size.device) - absent
        weighted = ((2 * place - count - 1) * size.sort(1).values).sum(1)
        return judged(explanation, weighted / (count[:, 0] * _total(size)))


@dataclass(frozen=True)
class Complexity(Metric):
    """Entropy of the distribution of |attributions| over features, in nats.

    -sum_i p_i ln p_i, p_i = |a_i| / sum |a|. Undefined where all are 0. Range [0, ln n]; lower is better,
    best 0. Bhatt et al. 2020.
    """

    higher_is_better: ClassVar[bool] = False
    best: ClassVar[float | None] = 0.0
    range: ClassVar[tuple[float, float]] = (0.0, float("inf"))

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        size = _sizes(explanation)
        share = size / _total(size)[:, None]
        return judged(explanation, -torch.xlogy(share, share).sum(1))


@dataclass(frozen=True)
class EffectiveComplexity(Metric):
    """Number of features whose |attribution| exceeds a share of the largest.

    #{i: |a_i| > threshold max |a|}. The paper's threshold is absolute, which counts every feature of a
    dense method. Undefined where all are 0. Range [1, n]; lower is better, best 1. Nguyen and Martinez
    2020.
    """

    threshold: float = 0.1

    higher_is_better: ClassVar[bool] = False
    best: ClassVar[float | None] = 1.0
    range: ClassVar[tuple[float, float]] = (1.0, float("inf"))

    def __post_init__(self) -> None:
        self.check_shares("threshold")

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        size = _sizes(explanation)
        count = (size > self.threshold * size.amax(1, keepdim=True)).sum(1).double()
        return judged(explanation, count.masked_fill(size.amax(1) == 0, torch.nan))


def _sizes(explanation: Explanation) -> Tensor:
    """|attributions| per feature in float64 [examples, features]; 0 where absent."""
    return explanation.per_feature().double().abs()


def _total(size: Tensor) -> Tensor:
    """Their sum [examples]; nan where it is 0."""
    total = size.sum(1)
    return total.masked_fill(total == 0, torch.nan)
