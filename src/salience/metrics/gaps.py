"""Prediction gaps: how much the score moves under noise on what is, or is not, called important (OpenXAI)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from ..attribution.explanation import at_target, blended, shown_elements
from .base import Explanation, Measurement, Metric, Reference, Streams, judged, outputs_of
from .curves import descending, leading
from .robustness import FROM_ZERO, neighbours

if TYPE_CHECKING:
    from ..attribution.explainer import Explainer


@dataclass(frozen=True)
class GapOnImportant(Metric):
    """Mean change of the score under noise on the features with the largest |attribution| (PGI).

    mean over `samples` draws of |f(x + d) - f(x)|, d uniform within +-`radius` on the leading `share` of the features
    and 0 elsewhere. In units of f, logits unless output=probability. Range [0, inf); higher is better. Agarwal et
    al. 2022 (OpenXAI, prediction gap on important features).
    """

    streams: Streams
    share: float = 0.25
    radius: float = 0.2
    samples: int = 20

    higher_is_better: ClassVar[bool] = True
    best: ClassVar[float | None] = None
    range: ClassVar[tuple[float, float]] = FROM_ZERO

    def __post_init__(self) -> None:
        self.check_counts("samples")
        self.check_shares("share")
        self.check_positive("radius")

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        return judged(explanation, _gap(self, explainer, explanation, leads=True))


@dataclass(frozen=True)
class GapOnUnimportant(Metric):
    """Mean change of the score under noise on all but the features with the largest |attribution| (PGU).

    The same draws as `gap_on_important`, on the features outside the leading `share`. In units of f, logits unless
    output=probability. Range [0, inf); lower is better, best 0. Agarwal et al. 2022 (OpenXAI, prediction gap on
    unimportant features).
    """

    streams: Streams
    share: float = 0.25
    radius: float = 0.2
    samples: int = 20

    higher_is_better: ClassVar[bool] = False
    best: ClassVar[float | None] = 0.0
    range: ClassVar[tuple[float, float]] = FROM_ZERO

    def __post_init__(self) -> None:
        self.check_counts("samples")
        self.check_shares("share")
        self.check_positive("radius")

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        return judged(explanation, _gap(self, explainer, explanation, leads=False))


def _gap(
    metric: GapOnImportant | GapOnUnimportant, explainer: "Explainer", explanation: Explanation, leads: bool
) -> Tensor:
    size = explanation.per_feature().abs()
    ranks = descending(size, explanation, metric.streams, "prediction_gap/order")
    first = ranks < leading(explanation, [metric.share])
    moved = shown_elements((first == leads) & explanation.present, explanation.feature_mask)
    gaps = []
    for noisy in neighbours(explanation, metric.streams, "prediction_gap", metric.radius, metric.samples):
        inputs = tuple(blended(m, n, x) for m, n, x in zip(moved, noisy, explanation.inputs, strict=True))
        outputs = outputs_of(explainer.model, inputs, explanation.context)
        gaps.append((at_target(outputs, explanation.target) - explanation.score).double().abs())
    return torch.stack(gaps, 1).mean(1)
