"""What a metric is, and the one primitive that makes metrics independent of the modality: `masked_score`."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Protocol

import torch
from torch import Tensor, nn

from ..attribution.explanation import Explained, Explanation, Explicand, at_target, blended, shown_elements
from ..attribution.planner import for_scores, rows_per_pass
from ..data.base import Data
from ..errors import WrongInput
from ..randomness import Streams

if TYPE_CHECKING:
    from ..attribution.explainer import Explainer


@dataclass(frozen=True)
class Reference:
    """What metrics put in place of hidden features: the same for all methods of a run.

    `values` are embedded tensors [1 or examples, ...], one per modality.
    """

    values: tuple[Tensor, ...]

    def fill(self, explicand: Explicand, shown: Tensor) -> tuple[Tensor, ...]:
        """The inputs with only the features `shown` [examples, features] visible; padding stays as it is."""
        visible = shown_elements(shown | ~explicand.present, explicand.feature_mask)
        return tuple(blended(v, x, r) for v, x, r in zip(visible, explicand.inputs, self.values, strict=True))

    def rows(self, at: slice | Tensor) -> "Reference":
        """The reference of some examples; one that all examples share stays as it is."""
        return Reference(tuple(v[at] if len(v) > 1 else v for v in self.values))


def masked_score(
    model: Explained, explicand: Explicand, reference: Reference, shown: Tensor, rows: int | None = None
) -> Tensor:
    """The target's score when only `shown` features are visible.

    `shown` is bool [examples, features] and gives [examples], or [examples, steps, features] and gives
    [examples, steps]. Rows of different examples and steps share passes of at most `rows` rows.
    """
    if shown.dim() == 2:
        return masked_score(model, explicand, reference, shown[:, None], rows)[:, 0]
    examples, steps, features = shown.shape
    flat = shown.reshape(-1, features)
    which = torch.arange(examples, device=shown.device).repeat_interleave(steps)
    return row_scores(model, explicand, reference, which, lambda at: flat[at], rows).reshape(examples, steps)


def row_scores(
    model: Explained,
    explicand: Explicand,
    reference: Reference,
    which: Tensor,
    shown: Callable[[slice], Tensor],
    rows: int | None = None,
) -> Tensor:
    """The target's score of any list of rows [len(which)], of which row r is example `which[r]`.

    `shown(at)` gives the visible features of a slice of the rows, bool [rows, features]; it is asked for
    one pass at a time, so that long lists of masks never exist as a whole.
    """
    rows = rows or rows_per_pass(model, explicand.inputs, explicand.context)
    network = for_scores(model, explicand.inputs)
    about = (
        *explicand.inputs,
        *explicand.context,
        *explicand.feature_mask,
        explicand.present,
        *reference.values,
    )
    scores = [explicand.score.new_zeros(0)]
    for start in range(0, len(which), rows):
        at = slice(start, start + rows)
        asked = which[at], explicand.target[which[at]], shown(at)

        def passed(asked: tuple[Tensor, Tensor, Tensor] = asked) -> Tensor:
            part = _for_network(explicand, asked[0])
            with torch.no_grad():
                outputs = network(*reference.rows(asked[0]).fill(part, asked[2]), *part.context)
            return at_target(outputs, part.target)

        found, known = model.remembered.scores(model, about, asked, passed)
        model.counter.forward_rows += len(found) if known else 0
        scores.append(found)
    return torch.cat(scores)


def rows_that_fit(inputs: Sequence[Tensor], elements: int = 2**23, most: int = 1024) -> int:
    """Rows of one pass: a function of the shapes alone, so that a run repeats bit for bit."""
    return max(1, min(most, elements // max(1, sum(x[0].numel() for x in inputs))))


def outputs_of(model: Explained, inputs: tuple[Tensor, ...], context: tuple[Tensor, ...]) -> Tensor:
    """All outputs [rows, outputs] of embedded inputs, without gradients, as many rows at a time as fit."""
    found, size = [], rows_per_pass(model, inputs, context)
    with torch.no_grad():
        for start in range(0, len(inputs[0]), size):
            at = slice(start, start + size)
            found.append(model(*(x[at] for x in inputs), *(c[at] for c in context)))
    return torch.cat(found)


def _for_network(explicand: Explicand, which: Tensor) -> Explicand:
    """The examples `which` (each as often as it is named), with only what a network and a reference need."""
    return Explicand(
        raw=(),
        inputs=tuple(x[which] for x in explicand.inputs),
        context=tuple(c[which] for c in explicand.context),
        feature_mask=tuple(m[which] if len(m) > 1 else m for m in explicand.feature_mask),
        present=explicand.present[which],
        target=explicand.target[which],
        score=explicand.score[which],
        index=explicand.index[which],
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


class Retrain(Protocol):
    """Trains the run's network anew, from its initial weights; the store knows those it has trained before."""

    data: Data
    """The run's data set."""

    def __call__(self, data: Data) -> nn.Module:
        """The network that training on `data` gives, in eval mode."""


