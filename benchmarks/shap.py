"""KernelShap beside shap.KernelExplainer: 200 samples, an MLP on 32 rows, and how far each is from the exact values.

    python benchmarks/shap.py [--pairs 3] [--python PYTHON]

Time on 30 features, error on 10, where exact values are known. `--python`: the interpreter of an environment in which
shap 0.51 is installed beside this package, where that is another one.
"""

import argparse
import sys
import sysconfig
import warnings
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import spawn
from typing import Any

import captum.attr
import torch
from timing import HEADER, Comparison, compare, peer, save
from torch import Tensor, nn

from salience.allocator import keep_freed_memory
from salience.attribution.batched import KernelShap, ShapleyValues

ROWS, SAMPLES, REPEATS = 32, 200, 20
FEATURES = {"30 features": 30, "10 features": 10}


def workload(features: int) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    layers = nn.Linear(features, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2)
    return nn.Sequential(*layers).eval(), torch.randn(ROWS, features)


def theirs() -> dict[str, Callable[[], Any]]:
    # This file has the name of what it imports, and a spawned process has its parent's path.
    sys.path = [*(p for p in sys.path if not p.endswith("benchmarks")), sysconfig.get_path("purelib")]
    sys.modules.pop("shap", None)
    import numpy as np
    import shap

    calls = {}
    for name, features in FEATURES.items():
        model, x = workload(features)

        def score(rows: Any, model: nn.Module = model) -> Any:
            with torch.no_grad():
                return model(torch.as_tensor(rows, dtype=torch.float32))[:, 0].numpy()

        explainer = shap.KernelExplainer(score, np.zeros((1, features)))
        calls[name] = lambda e=explainer, x=x: e.shap_values(x.numpy(), nsamples=SAMPLES, silent=True)  # type: ignore[misc]
    return calls


def ours(features: int, shared: bool = False) -> Callable[[], Tensor]:
    model, x = workload(features)
    more = dict(n_samples=SAMPLES, exact=False, shared=shared)
    return lambda: KernelShap(model).attribute(x, target=0, **more)


def captums(features: int) -> Tensor:
    model, x = workload(features)
    return captum.attr.KernelShap(model).attribute(
        x, target=0, n_samples=SAMPLES, perturbations_per_eval=SAMPLES
    )


def error(values: Any, exact: Tensor) -> float:
    """Root mean square error as a share of the exact values'."""
    return float((torch.as_tensor(values).double() - exact).norm() / exact.norm())


def main() -> None:
    """Time, then error."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--python", default=sys.executable)
    chosen = parser.parse_args()
    spawn.set_executable(chosen.python)
    torch.set_num_threads(1)
    keep_freed_memory()
    warnings.simplefilter("ignore")
    rows: list[Comparison] = []
    print(HEADER)
    with peer(theirs) as other:
        for name, features in FEATURES.items():
            for how, shared in (("", False), (", shared coalitions", True)):
                row = compare(name, ours(features, shared), other, chosen.pairs, False)
                rows.append(replace(row, what=name + how))
                print(rows[-1].line, flush=True)
        model, x = workload(FEATURES["10 features"])
        exact = ShapleyValues(model).attribute(x, target=0).double()
        found = {"ours": ours(10), "ours, shared": ours(10, True), "Captum": lambda: captums(10)}
        found["shap"] = lambda: other("10 features")[1]
        print(f"relative error on 10 features, mean of {REPEATS}:", end="")
        for name, call in found.items():
            errors = [error(call(), exact) for _ in range(1 if name == "shap" else REPEATS)]
            print(f" {name} {sum(errors) / len(errors):.3f}", end="")
        print()
    save("shap", rows)


if __name__ == "__main__":
    main()
