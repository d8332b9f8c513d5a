"""Inside the process of one run: what it says at its end, how it is interrupted, and that it never is an orphan."""

import json
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from ..errors import WrongInput

GRACE = 1.2
"""Seconds that a run has to put its affairs in order when the sweep ends early."""


@dataclass(frozen=True)
class Report:
    """How a job ended. `state` is completed, failed or interrupted; `cause` is one line."""

    state: str
    cause: str = ""
    value: Any = None
    missing: tuple[str, ...] = ()
    """Modules that should have been loaded before the job was forked, and were not."""
    silent: bool = False
    """Whether its process died without a word, so that only the files it left say how far it came."""


def work(
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    pipe: Connection,
    printed: str | None,
    preload: tuple[str, ...],
) -> None:
    """Call `function(*arguments)` and send its report, whatever happens; `printed` is the file it prints to."""
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
    from ..edge.commandline import describe

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
