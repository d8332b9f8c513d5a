"""`hydra/sweeper=salience`: Hydra's own, but every run is checked before the first starts."""

from dataclasses import dataclass
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper, BasicSweeperConf
from hydra.core.config_store import ConfigStore


@dataclass
class SalienceSweeperConf(BasicSweeperConf):
    _target_: str = "hydra_plugins.salience.sweeper.SalienceSweeper"


ConfigStore.instance().store(
    group="hydra/sweeper", name="salience", node=SalienceSweeperConf, provider="salience"
)


class SalienceSweeper(BasicSweeper):
    """A grid over every value that was typed; `params` may hold values too."""

    def sweep(self, arguments: list[str]) -> Any:
        from salience.sweep import sweep

        return sweep(self, arguments)
