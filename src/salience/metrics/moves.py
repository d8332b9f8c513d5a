"""Faithfulness step by step: how the network's score moves from one step of hiding or showing to the next.

All scores are in the output space of the run: logits unless `output=probability`. Features are hidden by
putting the run's reference in their place, the same for all methods.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from .base import Explained, Explanation, Measurement, Metric, Reference, Streams, judged
from .curves import Steps, descending, hiding, showing

if TYPE_CHECKING:
    from ..attribution.explainer import Explainer


@dataclass(frozen=True)
class Cpd(Metric):
    """How much the score moves while the strongest features are hidden in turn (prediction difference).

    sum_k |f(x_k) - f(x_(k+1))|, x_k without the k largest |attributions|, up to `share` of the features in
    at most `steps` steps. Moves up and down do not cancel. Logits unless output=probability. Range [0,
    inf); higher is better. Jang et al. 2025 (TIMING).
    """

    streams: Streams
    share: float = 0.1
    steps: int = 20
    rows: int | None = None

    higher_is_better: ClassVar[bool] = True
    best: ClassVar[float | None] = None
    range: ClassVar[tuple[float, float]] = (0.0, float("inf"))

    def __post_init__(self) -> None:
        self.check_counts("steps", "rows")
        self.check_shares("share")

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        ranks = descending(explanation.per_feature().abs(), explanation, self.streams, self.key)
        return _moves(explainer.model, explanation, reference, ranks, self)


@dataclass(frozen=True)
class Cpp(Metric):
    """How much the score moves while the weakest features are hidden in turn (prediction preservation).

    sum_k |f(x_k) - f(x_(k+1))|, x_k without the k smallest |attributions|, up to `share` of the features in
    at most `steps` steps. Logits unless output=probability. Range [0, inf); lower is better, best 0. Jang
    et al. 2025 (TIMING).
    """

    streams: Streams
    share: float = 0.1
    steps: int = 20
    rows: int | None = None

    higher_is_better: ClassVar[bool] = False
    best: ClassVar[float | None] = 0.0
    range: ClassVar[tuple[float, float]] = (0.0, float("inf"))

    def __post_init__(self) -> None:
        self.check_counts("steps", "rows")
        self.check_shares("share")

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        ranks = descending(-explanation.per_feature().abs(), explanation, self.streams, self.key)
        return _moves(explainer.model, explanation, reference, ranks, self)


@dataclass(frozen=True)
class Monotonicity(Metric):
    """Whether the score never falls while features are shown, those with the smallest |attribution| first.

    1 where f is non-decreasing over the steps, else 0. It says more about the function than about the map:
    where f is a sum, every order gives the same answer, and one feature that speaks against the target
    makes it 0. Logits unless output=probability. Range {0, 1}; higher is better, best 1. Luss et al. 2019;
    Arya et al. 2019 (AIX360).
    """

    streams: Streams
    steps: int = 20
    rows: int | None = None

    higher_is_better: ClassVar[bool] = True
    best: ClassVar[float | None] = 1.0
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def __post_init__(self) -> None:
        self.check_counts("steps", "rows")

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        ranks = descending(-explanation.per_feature().abs(), explanation, self.streams, self.key)
        steps = Steps.equal(explanation, self.steps)
        scores = showing(explainer.model, explanation, reference, ranks, steps, self.rows)
        noise = 8 * torch.finfo(scores.dtype).eps * scores.abs().amax(1, keepdim=True)
        rising = (steps.moves(scores) >= -noise).all(1)
        return judged(explanation, rising.double(), steps.stretched(scores), steps.axis())


def _moves(
    model: Explained, explanation: Explanation, reference: Reference, ranks: Tensor, metric: "Cpd | Cpp"
) -> Measurement:
    """The sum of |f(x_k) - f(x_(k+1))| as features are hidden in the order of `ranks`."""
    steps = Steps.equal(explanation, metric.steps, metric.share)
    scores = hiding(model, explanation, reference, ranks, steps, metric.rows)
    return judged(
        explanation, steps.moves(scores).abs().sum(1), steps.stretched(scores), steps.axis(metric.share)
    )
