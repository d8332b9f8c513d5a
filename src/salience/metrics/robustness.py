"""Robustness: how much attributions change when inputs hardly do.

Noise is uniform within +-`radius` on every element of the present features, in the space that the network
reads (standardised columns, embeddings), and drawn per example: the same for all methods. A method that
draws random numbers draws the same ones again for a perturbed copy, so its own noise is not counted. A map
that ignores the input is perfectly robust: read these together with faithfulness.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from ..attribution.explanation import shown_elements
from .base import Explanation, Measurement, Metric, Reference, Streams, judged

if TYPE_CHECKING:
    from ..attribution.explainer import Explainer

FROM_ZERO = (0.0, float("inf"))
HELD = 1 << 20
"""Elements of noisy copies that are held at a time."""


@dataclass(frozen=True)
class Sensitivity(Metric):
    """Largest relative change of the attributions under small noise (max-sensitivity).

    max_d ||a(x + d) - a(x)|| / ||a(x)|| over `samples` draws, Euclidean norms over features. Undefined
    where all attributions are 0. Range [0, inf); lower is better, best 0. Yeh et al. 2019.
    """

    streams: Streams
    radius: float = 0.02
    samples: int = 10

    higher_is_better: ClassVar[bool] = False
    best: ClassVar[float | None] = 0.0
    range: ClassVar[tuple[float, float]] = FROM_ZERO

    def __post_init__(self) -> None:
        self.check_counts("samples")
        self.check_positive("radius")

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        changes = _relative_changes(explainer, explanation, self.streams, self.radius, self.samples)
        return judged(explanation, changes.amax(1))


@dataclass(frozen=True)
class AverageSensitivity(Metric):
    """Mean relative change of the attributions under small noise.

    mean_d ||a(x + d) - a(x)|| / ||a(x)|| over the same draws as `sensitivity`, Euclidean norms over
    features. Undefined where all attributions are 0. Range [0, inf); lower is better, best 0. Yeh et al.
    2019; Bhatt et al. 2020.
    """

    streams: Streams
    radius: float = 0.02
    samples: int = 10

    higher_is_better: ClassVar[bool] = False
    best: ClassVar[float | None] = 0.0
    range: ClassVar[tuple[float, float]] = FROM_ZERO

    def __post_init__(self) -> None:
        self.check_counts("samples")
        self.check_positive("radius")

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        changes = _relative_changes(explainer, explanation, self.streams, self.radius, self.samples)
        return judged(explanation, changes.mean(1))


@dataclass(frozen=True)
class LocalLipschitz(Metric):
    """Largest change of the attributions per change of the input.

    max_d ||a(x + d)/s - a(x)/s|| / ||d|| over `samples` draws, s = ||a(x)||, so that the scale of
    attributions does not count. Undefined where all attributions are 0. Range [0, inf); lower is better,
    best 0. Alvarez-Melis and Jaakkola 2018.
    """

    streams: Streams
    radius: float = 0.1
    samples: int = 10

    higher_is_better: ClassVar[bool] = False
    best: ClassVar[float | None] = 0.0
    range: ClassVar[tuple[float, float]] = FROM_ZERO

    def __post_init__(self) -> None:
        self.check_counts("samples")
        self.check_positive("radius")

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        size = _size(explanation.per_feature())
        here, ratios = explanation.per_feature(), []
        copies = noisy_copies(explanation, self.streams, self.key, self.radius, self.samples)
        for noisy, moved in explained_copies(explainer, explanation, copies):
            distance = _flat(tuple(n - x for n, x in zip(noisy, explanation.inputs, strict=True))).norm(dim=2)
            ratios.append((moved - here).double().norm(dim=2) / size / distance)
        return judged(explanation, torch.cat(ratios).amax(0))


@dataclass(frozen=True)
class RelativeInputStability(Metric):
    """Largest relative change of the attributions per relative change of the input.

    max_d ||(a(x + d) - a(x)) / a(x)|| / ||d / x||, element by element; zeros below the line count as
    `floor` of the largest entry. Heavy-tailed where attributions are near 0: read the median. Range [0,
    inf); lower is better, best 0. Agarwal et al. 2022 (who keep only draws with an unchanged prediction;
    here the target is fixed).
    """

    streams: Streams
    radius: float = 0.02
    samples: int = 10
    floor: float = 1e-3

    higher_is_better: ClassVar[bool] = False
    best: ClassVar[float | None] = 0.0
    range: ClassVar[tuple[float, float]] = FROM_ZERO

    def __post_init__(self) -> None:
        self.check_counts("samples")
        self.check_positive("radius")
        self.check_shares("floor")

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        here, ratios = explanation.per_feature().double(), []
        start = _present(explanation, tuple(x[None] for x in explanation.inputs))[0]
        copies = noisy_copies(explanation, self.streams, self.key, self.radius, self.samples)
        for noisy, moved in explained_copies(explainer, explanation, copies):
            distance = _relative(_present(explanation, noisy), start, self.floor)
            ratios.append(_relative(moved.double(), here, self.floor) / distance)
        return judged(explanation, torch.cat(ratios).amax(0))


@dataclass(frozen=True)
class RelativeOutputStability(Metric):
    """Largest relative change of the attributions per change of the network's outputs.

    max_d ||(a(x + d) - a(x)) / a(x)|| / ||h(x + d) - h(x)||, h all outputs in the run's output space
    (logits unless output=probability), differences of h below 1e-6 count as 1e-6; zeros of a(x) count as
    `floor` of its largest entry. Heavy-tailed: read the median. Range [0, inf); lower is better, best 0.
    Agarwal et al. 2022.
    """

    streams: Streams
    radius: float = 0.02
    samples: int = 10
    floor: float = 1e-3

    higher_is_better: ClassVar[bool] = False
    best: ClassVar[float | None] = 0.0
    range: ClassVar[tuple[float, float]] = FROM_ZERO

    def __post_init__(self) -> None:
        self.check_counts("samples")
        self.check_positive("radius")
        self.check_shares("floor")

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        here = explanation.per_feature().double()
        with torch.no_grad():
            outputs = explainer.model(*explanation.inputs, *explanation.context)
        ratios = []
        copies = noisy_copies(explanation, self.streams, self.key, self.radius, self.samples)
        for noisy, moved in explained_copies(explainer, explanation, copies):
            with torch.no_grad():
                there = torch.stack(
                    [explainer.model(*copy, *explanation.context) for copy in zip(*noisy, strict=True)]
                )
            shift = (there - outputs).double().norm(dim=2)
            ratios.append(_relative(moved.double(), here, self.floor) / shift.clamp(min=1e-6))
        return judged(explanation, torch.cat(ratios).amax(0))


def neighbours(
    explanation: Explanation, streams: Streams, purpose: str, radius: float, samples: int
) -> Iterator[tuple[Tensor, ...]]:
    """`samples` noisy copies of the whole batch, one after the other."""
    for several in noisy_copies(explanation, streams, purpose, radius, samples):
        yield from zip(*several, strict=True)


def noisy_copies(
    explanation: Explanation, streams: Streams, purpose: str, radius: float, samples: int
) -> Iterator[tuple[Tensor, ...]]:
    """The same, several at a time [copies, examples, ...], but no more than memory is meant for."""
    generators = [streams.generator(purpose, i) for i in explanation.index.tolist()]
    here = _flat(tuple(v[None] for v in shown_elements(explanation.present, explanation.feature_mask)))[0]
    counts = here.sum(1).tolist()
    sizes = [x[0].numel() for x in explanation.inputs]
    everywhere = bool(here.all())
    dtype, device = explanation.inputs[0].dtype, here.device
    for first in range(0, samples, together := _together(explanation)):
        block = min(together, samples - first)  # the same numbers as copy by copy
        draws = torch.empty(block * sum(counts))
        own = draws.split([block * count for count in counts])
        for part, generator in zip(own, generators, strict=True):
            part.uniform_(generator=generator)
        if everywhere:
            uniform = draws.reshape(len(here), block, -1).transpose(0, 1)
        else:
            uniform = torch.cat([part.reshape(block, -1) for part in own], 1)
        noise = ((2 * uniform - 1) * radius).to(device, dtype)
        if not everywhere:
            full = torch.zeros(block, *here.shape, dtype=dtype, device=device)
            noise = full.masked_scatter_(here.expand_as(full), noise)
        pieces = noise.split(sizes, 2)
        yield tuple(x + p.reshape(block, *x.shape) for x, p in zip(explanation.inputs, pieces, strict=True))


def _together(explanation: Explanation) -> int:
    """How many copies of the batch are held at a time."""
    return max(1, HELD // max(1, sum(x.numel() for x in explanation.inputs)))


def explained_copies(
    explainer: "Explainer", explanation: Explanation, copies: Iterator[tuple[Tensor, ...]]
) -> Iterator[tuple[tuple[Tensor, ...], Tensor]]:
    """Some copies [copies, examples, ...], and what the method says of them per feature [copies, examples, features].

    Copies share passes. Where a method looks at its batch, or it is not known that it does not, a copy passes by
    itself: it then sees the same mates as the original.
    """
    import captum.attr

    method = getattr(explainer, "method", None)
    alone = method is None or type(method) is captum.attr.FeaturePermutation
    for some in copies:
        if alone:
            each = zip(*some, strict=True)
            moved = torch.stack([explained_again(explainer, explanation, copy) for copy in each])
        else:
            together = tuple(x.flatten(0, 1) for x in some)
            moved = explained_again(explainer, _repeated(explanation, len(some[0])), together)
            moved = moved.reshape(len(some[0]), len(explanation), -1)
        yield some, moved


def _repeated(explanation: Explanation, count: int) -> Explanation:
    """The whole batch several times over, for attributions of other inputs."""
    if count == 1:
        return explanation
    rows = torch.arange(len(explanation), device=explanation.target.device).repeat(count)
    return explanation.rows(rows)  # type: ignore[return-value]


def explained_again(explainer: "Explainer", explanation: Explanation, inputs: tuple[Tensor, ...]) -> Tensor:
    """What the method says of other inputs of the same examples, per feature [examples, features]."""
    attributions, _ = explainer.attribute(
        inputs,
        explanation.baselines if explanation.background is None else explanation.background,
        explanation.target,
        explanation.index,
        explanation.context,
        explanation.feature_mask,
    )
    return replace(explanation, attributions=tuple(a.detach() for a in attributions)).per_feature()


def _relative_changes(
    explainer: "Explainer", explanation: Explanation, streams: Streams, radius: float, samples: int
) -> Tensor:
    """||a(x + d) - a(x)|| / ||a(x)|| for every draw [examples, samples]."""
    here = explanation.per_feature()
    copies = noisy_copies(explanation, streams, "sensitivity", radius, samples)
    changes = [
        (moved - here).double().norm(dim=2) for _, moved in explained_copies(explainer, explanation, copies)
    ]
    return torch.cat(changes).T / _size(here)[:, None]


def _size(attributions: Tensor) -> Tensor:
    """The Euclidean norm [examples]; nan where it is 0 and nothing can be relative to it."""
    size = attributions.double().norm(dim=1)
    return size.masked_fill(size == 0, torch.nan)


def _relative(moved: Tensor, start: Tensor, floor: float) -> Tensor:
    """||(moved - start) / start|| [copies, rows], entries of `start` kept away from 0; nan where all are 0."""
    least = floor * start.abs().amax(1, keepdim=True)
    below = start.abs().maximum(least.masked_fill(least == 0, torch.nan))
    return ((moved - start) / below).norm(dim=2)


def _flat(values: tuple[Tensor, ...]) -> Tensor:
    """All elements of all modalities [copies, examples, elements]."""
    return torch.cat([v.flatten(2) if v.dim() > 2 else v[..., None] for v in values], 2)


def _present(explanation: Explanation, inputs: tuple[Tensor, ...]) -> Tensor:
    """The elements of the present features, 0 elsewhere [copies, examples, elements] in float64."""
    here = _flat(tuple(v[None] for v in shown_elements(explanation.present, explanation.feature_mask)))
    return _flat(inputs).double().masked_fill(~here, 0.0)
