"""How much of an explanation is a choice of its baseline?"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, ClassVar

import torch

from ..attribution.baselines import Baseline
from ..attribution.explanation import Explicand
from ..errors import WrongInput
from .base import Explanation, Measurement, Metric, Reference, judged

if TYPE_CHECKING:
    from ..attribution.explainer import Explainer


@dataclass(frozen=True)
class BaselineSensitivity(Metric):
    """Largest relative change of the attributions when another baseline takes the place of the method's own.

    max_b ||a_b(x) - a(x)|| / ||a(x)||, Euclidean norms over features, over `baselines`; those that do not exist for
    the data (blur of a table) are left out, and for methods that average over a distribution those that are single
    rows. Undefined for methods that take no baseline, and where all attributions are 0. Range [0, inf); lower is
    better, best 0: nothing was a matter of choice. After Sturmfels, Lundberg and Lee 2020, who show how different the
    pictures are.
    """

    baselines: Sequence[Baseline]

    higher_is_better: ClassVar[bool] = False
    best: ClassVar[float | None] = 0.0
    range: ClassVar[tuple[float, float]] = (0.0, float("inf"))

    def __post_init__(self) -> None:
        if not self.baselines or not all(isinstance(b, Baseline) for b in self.baselines):
            raise WrongInput(f"metric.{self.key}.baselines: must be a list of baselines, at least one")

    def __call__(self, explainer: "Explainer", explanation: Explanation, reference: Reference) -> Measurement:
        if not explainer.takes_baselines:
            return self.undefined(explanation)
        x = Explicand(**{f.name: getattr(explanation, f.name) for f in fields(Explicand)})
        here, changes = explanation.per_feature().double(), []
        for baseline in self.baselines:
            if explainer.takes_distribution and not baseline.is_distribution:
                continue
            try:
                there = explainer.comparing_with(baseline).explain(x).per_feature().double()
            except WrongInput:
                continue
            changes.append((there - here).norm(dim=1))
        size = here.norm(dim=1)
        if not changes:
            return self.undefined(explanation)
        return judged(explanation, torch.stack(changes).amax(0) / size.masked_fill(size == 0, torch.nan))
