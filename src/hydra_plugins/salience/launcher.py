"""`hydra/launcher=salience`: each run in a process of its own, so that one that fails or crashes is one row."""

from collections.abc import Sequence
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from hydra_plugins.salience._config import SalienceLauncherConf

ConfigStore.instance().store(
    group="hydra/launcher", name="salience", node=SalienceLauncherConf, provider="salience"
)


class SalienceLauncher(Launcher):
    """Runs on this machine `n_jobs` at a time, or through Ray or Slurm; salience._config says what it may be told."""

    def __init__(self, **settings: Any):
        self.settings = settings
        self.known: dict[tuple[str, ...], DictConfig] = {}
        """Configs that our sweeper has composed, by their overrides."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from salience.sweeps.sweep import launch

        results: list[Any] = launch(self, job_overrides)
        return results