class Metric(ABC):
    """A way to judge explanations.

    Constructor arguments are what people vary (the schema of its YAML file). A constructor that names
    `streams`, `retrain` or `weights` (of the data set, where known) is given them. `rows`, where there is
    one, bounds the rows of a pass (None: what fits); it changes no score.
    """

    higher_is_better: ClassVar[bool]
    best: ClassVar[float | None]
    """The best possible value; None where there is no bound."""
    range: ClassVar[tuple[float, float]]
    needs_relevant: ClassVar[bool] = False
    """Whether it only applies where the relevant features are known."""
    needs_ratings: ClassVar[bool] = False
    """Whether it only applies where people rated the features."""
    needs_places: ClassVar[int] = 0
    """How many axes of the input must be places whose neighbours resemble each other: 2 for images."""
    per_example: ClassVar[bool] = True
    """Whether it judges examples; else it is asked once and gives one score for the data set."""

    @abstractmethod
    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        """Judge every example of `explanation`; `explainer.model` is the explained function."""

    def undefined(self, explanation: Explanation) -> Measurement:
        """What there is to say of an explanation that this cannot judge: nan for every example."""
        return Measurement(torch.full((len(explanation),), torch.nan, dtype=torch.float64))

    @property
    def key(self) -> str:
        """Its name in the configs, and the purpose of its random streams."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", type(self).__name__).lower()

    def check_counts(self, *names: str) -> None:
        """WrongInput unless each of these options is a whole number from 1 upwards, or unset."""
        for name in names:
            value = getattr(self, name)
            unset = value is None and getattr(type(self), name) is None  # a default of None may be left unset
            if not unset and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise WrongInput(f"metric.{self.key}.{name}={value}: must be a whole number from 1 upwards")

    def check_shares(self, name: str) -> None:
        """WrongInput unless the option, one number or a list of them, lies above 0 and at most at 1."""
        value = getattr(self, name)
        values = list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value]
        if not values or not all(isinstance(v, int | float) and 0 < v <= 1 for v in values):
            raise WrongInput(f"metric.{self.key}.{name}={value}: must lie above 0 and at most at 1")

    def check_positive(self, name: str) -> None:
        """WrongInput unless the option is a number above 0."""
        value = getattr(self, name)
        if not isinstance(value, int | float) or not 0 < value < float("inf"):
            raise WrongInput(f"metric.{self.key}.{name}={value}: must be a number above 0")


def judged(
    explanation: Explanation, scores: Tensor, curve: Tensor | None = None, at: Tensor | None = None
) -> Measurement:
    """The measurement of `scores` [examples]: nan where nothing is present or attributions are not finite."""
    usable = explanation.present.any(1) & explanation.per_feature().isfinite().all(1)
    if curve is not None:
        curve = curve.detach().masked_fill(~usable[:, None], torch.nan)
    return Measurement(scores.detach().double().masked_fill(~usable, torch.nan), curve, at)


def in_blocks(
    judge: Callable[[Explanation, Reference], Measurement],
    explanation: Explanation,
    reference: Reference,
    per_example: int,
    elements: int = 2**22,
) -> Measurement:
    """`judge` over blocks of examples, each with `per_example` mask elements, so that memory is bounded."""
    size = max(1, elements // max(1, per_example))
    if len(explanation) <= size:
        return judge(explanation, reference)
    slices = [slice(start, start + size) for start in range(0, len(explanation), size)]
    parts = [judge(explanation.rows(at), reference.rows(at)) for at in slices]  # type: ignore[arg-type]
    curves = [p.curve for p in parts if p.curve is not None]
    return replace(
        parts[0],
        scores=torch.cat([p.scores for p in parts]),
        curve=torch.cat(curves) if curves else None,
    )


def change(explanation: Explanation, scores: Tensor) -> Tensor:
    """f(x) minus `scores` [examples, ...] in float64; what is below rounding is exactly 0.

    Without that, a function that does not react at all would be correlated with its rounding errors.
    """
    start = explanation.score.reshape(-1, *(1,) * (scores.dim() - 1))
    noise = 4 * torch.finfo(scores.dtype).eps * torch.maximum(start.abs(), scores.abs())
    fall = start - scores
    return fall.masked_fill(fall.abs() <= noise, 0.0).double()


__all__ = [
    "Explained",
    "Explanation",
    "Measurement",
    "Metric",
    "Reference",
    "Retrain",
    "Streams",
    "change",
    "in_blocks",
    "judged",
    "masked_score",
    "row_scores",
]
