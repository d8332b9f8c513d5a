"""Axioms: what an attribution must fulfil by definition. Scores are logits unless `output=probability`."""

from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from ..attribution.explanation import shown_elements
from .base import Explained, Explanation, Measurement, Metric, Reference, judged, masked_score
from .robustness import explained_again
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
        first, last = effects(explainer.model, explanation, reference, self.rows)
        largest = torch.maximum(first.abs(), last.abs())
        dummy = explanation.present & (largest <= self.tolerance * largest.amax(1, keepdim=True))
        size = explanation.per_feature().double().abs()
        share = (size * dummy).sum(1) / size.sum(1)  # 0 / 0 is nan: undefined
        return judged(explanation, share.masked_fill(~dummy.any(1), torch.nan))


@dataclass(frozen=True)
class Symmetry(Metric):
    """Difference between the attributions of features that do the same.

    sum over twins |a_i - a_j| / sum over twins (|a_i| + |a_j|). Twins are two features, not dummies, that change f
    equally when hidden from x and equally when shown alone (within `tolerance` of the largest such change): two rows
    per feature. Undefined without twins or where theirs are all 0. Range [0, 1]; lower is better, best 0. Shapley
    1953; Sundararajan et al. 2017.
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
        first, last = effects(explainer.model, explanation, reference, self.rows)
        largest = torch.maximum(first.abs(), last.abs())
        least = self.tolerance * largest.amax(1, keepdim=True)
        alive = explanation.present & (largest > least)
        twins = alive[:, :, None] & alive[:, None, :]
        for effect in (first, last):
            twins = twins & ((effect[:, :, None] - effect[:, None, :]).abs() <= least[:, :, None])
        twins = twins.triu(1)
        a = explanation.per_feature().double()
        apart = ((a[:, :, None] - a[:, None, :]).abs() * twins).sum((1, 2))
        size = ((a.abs()[:, :, None] + a.abs()[:, None, :]) * twins).sum((1, 2))
        return judged(explanation, apart / size.masked_fill(size == 0, torch.nan))


@dataclass(frozen=True)
class InputShift(Metric):
    """Relative change of the attributions when inputs are shifted and the network undoes the shift.

    ||a'(x + s) - a(x)|| / ||a(x)||, a' of the network that subtracts s first and so computes the same; s is `shift` on
    every element of the present features. Baselines stay where they are, which is how methods that compare with one
    fail. Undefined where all attributions are 0. Range [0, inf); lower is better, best 0. Kindermans et al. 2017.
    """

    shift: float = 1.0

    higher_is_better: ClassVar[bool] = False
    best: ClassVar[float | None] = 0.0
    range: ClassVar[tuple[float, float]] = (0.0, float("inf"))

    def __post_init__(self) -> None:
        self.check_positive("shift")

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        here = explanation.per_feature().double()
        moved = tuple(
            x + self.shift * shown.to(x.dtype)
            for x, shown in zip(
                explanation.inputs,
                shown_elements(explanation.present, explanation.feature_mask),
                strict=True,
            )
        )
        network = shifted_back(explainer.model, self.shift, len(moved))
        there = explained_again(explainer.on(network), explanation, moved).double()
        size = here.norm(dim=1)
        return judged(explanation, (there - here).norm(dim=1) / size.masked_fill(size == 0, torch.nan))


def shifted_back(model: Explained, shift: float, inputs: int) -> Explained:
    """A copy of the network that first subtracts `shift` from every element of its first `inputs` arguments."""
    copy = deepcopy(model)

    def subtract(_: torch.nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (*(x - shift for x in given[:inputs]), *given[inputs:])

    copy.model.register_forward_pre_hook(subtract)
    return copy


def effects(
    model: Explained, explanation: Explanation, reference: Reference, rows: int | None
) -> tuple[Tensor, Tensor]:
    """What each feature changes when hidden from x, and when shown alone [examples, features]: with minus without."""
    present = explanation.present
    nothing = masked_score(model, explanation, reference, torch.zeros_like(present), rows)
    without = one_by_one(model, explanation, reference, explanation.score, rows)
    alone = one_by_one(model, explanation, reference, nothing, rows, alone=True)
    return explanation.score[:, None] - without, alone - nothing[:, None]


def _baselines(explanation: Explanation, reference: Reference) -> list[Reference]:
    """What the method started from: one baseline, the rows of a distribution, or (unknown) the reference."""
    if explanation.background is not None:
        rows = range(len(explanation.background[0]))
        return [Reference(tuple(b[row : row + 1] for b in explanation.background)) for row in rows]
    return [reference if explanation.baselines is None else Reference(explanation.baselines)]
