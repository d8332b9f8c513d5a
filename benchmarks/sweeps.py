"""What a sweep costs: `python benchmarks/sweeps.py store|workers [FOLDER]`, on a machine that does nothing else.

store    12 methods x 3 seeds, each method a run of its own, with the store of networks and with a store for each run
workers  eight trainings, one at a time and two at a time, three times in turn
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from salience import files
from salience.config import Composer
from salience.sweeps.engines import engine
from salience.sweeps.jobs import Jobs
from salience.sweeps.scheduling import Settings, Sweep
from salience.sweeps.screen import Lines
from salience.sweeps.sweep import modules_of, work

METHODS = [
    "saliency",
    "input_x_gradient",
    "integrated_gradients",
    "deep_lift",
    "gradient_shap",
    "guided_backprop",
]
METHODS += ["deconvolution", "feature_ablation", "occlusion", "lime", "kernel_shap", "smooth_grad"]
JOB = "salience.experiment.run"


def seconds(
    runs: Sequence[Sequence[str]], outputs: Path, n_jobs: int = 1, apart: bool = False
) -> tuple[float, int]:
    """How long a sweep takes, and how many networks it trains; `apart`: each run has a store of its own."""
    composer = Composer.create()
    where = [outputs / f"store-{number}" if apart else outputs for number in range(len(runs))]
    composed = [composer.compose([*run, f"outputs={at}"]) for run, at in zip(runs, where, strict=True)]
    settings = Settings(n_jobs=n_jobs)
    jobs = Jobs.create(composed, JOB, {})
    chosen = engine(settings, modules_of(JOB, [run.config for run in composed], None), jobs.path)
    start = time.perf_counter()
    Sweep(jobs, chosen, settings, Lines(jobs, n_jobs)).run(work)
    took = time.perf_counter() - start
    assert not jobs.failed, [row.cause for row in jobs.failed]
    summaries = [files.read_json(jobs.folder(row) / "summary.json") for row in jobs.rows]
    return took, sum(summary["network"]["trained"] for summary in summaries)


def store(outputs: Path) -> None:
    """Both times and the trainings; each run says what it took, with its training or without."""
    common = ["model=cnn", "data=digits", "training.epochs=240", "training.patience=null"]
    common += ["metric=[]", "controls=[]", "explained=20", "figures=false"]
    runs = [[f"attribution=[{method}]", f"seed={seed}", *common] for method in METHODS for seed in range(3)]
    for name, apart in (("store", False), ("no store", True)):
        took, trained = seconds(runs, outputs / name.replace(" ", "-"), apart=apart)
        print(f"{name}: {len(runs)} runs, {trained} trainings, {took:.0f} s", flush=True)


def workers(outputs: Path) -> None:
    """The median of three, interleaved."""
    common = [
        "model=transformer",
        "data=digits",
        "metric=[]",
        "controls=[]",
        "explained=5",
        "attribution=[saliency]",
        "training.epochs=54",
    ]
    runs = [[f"seed={seed}", "training.patience=null", *common] for seed in range(8)]
    took: dict[int, list[float]] = {1: [], 2: []}
    for turn in range(3):
        for n_jobs, times in took.items():
            times.append(seconds(runs, outputs / f"{turn}-{n_jobs}", n_jobs)[0])
            print(f"{n_jobs} at a time: {times[-1]:.0f} s", flush=True)
    one, two = (statistics.median(times) for times in took.values())
    print(f"medians {one:.0f} s and {two:.0f} s: {one / two:.2f} x")


if __name__ == "__main__":
    folder = sys.argv[2] if len(sys.argv) > 2 else tempfile.mkdtemp()
    {"store": store, "workers": workers}[sys.argv[1]](Path(folder).absolute())
