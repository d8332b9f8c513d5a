"""12 methods x 3 seeds: one command of ours beside one process per job with plain Captum, which trains each time.

    python benchmarks/sweep.py [--own]

Whole processes, CPU time. The peer's 12 jobs of one seed are run and counted three times. `--own`: only what the
framework itself takes for one more method and for one more job.
"""

import argparse
import ctypes
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from timing import Comparison, save
from whole_run import table

RUN = [sys.executable, str(Path(__file__).parents[1] / "scripts" / "run.py")]
SEEDS = 3
METHODS = {
    "saliency": "Saliency(model).attribute(x, target=t, abs=False)",
    "input_x_gradient": "InputXGradient(model).attribute(x, target=t)",
    "integrated_gradients": "IntegratedGradients(model).attribute(x, target=t)",
    "gradient_shap": "GradientShap(model).attribute(x, pool, target=t, n_samples=20)",
    "smooth_grad": "NoiseTunnel(Saliency(model)).attribute(x, nt_samples=20, stdevs=0.1, target=t)",
    "deep_lift": "DeepLift(model).attribute(x, target=t)",
    "deep_lift_shap": "DeepLiftShap(model).attribute(x, pool, target=t)",
    "feature_ablation": "FeatureAblation(model).attribute(x, target=t)",
    "occlusion": "Occlusion(model).attribute(x, (1,), target=t)",
    "shapley_value_sampling": "ShapleyValueSampling(model).attribute(x, target=t, n_samples=25)",
    "kernel_shap": "KernelShap(model).attribute(x, target=t, n_samples=200)",
    "lime": "Lime(model).attribute(x, target=t, n_samples=200)",
}
BY_HAND = """
import sys, warnings, numpy as np, torch, torch.nn as nn
from captum.attr import *
warnings.simplefilter("ignore")
torch.set_num_threads(1)
torch.manual_seed(0)
file = np.load(sys.argv[1])
x, y = torch.as_tensor(file["x"]), torch.as_tensor(file["y"])
model = nn.Sequential(nn.Linear(30, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
for epoch in range(30):
    for rows in torch.randperm(len(x))[: len(x) * 3 // 5].split(32):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
        optimizer.step()
model.eval()
pool, x = x[:20], x[-128:]
t = model(x).argmax(1)
torch.save(eval(sys.argv[2]), sys.argv[3])
"""


SUBREAPER = 36
"""PR_SET_CHILD_SUBREAPER of Linux: processes whose parent has ended become ours, so that their time is counted."""


def cpu(command: list[str]) -> float:
    """CPU seconds of a process and of all that it started."""
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while True:
            os.wait()
    except ChildProcessError:  # none is left
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def ours(folder: Path, name: str, *more: str) -> float:
    """CPU seconds of one command of ours."""
    fixed = ["data=npz", f"data.path={folder / 'data.npz'}", "training.patience=null", "controls=[]"]
    return cpu(
        [
            *RUN,
            *fixed,
            "metric=complexity",
            "explained=128",
            "figures=false",
            f"outputs={folder / name}",
            *more,
        ]
    )


def trainings(folder: Path) -> tuple[int, int]:
    """Runs that trained, and runs."""
    said = [json.loads(p.read_text())["network"]["trained"] for p in folder.rglob("summary.json")]
    return sum(said), len(said)


def one_more(folder: Path) -> tuple[float, float]:
    """CPU seconds that one more method and one more job take, where methods and training cost next to nothing."""
    few = ("saliency", "input_x_gradient")
    many = (*few, "guided_backprop", "deconvolution", "deep_lift", "feature_ablation", "occlusion", "lrp")
    untrained = "training=none"
    methods = [ours(folder, f"m{len(m)}", f"attribution=[{','.join(m)}]", untrained) for m in (few, many)]
    seeds = [
        ours(folder, f"s{n}", "-m", f"seed=range({n})", "attribution=saliency", untrained) for n in (2, 8)
    ]
    return (methods[1] - methods[0]) / (len(many) - len(few)), (seeds[1] - seeds[0]) / 6


def main() -> None:
    """Print both sums and their ratio, how many trainings there were, and what one more costs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--own", action="store_true")
    os.environ["OMP_NUM_THREADS"] = "1"
    only_own = parser.parse_args().own
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table(folder / "data.npz")
        subprocess.run([sys.executable, "-c", "import captum.attr"], check=True)
        method, job = one_more(folder)
        print(
            f"one more method {1e3 * method:.0f} ms, one more job {1e3 * job:.0f} ms (figures and page included)"
        )
        if only_own:
            return
        chosen = f"attribution=[{','.join(METHODS)}]"
        mine = ours(folder, "sweep", "-m", f"seed=range({SEEDS})", chosen)
        trained, runs = trainings(folder / "sweep")
        print(f"ours {mine:.1f} s, {runs} runs, {trained} trainings", flush=True)
        script = folder / "by_hand.py"
        script.write_text(BY_HAND)
        jobs = {
            n: cpu(
                [sys.executable, str(script), str(folder / "data.npz"), call, str(folder / "attributions")]
            )
            for n, call in METHODS.items()
        }
    theirs = SEEDS * sum(jobs.values())
    print(f"{SEEDS * len(METHODS)} processes {theirs:.1f} s, ratio {theirs / mine:.1f}")
    print(", ".join(f"{n} {s:.1f}" for n, s in jobs.items()))
    save("sweep", [Comparison("12 methods x 3 seeds", 1e3 * mine, 1e3 * theirs, *(theirs / mine,) * 3, None)])


if __name__ == "__main__":
    main()
