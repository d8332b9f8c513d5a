"""Where runs go: this machine's processes, Ray, or submitit (Slurm). Everywhere a run is a process of its own.

Ray's and submitit's workers only wait: each starts our own isolated process, so that a run that is killed is the
same row with the same cause everywhere, and leaves nothing behind in a worker that serves the next one. The machines
of a cluster share a file system with this one, on which `outputs` lies.
"""

import importlib
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import WrongInput
from .isolation import GRACE, Report
from .scheduling import Engine, Settings
from .workers import Workers

POLL = 0.1
"""Seconds between two questions to submitit, which has no way to wait for several jobs."""


def engine(settings: Settings, preload: list[str], folder: Path) -> Engine:
    """The engine that the settings name; WrongInput where its package is not installed or it cannot be started."""
    if settings.engine == "local":
        return Workers(settings.n_jobs, preload)
    return {"ray": Ray, "submitit": Submitit}[settings.engine](settings, preload, folder)


def isolated(
    module: str, function: str, arguments: tuple[Any, ...], printed: str | None, preload: list[str]
) -> dict[str, Any]:
    """Inside a worker of an engine: call a function in a process of its own, and return its report."""
    called = getattr(importlib.import_module(module), function)
    where = None if printed is None else Path(printed)
    return asdict(Workers(1, preload).run(called, [(arguments, where)])[0])


class Remote(ABC):
    """What the engines of other packages share: jobs in flight by number, and their reports."""

    package: str

    def __init__(self, settings: Settings, preload: list[str], folder: Path):
        try:
            self.library: Any = importlib.import_module(self.package)
        except ImportError:
            extra = {"submitit": "slurm"}.get(self.package, self.package)
            raise WrongInput(
                f"hydra.launcher.engine={self.package}: not installed; pip install 'salience[{extra}]'"
            ) from None
        self.settings, self.preload, self.folder = settings, preload, folder
        self.running: dict[int, Any] = {}
        try:
            self._open()
        except (TypeError, ValueError, NameError, ConnectionError, RuntimeError) as error:
            first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise WrongInput(f"hydra.launcher.engine={self.package}: {first}") from error

    @property
    def free(self) -> bool:
        """Whether one more may be handed over: the engine may still let it wait for resources."""
        return len(self.running) < self.settings.n_jobs

    @property
    def busy(self) -> bool:
        """Whether any is on its way."""
        return bool(self.running)

    def start(
        self, number: int, function: Callable[..., Any], arguments: tuple[Any, ...], printed: Path | None
    ) -> None:
        """Hand one over."""
        where = None if printed is None else str(printed)
        given = (function.__module__, function.__qualname__, arguments, where, self.preload)
        self.running[number] = self._submit(*given)

    def wait(self, timeout: float | None = None) -> list[tuple[int, Report]]:
        """Those that have ended."""
        return [(number, self._report(self.running.pop(number))) for number in self._done(timeout)]

    def stop(self) -> list[tuple[int, Report]]:
        """Cancel those that run, and give them the time that they have to save."""
        for handle in self.running.values():
            self._cancel(handle)
        end = time.monotonic() + GRACE + 0.5
        while len(self._done(POLL)) < len(self.running) and time.monotonic() < end:
            time.sleep(POLL)
        numbers = list(self.running)
        self.running.clear()
        return [(number, Report("interrupted", "the sweep was interrupted")) for number in numbers]

    def close(self) -> None:  # noqa: B027 (Slurm goes on by itself)
        """Give the engine back."""

    @abstractmethod
    def _open(self) -> None:
        """Start the engine, or join it."""

    @abstractmethod
    def _submit(self, *given: Any) -> Any:
        """Hand the arguments of `isolated` over; what comes back is asked about later."""

    @abstractmethod
    def _done(self, timeout: float | None) -> list[int]:
        """The numbers of those that have ended, once there is one or the time is over."""

    @abstractmethod
    def _result(self, handle: Any) -> dict[str, Any]:
        """The report of one that has ended."""

    @abstractmethod
    def _cancel(self, handle: Any) -> None:
        """Ask one to stop."""

    def _report(self, handle: Any) -> Report:
        try:
            said = self._result(handle)
        except Exception as error:  # a machine was lost, memory ran out, the job was cancelled from outside
            text = str(error).strip().splitlines() or [""]
            return Report("failed", f"{type(error).__name__}: {text[0]}"[:300], silent=True)
        return Report(**{**said, "missing": tuple(said["missing"])})


class Ray(Remote):
    """Ray's cluster: `cluster` goes to ray.init (address: auto joins one), `resources` to each task (num_gpus: 0.5)."""

    package = "ray"

    def _open(self) -> None:
        asked = dict(self.settings.cluster)
        each = {"num_cpus": 1, "max_retries": 0} | dict(self.settings.resources)  # a run that died has failed
        quiet = {"log_to_driver": False, "logging_level": "error"}
        if "address" not in asked:
            here = max(1, round(self.settings.n_jobs * each["num_cpus"]))
            quiet |= {"num_cpus": here, "include_dashboard": False}
        self.joined = self.library.is_initialized()
        if not self.joined:
            ours = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
            self.library.init(**quiet | asked)
            for number, handler in ours.items():  # Ray's own would end this process before it has saved
                signal.signal(number, handler)
        self.task = self.library.remote(**each)(isolated)

    def _submit(self, *given: Any) -> Any:
        return self.task.remote(*given)

    def _done(self, timeout: float | None) -> list[int]:
        handles = {handle: number for number, handle in self.running.items()}
        if not handles:
            return []
        done, _ = self.library.wait(list(handles), num_returns=1, timeout=timeout)
        more, _ = self.library.wait(list(handles), num_returns=len(handles), timeout=0)
        return [handles[handle] for handle in dict.fromkeys([*done, *more])]

    def _result(self, handle: Any) -> dict[str, Any]:
        said: dict[str, Any] = self.library.get(handle)
        return said

    def _cancel(self, handle: Any) -> None:
        self.library.cancel(handle)

    def close(self) -> None:
        """Stop what was started here; a cluster that was joined goes on."""
        if not self.joined:
            self.library.shutdown()


class Submitit(Remote):
    """Slurm, or this machine where there is none: `cluster` goes to submitit's AutoExecutor, `resources` to jobs."""

    package = "submitit"

    def _open(self) -> None:
        self.executor = self.library.AutoExecutor(folder=self.folder / ".submitit", **self.settings.cluster)
        self.executor.update_parameters(**{"timeout_min": 24 * 60} | dict(self.settings.resources))

    def _submit(self, *given: Any) -> Any:
        return self.executor.submit(isolated, *given)

    def _done(self, timeout: float | None) -> list[int]:
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            done = [number for number, handle in self.running.items() if handle.done()]
            if done or not self.running or (end is not None and time.monotonic() >= end):
                return done
            time.sleep(POLL)

    def _result(self, handle: Any) -> dict[str, Any]:
        said: dict[str, Any] = handle.result()
        return said

    def _cancel(self, handle: Any) -> None:
        handle.cancel(check=False)
