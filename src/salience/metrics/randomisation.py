"""Randomisation: an explanation of what a network has learned must change when that is taken away.

Layers are those with parameters that the explained score depends on, from the output down. Their parameters are
drawn anew as at initialisation, from a stream that is the same for all methods. A method that draws random
numbers draws the same ones again, so its own noise does not count as a change. Similarity is Spearman's rank
correlation over features (or `ssim`, see similarity.py), of |attributions| where `absolute`.
"""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from .base import Explained, Explanation, Measurement, Metric, Reference, Streams, judged
from .robustness import explained_again, explained_copies, noisy_copies
from .similarity import check_similarity, similar

if TYPE_CHECKING:
    from ..attribution.explainer import Explainer

BOTH_WAYS = (-1.0, 1.0)


@dataclass(frozen=True)
class CascadingRandomisation(Metric):
    """Similarity to the explanation of the network with more and more layers randomised, from the output down.

    The curve has the similarity after 1, 2, ... all layers; the score is its mean. 0: nothing in common; a map that
    does not depend on the network has 1. Undefined where either map is constant. Range [-1, 1]; lower is better.
    Adebayo et al. 2018 (model parameter randomisation test).
    """

    streams: Streams
    similarity: str = "spearman"
    absolute: bool = True

    higher_is_better: ClassVar[bool] = False
    best: ClassVar[float | None] = None
    range: ClassVar[tuple[float, float]] = BOTH_WAYS

    def __post_init__(self) -> None:
        check_similarity(self)

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        here, present = explanation.per_feature(), explanation.present
        maps = (per_feature(explainer, explanation, m) for m in cascading(explainer.model, self, explanation))
        return _mean_along(explanation, [similar(self, here, there, present) for there in maps])


@dataclass(frozen=True)
class IndependentRandomisation(Metric):
    """Similarity to the explanation of the network with one layer randomised, each layer in turn.

    The curve has the similarity for each layer, the output's first; the score is its mean. 0: nothing in common; a
    map that does not depend on the network has 1. Undefined where either map is constant. Range [-1, 1]; lower is
    better. Adebayo et al. 2018.
    """

    streams: Streams
    similarity: str = "spearman"
    absolute: bool = True

    higher_is_better: ClassVar[bool] = False
    best: ClassVar[float | None] = None
    range: ClassVar[tuple[float, float]] = BOTH_WAYS

    def __post_init__(self) -> None:
        check_similarity(self)

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        here, present = explanation.per_feature(), explanation.present
        names = layers(explainer.model, explanation)
        networks = (randomised(explainer.model, [name], self.streams) for name in names)
        maps = (per_feature(explainer, explanation, m) for m in networks)
        return _mean_along(explanation, [similar(self, here, there, present) for there in maps])


@dataclass(frozen=True)
class SmoothRandomisation(Metric):
    """Cascading randomisation of explanations that are averaged over noisy inputs first (sMPRT).

    Both maps are means over `samples` copies with uniform noise within +-`radius`, so that the noise of gradients
    does not pass for sensitivity to the network. Otherwise as `cascading_randomisation`. Range [-1, 1]; lower is
    better. Hedstroem et al. 2023.
    """

    streams: Streams
    similarity: str = "spearman"
    absolute: bool = True
    radius: float = 0.1
    samples: int = 10

    higher_is_better: ClassVar[bool] = False
    best: ClassVar[float | None] = None
    range: ClassVar[tuple[float, float]] = BOTH_WAYS

    def __post_init__(self) -> None:
        check_similarity(self)
        self.check_counts("samples")
        self.check_positive("radius")

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        here, found = self._smooth(explainer, explanation), []
        for network in cascading(explainer.model, self, explanation):
            there = self._smooth(explainer.on(network), explanation)
            found.append(similar(self, here, there, explanation.present))
        return _mean_along(explanation, found)

    def _smooth(self, explainer: "Explainer", explanation: Explanation) -> Tensor:
        copies = noisy_copies(explanation, self.streams, self.key, self.radius, self.samples)
        maps = torch.cat([moved for _, moved in explained_copies(explainer, explanation, copies)])
        return maps.mean(0)


@dataclass(frozen=True)
class EfficientRandomisation(Metric):
    """Relative rise of an explanation's complexity when all layers are randomised at once (eMPRT).

    (H(a') - H(a)) / H(a), H the entropy of the histogram (`bins` equal bins between the smallest and the largest) of
    signed attributions over features, a' of the randomised network. No similarity of maps is needed. Undefined where
    H(a) is 0. Range [-1, inf); higher is better. Hedstroem et al. 2023.
    """

    streams: Streams
    bins: int = 100

    higher_is_better: ClassVar[bool] = True
    best: ClassVar[float | None] = None
    range: ClassVar[tuple[float, float]] = (-1.0, float("inf"))

    def __post_init__(self) -> None:
        self.check_counts("bins")

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        names = layers(explainer.model, explanation)
        network = randomised(explainer.model, names, self.streams)
        before = histogram_entropy(explanation.per_feature(), explanation.present, self.bins)
        after = histogram_entropy(
            per_feature(explainer, explanation, network), explanation.present, self.bins
        )
        return judged(explanation, (after - before) / before.masked_fill(before == 0, torch.nan))


