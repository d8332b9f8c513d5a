"""How cost grows: CPU milliseconds of an MLP's methods over 10^2 to 10^5 examples, and over 10 to 1000 features.

    python benchmarks/growth.py

Beside each its cost a row of the table, as a multiple of the first: 1.00 throughout is linear in examples.
"""

import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from timing import cpu
from torch import Tensor

from salience.allocator import keep_freed_memory
from salience.attribution.batched import FeatureAblation, IntegratedGradients, KernelShap
from salience.files import write_json
from salience.modality import Tabular
from salience.models.mlp import MLP

CALLS: dict[str, Callable[[MLP, Tensor], Tensor]] = {
    "integrated gradients 50": lambda m, x: IntegratedGradients(m).attribute(x, target=0),
    "feature ablation": lambda m, x: FeatureAblation(m).attribute(x, target=0),
    "KernelShap 200": lambda m, x: KernelShap(m).attribute(x, target=0, n_samples=200),
}
EXAMPLES, FEATURES = (100, 1_000, 10_000, 100_000), (10, 30, 100, 300, 1000)
ROWS = 32


def time_of(call: Callable[[MLP, Tensor], Tensor], features: int, rows: int) -> float:
    """Milliseconds, the least of two."""
    torch.manual_seed(0)
    model, x = MLP((Tabular((features,)),), 2, hidden=[64, 64]).eval(), torch.randn(rows, features)
    call(model, x[:8])
    return 1e3 * min(cpu(lambda: call(model, x))[0] for _ in range(2))


def main() -> None:
    """Both tables."""
    torch.set_num_threads(1)
    keep_freed_memory()
    warnings.simplefilter("ignore")
    found: dict[str, dict[str, float]] = {}
    for name, call in CALLS.items():
        count = EXAMPLES[:3] if "Kernel" in name else EXAMPLES
        times = {f"{n} examples": time_of(call, 30, n) for n in count}
        first = times[f"{count[0]} examples"] / count[0]
        said = [f"{t:.0f} ({t / n / first:.2f})" for t, n in zip(times.values(), count, strict=True)]
        print(f"{name:26} examples {', '.join(said)}", flush=True)
        wide = {f"{n} features": time_of(call, n, ROWS) for n in FEATURES}
        print(f"{name:26} features {', '.join(f'{t:.0f}' for t in wide.values())}", flush=True)
        found[name] = times | wide
    Path("outputs/benchmarks").mkdir(parents=True, exist_ok=True)
    write_json(Path("outputs/benchmarks/growth.json"), found)


if __name__ == "__main__":
    main()
