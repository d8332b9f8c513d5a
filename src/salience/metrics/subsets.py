"""Faithfulness over sets: does the sum of attributions say how much the score falls without the set?

All scores are in the output space of the run: logits unless `output=probability`. Features are hidden by
putting the run's reference in their place. fall(S) = f(x) - f(x without S), sum(S) = sum of the signed
attributions of S.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from ..attribution.batched.sampling import ascending
from ..attribution.explanation import Explained
from .base import (
    Explanation,
    Measurement,
    Metric,
    Reference,
    Streams,
    change,
    in_blocks,
    judged,
    masked_score,
    row_scores,
)
from .correlation import pearson, spearman

if TYPE_CHECKING:
    from ..attribution.explainer import Explainer


@dataclass(frozen=True)
class Infidelity(Metric):
    """How badly the attributions, optimally scaled, predict the fall of the score without random sets.

    mean_S (b sum(S) - fall(S))^2 over `samples` random sets (their size uniform from 1 to n), with the
    scale b = mean(sum(S) fall(S)) / mean(sum(S)^2), as in the authors' code and Captum's `normalize=True`:
    scaling or turning the sign of all attributions changes nothing. In units of f squared, logits unless
    output=probability. Range [0, inf); lower is better, best 0. Yeh et al. 2019.
    """

    streams: Streams
    samples: int = 50
    rows: int | None = None

    higher_is_better: ClassVar[bool] = False
    best: ClassVar[float | None] = 0.0
    range: ClassVar[tuple[float, float]] = (0.0, float("inf"))

    def __post_init__(self) -> None:
        self.check_counts("samples", "rows")

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        def judge(part: Explanation, reference: Reference) -> Measurement:
            hidden = random_sets(part, self.streams, "infidelity", self.samples)
            sums, falls = sums_and_falls(explainer.model, part, reference, hidden, self.rows)
            power = sums.square().mean(1)
            scale = torch.where(power > 0, (sums * falls).mean(1) / power, 0.0)
            return judged(part, (scale[:, None] * sums - falls).square().mean(1))

        return in_blocks(judge, explanation, reference, self.samples * explanation.num_features)


@dataclass(frozen=True)
class InfidelityPlain(Metric):
    """How badly the attributions, as they are, predict the fall of the score without random sets.

    mean_S (sum(S) - fall(S))^2 over the same random sets as `infidelity`, without its scale: it judges the
    size of attributions too, so compare only methods that promise completeness. In units of f squared,
    logits unless output=probability. Range [0, inf); lower is better, best 0. Yeh et al. 2019.
    """

    streams: Streams
    samples: int = 50
    rows: int | None = None

    higher_is_better: ClassVar[bool] = False
    best: ClassVar[float | None] = 0.0
    range: ClassVar[tuple[float, float]] = (0.0, float("inf"))

    def __post_init__(self) -> None:
        self.check_counts("samples", "rows")

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        def judge(part: Explanation, reference: Reference) -> Measurement:
            hidden = random_sets(part, self.streams, "infidelity", self.samples)
            sums, falls = sums_and_falls(explainer.model, part, reference, hidden, self.rows)
            return judged(part, (sums - falls).square().mean(1))

        return in_blocks(judge, explanation, reference, self.samples * explanation.num_features)


@dataclass(frozen=True)
class FaithfulnessCorrelation(Metric):
    """Correlation of summed attributions with the fall of the score over random sets of one size.

    Pearson over `samples` random sets of round(share n) features of sum(S) with fall(S); undefined where
    either is constant. Logits unless output=probability. Range [-1, 1]; higher is better, best 1. Bhatt et
    al. 2020.
    """

    streams: Streams
    share: float = 0.2
    samples: int = 100
    rows: int | None = None

    higher_is_better: ClassVar[bool] = True
    best: ClassVar[float | None] = 1.0
    range: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    def __post_init__(self) -> None:
        self.check_counts("samples", "rows")
        self.check_shares("share")

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        def judge(part: Explanation, reference: Reference) -> Measurement:
            hidden = random_sets(part, self.streams, self.key, self.samples, self.share)
            sums, falls = sums_and_falls(explainer.model, part, reference, hidden, self.rows)
            return judged(part, pearson(sums, falls, torch.ones_like(sums, dtype=torch.bool)))

        return in_blocks(judge, explanation, reference, self.samples * explanation.num_features)


@dataclass(frozen=True)
class SensitivityN(Metric):
    """Correlation of summed attributions with the fall of the score, averaged over sizes of random sets.

    For every size round(share n): Pearson over `samples` random sets of sum(S) with fall(S) (the curve);
    the score is the mean over the sizes where it is defined. Logits unless output=probability. Range [-1,
    1]; higher is better, best 1. Ancona et al. 2018.
    """

    streams: Streams
    shares: Sequence[float] = (0.1, 0.2, 0.4, 0.6, 0.8)
    samples: int = 50
    rows: int | None = None

    higher_is_better: ClassVar[bool] = True
    best: ClassVar[float | None] = 1.0
    range: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    def __post_init__(self) -> None:
        self.check_counts("samples", "rows")
        self.check_shares("shares")

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        at = torch.tensor(list(self.shares))

        def judge(part: Explanation, reference: Reference) -> Measurement:
            curve = torch.stack(
                [self._correlation(explainer.model, part, reference, s) for s in self.shares], 1
            )
            return judged(part, curve.nanmean(1), curve, at)

        return in_blocks(judge, explanation, reference, self.samples * explanation.num_features)

    def _correlation(
        self, model: Explained, explanation: Explanation, reference: Reference, share: float
    ) -> Tensor:
        hidden = random_sets(explanation, self.streams, f"{self.key}/{share}", self.samples, share)
        sums, falls = sums_and_falls(model, explanation, reference, hidden, self.rows)
        return pearson(sums, falls, torch.ones_like(sums, dtype=torch.bool))


@dataclass(frozen=True)
class FaithfulnessEstimate(Metric):
    """Correlation of attributions with the fall of the score without each feature.

    Pearson over the features i of a_i with f(x) - f(x without i): a row per feature; undefined where either
    is constant. Logits unless output=probability. Range [-1, 1]; higher is better, best 1. Alvarez-Melis
    and Jaakkola 2018.
    """

    rows: int | None = None

    higher_is_better: ClassVar[bool] = True
    best: ClassVar[float | None] = 1.0
    range: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    def __post_init__(self) -> None:
        self.check_counts("rows")

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        scores = one_by_one(explainer.model, explanation, reference, explanation.score, self.rows)
        falls = change(explanation, scores)
        return judged(explanation, pearson(explanation.per_feature(), falls, explanation.present))


@dataclass(frozen=True)
class MonotonicityCorrelation(Metric):
    """Rank correlation of |attributions| with the size of the score's change without each feature.

    Spearman over the features i of |a_i| with |f(x) - f(x without i)|: a row per feature. The paper takes
    the mean square over several replacements; here the run's reference is the only one. Logits unless
    output=probability. Range [-1, 1]; higher is better, best 1. Nguyen and Martinez 2020.
    """

    rows: int | None = None

    higher_is_better: ClassVar[bool] = True
    best: ClassVar[float | None] = 1.0
    range: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    def __post_init__(self) -> None:
        self.check_counts("rows")

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        scores = one_by_one(explainer.model, explanation, reference, explanation.score, self.rows)
        falls = change(explanation, scores).abs()
        return judged(explanation, spearman(explanation.per_feature().abs(), falls, explanation.present))


def random_sets(
    explanation: Explanation, streams: Streams, purpose: str, samples: int, share: float | None = None
) -> Tensor:
    """Random sets of present features, bool [examples, samples, features], drawn per example.

    Each has round(share n) features, at least one; without `share` the size is uniform from 1 to n.
    """
    examples, features = explanation.present.shape
    present, everywhere = explanation.present.cpu(), bool(explanation.present.all())
    keys = torch.full((examples, samples, features), torch.inf)
    sizes = torch.ones(examples, samples, 1, dtype=torch.long)
    counts = present.sum(1).tolist()
    for e, (count, index) in enumerate(zip(counts, explanation.index.tolist(), strict=True)):
        generator = streams.generator(purpose, index)
        if count == features:
            keys[e].uniform_(generator=generator)
        elif count:
            keys[e, :, present[e]] = torch.rand(samples, count, generator=generator)
        if share is None and count:
            sizes[e, :, 0] = torch.randint(1, count + 1, (samples,), generator=generator)
        elif share is not None:
            sizes[e] = max(1, round(share * count))
    chosen = keys <= ascending(keys).gather(-1, sizes - 1)
    return (chosen if everywhere else chosen & present[:, None]).to(explanation.present.device)


def sums_and_falls(
    model: Explained, explanation: Explanation, reference: Reference, hidden: Tensor, rows: int | None
) -> tuple[Tensor, Tensor]:
    """Summed attributions of the sets `hidden` and the fall of the score without them [examples, samples]."""
    sums = (hidden.double() @ explanation.per_feature().double()[..., None])[..., 0]
    return sums, change(explanation, masked_score(model, explanation, reference, ~hidden, rows))


def one_by_one(
    model: Explained,
    explanation: Explanation,
    reference: Reference,
    otherwise: Tensor,
    rows: int | None,
    alone: bool = False,
) -> Tensor:
    """The target's score without each feature, or with it `alone` [examples, features].

    Absent features cost no row; they get `otherwise` [examples].
    """
    which, feature = explanation.present.nonzero(as_tuple=True)
    features = torch.arange(explanation.num_features, device=which.device)
    scores = otherwise[:, None].repeat(1, explanation.num_features)
    scores[which, feature] = row_scores(
        model, explanation, reference, which, lambda at: (features == feature[at][:, None]) == alone, rows
    )
    return scores
