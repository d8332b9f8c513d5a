"""Kill a run at random moments and go on with it: does it end in the same bytes? `python benchmarks/kills.py [kills]`

Every time from an empty store, by SIGKILL after a random time, a process of its own each.
"""

import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "faults"))

import faulty  # noqa: E402  (found through the line above)


def main(kills: int) -> int:
    """Print a line per kill, and how many ended equal."""
    equal, draw = 0, random.Random(0)
    with tempfile.TemporaryDirectory() as work:
        outputs = Path(work) / "whole" / "outputs"
        outputs.parent.mkdir()
        started = time.monotonic()
        assert faulty.run(outputs).returncode == 0
        whole, seconds = faulty.content(faulty.latest(outputs)), time.monotonic() - started
        print(f"uninterrupted: {seconds:.1f} s")
        for number in range(kills):
            equal += one(Path(work) / str(number), draw.uniform(0.3, 0.98) * seconds, whole)
    print(f"{equal} of {kills} equal to the run that was never killed")
    return 0 if equal == kills else 1


def one(work: Path, after: float, whole: dict) -> bool:
    """One kill and what follows; whether the end is the same."""
    work.mkdir()
    outputs = work / "outputs"
    process = faulty.start(outputs)
    time.sleep(after)
    process.kill()
    faulty.finish(process)
    begun = list(outputs.glob("2*/*/config.yaml"))
    state = faulty.state(faulty.latest(outputs)) if begun else "not begun"
    done = faulty.run(outputs, resume=faulty.latest(outputs)) if begun else faulty.run(outputs)
    folder = max(outputs.glob("2*/*/summary.json")).parent if done.returncode == 0 else None
    same = folder is not None and faulty.content(folder) == whole and not list(folder.rglob("*.part*"))
    print(f"killed after {after:.1f} s ({state}): {'equal' if same else 'DIFFERENT'}", flush=True)
    return same


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20))
