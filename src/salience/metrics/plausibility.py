"""Plausibility: whether people would name the same features. It says nothing about what the network does."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from ..errors import WrongInput
from .base import Explanation, Measurement, Metric, Reference, judged
from .correlation import spearman

if TYPE_CHECKING:
    from ..attribution.explainer import Explainer


@dataclass(frozen=True)
class RatingCorrelation(Metric):
    """Rank correlation of attributions with human ratings, over the features that people rated.

    Spearman of a_i with the rating of i. Ratings say how much a feature speaks for the last class (or the
    output of a single unit); where another class is explained they are turned round. Undefined with fewer
    than `least` rated features or where either is constant. Range [-1, 1]; higher is better, best 1. Hutto
    and Gilbert 2014 (word ratings).
    """

    least: int = 3

    higher_is_better: ClassVar[bool] = True
    best: ClassVar[float | None] = 1.0
    range: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    needs_ratings: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self.check_counts("least")

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        if explanation.ratings is None:
            raise WrongInput(
                f"metric={self.key}: needs human ratings of the features, and this data set has none"
            )
        rated = explanation.ratings.isfinite() & explanation.present
        for_last = explanation.target == (explanation.num_outputs or 1) - 1
        ratings = torch.where(for_last[:, None], explanation.ratings, -explanation.ratings)
        agreement = spearman(explanation.per_feature(), ratings, rated)
        return judged(explanation, agreement.masked_fill(rated.sum(1) < self.least, torch.nan))
