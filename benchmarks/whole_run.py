"""A whole run beside a hand-written torch + captum script that does the same.

    python benchmarks/whole_run.py [--pairs 5]

Both read an .npz, train an MLP 30-64-64-2 for 30 epochs, explain 128 rows by integrated gradients (50 steps) and
feature ablation, and measure infidelity. Ours also checks, records, draws and writes its page; the script prints three
numbers. Whole processes, CPU time of each, in turn.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np
from startup import cpu
from timing import Comparison, save

HERE = Path(__file__).parent
BY_HAND = """
import sys, numpy as np, torch, torch.nn as nn
from captum.attr import FeatureAblation, IntegratedGradients
from captum.metrics import infidelity
torch.set_num_threads(1)
torch.manual_seed(0)
file = np.load(sys.argv[1])
x, y = torch.as_tensor(file["x"]), torch.as_tensor(file["y"])
order = torch.randperm(len(x))
test, train = order[: len(x) // 4], order[len(x) // 4 :]
mean, scale = x[train].mean(0), x[train].std(0)
x = (x - mean) / scale
model = nn.Sequential(nn.Linear(30, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
loss = nn.CrossEntropyLoss()
for epoch in range(30):
    model.train()
    for rows in train[torch.randperm(len(train))].split(32):
        optimizer.zero_grad()
        loss(model(x[rows]), y[rows]).backward()
        optimizer.step()
model.eval()
with torch.no_grad():
    print("accuracy", (model(x[test]).argmax(1) == y[test]).float().mean().item())
explained = x[test][:128]
target = model(explained).argmax(1)
def hide(inputs, baselines=None):
    hidden = torch.rand_like(inputs) < torch.rand(len(inputs), 1)
    return hidden.float(), inputs.masked_fill(hidden, 0.0)
for method, more in ((IntegratedGradients(model), {"n_steps": 50}), (FeatureAblation(model), {})):
    found = method.attribute(explained, target=target, **more)
    score = infidelity(model, hide, explained, found, target=target, n_perturb_samples=50, normalize=True)
    print(type(method).__name__, score.mean().item())
"""
WANTED = (
    "data=npz", "model=mlp", "training.epochs=30", "training.patience=null",
    "attribution=[integrated_gradients,feature_ablation]", "attribution.integrated_gradients.arguments.n_steps=50",
    "controls=[]", "metric=infidelity", "explained=128", "figures=false",
)  # fmt: skip


def table(path: Path) -> None:
    """570 rows of 30 numbers, two classes."""
    draws = np.random.default_rng(0)
    x = draws.standard_normal((570, 30)).astype(np.float32)
    y = (x[:, :5].sum(1) + 0.5 * draws.standard_normal(570) > 0).astype(np.int64)
    np.savez(path, x=x, y=y)


def main() -> None:
    """Print CPU seconds of both, of an import of torch alone, and the ratio ours / by hand."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=5)
    count = parser.parse_args().pairs
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table(folder / "data.npz")
        (folder / "by_hand.py").write_text(BY_HAND)
        theirs = [sys.executable, str(folder / "by_hand.py"), str(folder / "data.npz")]
        run = [
            sys.executable,
            str(HERE.parent / "scripts" / "run.py"),
            *WANTED,
            f"data.path={folder / 'data.npz'}",
        ]
        subprocess.run([*run, f"outputs={folder}/first"], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(theirs, check=True)
        pairs = [(cpu([*run, f"outputs={folder}/{n}"]), cpu(theirs)) for n in range(count)]
        torch = median(cpu([sys.executable, "-c", "import torch"]) for _ in range(3))
    ratios = sorted(b / a for a, b in pairs)
    ours_s, theirs_s = median(a for a, _ in pairs), median(b for _, b in pairs)
    print(
        f"run.py {ours_s:.2f} s, by hand {theirs_s:.2f} s, import torch {torch:.2f} s; "
        f"ours / by hand {1 / median(ratios):.2f} [{1 / ratios[-1]:.2f} - {1 / ratios[0]:.2f}]"
    )
    row = Comparison(
        "whole run", 1e3 * ours_s, 1e3 * theirs_s, median(ratios), ratios[0], ratios[-1], None, 1e3 * torch
    )
    save("whole_run", [row])


if __name__ == "__main__":
    main()
