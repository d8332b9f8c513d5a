"""Many runs: every one is composed and checked before the first starts, then each runs in a process of its own."""

import json
import re
import secrets
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import files
from .config import Composed, Composer, composed
from .errors import SomeFailed, WrongInput
from .mistakes import without_methods
from .overrides import as_typed, method_of
from .targets import locate, nodes, plain, signatures
from .workers import Report, Workers

if TYPE_CHECKING:
    from omegaconf import DictConfig

SECRET = re.compile(r"token|secret|passw|credential|api_?key", re.IGNORECASE)


# -- before anything runs ----------------------------------------------------------------------------------------------


def planned(composer: Composer, overrides: Sequence[str]) -> list[list[str]]:
    """The overrides of every run of a sweep, each composed and checked; WrongInput names the mistakes of all runs.

    Settings of a method are dropped from the runs without that method, where some run has it.
    """
    parsed, lines = composer.judged(overrides, several_jobs=True)
    wanted = composer.expanded([override.input_line for override in parsed])
    jobs: list[list[str]] = []
    used: set[str] = set()
    dropped: dict[str, list[str]] = {}
    for job in wanted:
        kept = [o for o in job if method_of(o) is None]
        if len(kept) < len(job):
            config = composer.loose(job)
            kept = job if config is None else without_methods(job, config)
            used |= set(kept)
            dropped |= {o: job for o in job if o not in kept}
        if kept not in jobs:
            jobs.append(kept)
    nowhere = [dropped[o] for o in dropped if o not in used]  # a method that no run has: wrong in every run
    lines += composer.mistakes([*nowhere[:1], *jobs])
    if lines:
        raise WrongInput("\n".join(dict.fromkeys(lines)))
    return jobs


def signature_mistakes(configs: list[str]) -> list[str]:
    """The lines of check (b) for configs as JSON; imports what they name, so it runs in a worker."""
    lines: list[str] = []
    for config in configs:
        try:
            signatures(json.loads(config))
        except WrongInput as error:
            lines += str(error).splitlines()
    return list(dict.fromkeys(lines))


def modules_of(job: str, configs: Iterable["DictConfig"], more: Iterable[str]) -> list[str]:
    """What the runs will import: the modules of the job and of every `_target_`."""
    names = [job, *(node["_target_"] for config in configs for _, node in nodes(plain(config)))]
    return list(dict.fromkeys([*(name.rpartition(".")[0] for name in names), *more]))


# -- the runs ----------------------------------------------------------------------------------------------------------


def work(job: str, config: str, overrides: list[str], choices: str, folder: str) -> str:
    """One run, in a worker: its config is text, its folder is given. Returns the folder."""
    from omegaconf import OmegaConf

    node: Any = OmegaConf.create(config)
    result = locate(job)(Composed(node, tuple(overrides), json.loads(choices), Path(folder)))
    return str(getattr(result, "path", folder))


@dataclass
class Row:
    """One run of a sweep, as `sweep.json` keeps it. `state`: queued, running, completed, failed, interrupted."""

    number: int
    overrides: list[str]
    changed: list[str]
    folder: str
    state: str = "queued"
    cause: str = ""
    seconds: float | None = None


