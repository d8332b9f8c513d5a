"""Axioms: what an attribution must fulfil by definition. Scores are logits unless `output=probability`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from .base import Explanation, Measurement, Metric, Reference, judged, masked_score
from .subsets import one_by_one

if TYPE_CHECKING:
    from ..attribution.explainer import Explainer


@dataclass(frozen=True)
class CompletenessGap(Metric):
    """Part of the change of output that the attributions do not account for.

    |sum_i a_i - (f(x) - f(b))| / |f(x) - f(b)|, b the method's own baseline (over a distribution, the mean
    of f(b) is taken), or the reference for methods without one. It judges the size of attributions, so
    methods that promise no completeness do badly by design. Undefined where f(x) = f(b). Logits unless
    output=probability. Range [0, inf); lower is better, best 0. Sundararajan et al. 2017.
    """

    rows: int | None = None

    higher_is_better: ClassVar[bool] = False
    best: ClassVar[float | None] = 0.0
    range: ClassVar[tuple[float, float]] = (0.0, float("inf"))

    def __post_init__(self) -> None:
        self.check_counts("rows")

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        none = torch.zeros_like(explanation.present)
        starts = [
            masked_score(explainer.model, explanation, baseline, none, self.rows).double()
            for baseline in _baselines(explanation, reference)
        ]
        start = torch.stack(starts).mean(0)
        end = explanation.score.double()
        moved = end - start
        nothing = moved.abs() <= 1e-6 * (1 + end.abs())  # no more than rounding
        gap = (explanation.per_feature().double().sum(1) - moved).abs() / moved.abs()
        return judged(explanation, gap.masked_fill(nothing, torch.nan))


@dataclass(frozen=True)
class Dummy(Metric):
    """Share of |attributions| on features that change nothing.

    sum over dummies |a_i| / sum |a|. A dummy leaves f as it is both when hidden from x and when shown alone
    (within `tolerance` of the largest such change): two rows per feature. Undefined without dummies or
    where all attributions are 0. Logits unless output=probability. Range [0, 1]; lower is better, best 0.
    Nguyen and Martinez 2020 (non-sensitivity).
    """

    tolerance: float = 1e-4
    rows: int | None = None

    higher_is_better: ClassVar[bool] = False
    best: ClassVar[float | None] = 0.0
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def __post_init__(self) -> None:
        self.check_counts("rows")
        self.check_positive("tolerance")

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        model, present = explainer.model, explanation.present
        nothing = masked_score(model, explanation, reference, torch.zeros_like(present), self.rows)
        without = one_by_one(model, explanation, reference, explanation.score, self.rows)
        alone = one_by_one(model, explanation, reference, nothing, self.rows, alone=True)
        effects = torch.maximum(
            (without - explanation.score[:, None]).abs(), (alone - nothing[:, None]).abs()
        )
        dummy = present & (effects <= self.tolerance * effects.amax(1, keepdim=True))
        size = explanation.per_feature().double().abs()
        share = (size * dummy).sum(1) / size.sum(1)  # 0 / 0 is nan: undefined
        return judged(explanation, share.masked_fill(~dummy.any(1), torch.nan))


def _baselines(explanation: Explanation, reference: Reference) -> list[Reference]:
    """What the method started from: one baseline, the rows of a distribution, or (unknown) the reference."""
    if explanation.background is not None:
        rows = range(len(explanation.background[0]))
        return [Reference(tuple(b[row : row + 1] for b in explanation.background)) for row in rows]
    return [reference if explanation.baselines is None else Reference(explanation.baselines)]
