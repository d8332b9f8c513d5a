"""Earth mover's distance: how far must a map be carried to lie on the relevant features?"""

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor

from .base import Explanation, Measurement, Metric, Reference, judged
from .truth import Truth

if TYPE_CHECKING:
    from ..attribution.explainer import Explainer


class EarthMovers(Metric):
    """1 - the work of carrying |attributions| onto the relevant features, as a share of the longest way.

    1 - EMD(|a| / sum |a|, relevant / k) / d, the optimal transport at Euclidean distances between features: places in
    images and series, 1 between any two features of a table or text, d between different inputs; d is the largest
    distance. Undefined where all are 0. Range [0, 1]; higher is better, best 1 (all relevant features equally). Clark
    et al. 2024 (XAI-TRIS).
    """

    higher_is_better: ClassVar[bool] = True
    best: ClassVar[float | None] = 1.0
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    needs_relevant: ClassVar[bool] = True

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        truth = Truth.of(explanation, self)
        far = distances(explanation).cpu().numpy()
        shares = (truth.size / truth.size.sum(1, keepdim=True)).cpu().numpy()
        wanted = (truth.relevant / truth.num_relevant[:, None]).double().cpu().numpy()
        works = [work(p, q, far) for p, q in zip(shares, wanted, strict=True)]
        score = 1 - torch.tensor(works, dtype=torch.float64, device=truth.size.device)
        return judged(explanation, truth.where_defined(score.clamp(0, 1)))


def distances(explanation: Explanation) -> Tensor:
    """Between every two features [features, features], as shares of the largest within an input (1 between inputs)."""
    far = torch.ones(explanation.num_features, explanation.num_features, dtype=torch.float64)
    far.fill_diagonal_(0.0)
    for modality, mask in zip(explanation.modalities, explanation.feature_mask, strict=False):
        if not modality.places:
            continue
        element = torch.stack(torch.meshgrid(*(torch.arange(n) for n in mask.shape[1:]), indexing="ij"), -1)
        of = mask[0].cpu().reshape(-1)
        features = of.unique()
        at = torch.stack([element.reshape(len(of), -1)[of == f].double().mean(0) for f in features.tolist()])
        between = torch.cdist(at, at)
        far[features[:, None], features] = between / between.max().clamp(min=1e-12)
    return far


def work(have: np.ndarray, want: np.ndarray, far: np.ndarray) -> float:
    """The least work of carrying one distribution to another; nan where one is not a distribution.

    What lies where it is wanted stays there: with a metric that is optimal, and leaves a small linear programme.
    """
    from scipy.optimize import linprog
    from scipy.sparse import coo_matrix

    if not (np.isfinite(have).all() and np.isfinite(want).all()):
        return float("nan")
    common = np.minimum(have, want)
    surplus, lack = have - common, want - common
    rows, columns = np.flatnonzero(surplus > 1e-15), np.flatnonzero(lack > 1e-15)
    if not len(rows) or not len(columns):
        return 0.0
    costs = far[np.ix_(rows, columns)]
    if np.ptp(costs) == 0:
        return float(costs[0, 0] * surplus.sum())
    if len(columns) == 1:
        return float(costs[:, 0] @ surplus[rows])
    moved = np.arange(costs.size)
    leaves, arrives = moved // len(columns), moved % len(columns) + len(rows)
    constraints = coo_matrix((np.ones(2 * costs.size), (np.r_[leaves, arrives], np.r_[moved, moved])))
    amounts = np.r_[surplus[rows], lack[columns] * surplus[rows].sum() / lack[columns].sum()]
    return float(linprog(costs.ravel(), A_eq=constraints.tocsr(), b_eq=amounts, method="highs").fun)
