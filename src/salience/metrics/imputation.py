"""ROAD: hidden pixels are guessed from their neighbours, so that the hole itself gives nothing away."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..attribution.explanation import shown_elements
from .base import Explanation, Measurement, Metric, Reference, Streams, judged, outputs_of
from .curves import descending, leading

if TYPE_CHECKING:
    from ..attribution.explainer import Explainer


@dataclass(frozen=True)
class Road(Metric):
    """Share of steps at which the network still says the explained class, the most important pixels imputed.

    For each share q of the features, those with the largest attribution are replaced by noisy linear imputation: each
    hidden pixel is the weighted mean of its neighbours (those beside it count twice those at the corners), solved for
    all hidden pixels at once, plus normal noise of deviation `noise`. The curve is 1 where the explained output is
    still the largest (for a single unit: has the same sign); the score is its mean. Images only; undefined for others.
    Range [0, 1]; lower is better, best 0. Rong et al. 2022 (ROAD, most relevant first).
    """

    streams: Streams
    shares: Sequence[float] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9)
    noise: float = 0.01

    higher_is_better: ClassVar[bool] = False
    best: ClassVar[float | None] = 0.0
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    needs_places: ClassVar[int] = 2

    def __post_init__(self) -> None:
        self.check_shares("shares")
        self.check_positive("noise")

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        if not explanation.modalities or any(m.places != 2 for m in explanation.modalities):
            return self.undefined(explanation)
        ranks = descending(explanation.per_feature(), explanation, self.streams, self.key)
        counts = leading(explanation, self.shares)
        before = _choice(explanation.score[:, None], explanation, first=True)
        kept = []
        for step in range(len(self.shares)):
            hidden = ranks < counts[:, step : step + 1]
            outputs = outputs_of(explainer.model, self._imputed(explanation, hidden), explanation.context)
            kept.append((_choice(outputs, explanation) == before).double())
        curve = torch.stack(kept, 1)
        return judged(explanation, curve.mean(1), curve, torch.tensor(list(self.shares)))

    def _imputed(self, explanation: Explanation, hidden: Tensor) -> tuple[Tensor, ...]:
        generators = [self.streams.generator(self.key, i) for i in explanation.index.tolist()]
        filled = []
        for x, away in zip(explanation.inputs, shown_elements(hidden, explanation.feature_mask), strict=True):
            noise = torch.stack([torch.randn(x.shape[1:], generator=g) for g in generators])
            images, masks = x.cpu().double().numpy(), away.cpu().numpy()
            guessed = np.stack([impute(image, mask) for image, mask in zip(images, masks, strict=True)])
            guess = torch.as_tensor(guessed).to(x) + self.noise * noise.to(x)
            filled.append(torch.where(away, guess, x))
        return tuple(filled)


def impute(image: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """`image` [channels, height, width] with its `hidden` pixels (same shape; equal over channels) guessed linearly.

    A pixel without any visible pixel to start from, where all are hidden, becomes 0.
    """
    from scipy.sparse import csr_matrix
    from scipy.sparse.linalg import spsolve

    away = np.asarray(hidden.any(0))
    if not away.any():
        return image
    if away.all():
        return np.zeros_like(image)
    number = np.full(away.shape, -1)
    number[away] = np.arange(away.sum())
    rows, columns, values = [], [], []
    right = np.zeros((int(away.sum()), len(image)))
    total = np.zeros(len(right))
    places = np.argwhere(away)
    for step in product((-1, 0, 1), repeat=2):
        weight = {0: 0.0, 1: 2.0, 2: 1.0}[abs(step[0]) + abs(step[1])]
        there = places + step
        inside = ((there >= 0) & (there < away.shape)).all(1)
        here, there = np.flatnonzero(inside), there[inside]
        if not weight:
            continue
        total[here] += weight
        unknown = away[there[:, 0], there[:, 1]]
        rows.append(here[unknown])
        columns.append(number[there[unknown, 0], there[unknown, 1]])
        values.append(np.full(unknown.sum(), -weight))
        seen, at = here[~unknown], there[~unknown]
        right[seen] += weight * image[:, at[:, 0], at[:, 1]].T
    rows.append(np.arange(len(right)))
    columns.append(np.arange(len(right)))
    values.append(total)
    shape = (len(right), len(right))
    system = csr_matrix(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=shape
    )
    filled = image.copy()
    filled[:, away] = spsolve(system.tocsc(), right).reshape(len(right), len(image)).T
    return filled


def _choice(outputs: Tensor, explanation: Explanation, first: bool = False) -> Tensor:
    """Whether the explained output wins [examples]; the sign of a single unit."""
    if (explanation.num_outputs or 1) == 1:
        return outputs[:, 0] > 0
    if first:
        return torch.ones_like(explanation.target, dtype=torch.bool)
    return outputs.argmax(1) == explanation.target
