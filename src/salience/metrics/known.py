"""Agreement with known weights: where the function is linear and known, so is what every feature contributes.

The truth is w_i (x_i - b_i) for the explained output, b the reference; with `times_input: false` it is w_i itself,
which is what gradients say. They need a data set that knows its weights (`data=synthetic`). Sizes are compared
without sign; equal sizes are put in a random order. Krishna et al. 2022; Agarwal et al. 2022 (OpenXAI).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from ..attribution.explanation import feature_totals
from ..errors import WrongInput
from .base import Explanation, Measurement, Metric, Reference, Streams, judged
from .correlation import spearman
from .curves import descending, leading

if TYPE_CHECKING:
    from ..attribution.explainer import Explainer

SHARE = (0.0, 1.0)


@dataclass(frozen=True)
class _Leading(Metric):
    """What the agreements on leading features share: known weights [outputs, features], and how many features lead."""

    streams: Streams
    weights: Tensor | None = None
    share: float = 0.25
    times_input: bool = True

    higher_is_better: ClassVar[bool] = True
    best: ClassVar[float | None] = 1.0
    range: ClassVar[tuple[float, float]] = SHARE

    def __post_init__(self) -> None:
        require_weights(self, self.weights)
        self.check_shares("share")

    def tops(self, explanation: Explanation, reference: Reference) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Ranks by size of map and truth [examples, features], how many lead [examples, 1], and equal signs."""
        here, truth = explanation.per_feature().double(), contributions(self, explanation, reference)
        ranks = descending(here.abs(), explanation, self.streams, f"{self.key}/map")
        true_ranks = descending(truth.abs(), explanation, self.streams, f"{self.key}/truth")
        return ranks, true_ranks, leading(explanation, [self.share]), here.sign() == truth.sign()


class FeatureAgreement(_Leading):
    """Share of the features that lead by size which lead by their true contribution too.

    |top and true top| / k, k the leading `share` of the features. Range [0, 1]; higher is better, best 1; a random map
    has about `share`. Krishna et al. 2022.
    """

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        ranks, true_ranks, k, _ = self.tops(explanation, reference)
        return judged(explanation, _share((ranks < k) & (true_ranks < k), k))


class RankAgreement(_Leading):
    """Share of the leading features that have the same rank by size as by their true contribution.

    Range [0, 1]; higher is better, best 1; a random map has about 1/n. Krishna et al. 2022.
    """

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        ranks, true_ranks, k, _ = self.tops(explanation, reference)
        return judged(explanation, _share((ranks == true_ranks) & (ranks < k), k))


class SignAgreement(_Leading):
    """Share of the leading features that lead in truth too, with the same sign.

    Range [0, 1]; higher is better, best 1; a random map has about `share` / 2. Krishna et al. 2022.
    """

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        ranks, true_ranks, k, same_sign = self.tops(explanation, reference)
        return judged(explanation, _share((ranks < k) & (true_ranks < k) & same_sign, k))


class SignedRankAgreement(_Leading):
    """Share of the leading features with the same rank and the same sign as in truth.

    Range [0, 1]; higher is better, best 1; a random map has about 1/(2 n). Krishna et al. 2022.
    """

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        ranks, true_ranks, k, same_sign = self.tops(explanation, reference)
        return judged(explanation, _share((ranks == true_ranks) & (ranks < k) & same_sign, k))


@dataclass(frozen=True)
class RankCorrelation(Metric):
    """Spearman's rank correlation of sizes with the sizes of the true contributions, over all features.

    Equal sizes share their mean rank; undefined where either is constant. Range [-1, 1]; higher is better, best 1; a
    random map has 0. Krishna et al. 2022.
    """

    weights: Tensor | None = None
    times_input: bool = True

    higher_is_better: ClassVar[bool] = True
    best: ClassVar[float | None] = 1.0
    range: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    def __post_init__(self) -> None:
        require_weights(self, self.weights)

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        here, truth = (
            explanation.per_feature().double().abs(),
            contributions(self, explanation, reference).abs(),
        )
        return judged(explanation, spearman(here, truth, explanation.present))


@dataclass(frozen=True)
class PairwiseRankAgreement(Metric):
    """Share of pairs of features of which the larger by size is the larger in truth too.

    Over the pairs that differ in truth; equal sizes count half. Undefined where no pair differs. Range [0, 1]; higher
    is better, best 1; a random map has 0.5. Krishna et al. 2022.
    """

    weights: Tensor | None = None
    times_input: bool = True

    higher_is_better: ClassVar[bool] = True
    best: ClassVar[float | None] = 1.0
    range: ClassVar[tuple[float, float]] = SHARE

    def __post_init__(self) -> None:
        require_weights(self, self.weights)

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        here, truth = (
            explanation.per_feature().double().abs(),
            contributions(self, explanation, reference).abs(),
        )
        both = explanation.present[:, :, None] & explanation.present[:, None, :]
        ahead = (truth[:, :, None] > truth[:, None, :]) & both
        found = (here[:, :, None] - here[:, None, :]).sign()
        right = (ahead * (found + 1) / 2).sum((1, 2))
        pairs = ahead.sum((1, 2))
        return judged(explanation, (right / pairs).masked_fill(pairs == 0, torch.nan))


def require_weights(metric: Metric, weights: Tensor | None) -> None:
    """WrongInput where the data set does not know the weights of its function."""
    if weights is None:
        raise WrongInput(
            f"metric={metric.key}: needs known weights, and this data set has none; data=synthetic does"
        )


def contributions(metric: Any, explanation: Explanation, reference: Reference) -> Tensor:
    """What every feature contributes to the explained output [examples, features]; 0 where absent."""
    weights = metric.weights.to(explanation.score.device).double()
    if weights.shape[1] != explanation.num_features:
        raise WrongInput(
            f"metric={metric.key}: {weights.shape[1]} known weights for {explanation.num_features} features"
        )
    alone = (explanation.num_outputs or 1) == 1  # a single unit speaks for the last class
    rows = weights[torch.full_like(explanation.target, -1) if alone else explanation.target]
    if metric.times_input:
        moved = tuple((x - r).double() for x, r in zip(explanation.inputs, reference.values, strict=True))
        rows = rows * feature_totals(moved, explanation.feature_mask, explanation.num_features)
    return rows.masked_fill(~explanation.present, 0.0)


def _share(hits: Tensor, k: Tensor) -> Tensor:
    return hits.sum(1).double() / k[:, 0].clamp(min=1)
