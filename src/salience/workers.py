"""Processes that isolate one run each: what a run does to its process (raise, exit, crash, be killed) stays there.

Where forking is safe, each is forked from a server process that has loaded what runs import, so that a run starts in
0.2 s; elsewhere each is started afresh. The server never touches a GPU.
"""

import json
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from .errors import WrongInput

GRACE = 2.0
"""Seconds that a run has to put its affairs in order when the sweep ends early."""
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Report:
    """How a job ended. `state` is completed, failed or interrupted; `cause` is one line."""

    state: str
    cause: str = ""
    value: Any = None
    missing: tuple[str, ...] = ()
    """Modules that should have been loaded before the job was forked, and were not."""


class Workers:
    """Runs functions of this package in processes of their own, at most `n_jobs` at a time."""

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

    def run(
        self,
        function: Callable[..., Any],
        jobs: Sequence[tuple[tuple[Any, ...], Path | None]],
        started: Callable[[int], None] = lambda number: None,
        ended: Callable[[int, Report], None] = lambda number, report: None,
    ) -> list[Report]:
        """Call `function(*arguments)` for each (arguments, file for what it prints or None); a report of each.

        `function` is importable by name, its arguments are text and numbers, its result can be written as JSON. When
        this process is interrupted, or ends in any other way, its workers end within seconds.
        """
        reports: dict[int, Report] = {}
        waiting = deque(enumerate(jobs))
        running: dict[Any, tuple[int, Any, Any]] = {}
        try:
            while waiting or running:
                while waiting and len(running) < self.n_jobs:
                    number, (arguments, printed) = waiting.popleft()
                    started(number)
                    process, pipe = self._start(function, arguments, printed)
                    running[process.sentinel] = number, process, pipe
                for sentinel in wait(list(running)):
                    number, process, pipe = running.pop(sentinel)
                    reports[number] = _report(process, pipe)
                    ended(number, reports[number])
        finally:
            _stop([process for _, process, _ in running.values()])
            for number, process, pipe in running.values():
                ended(
                    number, Report("interrupted", _report(process, pipe).cause or "the sweep was interrupted")
                )
        return [reports[number] for number in range(len(jobs))]

    def _start(
        self, function: Callable[..., Any], arguments: tuple[Any, ...], printed: Path | None
    ) -> tuple[Any, Any]:
        ours, theirs = self.context.Pipe(duplex=False)
        where = None if printed is None else str(printed)
        process = self.context.Process(target=_work, args=(function, arguments, theirs, where, self.preload))
        process.start()
        theirs.close()
        return process, ours


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
        return Report("failed", f"killed by {signal.Signals(-code).name}")
    return Report("failed", f"the process ended with exit code {code} before the run did")


def _stop(processes: Sequence[Any]) -> None:
    """End processes: a Ctrl-C has reached them already; then SIGTERM; then SIGKILL."""
    for wait_for, act in ((0.3, "terminate"), (GRACE, "kill"), (0.5, "join")):
        end = time.monotonic() + wait_for
        for process in processes:
            process.join(max(0.0, end - time.monotonic()))
        for process in processes:
            if process.is_alive() and act != "join":
                getattr(process, act)()


# -- inside a worker ---------------------------------------------------------------------------------------------------


def _work(
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    pipe: Connection,
    printed: str | None,
    preload: tuple[str, ...],
) -> None:
    missing = [name for name in preload if name not in sys.modules]
    _end_with_parent()
    _interrupt_once()
    if printed is not None:
        descriptor = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for standard in (1, 2):
            os.dup2(descriptor, standard)
    state, cause, value = _outcome(function, arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    pipe.send_bytes(json.dumps({"state": state, "cause": cause, "value": value, "missing": missing}).encode())
    pipe.close()


def _outcome(function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[str, str, Any]:
    from .commandline import describe

    try:
        return "completed", "", function(*arguments)
    except WrongInput as error:
        return "failed", str(error).splitlines()[0][:300], None
    except KeyboardInterrupt:
        return "interrupted", "interrupted", None
    except SystemExit as error:
        return "failed", f"sys.exit({error.code})"[:300], None
    except BaseException as error:
        if not getattr(error, "__notes__", None):  # a note says where the run has logged it already
            traceback.print_exc()
        return "failed", describe(error)[:300], None


def _interrupt_once() -> None:
    """The first SIGINT or SIGTERM interrupts the run; further ones leave it time to save."""
    received: list[int] = []

    def interrupt(number: int, frame: Any) -> None:
        if not received:
            received.append(number)
            raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)


def _end_with_parent() -> None:
    """No orphans: when the sweep's process is gone, however it ended, this one ends too."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE)
        os._exit(128 + signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
