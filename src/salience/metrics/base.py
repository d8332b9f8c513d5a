"""What a metric is, and the one primitive that makes metrics independent of the modality: `masked_score`."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from ..attribution.explanation import Explained, Explanation, Explicand, at_target, shown_elements

if TYPE_CHECKING:
    from ..attribution.explainer import Explainer
    from ..randomness import Streams


@dataclass(frozen=True)
class Reference:
    """What metrics put in place of hidden features: the same for all methods of a run.

    `values` are embedded tensors [1 or examples, ...], one per modality.
    """

    values: tuple[Tensor, ...]

    def fill(self, explicand: Explicand, shown: Tensor) -> tuple[Tensor, ...]:
        """The inputs with only the features of `shown` [examples, features] visible; padding stays as it is."""
        visible = shown_elements(shown | ~explicand.present, explicand.feature_mask)
        return tuple(
            torch.where(v, x, r) for v, x, r in zip(visible, explicand.inputs, self.values, strict=True)
        )


def masked_score(
    model: Explained, explicand: Explicand, reference: Reference, shown: Tensor, rows: int = 1024
) -> Tensor:
    """The target's score when only `shown` features are visible.

    `shown` is bool [examples, features] and gives [examples], or [examples, steps, features] and gives
    [examples, steps]. Rows of different examples and steps share passes of at most `rows` rows.
    """
    if shown.dim() == 2:
        return masked_score(model, explicand, reference, shown[:, None], rows)[:, 0]
    examples, steps, features = shown.shape
    flat = shown.reshape(-1, features)
    scores = []
    with torch.no_grad():
        for start in range(0, len(flat), rows):
            end = min(start + rows, len(flat))
            which = torch.arange(start, end, device=flat.device) // steps
            part = explicand.rows(which) if examples > 1 else _repeat(explicand, end - start)
            filled = Reference(tuple(v[which] if len(v) == examples and examples > 1 else v for v in reference.values))
            outputs = model(*filled.fill(part, flat[start:end]), *part.context)
            scores.append(at_target(outputs, part.target))
    return torch.cat(scores).reshape(examples, steps)


def _repeat(explicand: Explicand, rows: int) -> Explicand:
    """One example, `rows` times."""
    from dataclasses import replace

    return replace(
        explicand,
        inputs=tuple(x.expand(rows, *x.shape[1:]) for x in explicand.inputs),
        context=tuple(c.expand(rows, *c.shape[1:]) for c in explicand.context),
        present=explicand.present.expand(rows, -1),
        target=explicand.target.expand(rows),
    )


@dataclass(frozen=True)
class Measurement:
    """The scores of one metric for a batch of examples."""

    scores: Tensor
    """One number per example [examples]; nan where the metric is undefined for that example."""
    curve: Tensor | None = None
    """What the score was computed from, where that is a curve [examples, steps]."""
    at: Tensor | None = None
    """The horizontal axis of the curve [steps], for example the share of features hidden."""


class Metric(ABC):
    """A way to judge explanations.

    Constructor arguments are what people vary (the schema of its YAML file). A constructor that names `streams` or
    `retrain` is given them.
    """

    higher_is_better: ClassVar[bool]
    best: ClassVar[float | None]
    """The best possible value; None where there is no bound."""
    range: ClassVar[tuple[float, float]]
    needs_relevant: ClassVar[bool] = False
    """Whether it only applies where the relevant features are known."""

    @abstractmethod
    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        """Judge every example of `explanation`; `explainer.model` is the explained function."""


__all__ = ["Explained", "Measurement", "Metric", "Reference", "Streams", "masked_score"]