@dataclass(frozen=True)
class RandomLogit(Metric):
    """Similarity to the explanation of another output, drawn at random for each example.

    Signed by default: of two outputs that compete, what speaks for one speaks against the other (-1). A map that does
    not depend on the explained output has 1. Undefined where there is only one output or a map is constant. Range
    [-1, 1]; lower is better. Sixt et al. 2020.
    """

    streams: Streams
    similarity: str = "spearman"
    absolute: bool = False

    higher_is_better: ClassVar[bool] = False
    best: ClassVar[float | None] = None
    range: ClassVar[tuple[float, float]] = BOTH_WAYS

    def __post_init__(self) -> None:
        check_similarity(self)

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        outputs = explanation.num_outputs or 1
        if outputs < 2:
            return self.undefined(explanation)
        steps = [
            int(torch.randint(1, outputs, (1,), generator=self.streams.generator(self.key, i)))
            for i in explanation.index.tolist()
        ]
        other = (explanation.target + torch.tensor(steps, device=explanation.target.device)) % outputs
        there = explained_again(explainer, replace(explanation, target=other), explanation.inputs)
        return judged(explanation, similar(self, explanation.per_feature(), there, explanation.present))


# -- networks that have forgotten --------------------------------------------------------------------------------------


def layers(model: Explained, explanation: Explanation) -> list[str]:
    """Names of the modules whose own parameters the explained score depends on, the output's first."""
    first = explanation.rows(slice(0, 1))
    named = [(name, module) for name, module in model.named_modules() if own_parameters(module)]
    parameters = [own_parameters(module)[0] for _, module in named]
    frozen = [p for p in parameters if not p.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(True)
    try:
        with torch.enable_grad():
            total = model.uncounted(*first.inputs, *first.context).sum()
            used = torch.autograd.grad(total, parameters, allow_unused=True) if parameters else ()
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)
    return [name for (name, _), gradient in zip(named, used, strict=True) if gradient is not None][::-1]


def own_parameters(module: nn.Module) -> list[nn.Parameter]:
    """The parameters of a module itself, without those of the modules inside it."""
    return list(module.parameters(recurse=False))


def cascading(model: Explained, metric: "Metric", explanation: Explanation) -> Iterator[Explained]:
    """The network with 1, 2, ... all layers randomised, the output's first."""
    streams: Streams = metric.streams  # type: ignore[attr-defined]
    names = layers(model, explanation)
    for count in range(1, len(names) + 1):
        yield randomised(model, names[:count], streams)


def randomised(model: Explained, names: list[str], streams: Streams) -> Explained:
    """A copy of the network in which the parameters of the named modules are drawn anew."""
    copy = deepcopy(model)
    modules = dict(copy.named_modules())
    for name in names:
        with streams.seeded(f"randomisation/{name}"):
            _reset(modules[name])
    return copy.eval()


def _reset(module: nn.Module) -> None:
    """As at initialisation; a module that cannot say how that was gets normal numbers of the same deviation."""
    reset = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
    before = [p.detach().clone() for p in own_parameters(module)]
    if callable(reset):
        reset()
    with torch.no_grad():
        for parameter, old in zip(own_parameters(module), before, strict=True):
            if torch.equal(parameter, old) and not callable(reset):
                spread = old.std(correction=0) if old.numel() > 1 else old.abs().mean()
                parameter.copy_(torch.randn(old.shape).to(old) * spread.clamp(min=1e-3))


def per_feature(explainer: "Explainer", explanation: Explanation, network: Explained) -> Tensor:
    """The same method's explanation of another network, per feature [examples, features]."""
    return explained_again(explainer.on(network), explanation, explanation.inputs)


def histogram_entropy(values: Tensor, present: Tensor, bins: int) -> Tensor:
    """Entropy, in nats, of the histogram of each row's present values in equal bins [rows]; nan where not finite."""
    values = values.double()
    low = values.masked_fill(~present, torch.inf).amin(1, keepdim=True)
    high = values.masked_fill(~present, -torch.inf).amax(1, keepdim=True)
    place = ((values - low) / (high - low).clamp(min=1e-300) * bins).nan_to_num(0.0)
    counts = torch.zeros(len(values), bins, dtype=torch.float64, device=values.device)
    counts.scatter_add_(1, place.long().clamp(0, bins - 1), present.double())
    share = counts / counts.sum(1, keepdim=True)
    entropy = -torch.xlogy(share, share).sum(1)
    return entropy.masked_fill(~values.isfinite().all(1), torch.nan)


def _mean_along(explanation: Explanation, found: list[Tensor]) -> Measurement:
    """The mean over the layers where the similarity is defined; undefined where there is no layer."""
    if not found:
        return Measurement(torch.full((len(explanation),), torch.nan, dtype=torch.float64))
    curve = torch.stack(found, 1)
    at = torch.arange(1, len(found) + 1, dtype=torch.float64) / len(found)
    return judged(explanation, curve.nanmean(1), curve, at)
