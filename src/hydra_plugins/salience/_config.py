"""What the launcher and the sweeper may be told; Hydra loads the modules beside this one twice, this one once."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class SalienceLauncherConf:
    _target_: str = "hydra_plugins.salience.launcher.SalienceLauncher"
    n_jobs: int = 1  # runs at a time
    max_failures: int | None = None  # runs that may fail; with one more, no further run starts
    retry: int = 0  # how often a run that failed is tried again
    fail_fast: bool = False  # the first failure ends the sweep
    yes: bool = False  # start more than 200 runs
    engine: str = "local"  # local, ray, submitit (Slurm where there is one, else this machine)
    cluster: dict[str, Any] = field(default_factory=dict)  # arguments of ray.init, or of submitit's executor
    resources: dict[str, Any] = field(default_factory=dict)  # of each run, in the engine's words
    preload: list[str] | None = (
        None  # modules that are loaded once, for all runs; null: those that each needs
    )


@dataclass
class SalienceSweeperConf:
    _target_: str = "hydra_plugins.salience.sweeper.SalienceSweeper"
    params: dict[str, str] = field(default_factory=dict)  # values to sweep, for a study's own file
