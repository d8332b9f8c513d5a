"""What is explained (an explicand) and what came out (an explanation), for a batch of examples."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from .. import memory
from ..data.base import Examples, Task
from ..modality import Modality
from ..models.base import embed
from .remembered import Remembered


@dataclass(frozen=True)
class Cost:
    """What an explanation or a measurement took. Rows are counted, not estimated.

    Rows that were remembered from another method count as if they had passed: costs do not depend on who came first.
    """

    forward_rows: int = 0
    backward_rows: int = 0
    seconds: float = 0.0
    peak_mb: float | None = None

    def __add__(self, other: "Cost") -> "Cost":
        peaks = [p for p in (self.peak_mb, other.peak_mb) if p is not None]
        return Cost(
            self.forward_rows + other.forward_rows,
            self.backward_rows + other.backward_rows,
            self.seconds + other.seconds,
            max(peaks) if peaks else None,
        )


@dataclass(frozen=True)
class Explicand:
    """Examples as the methods and the metrics of a run share them: embedded, with one target each."""

    raw: tuple[Tensor, ...]
    """The inputs as the data holds them (token ids stay ids)."""
    inputs: tuple[Tensor, ...]
    """The differentiable form, one tensor [examples, ...] per modality."""
    context: tuple[Tensor, ...]
    """Batched tensors the network reads after the inputs; never explained."""
    feature_mask: tuple[Tensor, ...]
    """Integers [1 or examples, ...] per modality: element -> feature, numbered through all modalities."""
    present: Tensor
    """Bool [examples, features]: False for padding, which never counts."""
    target: Tensor
    """The explained output [examples]."""
    score: Tensor
    """f(x) at the target [examples], in the output space of the run."""
    index: Tensor
    """The row of each example in its split [examples]."""
    relevant: Tensor | None = None
    ratings: Tensor | None = None
    labels: Tensor | None = None
    """What the data says [examples, ...], for captions; nothing is computed from it."""
    num_outputs: int | None = None
    """How many outputs the network has: with a single one, target 0 stands for the second of two classes."""

    def __len__(self) -> int:
        return len(self.target)

    @property
    def num_features(self) -> int:
        """Features of all modalities together."""
        return self.present.shape[1]

    def rows(self, at: slice | Tensor) -> "Explicand":
        """Some of the examples, everything aligned (works for an `Explanation` too)."""
        cut: dict[str, Any] = {f.name: _cut(f.name, getattr(self, f.name), at) for f in fields(self)}
        return replace(self, **cut)


def _cut(name: str, value: object, at: slice | Tensor) -> object:
    """`value[at]` for tensors that have a row per example; what all examples share stays."""
    if isinstance(value, tuple) and value and all(isinstance(v, Tensor) for v in value):
        return tuple(_cut(name, v, at) for v in value)
    if isinstance(value, Mapping):
        return {key: _cut(key, v, at) for key, v in value.items()}
    if not isinstance(value, Tensor) or name == "background":
        return value
    return value if name in ("feature_mask", "baselines") and len(value) == 1 else value[at]


@dataclass(frozen=True)
class Explanation(Explicand):
    """Attributions of one method for a batch of examples, with all that is needed to judge them."""

    attributions: tuple[Tensor, ...] = ()
    """One number per input element, in the shape of `inputs`, signed."""
    baselines: tuple[Tensor, ...] | None = None
    """What the method took as 'no information' [1 or examples, ...]; None where it uses none or a distribution."""
    background: tuple[Tensor, ...] | None = None
    """The rows that the method averaged over, where its baseline is a distribution [rows, ...]."""
    convergence_delta: Tensor | None = None
    """Sum of attributions minus change of output [examples], as the method reports it; None where it does not."""
    details: Mapping[str, Tensor] = field(default_factory=dict)
    """What else the method says of each example, one number [examples] each: `steps` taken along a path, `gap` (how
    far the attributions are from the change of output that they should sum to), `complete` (whether that is within the
    tolerance), `surrogate_r2`, `zero_fraction`."""
    reduce: Literal["sum", "mean"] = "sum"
    """How elements make a feature: a share each (gradients: sum), or the group's value in each (perturbation: mean)."""
    method: str = ""
    warnings: tuple[str, ...] = ()
    cost: Cost = field(default_factory=Cost)
    modalities: tuple[Modality, ...] = ()
    task: Task | None = None
    explainer: Any = field(default=None, repr=False, compare=False)
    """The explainer that made it, for metrics that explain perturbed copies; None where it was read from disk."""
    of_inputs: ClassVar[bool] = True
    """Whether it explains the inputs, feature by feature; else a hidden layer, which metrics cannot judge."""

    @property
    def stored(self) -> dict[str, str]:
        """What a file says of it beside tensors, where there is more to say."""
        return {}

    def per_feature(self) -> Tensor:
        """Signed attribution per feature [examples, features], before any abs; absent features are 0."""
        totals = feature_totals(self.attributions, self.feature_mask, self.num_features)
        if self.reduce == "mean":
            ones = tuple(torch.ones_like(m, dtype=totals.dtype) for m in self.feature_mask)
            totals = totals / feature_totals(ones, self.feature_mask, self.num_features).clamp(min=1)
        return totals.masked_fill(~self.present, 0.0)

    def measured_by(self, metric: Any, explainer: Any, reference: Any) -> Any:
        """What `metric` says of this explanation (a metrics.Measurement)."""
        return metric(explainer, self, reference)

    def show(self, example: int = 0):
        """A matplotlib figure of one example (0 is the first of this batch)."""
        from ..figures import draw  # figures come later in the import order; drawing is asked for at run time

        return draw(self, example)

    def _repr_html_(self) -> str:
        from ..figures import as_html

        return as_html(self)


