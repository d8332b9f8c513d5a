"""Memory of every primary method above what the process has before: 10,000 rows of an MLP, 256 images of a CNN.

    python benchmarks/memory.py [mlp] [cnn] [--most 128] [--rows N]

Each method runs in a process of its own, warmed up with 8 rows; peak resident memory less that before the
call and less the attributions themselves. Exit code 1 where a method needs more than `--most` MiB.
"""

import argparse
import multiprocessing
import sys
import warnings
from pathlib import Path
from typing import Any

import torch

import salience
from salience.allocator import keep_freed_memory
from salience.files import write_json
from salience.modality import Image, Tabular
from salience.models.cnn import CNN
from salience.models.mlp import MLP

METHODS = (
    "saliency", "input_x_gradient", "integrated_gradients", "gradient_shap", "smooth_grad", "deep_lift",
    "deep_lift_shap", "guided_backprop", "deconvolution", "lrp", "feature_ablation", "occlusion",
    "feature_permutation", "kernel_shap", "lime", "shapley_value_sampling", "rise",
)  # fmt: skip
ROWS = {"mlp": 10_000, "cnn": 256}
OPTIONS: dict[str, dict[str, Any]] = {
    "integrated_gradients": {"n_steps": 50},
    "occlusion": {"sliding_window_shapes": None},
    "gradient_shap": {"baselines": 20},
    "deep_lift_shap": {"baselines": 20},
    "feature_permutation": {"baselines": 20},
}
MIB = 1 << 20


def measure(network: str, method: str, rows: int, answer: Any) -> None:
    """MiB that one call needs, in a fresh process; sent to `answer`, or why there is no number."""
    torch.set_num_threads(1)
    keep_freed_memory()
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    image = Image((1, 28, 28), patch=4)
    if network == "cnn":
        model, x, mask = (
            CNN((image,), 10),
            torch.randn(rows, 1, 28, 28),
            image.feature_mask(torch.zeros(1, 1, 28, 28)),
        )
    else:
        model, x, mask = MLP((Tabular((30,)),), 2, hidden=[64, 64]), torch.randn(rows, 30), None
    options = dict(OPTIONS.get(method, {}))
    if method == "occlusion":
        options = {"sliding_window_shapes": (1, 4, 4) if network == "cnn" else (3,)}
        options["strides"] = (1, 2, 2) if network == "cnn" else (1,)
    if "baselines" in options:
        options["baselines"] = torch.randn(20, *x.shape[1:])
    try:
        salience.explain(model, x[:8], method, target=0, feature_mask=mask, **options)
        before = resident("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
        salience.explain(model, x, method, target=0, feature_mask=mask, **options)
        answer.send((resident("VmHWM") - before - x.numel() * x.element_size()) / MIB)
    except salience.config.WrongInput as error:
        answer.send(str(error))


def resident(what: str) -> int:
    """Bytes of this process: VmRSS now, VmHWM at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(what))


def main() -> int:
    """Measure, print, keep; 1 where a method needs too much."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("networks", nargs="*", help="mlp, cnn")
    parser.add_argument("--most", type=float, default=128)
    parser.add_argument("--rows", type=int)
    chosen = parser.parse_args()
    context, found = multiprocessing.get_context("spawn"), {}
    for network in chosen.networks or ROWS:
        for method in METHODS:
            here, there = context.Pipe()
            rows = chosen.rows or ROWS[network]
            process = context.Process(target=measure, args=(network, method, rows, there), daemon=True)
            process.start()
            there.close()
            try:
                answer = here.recv()
            except EOFError:
                answer = "the process died"
            process.join()
            found[f"{network} {method}"] = answer
            said = f"{answer:7.1f} MiB" if isinstance(answer, float) else answer
            print(f"{network:4} {method:24} {said}", flush=True)
    folder = Path("outputs/benchmarks")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "memory.json", found)
    return int(any(not isinstance(v, float) or v > chosen.most for v in found.values()))


if __name__ == "__main__":
    sys.exit(main())
