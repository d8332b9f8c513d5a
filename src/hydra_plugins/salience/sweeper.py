"""`hydra/sweeper=salience`: Hydra's own, but every run is checked before the first starts."""

from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore

from hydra_plugins.salience._config import SalienceSweeperConf

ConfigStore.instance().store(
    group="hydra/sweeper", name="salience", node=SalienceSweeperConf, provider="salience"
)


class SalienceSweeper(BasicSweeper):
    """A grid over every value that was typed, and those in `params`. Writes nothing itself."""

    def __init__(self, params: dict[str, str]):
        super().__init__(max_batch_size=None, params=params)

    def sweep(self, arguments: list[str]) -> Any:
        from salience.sweeps.sweep import sweep

        return sweep(self, arguments)
