"""Processes that isolate one run each: what a run does to its process (raise, exit, crash, be killed) stays there.

Where forking is safe, each is forked from a server process that has loaded what runs import, so that a run starts in
0.2 s; elsewhere each is started afresh. The server never touches a GPU.
"""

import json
import multiprocessing
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from . import isolation
from .isolation import GRACE, Report

__all__ = ["Report", "Workers"]

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Workers:
    """The engine of one machine: functions of this package in processes of their own, at most `n_jobs` at a time."""

    def __init__(self, n_jobs: int = 1, preload: Iterable[str] = ()):
        for name in THREADS:
            os.environ.setdefault(name, "1")  # one thread a run: two that share a core cost tenfold
        forks = sys.platform.startswith("linux")
        self.context: Any = multiprocessing.get_context("forkserver" if forks else "spawn")
        self.preload = tuple(preload) if forks else ()
        if forks:
            self.context.set_forkserver_preload(list(self.preload))
            _start_server()
        self.n_jobs = n_jobs
        self._running: dict[Any, tuple[int, Any, Any]] = {}

    @property
    def free(self) -> bool:
        """Whether one more may start."""
        return len(self._running) < self.n_jobs

    @property
    def busy(self) -> bool:
        """Whether any runs."""
        return bool(self._running)

    def start(
        self, number: int, function: Callable[..., Any], arguments: tuple[Any, ...], printed: Path | None
    ) -> None:
        """Call `function(*arguments)` in a new process; what it prints goes to a file, if one is given.

        `function` is importable by name, its arguments are text and numbers, its result can be written as JSON.
        """
        ours, theirs = self.context.Pipe(duplex=False)
        where = None if printed is None else str(printed)
        given = (function, arguments, theirs, where, self.preload)
        process = self.context.Process(target=isolation.work, args=given)
        with _main_hidden():
            process.start()
        theirs.close()
        self._running[process.sentinel] = number, process, ours

    def wait(self, timeout: float | None = None) -> list[tuple[int, Report]]:
        """The number and report of each that has ended; waits for the first one, at most `timeout` seconds."""
        ended = []
        for sentinel in wait(list(self._running), timeout):
            number, process, pipe = self._running.pop(sentinel)
            ended.append((number, _report(process, pipe)))
        return ended

    def stop(self) -> list[tuple[int, Report]]:
        """End those that run within 3 s: a Ctrl-C has reached them already; then SIGTERM; then SIGKILL."""
        _stop([process for _, process, _ in self._running.values()])
        ended = []
        for number, process, pipe in self._running.values():
            report = _report(process, pipe)
            if report.state != "completed":
                report = Report("interrupted", report.cause or "the sweep was interrupted")
            ended.append((number, report))
        self._running.clear()
        return ended

    def close(self) -> None:
        """Nothing is left behind: the server ends with this process."""

    def run(
        self, function: Callable[..., Any], jobs: Sequence[tuple[tuple[Any, ...], Path | None]]
    ) -> list[Report]:
        """Call `function(*arguments)` for each (arguments, file for what it prints or None); a report of each.

        When this process is interrupted, or ends in any other way, its workers end within seconds.
        """
        reports: dict[int, Report] = {}
        waiting = deque(enumerate(jobs))
        try:
            while waiting or self.busy:
                while waiting and self.free:
                    number, (arguments, printed) = waiting.popleft()
                    self.start(number, function, arguments, printed)
                reports |= self.wait(0.5)
        finally:
            reports |= self.stop()
        return [reports[number] for number in range(len(jobs))]


def _start_server() -> None:
    """Start the server with our module search path: it is handed none, and would load nothing from it, silently."""
    from multiprocessing import forkserver

    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    try:
        forkserver.ensure_running()
    finally:
        os.environ.pop("PYTHONPATH")
        if before is not None:
            os.environ["PYTHONPATH"] = before


@contextmanager
def _main_hidden() -> Iterator[None]:
    """Keep a new process from running the script of this one again: no job needs it, and under Ray it is Ray's."""
    main = sys.modules["__main__"]
    hidden = {name: vars(main)[name] for name in ("__file__", "__spec__") if name in vars(main)}
    for name in hidden:
        delattr(main, name)
    main.__spec__ = None
    try:
        yield
    finally:
        for name, value in hidden.items():
            setattr(main, name, value)


def _report(process: Any, pipe: Connection) -> Report:
    """What the worker said, or what its exit code says where it could not."""
    process.join()
    try:
        said = json.loads(pipe.recv_bytes()) if pipe.poll() else {}
    except (EOFError, OSError, ValueError):
        said = {}
    pipe.close()
    if said:
        return Report(**{**said, "missing": tuple(said["missing"])})
    code = process.exitcode
    if code is not None and code < 0:
        return Report("failed", f"killed by {signal.Signals(-code).name}", silent=True)
    return Report("failed", f"the process ended with exit code {code} before the run did", silent=True)


def _stop(processes: Sequence[Any]) -> None:
    for wait_for, act in ((0.3, "terminate"), (GRACE, "kill"), (0.5, "join")):
        end = time.monotonic() + wait_for
        for process in processes:
            process.join(max(0.0, end - time.monotonic()))
        for process in processes:
            if process.is_alive() and act != "join":
                getattr(process, act)()
