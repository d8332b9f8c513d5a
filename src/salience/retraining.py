"""The run's network trained anew on other data, for metrics that ask for it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from .data.base import Data
from .networks import Networks
from .settings import Run
from .training import fit


@dataclass(frozen=True)
class Retraining:
    """Trains as the run does: same initial weights, settings and seed. Each network is kept in the store."""

    data: Data
    settings: Run
    fresh: Callable[[], nn.Module]
    """The network before training."""
    node: dict
    """What the network was built from, for its recipe."""
    device: torch.device

    def __call__(self, data: Data) -> nn.Module:
        """The network that training on `data` gives, in eval mode on the run's device."""
        model, settings = self.fresh(), self.settings
        networks = Networks(Path(settings.outputs) / "networks")
        recipe = networks.recipe(
            settings.data, data, self.node, model, settings.training, settings.seed, self.device
        )

        def train():
            kept = networks.checkpoints(recipe)
            return fit(
                model, data, settings.training, seed=settings.seed, device=self.device, checkpoints=kept
            )

        networks.trained(recipe, model, train)
        return model.eval()
