"""Ctrl-C and SIGTERM as a request: loops answer it between two items, so that what is finished is kept.

The first signal leaves a request where work can be resumed (inside `postponed`) and interrupts at once elsewhere; the
second interrupts at once everywhere; the third ends the process.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SAID = b"interrupting: what is under way is finished and saved; once more ends at once\n"

_received: list[int] = []
_depth = 0


@contextmanager
def handled() -> Iterator[list[int]]:
    """Take SIGINT and SIGTERM as this module says; yields the list of those that came."""
    _received.clear()
    before = {number: signal.signal(number, _take) for number in SIGNALS}
    try:
        yield _received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def postponed() -> Iterator[None]:
    """Inside, the first signal waits for `poll`."""
    global _depth
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1


def requested() -> bool:
    """Whether somebody has asked this process to stop."""
    return bool(_received)


def poll() -> None:
    """Between two items: KeyboardInterrupt where a stop was asked for."""
    if _received and _depth:
        raise KeyboardInterrupt


def _take(number: int, frame: Any) -> None:
    _received.append(number)
    if len(_received) > 2:
        os._exit(128 + number)
    if _depth and len(_received) == 1:
        os.write(2, SAID)
        return
    raise KeyboardInterrupt
