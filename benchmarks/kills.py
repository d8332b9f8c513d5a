"""Kill a run at random moments and go on with it: does it end in the same bytes? `python benchmarks/kills.py [kills]`

Every time from an empty store, by SIGKILL after a random time, each in a process forked from this one.
"""

import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "faults"))

import faulty  # noqa: E402  (found through the line above)

import salience.experiment  # noqa: E402, F401  (loaded once, for all that are forked)


def main(kills: int) -> int:
    """Print a line per kill, and how many ended equal."""
    equal, draw = 0, random.Random(0)
    with tempfile.TemporaryDirectory() as work:
        for name in ("warm", "whole"):  # the first loads what a run imports lazily
            outputs = Path(work) / name / "outputs"
            outputs.parent.mkdir()
            started = time.monotonic()
            assert faulty.forked(outputs) == 0, faulty.said(outputs)
        whole, seconds = faulty.content(faulty.latest(outputs)), time.monotonic() - started
        print(f"uninterrupted: {seconds:.1f} s")
        for number in range(kills):
            equal += one(Path(work) / str(number), draw.uniform(0.02, 0.98) * seconds, whole)
    print(f"{equal} of {kills} equal to the run that was never killed")
    return 0 if equal == kills else 1


def one(work: Path, after: float, whole: dict) -> bool:
    """One kill and what follows; whether the end is the same."""
    work.mkdir()
    outputs = work / "outputs"
    pid = faulty.fork(outputs)
    time.sleep(after)
    os.kill(pid, signal.SIGKILL)
    faulty.ended(pid)
    begun = list(outputs.glob("2*/*/config.yaml"))
    state = faulty.state(faulty.latest(outputs)) if begun else "not begun"
    code = faulty.forked(outputs, resume=faulty.latest(outputs) if begun else None)
    folder = max(outputs.glob("2*/*/summary.json")).parent if code == 0 else None
    same = folder is not None and faulty.content(folder) == whole and not list(folder.rglob("*.part*"))
    print(f"killed after {after:.1f} s ({state}): {'equal' if same else 'DIFFERENT'}", flush=True)
    return same


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20))
