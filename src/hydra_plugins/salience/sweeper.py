"""`hydra/sweeper=salience`: Hydra's own, but every run is checked before the first starts."""

from dataclasses import dataclass, field
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore


@dataclass
class SalienceSweeperConf:
    _target_: str = "hydra_plugins.salience.sweeper.SalienceSweeper"
    params: dict[str, str] = field(default_factory=dict)  # values to sweep, for a study's own file


ConfigStore.instance().store(
    group="hydra/sweeper", name="salience", node=SalienceSweeperConf, provider="salience"
)


class SalienceSweeper(BasicSweeper):
    """A grid over every value that was typed, and those in `params`. Writes nothing itself."""

    def __init__(self, params: dict[str, str]):
        super().__init__(max_batch_size=None, params=params)

    def sweep(self, arguments: list[str]) -> Any:
        from salience.sweep import sweep

        return sweep(self, arguments)
