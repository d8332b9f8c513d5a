"""Faithfulness along an order: what becomes of the network's score as features are hidden or shown.

All scores are in the output space of the run: logits unless `output=probability`. Features are hidden by
putting the run's reference in their place, the same for all methods. n is the number of present features of
an example.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from ..data.base import Classification
from .base import Explained, Explanation, Measurement, Metric, Reference, Streams, judged, masked_score
from .curves import ANY, Steps, descending, hiding, leading, reverse, showing

if TYPE_CHECKING:
    from ..attribution.explainer import Explainer


@dataclass(frozen=True)
class Deletion(Metric):
    """Mean score while features are hidden, those with the largest attribution first.

    The mean of f over 0, 1/steps, ..., 1 of the features hidden, in descending order of signed attribution;
    with at most `steps` features each is a step of its own. Logits unless output=probability. Range: that
    of f; lower is better. Petsiuk et al. 2018, RISE; Bach et al. 2015 (pixel flipping).
    """

    streams: Streams
    steps: int = 20
    rows: int | None = None

    higher_is_better: ClassVar[bool] = False
    best: ClassVar[float | None] = None
    range: ClassVar[tuple[float, float]] = ANY

    def __post_init__(self) -> None:
        self.check_counts("steps", "rows")

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        ranks = descending(explanation.per_feature(), explanation, self.streams, self.key)
        steps = Steps.equal(explanation, self.steps)
        scores = hiding(explainer.model, explanation, reference, ranks, steps, self.rows)
        return judged(explanation, steps.mean(scores), steps.stretched(scores), steps.axis())


@dataclass(frozen=True)
class Insertion(Metric):
    """Mean score while features are shown, those with the largest attribution first, starting from none.

    The mean of f over 0, 1/steps, ..., 1 of the features shown, in descending order of signed attribution;
    with at most `steps` features each is a step of its own. Logits unless output=probability. Range: that
    of f; higher is better. Petsiuk et al. 2018, RISE.
    """

    streams: Streams
    steps: int = 20
    rows: int | None = None

    higher_is_better: ClassVar[bool] = True
    best: ClassVar[float | None] = None
    range: ClassVar[tuple[float, float]] = ANY

    def __post_init__(self) -> None:
        self.check_counts("steps", "rows")

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        ranks = descending(explanation.per_feature(), explanation, self.streams, self.key)
        steps = Steps.equal(explanation, self.steps)
        scores = showing(explainer.model, explanation, reference, ranks, steps, self.rows)
        return judged(explanation, steps.mean(scores), steps.stretched(scores), steps.axis())


@dataclass(frozen=True)
class Abpc(Metric):
    """Area between the two deletion curves: smallest attribution first minus largest first.

    mean_k [f(least relevant k hidden) - f(most relevant k hidden)]. What hiding does to any input, being
    unlike the training data, cancels; a random order has mean 0. Logits unless output=probability. Higher
    is better. Samek et al. 2017; Bluecher et al. 2024 (symmetric relevance gain).
    """

    streams: Streams
    steps: int = 20
    rows: int | None = None

    higher_is_better: ClassVar[bool] = True
    best: ClassVar[float | None] = None
    range: ClassVar[tuple[float, float]] = ANY

    def __post_init__(self) -> None:
        self.check_counts("steps", "rows")

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        ranks = descending(explanation.per_feature(), explanation, self.streams, self.key)
        steps = Steps.equal(explanation, self.steps)
        most = hiding(explainer.model, explanation, reference, ranks, steps, self.rows)
        last = hiding(explainer.model, explanation, reference, reverse(ranks, explanation), steps, self.rows)
        between = last - most
        return judged(explanation, steps.mean(between), steps.stretched(between), steps.axis())


@dataclass(frozen=True)
class Aopc(Metric):
    """Mean fall of the score while the features with the largest attribution are hidden.

    1/(K+1) sum_{k=0..K} [f(x) - f(x without the first k steps)], K steps up to `share` of the features.
    Logits unless output=probability. Higher is better. Samek et al. 2017.
    """

    streams: Streams
    steps: int = 20
    share: float = 0.5
    rows: int | None = None

    higher_is_better: ClassVar[bool] = True
    best: ClassVar[float | None] = None
    range: ClassVar[tuple[float, float]] = ANY

    def __post_init__(self) -> None:
        self.check_counts("steps", "rows")
        self.check_shares("share")

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        ranks = descending(explanation.per_feature(), explanation, self.streams, self.key)
        steps = Steps.equal(explanation, self.steps, self.share)
        falls = explanation.score[:, None] - hiding(
            explainer.model, explanation, reference, ranks, steps, self.rows
        )
        return judged(explanation, steps.mean(falls), steps.stretched(falls), steps.axis(self.share))


@dataclass(frozen=True)
class Comprehensiveness(Metric):
    """Fall of the score when the features with the largest attribution are hidden.

    The mean over q in `shares` of f(x) - f(x without the ceil(q n) largest). Logits unless
    output=probability. Range: that of differences of f; higher is better. DeYoung et al. 2020 (ERASER).
    """

    streams: Streams
    shares: Sequence[float] = (0.01, 0.05, 0.1, 0.2, 0.5)
    rows: int | None = None

    higher_is_better: ClassVar[bool] = True
    best: ClassVar[float | None] = None
    range: ClassVar[tuple[float, float]] = ANY

    def __post_init__(self) -> None:
        self.check_counts("rows")
        self.check_shares("shares")

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        first = _first(self, explanation, self.shares)
        falls = explanation.score[:, None] - masked_score(
            explainer.model, explanation, reference, ~first, self.rows
        )
        return judged(explanation, falls.mean(1), falls, torch.tensor(list(self.shares)))


@dataclass(frozen=True)
class Sufficiency(Metric):
    """Fall of the score when only the features with the largest attribution stay visible.

    The mean over q in `shares` of f(x) - f(only the ceil(q n) largest). Logits unless output=probability.
    Range: that of differences of f; lower is better (below 0: they speak more strongly alone). DeYoung et
    al. 2020 (ERASER).
    """

    streams: Streams
    shares: Sequence[float] = (0.01, 0.05, 0.1, 0.2, 0.5)
    rows: int | None = None

    higher_is_better: ClassVar[bool] = False
    best: ClassVar[float | None] = None
    range: ClassVar[tuple[float, float]] = ANY

    def __post_init__(self) -> None:
        self.check_counts("rows")
        self.check_shares("shares")

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        first = _first(self, explanation, self.shares)
        falls = explanation.score[:, None] - masked_score(
            explainer.model, explanation, reference, first, self.rows
        )
        return judged(explanation, falls.mean(1), falls, torch.tensor(list(self.shares)))


@dataclass(frozen=True)
class LogOdds(Metric):
    """Change of the log-probability when the features with the largest attribution are hidden.

    log p(x without the ceil(share n) largest) - log p(x), p the target's probability whatever the run's
    output space; undefined where the task has no classes. Range: (-inf, inf); lower is better. Shrikumar et
    al. 2017.
    """

    streams: Streams
    share: float = 0.2
    rows: int | None = None

    higher_is_better: ClassVar[bool] = False
    best: ClassVar[float | None] = None
    range: ClassVar[tuple[float, float]] = ANY

    def __post_init__(self) -> None:
        self.check_counts("rows")
        self.check_shares("share")

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        first = _first(self, explanation, [self.share])[:, 0]
        logs = _log_probability(explainer.model, explanation)
        shown = torch.stack([torch.ones_like(first), ~first], 1)
        before, after = masked_score(logs, explanation, reference, shown, self.rows).unbind(1)
        return judged(explanation, after - before)


def _first(
    metric: "Comprehensiveness | Sufficiency | LogOdds", explanation: Explanation, shares: Sequence[float]
) -> Tensor:
    """The features that make up each leading share, bool [examples, shares, features]."""
    ranks = descending(explanation.per_feature(), explanation, metric.streams, metric.key)
    return ranks[:, None] < leading(explanation, shares)[:, :, None]


def _log_probability(model: Explained, explanation: Explanation) -> Explained:
    """The explained network with log-probabilities as its outputs; nan where the task has none."""
    task = explanation.task or Classification(())

    def link(outputs: Tensor) -> Tensor:
        if task.probabilities(outputs) is None:
            return torch.full_like(outputs, torch.nan, dtype=torch.float64)
        return task.explained(outputs.double(), "probability").clamp(min=1e-30).log()

    logs = Explained(model.model, link)
    logs.counter = model.counter  # its rows are the run's rows
    return logs
