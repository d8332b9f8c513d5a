"""What the command line costs before anything runs, beside an empty Hydra app: `--help`, `--cfg job`, a mistake.

    python benchmarks/startup.py [--pairs 7]

Whole processes, CPU time of each, in turn.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

APP = """
import hydra
@hydra.main(config_path=".", config_name="empty", version_base="1.3")
def main(config): pass
if __name__ == "__main__": main()
"""
RUN = str(Path(__file__).parents[1] / "scripts" / "run.py")


def cpu(command: list[str]) -> float:
    """CPU seconds of a finished process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    """Print CPU seconds of both and the median of the ratios ours / empty app."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=7)
    count = parser.parse_args().pairs
    with tempfile.TemporaryDirectory() as folder:
        app = Path(folder) / "app.py"
        app.write_text(APP)
        (Path(folder) / "empty.yaml").write_text("a: 1\n")
        for ours, theirs in (
            (["--help"], ["--help"]),
            (["--cfg", "job"], ["--cfg", "job"]),
            (["modle=mlp"], ["--cfg", "job"]),
        ):
            pairs = [
                (cpu([sys.executable, RUN, *ours]), cpu([sys.executable, str(app), *theirs]))
                for _ in range(count)
            ]
            ratios = sorted(a / b for a, b in pairs)
            print(
                f"{' '.join(ours):12} {median(a for a, _ in pairs):.2f} s, empty app {' '.join(theirs):9} "
                f"{median(b for _, b in pairs):.2f} s, ratio {median(ratios):.2f} [{ratios[0]:.2f} - {ratios[-1]:.2f}]"
            )


if __name__ == "__main__":
    main()
