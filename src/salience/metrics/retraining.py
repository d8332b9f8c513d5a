"""Metrics that train networks anew: without what an explanation calls important, or on labels that mean nothing.

Networks are trained as the run's own (same initial weights, same settings) and kept in the store, so that each is
trained once. Where a score is one number for the data set, both splits are explained: rows of training cost too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from ..attribution.explanation import explicand, shown_elements
from ..data.base import Data, Examples
from ..models.base import predict
from .base import Explained, Explanation, Measurement, Metric, Reference, Retrain, Streams, judged
from .curves import ANY, descending, leading
from .randomisation import BOTH_WAYS, per_feature
from .similarity import check_similarity, similar

if TYPE_CHECKING:
    from ..attribution.explainer import Explainer


@dataclass(frozen=True)
class Roar(Metric):
    """Fall of the network's score when it is trained and tested without what the method calls important.

    In all splits the features with the largest |attribution|, a share q of those present, are made blank; a network
    trained on what is left scores s(q). The curve is s(q); the score is the mean over `shares` of s(0) - s(q). One
    number for the data set; a random map has its own fall, to be read beside it. Which features are blank can itself
    give the class away (Rong et al. 2022), and a good map then looks bad. Range: that of differences of accuracy (or
    R2); higher is better. Hooker et al. 2019 (remove and retrain).
    """

    streams: Streams
    retrain: Retrain
    shares: Sequence[float] = (0.1, 0.3, 0.5, 0.7, 0.9)

    higher_is_better: ClassVar[bool] = True
    best: ClassVar[float | None] = None
    range: ClassVar[tuple[float, float]] = ANY
    per_example: ClassVar[bool] = False

    def __post_init__(self) -> None:
        self.check_shares("shares")

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        whole, curve = _retrained_scores(self, explainer, keep=False)
        return _of_data_set((whole - curve).mean(), curve, self.shares)


@dataclass(frozen=True)
class Kar(Metric):
    """Score of a network that is trained and tested with only what the method calls important.

    In all splits only the features with the largest |attribution|, a share q of those present, stay; a network trained
    on them scores s(q). The curve is s(q); the score is its mean over `shares`. One number for the data set. Range:
    that of accuracy (or R2), at most 1; higher is better, best 1. Hooker et al. 2019 (keep and retrain).
    """

    streams: Streams
    retrain: Retrain
    shares: Sequence[float] = (0.1, 0.3, 0.5, 0.7, 0.9)

    higher_is_better: ClassVar[bool] = True
    best: ClassVar[float | None] = 1.0
    range: ClassVar[tuple[float, float]] = (float("-inf"), 1.0)
    per_example: ClassVar[bool] = False

    def __post_init__(self) -> None:
        self.check_shares("shares")

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        _, curve = _retrained_scores(self, explainer, keep=True)
        return _of_data_set(curve.mean(), curve, self.shares)


@dataclass(frozen=True)
class ShuffledLabels(Metric):
    """Similarity to the explanation of a network that was trained on shuffled labels.

    Such a network has nothing to say about the inputs; a map that does not depend on what was learned has 1. Spearman
    over features, of |attributions| where `absolute`; `similarity: ssim` is the other choice. Undefined where either
    map is constant. Range [-1, 1]; lower is better. Adebayo et al. 2018 (data randomisation test).
    """

    streams: Streams
    retrain: Retrain
    similarity: str = "spearman"
    absolute: bool = True

    higher_is_better: ClassVar[bool] = False
    best: ClassVar[float | None] = None
    range: ClassVar[tuple[float, float]] = BOTH_WAYS

    def __post_init__(self) -> None:
        check_similarity(self)

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        network = self.retrain(shuffled(self.retrain.data, self.streams))
        there = per_feature(explainer, explanation, _explained(network, explainer.model))
        return judged(explanation, similar(self, explanation.per_feature(), there, explanation.present))


def shuffled(data: Data, streams: Streams) -> Data:
    """The data set with the labels of its training and validation rows in random order."""

    def mixed(name: str) -> Examples:
        examples = data.split(name)
        order = torch.randperm(len(examples), generator=streams.generator(f"shuffled labels/{name}"))
        return replace(examples, labels=examples.labels[order])

    return replace(data, train=mixed("train"), validation=mixed("validation"))


def _retrained_scores(metric: "Roar | Kar", explainer: "Explainer", keep: bool) -> tuple[Tensor, Tensor]:
    """The main score with all features, and for each share with (`keep`) or without the leading ones [shares]."""
    data = metric.retrain.data
    whole = _test_score(metric.retrain, data)
    ranks = {name: _ranked(metric, explainer, data, name) for name in ("train", "validation", "test")}
    found = []
    for share in metric.shares:
        parts = {}
        for name, (order, explanation) in ranks.items():
            first = order < leading(explanation, [share])
            parts[name] = blanked(data, data.split(name), explanation, first if keep else ~first)
        lessened = replace(data, train=parts["train"], validation=parts["validation"], test=parts["test"])
        found.append(_test_score(metric.retrain, lessened))
    return torch.tensor(whole, dtype=torch.float64), torch.tensor(found, dtype=torch.float64)


def _ranked(
    metric: "Roar | Kar", explainer: "Explainer", data: Data, split: str
) -> tuple[Tensor, Explanation]:
    """The rank of every feature of every example of a split, 0 the most important; and what was explained."""
    device = next(explainer.model.parameters()).device
    x = explicand(explainer.model, data.modalities, data.task, data.split(split).to(device), "predicted")
    explanation = explainer.explain(x)
    return descending(
        explanation.per_feature().abs(), explanation, metric.streams, f"retraining/{split}"
    ), explanation


def blanked(data: Data, examples: Examples, explanation: Explanation, shown: Tensor) -> Examples:
    """The same examples with only the features `shown` [examples, features]; the others are the modality's blank."""
    visible = shown_elements(shown | ~explanation.present, explanation.feature_mask)
    inputs = []
    for modality, raw, seen in zip(data.modalities, examples.inputs, visible, strict=True):
        seen = seen.cpu().reshape(*raw.shape, -1)[..., 0]  # an id stands for all elements of its embedding
        inputs.append(torch.where(seen, raw, modality.blank(raw).to(raw.dtype)))
    return replace(examples, inputs=tuple(inputs))


def _test_score(retrain: Retrain, data: Data) -> float:
    network, test = retrain(data), data.test
    device = next(network.parameters()).device
    moved = test.to(device)
    outputs = predict(network, moved.inputs, moved.context).cpu()
    return data.task.scores(outputs, test.labels)[data.task.main_score]


def _explained(network: torch.nn.Module, like: Explained) -> Explained:
    """A network as a function in the run's output space, whose rows count as the run's."""
    explained = Explained(network, like.link, like.shared)
    explained.counter = like.counter
    return explained


def _of_data_set(score: Tensor, curve: Tensor, shares: Sequence[float]) -> Measurement:
    return Measurement(score.reshape(1).double(), curve[None], torch.tensor(list(shares)))
