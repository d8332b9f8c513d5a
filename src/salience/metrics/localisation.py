"""Localisation: does an explanation point at the features that are known to matter (`relevant`)?

All judge |a|, the size of the attribution per feature, over the present features, of which an example has
n, k of them relevant. Where none or all are relevant there is nothing to tell apart and the score is
undefined. Equal sizes at a border count by their expectation over random orders, so no feature gains by its
place.
"""

from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING, ClassVar

import torch

from .base import Explanation, Measurement, Metric, Reference, judged
from .correlation import average_ranks
from .truth import Truth

if TYPE_CHECKING:
    from ..attribution.explainer import Explainer


class Auprc(Metric):
    """Average precision of |attributions| against the relevant features (area under precision-recall).

    sum over thresholds (R_t - R_(t-1)) P_t, as scikit-learn's average_precision_score. Range [0, 1]; higher
    is better, best 1; a random map has about k/n. Saito and Rehmsmeier 2015.
    """

    higher_is_better: ClassVar[bool] = True
    best: ClassVar[float | None] = 1.0
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    needs_relevant: ClassVar[bool] = True

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        truth = Truth.of(explanation, self)
        precision = truth.hits_from() / truth.count_from()  # at each feature's own size as the threshold
        score = (precision * truth.relevant).sum(1) / truth.num_relevant
        return judged(explanation, truth.where_defined(score))


class Auroc(Metric):
    """Chance that a relevant feature has a larger |attribution| than an irrelevant one (area under ROC).

    Equal sizes count half. Range [0, 1]; higher is better, best 1; a random map has 0.5. Fawcett 2006.
    """

    higher_is_better: ClassVar[bool] = True
    best: ClassVar[float | None] = 1.0
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    needs_relevant: ClassVar[bool] = True

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        truth = Truth.of(explanation, self)
        k, rest = truth.num_relevant, truth.num_present - truth.num_relevant
        won = (average_ranks(truth.size, truth.present) * truth.relevant).sum(1) - k * (k + 1) / 2
        return judged(explanation, truth.where_defined(won / (k * rest)))


class RelevanceMass(Metric):
    """Share of |attributions| that lies on the relevant features (relevance mass accuracy).

    sum over relevant |a| / sum |a|; undefined where all are 0. Range [0, 1]; higher is better, best 1; a
    random map has about k/n. Arras et al. 2022.
    """

    higher_is_better: ClassVar[bool] = True
    best: ClassVar[float | None] = 1.0
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    needs_relevant: ClassVar[bool] = True

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        truth = Truth.of(explanation, self)
        share = (truth.size * truth.relevant).sum(1) / truth.size.sum(1)  # 0 / 0 is nan: undefined
        return judged(explanation, truth.where_defined(share))


class RelevanceRank(Metric):
    """Share of relevant features among as many of the largest |attributions| as there are (rank accuracy).

    Among the k largest, k the number of relevant features. Range [0, 1]; higher is better, best 1; a random
    map has k/n. Arras et al. 2022.
    """

    higher_is_better: ClassVar[bool] = True
    best: ClassVar[float | None] = 1.0
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    needs_relevant: ClassVar[bool] = True

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        truth = Truth.of(explanation, self)
        return judged(
            explanation, truth.where_defined(truth.hits_in_top(truth.num_relevant) / truth.num_relevant)
        )


class PointingGame(Metric):
    """Whether the largest |attribution| lies on a relevant feature.

    1 or 0; between them where several are largest. Higher is better, best 1; a random map has k/n. Zhang et
    al. 2018.
    """

    higher_is_better: ClassVar[bool] = True
    best: ClassVar[float | None] = 1.0
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    needs_relevant: ClassVar[bool] = True

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        truth = Truth.of(explanation, self)
        return judged(
            explanation, truth.where_defined(truth.hits_in_top(torch.ones_like(truth.num_relevant)))
        )


@dataclass(frozen=True)
class TopKIntersection(Metric):
    """Share of the `k` largest |attributions| that are relevant.

    |top k and relevant| / k, with at most n features in the top. Range [0, 1]; higher is better, best 1
    where at least k features are relevant. Theiner et al. 2022.
    """

    k: int = 5

    higher_is_better: ClassVar[bool] = True
    best: ClassVar[float | None] = 1.0
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    needs_relevant: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self.check_counts("k")

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        truth = Truth.of(explanation, self)
        top = truth.num_present.clamp(max=self.k)
        return judged(explanation, truth.where_defined(truth.hits_in_top(top) / top))


