"""Sizes of attributions beside the known relevant features: what localisation metrics count."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import WrongInput
from .base import Explanation, Metric


@dataclass(frozen=True)
class Truth:
    """|attributions| per feature, which are relevant, and which are present, all [examples, features]."""

    size: Tensor
    relevant: Tensor
    present: Tensor

    @staticmethod
    def of(explanation: Explanation, metric: Metric) -> "Truth":
        """From an explanation; WrongInput where the data set does not know its relevant features."""
        if explanation.relevant is None:
            raise WrongInput(
                f"metric={metric.key}: needs known relevant features, and this data set has none"
            )
        size = explanation.per_feature().double().abs()
        return Truth(size, explanation.relevant & explanation.present, explanation.present)

    @property
    def num_relevant(self) -> Tensor:
        """Relevant features per example [examples]."""
        return self.relevant.sum(1)

    @property
    def num_present(self) -> Tensor:
        """Present features per example [examples]."""
        return self.present.sum(1)

    def where_defined(self, scores: Tensor) -> Tensor:
        """`scores` [examples], nan where no or all present features are relevant."""
        some = (self.num_relevant > 0) & (self.num_relevant < self.num_present)
        return scores.masked_fill(~some, torch.nan)

    def count_from(self) -> Tensor:
        """For each feature, how many present ones are at least as large [examples, features]; 1 or more."""
        return self._at_least(self.present).clamp(min=1)

    def hits_from(self) -> Tensor:
        """For each feature, how many relevant features are at least as large [examples, features]."""
        return self._at_least(self.relevant)

    def _at_least(self, among: Tensor) -> Tensor:
        ordered = self.size.masked_fill(~among, -1.0).sort(1).values  # sizes are never below 0
        return ordered.shape[1] - torch.searchsorted(ordered, self.size)

    def hits_in_top(self, k: Tensor) -> Tensor:
        """Expected number of relevant ones among the k [examples] largest, equal sizes in random order."""
        ordered = self.size.masked_fill(~self.present, -1.0).sort(1, descending=True).values
        border = ordered.gather(1, (k - 1).clamp(min=0)[:, None])
        above, level = (self.size > border) & self.present, (self.size == border) & self.present
        chance = (k - above.sum(1)) / level.sum(1).clamp(min=1)
        return (above & self.relevant).sum(1) + chance * (level & self.relevant).sum(1)

    def scaled(self) -> Tensor:
        """Sizes brought to [0, 1] per example; nan where all present ones are equal."""
        low = self.size.masked_fill(~self.present, torch.inf).amin(1, keepdim=True)
        high = self.size.masked_fill(~self.present, 0.0).amax(1, keepdim=True)
        return (self.size - low) / (high - low).masked_fill(high <= low, torch.nan)

    def area(self, heights: Tensor) -> Tensor:
        """The exact integral over thresholds t from 0 to 1 of a step function, given at each feature's size."""
        scaled = self.scaled().masked_fill(~self.present, torch.inf)
        order = scaled.argsort(1)
        width = scaled.gather(1, order).diff(dim=1).masked_fill(~self.present.gather(1, order)[:, 1:], 0.0)
        area = (width * heights.gather(1, order)[:, 1:]).sum(
            1
        )  # up to a size, what is at least as large counts
        return area.masked_fill(self.scaled().isnan().any(1), torch.nan)

    def mean_over_relevant(self, values: Tensor) -> Tensor:
        """The mean of `values` over the relevant features [examples]."""
        return torch.where(self.relevant, values, 0.0).sum(1) / self.num_relevant
