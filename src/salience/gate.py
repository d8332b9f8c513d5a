"""Is the network good enough for its explanations to mean anything?"""

from math import sqrt

import numpy as np
from torch import Tensor

from .data.base import Task


def warning(task: Task, scores: dict[str, float], labels: Tensor, least: float | None = None) -> str | None:
    """What to say of a network whose main score on the test split [examples of `labels`] is too low; None: nothing.

    Too low is below `least`, where that is given; else not clearly above chance: within two standard errors of always
    naming the largest class (classification), or of no better than the mean (R2 of 0.1 or less).
    """
    name, value = task.main_score, scores[task.main_score]
    if least is not None:
        if value >= least:
            return None
        return f"the network's {name} of {value:.3f} is below the gate of {least}: its explanations may mean nothing"
    groups = task.stratify(labels)
    if groups is None:
        clear, chance = 0.1, 0.0
    else:
        chance = float(np.unique(groups, return_counts=True)[1].max() / len(groups))
        clear = chance + 2 * sqrt(max(value * (1 - value), 1e-12) / len(groups))
    if value > clear:
        return None
    low = f"the network's {name} of {value:.3f} is not clearly above chance ({chance:.3f})"
    return f"{low}: its explanations may mean nothing"
