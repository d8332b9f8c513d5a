"""How a sweep goes: which run is next, what a failure means, and that an interrupted sweep can be resumed."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ..errors import WrongInput, listed, nearest
from .isolation import Report
from .jobs import Jobs, Row

TICK = 0.25
"""Seconds between two looks at the clock while runs go on."""
ENGINES = ("local", "ray", "submitit")


@dataclass(frozen=True)
class Settings:
    """What the launcher may be told (hydra.launcher.*); none of it is part of any run's config."""

    n_jobs: int = 1
    max_failures: int | None = None
    retry: int = 0
    fail_fast: bool = False
    yes: bool = False
    engine: str = "local"
    cluster: dict[str, Any] = field(default_factory=dict)
    resources: dict[str, Any] = field(default_factory=dict)
    preload: list[str] | None = None

    def __post_init__(self) -> None:
        for key, least in (("n_jobs", 1), ("retry", 0), ("max_failures", 0)):
            value = getattr(self, key)
            if value is not None and value < least:
                raise WrongInput(f"hydra.launcher.{key}={value}: must be an integer >= {least}")
        if self.engine not in ENGINES:
            near = nearest(self.engine, ENGINES)
            raise WrongInput(
                f"hydra.launcher.engine={self.engine}: no such engine.{near} Engines: {listed(ENGINES)}"
            )


class Engine(Protocol):
    """Where runs go: processes of this machine, Ray, Slurm. The numbers are the caller's."""

    @property
    def free(self) -> bool:
        """Whether one more may start."""

    @property
    def busy(self) -> bool:
        """Whether any runs."""

    def start(
        self, number: int, function: Callable[..., Any], arguments: tuple[Any, ...], printed: Any
    ) -> None:
        """Start one."""

    def wait(self, timeout: float | None = None) -> list[tuple[int, Report]]:
        """Those that have ended; waits for the first at most `timeout` seconds."""

    def stop(self) -> list[tuple[int, Report]]:
        """End all that run, within 3 s."""

    def close(self) -> None:
        """Leave nothing behind."""


class Watcher(Protocol):
    """Who is told how a sweep goes, such as the screen."""

    def started(self, row: Row) -> None:
        """A run starts."""

    def ended(self, row: Row, report: Report) -> None:
        """A run has ended."""

    def tick(self) -> None:
        """Time has passed."""


class Sweep:
    """Runs the jobs of a folder on an engine, each as an isolated row."""

    def __init__(self, jobs: Jobs, engine: Engine, settings: Settings, watcher: Watcher):
        self.jobs, self.engine, self.settings, self.watcher = jobs, engine, settings, watcher
        self.waiting: deque[Row] = deque()
        self.running: dict[int, float] = {}
        self.tries: dict[int, int] = {}
        self.failures = 0

    def run(self, work: Callable[..., str], dry: bool = False) -> None:
        """Run every row that is queued; what happens to one is a row of its own, and `sweep.json` keeps up."""
        self.waiting = deque(self.jobs.left)
        self.jobs.save("running")
        try:
            while self.waiting or self.engine.busy:
                while self.waiting and self.engine.free:
                    self._start(self._next(), work, dry)
                for number, report in self.engine.wait(TICK):
                    self._end(self.jobs.rows[number], report)
                self.jobs.save("running", at_least=1.0)
                self.watcher.tick()
        except BaseException:
            self._stop()
            self.jobs.save("interrupted")
            raise
        finally:
            self.engine.close()
        self.jobs.save("failed" if self.jobs.failed or self.jobs.left else "completed")

    def _next(self) -> Row:
        """The first row whose network nobody is training now; where there is none, the first."""
        given = self.jobs.given
        needed = {given[number].network for number in self.running}
        free = (row for row in self.waiting if given[row.number].network not in needed)
        row = next(free, self.waiting[0])
        self.waiting.remove(row)
        return row

    def _start(self, row: Row, work: Callable[..., str], dry: bool) -> None:
        self.jobs.renew(row)
        self.tries[row.number] = self.tries.get(row.number, 0) + 1
        row.state, row.cause, row.seconds = "running", "", None
        self.running[row.number] = time.monotonic()
        printed = None if dry else self._printed(row)
        self.engine.start(row.number, work, self.jobs.arguments(row), printed)
        self.jobs.save("running", at_least=1.0)
        self.watcher.started(row)

    def _end(self, row: Row, report: Report) -> None:
        row.seconds = round(time.monotonic() - self.running.pop(row.number), 2)
        row.state, row.cause = self._judged(row, report)
        printed = self._printed(row)
        if row.state != "completed":
            said = printed.read_text(encoding="utf-8", errors="replace") if printed.is_file() else ""
            self.jobs.close(row, said)
        printed.unlink(missing_ok=True)
        self.watcher.ended(row, report)
        if row.state == "failed":
            self._failed(row)
        self.jobs.save("running", at_least=0.2)

    def _printed(self, row: Row) -> Path:
        return self.jobs.path.absolute() / f"{row.folder}.txt"

    def _judged(self, row: Row, report: Report) -> tuple[str, str]:
        """State and cause; where the process could not say, the run's own status does."""
        if report.silent and self.jobs.done(row):
            return "completed", ""
        status = self.jobs.status(row)
        if report.state == "completed" and status.get("state", "completed") != "completed":
            return "failed", str(status.get("error") or f"the run ended {status['state']}")
        return report.state, report.cause

    def _failed(self, row: Row) -> None:
        if self.tries[row.number] <= self.settings.retry:
            row.state = "queued"
            self.waiting.append(row)
            return
        self.failures += 1
        most = self.settings.max_failures
        if self.settings.fail_fast or (most is not None and self.failures > most):
            for other in self.waiting:  # those that wait for another try have failed
                other.state = "failed" if other.number in self.tries else "queued"
            self.waiting.clear()
            if self.settings.fail_fast:
                self._stop()

    def _stop(self) -> None:
        for number, report in self.engine.stop():
            self._end(self.jobs.rows[number], report)