def feature_totals(values: tuple[Tensor, ...], masks: tuple[Tensor, ...], num_features: int) -> Tensor:
    """Sum elements into features [examples, features]; masks [1 or examples, ...] hold the feature numbers."""
    rows = max(len(v) for v in values)
    totals = values[0].new_zeros(rows, num_features)
    for value, mask in zip(values, masks, strict=True):
        where = mask.expand(rows, *mask.shape[1:]).reshape(rows, -1)
        totals.scatter_add_(1, where, value.expand(rows, *value.shape[1:]).reshape(rows, -1))
    return totals


def shown_elements(shown: Tensor, masks: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Bool [rows, ...] per modality: whether each element belongs to a feature of `shown` [rows, features]."""
    return tuple(_elements(shown, mask) for mask in masks)


def _elements(shown: Tensor, mask: Tensor) -> Tensor:
    rows, shape = len(shown), (len(shown), *mask.shape[1:])
    if len(mask) > 1:
        return shown.gather(1, mask.reshape(rows, -1)).reshape(shape)
    if in_order(mask, shown.shape[1]):
        return shown.reshape(shape)
    return shown.index_select(1, mask.reshape(-1)).reshape(shape)


def in_order(mask: Tensor, num_features: int) -> bool:
    """Whether every element is its own feature, in order: a choice of features is then one of elements already."""
    return (
        len(mask) == 1
        and mask.numel() == num_features
        and torch.equal(mask.reshape(-1), torch.arange(num_features, device=mask.device))
    )


BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def blended(shown: Tensor, x: Tensor, other: Tensor) -> Tensor:
    """torch.where(shown, x, other) by its bits: several times faster where no branch can foresee the mask."""
    if x.dtype != other.dtype or x.is_complex():
        return torch.where(shown, x, other)
    kind = BITS[x.element_size()]
    bits, rest = x.view(kind), other.view(kind)
    mask = shown.to(kind).neg_()  # all ones where shown
    if not bool(rest.any()):  # zeros, the most common: nothing to put in place of what is hidden
        return (bits & mask).view(x.dtype)
    return ((bits ^ rest) & mask).bitwise_xor_(rest).view(x.dtype)


def feature_masks(modalities: tuple[Modality, ...], embedded: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The masks of all modalities, numbered through: the features of the second follow those of the first."""
    masks, start = [], 0
    for modality, x in zip(modalities, embedded, strict=True):
        masks.append(modality.feature_mask(x) + start)
        start += modality.num_features
    return tuple(masks)


def at_target(outputs: Tensor, target: Tensor) -> Tensor:
    """The output at each row's target [rows]."""
    return outputs.gather(1, target[:, None])[:, 0]


class Counter:
    """Rows that went forward and backward through one explained function, and the largest pass."""

    def __init__(self) -> None:
        self.forward_rows = self.backward_rows = self.largest_pass = 0

    def __deepcopy__(self, memo: dict) -> "Counter":
        return self  # a copy of the network counts into the same totals

    def count(self, rows: int, outputs: Tensor) -> None:
        """One pass of `rows` rows; the way back is counted when it is taken."""
        self.forward_rows += rows
        self.largest_pass = max(self.largest_pass, rows)
        if outputs.requires_grad:
            outputs.register_hook(lambda _: self._back(rows))

    def _back(self, rows: int) -> None:
        self.backward_rows += rows


class Explained(nn.Module):
    """The function that a run explains: a network in eval mode, its outputs [rows, outputs] in one output space.

    Methods and metrics share it, so they cannot disagree about what is explained, and it counts the rows they need.
    For logits it is the network itself that runs; for probabilities the task's `link` follows it. `shared` holds
    arguments of the network that are the same for all rows, by their place among its arguments: nobody cuts or repeats
    them. A compiled network is explained as what it was compiled from, whose modules can be hooked.
    """

    def __init__(
        self,
        model: nn.Module,
        link: Callable[[Tensor], Tensor] | None = None,
        shared: Mapping[int, Any] | None = None,
    ):
        super().__init__()
        self.model = getattr(model, "_orig_mod", model)
        self.link = link
        self.shared = dict(sorted((shared or {}).items()))
        self.counter = Counter()
        self.remembered = Remembered()
        self.eval()

    def forward(self, *inputs: Tensor) -> Tensor:
        outputs = self.uncounted(*inputs)
        self.counter.count(len(inputs[0]), outputs)
        return outputs

    def uncounted(self, *inputs: Tensor) -> Tensor:
        """The same without counting, for passes that only look at the network."""
        if torch.is_grad_enabled():  # the way back needs all rows: who takes it, takes it in parts
            return self._outputs(*inputs)
        return memory.scores(self, self._outputs, inputs[:1], inputs[1:])

    def _outputs(self, *inputs: Tensor) -> Tensor:
        arguments = list(inputs)
        for place, value in self.shared.items():
            arguments.insert(place, value)
        outputs = self.model(*arguments)
        if outputs.dim() == 1:
            outputs = outputs[:, None]
        return outputs if self.link is None else self.link(outputs)

    def embed(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return embed(self.model, inputs)

    @property
    def explained_layer(self) -> str | None:
        """The layer that CAM methods read by default."""
        return getattr(self.model, "explained_layer", None)

    @property
    def hidden_layer(self) -> str | None:
        """The layer that layer and neuron methods read by default."""
        return getattr(self.model, "hidden_layer", None) or self.explained_layer


def explicand(
    model: Explained,
    modalities: tuple[Modality, ...],
    task: Task,
    examples: Examples,
    choice: str | int = "predicted",
) -> Explicand:
    """Embed `examples` and settle the target of each: `predicted`, `label`, `runner_up`, or a class."""
    with torch.no_grad():
        inputs = tuple(x.detach() for x in model.embed(*examples.inputs))
        outputs = model(*inputs, *examples.context)
    target = task.target(outputs, examples.labels, choice)
    return Explicand(
        raw=examples.inputs,
        inputs=inputs,
        context=examples.context,
        feature_mask=feature_masks(modalities, inputs),
        present=torch.cat([m.present(x) for m, x in zip(modalities, examples.inputs, strict=True)], 1),
        target=target,
        score=at_target(outputs, target),
        index=examples.index,
        relevant=examples.relevant,
        ratings=examples.ratings,
        labels=examples.labels,
        num_outputs=outputs.shape[1],
    )
