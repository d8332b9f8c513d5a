"""Sweeps on a launcher of Hydra or of another package: our folders, rows and exit code, its way of running."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..resume import user_of
from .jobs import Jobs, Row
from .screen import show
from .sweep import checked, outcome, results


def launch_elsewhere(launcher: Any, config: Any, job_overrides: Sequence[Sequence[str]]) -> list[Any]:
    """Let a launcher of Hydra or of another package (hydra/launcher=submitit_slurm) run the jobs in our folders.

    It isolates as well as it does; `status.json` of each run decides what failed, not what it raises. Such a sweep is
    resumed on this machine.
    """
    job = launcher.task_function.job
    runs = checked(launcher.hydra_context.config_loader, config, job, job_overrides, [])
    jobs = Jobs.create(runs, job, {})
    typed = {tuple(given.overrides): row for given, row in zip(jobs.given, jobs.rows, strict=True)}
    given = []
    for overrides, run in zip(job_overrides, runs, strict=True):
        if row := typed.pop(run.overrides, None):
            row.state = "running"
            jobs.renew(row)
            given.append(
                [
                    *overrides,
                    f"hydra.sweep.dir='{jobs.path.absolute()}'",
                    f"hydra.sweep.subdir='{row.folder}'",
                ]
            )
    jobs.save("running")
    cause = ""
    try:
        _sent_to(launcher, config, jobs.path).launch(given, initial_job_idx=0)
    except (
        Exception
    ) as error:  # of one job only, where its launcher gives up: the others may still be running
        cause = f"{type(error).__name__}: {error}".splitlines()[0][:300]
    finally:
        for row in jobs.rows:
            _settle(jobs, row, cause)
        jobs.save("failed" if jobs.failed else "completed")
    show(jobs)
    outcome(jobs)
    return results(jobs)


def _sent_to(launcher: Any, config: Any, folder: Path) -> Any:
    """The launcher made anew, with our folder as that of the sweep: where it keeps its own files depends on that."""
    from hydra.core.plugins import Plugins
    from omegaconf import open_dict, read_write

    with read_write(config), open_dict(config):
        config.hydra.sweep.dir = str(folder.absolute())
    known = {"hydra_context": launcher.hydra_context, "task_function": launcher.task_function}
    return Plugins.instance().instantiate_launcher(**known, config=config)


def _settle(jobs: Jobs, row: Row, cause: str) -> None:
    """State and cause of a run from what it left; one that is still running here is waited for."""
    while user_of(said := jobs.status(row)):
        time.sleep(0.2)
    row.state, row.cause = str(said.get("state", "failed")), str(said.get("error") or "")
    if not jobs.done(row):
        row.state = "interrupted" if row.state == "interrupted" else "failed"
        row.cause = row.cause or cause or "it left no sign of its end"
        jobs.close(row)
