"""How much of an explanation falls on each input of a network with several: no score, since no share is the best."""

import torch
from torch import Tensor

from ..attribution.explanation import Explanation


def modality_shares(explanation: Explanation) -> Tensor:
    """Share of the sum of |attribution| that each modality has [examples, modalities]; rows sum to 1.

    Over features that are present, each the signed sum of its elements. nan where all attributions are 0. A share says
    where a method looks, not that it is right: compare it with the same network on shuffled inputs.
    """
    sizes = explanation.per_feature().abs().masked_fill(~explanation.present, 0.0)
    parts = [sizes[:, int(mask.min()) : int(mask.max()) + 1].sum(1) for mask in explanation.feature_mask]
    totals = torch.stack(parts, 1)
    return totals / totals.sum(1, keepdim=True)