@dataclass(frozen=True)
class PrecisionAtN(Metric):
    """Share of what could be found of the relevant features among the `n` largest |attributions|.

    |top n and relevant| / min(n, k); with `n: null`, n is k and it equals the rank accuracy. Range [0, 1];
    higher is better, best 1. Clark et al. 2024 (XAI-TRIS).
    """

    n: int | None = None

    higher_is_better: ClassVar[bool] = True
    best: ClassVar[float | None] = 1.0
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    needs_relevant: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self.check_counts("n")

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        truth = Truth.of(explanation, self)
        top = truth.num_relevant if self.n is None else truth.num_present.clamp(max=self.n)
        return judged(
            explanation, truth.where_defined(truth.hits_in_top(top) / top.minimum(truth.num_relevant))
        )


class MedianRank(Metric):
    """Median rank of the relevant features by |attribution|, 1 the largest.

    Equal sizes share their mean rank. Range [1, n]; lower is better, best (k + 1)/2; a random map has about
    (n + 1)/2. Chen et al. 2018 (L2X).
    """

    higher_is_better: ClassVar[bool] = False
    best: ClassVar[float | None] = None
    range: ClassVar[tuple[float, float]] = (1.0, float("inf"))
    needs_relevant: ClassVar[bool] = True

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        truth = Truth.of(explanation, self)
        ranks = average_ranks(-truth.size, truth.present).masked_fill(~truth.relevant, torch.nan)
        return judged(explanation, truth.where_defined(ranks.nanquantile(0.5, dim=1)))


class Aup(Metric):
    """Mean precision over all thresholds on |attributions| scaled to [0, 1] (area under precision).

    The exact integral of P(t) from 0 to 1 (trapezoids, as others take them, would keep a true map with
    zeros from 1). Always 1 where irrelevant features get exactly 0; undefined where all sizes are equal.
    Range [0, 1]; higher is better, best 1; a random map has about k/n. Crabbe and van der Schaar 2021
    (Dynamask).
    """

    higher_is_better: ClassVar[bool] = True
    best: ClassVar[float | None] = 1.0
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    needs_relevant: ClassVar[bool] = True

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        truth = Truth.of(explanation, self)
        return judged(explanation, truth.where_defined(truth.area(truth.hits_from() / truth.count_from())))


class Aur(Metric):
    """Mean recall over all thresholds on |attributions| scaled to [0, 1] (area under recall).

    The exact integral of R(t) from 0 to 1, which is the mean scaled size of the relevant features: it
    judges how saturated a map is rather than its order. Undefined where all sizes are equal. Range
    [0, 1]; higher is better, best 1; a random map has about 0.5. Crabbe and van der Schaar 2021 (Dynamask).
    """

    higher_is_better: ClassVar[bool] = True
    best: ClassVar[float | None] = 1.0
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    needs_relevant: ClassVar[bool] = True

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        truth = Truth.of(explanation, self)
        return judged(explanation, truth.where_defined(truth.mean_over_relevant(truth.scaled())))


class MaskInformation(Metric):
    """Mean information, in bits, of |attributions| scaled to [0, 1] on the relevant features.

    mean over relevant of -log2(1 - m_i + 1e-5). The paper takes the sum, which grows with k. Undefined
    where all sizes are equal. Range [0, 16.6]; higher is better. Crabbe and van der Schaar 2021 (Dynamask).
    """

    higher_is_better: ClassVar[bool] = True
    best: ClassVar[float | None] = None
    range: ClassVar[tuple[float, float]] = (0.0, 16.61)
    needs_relevant: ClassVar[bool] = True

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        truth = Truth.of(explanation, self)
        bits = -(1 - truth.scaled() + 1e-5).clamp(max=1).log2()
        return judged(explanation, truth.where_defined(truth.mean_over_relevant(bits)))


class MaskEntropy(Metric):
    """Mean entropy, in bits, of |attributions| scaled to [0, 1] on the relevant features.

    mean over relevant of -m log2 m - (1 - m) log2(1 - m): 0 where a map says clearly yes or no, also where
    it is clearly wrong. The paper takes the sum, which grows with k. Undefined where all sizes are equal.
    Range [0, 1]; lower is better, best 0. Crabbe and van der Schaar 2021 (Dynamask).
    """

    higher_is_better: ClassVar[bool] = False
    best: ClassVar[float | None] = 0.0
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    needs_relevant: ClassVar[bool] = True

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        truth = Truth.of(explanation, self)
        m = truth.scaled()
        bits = -(torch.xlogy(m, m) + torch.xlogy(1 - m, 1 - m)) / log(2)
        return judged(explanation, truth.where_defined(truth.mean_over_relevant(bits)))
