"""`hydra/launcher=salience`: each run in a process of its own, so that one that fails or crashes is one row."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

HEAVY = (
    "captum.attr",
    "sklearn.datasets",
    "sklearn.model_selection",
    "safetensors.torch",
    "jinja2",
    "rich.table",
)


@dataclass
class SalienceLauncherConf:
    _target_: str = "hydra_plugins.salience.launcher.SalienceLauncher"
    n_jobs: int = 1  # runs at a time
    preload: list[str] = field(default_factory=lambda: list(HEAVY))
    # modules that are loaded once, for all runs


ConfigStore.instance().store(
    group="hydra/launcher", name="salience", node=SalienceLauncherConf, provider="salience"
)


class SalienceLauncher(Launcher):
    """Runs on this machine, `n_jobs` at a time."""

    def __init__(self, n_jobs: int, preload: Sequence[str]):
        self.n_jobs = n_jobs
        self.preload = list(preload)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from salience.sweep import launch

        results: list[Any] = launch(self, job_overrides)
        return results
