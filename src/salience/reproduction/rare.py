"""Rare feature and rare time (Crabbe and van der Schaar 2021, Dynamask): a white box over a few cells of noise.

Generator: 10 series of 50 features over 50 steps, independent ARMA processes 2 x_t + 0.5 x_(t-1) + 0.2 x_(t-2) +
0.1 x_(t-3) = 2 e_t. Rare feature: steps 12 to 36 of 5 random features are salient; rare time: 5 consecutive steps of
features 12 to 36. The function is f(x)_t = sum over salient cells of x^2; each step is one row. Protocol of
time_interpret: |attributions| scaled per series, scores pooled over the 10 series, 5 repetitions. Integrated gradients
from 0; occlusion and Shapley value sampling from each feature's mean over time; permutation over the steps.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..config import build, shipped
from ..randomness import Streams
from .tables import Outcome, Value, repeated
from .white_box import scores

LENGTH, FEATURES, SERIES = 50, 50, 10
METHODS = ("integrated_gradients", "occlusion", "shapley_value_sampling", "captum_feature_permutation")
QUANTITIES = ("AUP", "AUR", "information", "entropy")


def run(*, rare: str = "feature", repetitions: int = 5, seed: int = 1) -> Outcome:
    """The table of `rare` features or times."""
    runs, same = [], 0.0
    for repetition in range(repetitions):
        streams = Streams(1000 * seed + repetition)
        x, salient = series(streams), cells(streams, rare)
        maps = {method: np.stack([explained(method, *pair, streams) for pair in zip(x, salient, strict=True)])
                for method in METHODS}  # fmt: skip
        same = max(same, float(np.abs(maps["occlusion"] - maps["shapley_value_sampling"]).max()))
        runs.append({(m, q): scores(a, salient.numpy())[q] for m, a in maps.items() for q in QUANTITIES})
    found: list[Value] = repeated(runs)
    gate = f"occlusion equals Shapley value sampling on an additive function (largest difference {same:.1e})"
    return Outcome(found, gate, same < 1e-3, NOTES)


NOTES = (
    "AUP is 1 for any map that is exactly 0 off the salient cells: it tells nothing here",
    "methods that train a mask (Dynamask, ExtremalMask) are not in this package",
)


def series(streams: Streams) -> Tensor:
    """ARMA noise [series, steps, features]."""
    noise = torch.randn(SERIES, LENGTH, FEATURES, generator=streams.generator("rare/noise"))
    x = torch.zeros(SERIES, LENGTH + 3, FEATURES)
    for t in range(LENGTH):
        x[:, t + 3] = noise[:, t] - 0.25 * x[:, t + 2] - 0.1 * x[:, t + 1] - 0.05 * x[:, t]
    return x[:, 3:]


def cells(streams: Streams, rare: str) -> Tensor:
    """Which cells the function reads, bool [series, steps, features]."""
    salient = torch.zeros(SERIES, LENGTH, FEATURES, dtype=torch.bool)
    generator = streams.generator("rare/cells")
    for one in salient:
        if rare == "feature":
            one[12:37, torch.randperm(FEATURES, generator=generator)[:5]] = True
        else:
            start = int(torch.randint(0, LENGTH - 5, (1,), generator=generator))
            one[start : start + 5, 12:37] = True
    return salient


def explained(method: str, x: Tensor, salient: Tensor, streams: Streams) -> np.ndarray:
    """One series [steps, features] explained, its steps as rows; each brings what is salient in it."""
    made = build({**shipped("attribution", method)[method]["method"], "_partial_": True})(white_box)
    mean = x.mean(0, keepdim=True)
    own: dict[str, dict[str, Any]] = {
        "integrated_gradients": {"baselines": 0.0},
        "occlusion": {"baselines": mean, "sliding_window_shapes": (1,)},
        "shapley_value_sampling": {"baselines": mean},
    }
    with streams.seeded(f"rare/{method}"):
        found = made.attribute(x, additional_forward_args=(salient,), **own.get(method, {}))
    return found.detach().numpy()


def white_box(rows: Tensor, salient: Tensor) -> Tensor:
    """The sum of squares of what is salient in each row."""
    return (rows * salient).square().sum(1)