class Sweep:
    """The folder of a sweep: a row and a folder per run, and `sweep.json`, which always says how far it is."""

    def __init__(self, runs: Sequence[Composed], job: str, workers: Workers):
        self.runs, self.job, self.workers = runs, job, workers
        self.folder, self.started = _new_folder(runs[0]), [0.0] * len(runs)
        common = set.intersection(*(set(run.overrides) for run in runs)) if len(runs) > 1 else set()
        width = len(str(len(runs) - 1))
        self.rows = []
        for number, run in enumerate(runs):
            changed = [override for override in run.overrides if override not in common]
            name = files.slug(",".join(c for c in changed if not SECRET.search(c.partition("=")[0])))
            self.rows.append(Row(number, list(run.overrides), changed, f"{number:0{width}}-{name}"))

    def run(self) -> list[Report]:
        """Run them all; what happens to one is a row of its own."""
        from omegaconf import OmegaConf

        self.save("running")
        jobs = []
        for run, row in zip(self.runs, self.rows, strict=True):
            at = self.folder / row.folder
            text = OmegaConf.to_yaml(run.config)
            printed = None if run.config.get("dry") else self.folder / f"{row.folder}.txt"
            jobs.append(((self.job, text, row.overrides, json.dumps(run.choices), str(at)), printed))
        try:
            reports = self.workers.run(work, jobs, self._start, self._end)
        except BaseException:
            self.save("interrupted")
            raise
        self.save("failed" if self.failed else "completed")
        self.show()
        return reports

    @property
    def failed(self) -> list[Row]:
        """The rows of runs that did not complete."""
        return [row for row in self.rows if row.state != "completed"]

    def save(self, state: str) -> None:
        """Write `sweep.json`."""
        content = {"schema_version": 1, "state": state, "jobs": [asdict(row) for row in self.rows]}
        files.write_json(self.folder / "sweep.json", content)

    def _start(self, number: int) -> None:
        self.started[number], self.rows[number].state = time.monotonic(), "running"
        self.save("running")

    def _end(self, number: int, report: Report) -> None:
        row = self.rows[number]
        row.state, row.cause = report.state, report.cause
        row.seconds = round(time.monotonic() - self.started[number], 2)
        self._log(row)
        self.save("running")
        if report.missing and not any(other.seconds for other in self.rows if other is not row):
            print(
                f"warning: not loaded ahead, so every run loads it again: {', '.join(report.missing)}",
                flush=True,
            )
        what = " ".join(row.changed) or "run"
        print(
            f"[{number + 1}/{len(self.rows)}] {what}: {row.state} in {row.seconds:.1f} s {row.cause}".rstrip(),
            flush=True,
        )

    def _log(self, row: Row) -> None:
        """Keep what a run printed only where it failed, and say in its own folder that it died."""
        printed, folder = self.folder / f"{row.folder}.txt", self.folder / row.folder
        if row.state == "completed":
            printed.unlink(missing_ok=True)
            return
        folder.mkdir(exist_ok=True)
        said = printed.read_text(encoding="utf-8", errors="replace") if printed.is_file() else ""
        files.append(folder / "run.log", f"{row.state}: {row.cause}\n{said}")
        printed.unlink(missing_ok=True)
        _close_status(folder / "status.json", row)

    def show(self) -> None:
        """Print the table of runs."""
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        table = Table(title=str(self.folder), title_justify="left", box=None)
        for name in ("run", "changed", "state", "cause", "folder"):
            table.add_column(name, overflow="fold")
        for row in self.rows:
            cells = (str(row.number), " ".join(row.changed), row.state, row.cause, row.folder)
            table.add_row(*map(escape, cells))
        Console(width=None if sys.stdout.isatty() else 160).print(table)


def _new_folder(run: Composed) -> Path:
    outputs = Path(str(run.config.get("outputs", "outputs")))
    try:
        folder = files.make_new_folder(
            outputs / time.strftime("%Y-%m-%d"),
            lambda: f"{time.strftime('%H-%M-%S')}-sweep-{secrets.token_hex(3)}",
        )
        files.point_to(outputs / "latest", folder)
    except OSError as error:
        raise WrongInput(f"outputs={outputs}: cannot be written to ({error.strerror})") from None
    return folder


def _close_status(path: Path, row: Row) -> None:
    """A run that died could not write its own end."""
    try:
        status = files.read_json(path)
    except (OSError, ValueError):
        status = {"schema_version": 1}
    if status.get("state") not in ("completed", "failed", "interrupted"):
        files.write_json(path, {**status, "state": row.state, "error": row.cause})


# -- what the plugins of Hydra do --------------------------------------------------------------------------------------


def sweep(sweeper: Any, arguments: Sequence[str]) -> list[Any]:
    """What our sweeper does: plan, check, launch; raises SomeFailed at the end where runs failed."""
    composer = Composer(
        sweeper.hydra_context.config_loader,
        sweeper.config.hydra.job.config_name,
        list(sweeper.config.hydra.overrides.hydra),
    )
    jobs = planned(composer, [*(f"{key}={value}" for key, value in sweeper.params.items()), *arguments])
    results = list(sweeper.launcher.launch(jobs, initial_job_idx=0))
    failed = sum(result.status.name != "COMPLETED" for result in results)
    if failed:
        raise SomeFailed(f"{failed} of {len(results)} runs failed")
    return results


def launch(launcher: Any, job_overrides: Sequence[Sequence[str]]) -> list[Any]:
    """What our launcher does: check the signatures in a worker, then run each job in a worker of its own."""
    from hydra.core.utils import JobReturn, JobStatus

    runs, configs = [], []
    for overrides in job_overrides:
        full = launcher.hydra_context.config_loader.load_sweep_config(launcher.config, list(overrides))
        runs.append(composed(full, [as_typed(override) for override in overrides]))
        configs.append(json.dumps(plain(runs[-1].config)))
    job = launcher.task_function.job
    workers = Workers(launcher.n_jobs, modules_of(job, [run.config for run in runs], launcher.preload))
    judged = workers.run(signature_mistakes, [((list(dict.fromkeys(configs)),), None)])[0]
    if judged.state != "completed" or judged.value:
        raise WrongInput("\n".join(judged.value or [judged.cause]))
    results = []
    for run, report in zip(runs, Sweep(runs, job, workers).run(), strict=True):
        result = JobReturn(overrides=run.overrides, status=JobStatus.COMPLETED)
        if report.state != "completed":
            result.status = JobStatus.FAILED
        result.return_value = report.value if report.state == "completed" else SomeFailed(report.cause)
        results.append(result)
    return results
