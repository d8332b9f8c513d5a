"""Our metrics beside Quantus 0.6.0, and two of robustness beside Captum's sensitivity_max.

    python benchmarks/metrics.py [mlp] [cnn] [--pairs 3] [--python PYTHON]

Workloads: an MLP 30-64-64-2 on 256 rows of 30 features, a CNN on 64 images of 784 pixels. The same attributions, logits
and zeros for hidden features on both sides; curves and correlations without random draws are compared. `--python`: the
interpreter of an environment in which Quantus is installed beside this package, where that is another one.
"""

import argparse
import sys
import types
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import spawn
from typing import Any

import captum.attr
import captum.metrics
import numpy as np
import torch
from timing import HEADER, Comparison, compare, peer, save
from torch import Tensor, nn

import salience
from salience.allocator import keep_freed_memory
from salience.attribution.remembered import Remembered
from salience.metrics.base import Measurement, Reference
from salience.metrics.complexity import Complexity, Sparseness
from salience.metrics.faithfulness import Deletion
from salience.metrics.robustness import LocalLipschitz, Sensitivity
from salience.metrics.subsets import FaithfulnessCorrelation, FaithfulnessEstimate, MonotonicityCorrelation
from salience.modality import Image, Tabular
from salience.models.cnn import CNN
from salience.models.mlp import MLP
from salience.randomness import Streams

DRAWS, RADIUS = 10, 0.02
CAPTUM_ROWS = 128


@dataclass(frozen=True)
class Workload:
    """A network, inputs in the shape that Quantus reads, and how many features are hidden a step."""

    name: str
    model: nn.Module
    x: Tensor
    step: int
    robust: tuple[str, ...]
    """Methods whose robustness is measured."""

    @property
    def y(self) -> Tensor:
        return torch.zeros(len(self.x), dtype=torch.long)


def mlp() -> Workload:
    torch.manual_seed(0)
    model = MLP((Tabular((30,)),), 2, hidden=[64, 64]).eval()
    return Workload("MLP", model, torch.randn(256, 1, 1, 30), 1, ("integrated_gradients",))


def cnn() -> Workload:
    torch.manual_seed(0)
    model = CNN((Image((1, 28, 28)),), 10).eval()
    return Workload("CNN", model, torch.randn(64, 1, 28, 28), 28, ("saliency",))


WORKLOADS = {"mlp": mlp, "cnn": cnn}


def gradient(w: Workload) -> Tensor:
    """What is judged: the signed gradient."""
    leaf = w.x.clone().requires_grad_()
    return torch.autograd.grad(w.model(leaf)[:, 0].sum(), leaf)[0]


# -- their side --------------------------------------------------------------------------------------------------------


def theirs(name: str) -> dict[str, Callable[[], Any]]:
    """Quantus by the names of our metrics; numpy's random streams are seeded once."""
    # zennit, where it is installed without torchvision, would keep Quantus from being imported
    sys.modules.setdefault("zennit.torchvision", types.ModuleType("zennit.torchvision"))
    import quantus

    np.random.seed(0)
    w = WORKLOADS[name]()
    a, quiet = gradient(w).numpy(), dict(disable_warnings=True, display_progressbar=False, normalise=False)
    hide = quiet | dict(abs=False, perturb_baseline=0.0)
    size = round(0.2 * w.x[0].numel())

    def judge(metric: Any, softmax: bool = False, **more: Any) -> Any:
        given = dict(model=w.model, x_batch=w.x.numpy(), y_batch=w.y.numpy(), a_batch=a)
        given |= dict(softmax=softmax, channel_first=True)
        return np.asarray(metric(**given, **more), dtype=np.float64)

    calls: dict[str, Callable[[], Any]] = {
        f"pixel flipping, {w.step} a step": lambda: judge(
            quantus.PixelFlipping(features_in_step=w.step, **hide)
        ),
        "faithfulness correlation, 100 sets": lambda: judge(
            quantus.FaithfulnessCorrelation(nr_runs=100, subset_size=size, return_aggregate=False, **hide)
        ),
        "sparseness": lambda: judge(quantus.Sparseness(abs=True, **quiet)),
        "complexity": lambda: judge(quantus.Complexity(abs=True, **quiet)),
    }
    if w.step == 1:
        calls["faithfulness estimate"] = lambda: judge(
            quantus.FaithfulnessEstimate(features_in_step=1, **hide)
        )
        calls["monotonicity correlation, 10 samples"] = lambda: judge(
            quantus.MonotonicityCorrelation(features_in_step=1, nr_samples=DRAWS, **hide)
        )
    robust = quiet | dict(abs=False, nr_samples=DRAWS)
    for method in w.robust:
        explained = partial(_explain, method)
        calls[f"max-sensitivity of {method}"] = lambda e=explained: judge(  # type: ignore[misc]
            quantus.MaxSensitivity(lower_bound=RADIUS, **robust), explain_func=e
        )
        calls[f"local Lipschitz of {method}"] = lambda e=explained: judge(  # type: ignore[misc]
            quantus.LocalLipschitzEstimate(**robust), explain_func=e
        )
    return calls | captums(w)


def _explain(method: str, model: nn.Module, inputs: Any, targets: Any, **_: Any) -> Any:
    x, y = torch.as_tensor(inputs, dtype=torch.float32), torch.as_tensor(targets)
    made, more = _captum(method, model)
    return made.attribute(x, target=y, **more).detach().numpy()


def _captum(method: str, model: nn.Module) -> tuple[Any, dict[str, Any]]:
    if method == "saliency":
        return captum.attr.Saliency(model), {"abs": False}
    return captum.attr.IntegratedGradients(model), {"n_steps": 50}


def captums(w: Workload) -> dict[str, Callable[[], Any]]:
    """Captum's own robustness metric on the first rows."""
    x = w.x[:CAPTUM_ROWS]

    def worst(method: str) -> Any:
        made, more = _captum(method, w.model)
        return captum.metrics.sensitivity_max(made.attribute, x, target=0, n_perturb_samples=DRAWS, **more)

    return {f"sensitivity_max of {m}": partial(worst, m) for m in ("saliency", "integrated_gradients")}


# -- our side ----------------------------------------------------------------------------------------------------------


def ours(w: Workload) -> dict[str, tuple[Callable[[], Any], bool]]:
    """Our metrics by the same names, and whether they must agree."""
    streams, size = Streams(0), w.x[0].numel()
    judged = replace(salience.explain(w.model, w.x, "saliency", target=0), attributions=(gradient(w),))
    zeros = Reference((torch.zeros_like(w.x[:1]),))

    def of(metric: Any) -> Measurement:
        return metric(judged.explainer, judged, zeros)

    steps = -(-size // w.step)
    correlation = FaithfulnessCorrelation(streams, share=0.2, samples=100)
    calls: dict[str, tuple[Callable[[], Any], bool]] = {
        f"pixel flipping, {w.step} a step": (lambda: of(Deletion(streams, steps=steps)).curve[:, 1:], True),  # type: ignore[index]
        "faithfulness correlation, 100 sets": (lambda: of(correlation).scores, False),
        "sparseness": (lambda: of(Sparseness()).scores, True),
        "complexity": (lambda: of(Complexity()).scores, True),
    }
    if w.step == 1:
        calls["faithfulness estimate"] = (lambda: of(FaithfulnessEstimate()).scores, True)
        calls["monotonicity correlation, 10 samples"] = (lambda: of(MonotonicityCorrelation()).scores, False)
    for method in w.robust:
        e = _explanation(w, method, len(w.x))
        most, steepest = Sensitivity(streams, RADIUS, DRAWS), LocalLipschitz(streams, RADIUS, DRAWS)
        calls[f"max-sensitivity of {method}"] = (partial(_robust, most, e, zeros), False)
        calls[f"local Lipschitz of {method}"] = (partial(_robust, steepest, e, zeros), False)
    for method in ("saliency", "integrated_gradients"):
        e = _explanation(w, method, CAPTUM_ROWS)
        call = partial(_robust, Sensitivity(streams, RADIUS, DRAWS), e, zeros)
        calls[f"sensitivity_max of {method}"] = (call, False)
    return calls


def _explanation(w: Workload, method: str, rows: int) -> Any:
    more: dict[str, Any] = {"abs": False} if method == "saliency" else {"n_steps": 50}
    return salience.explain(w.model, w.x[:rows], method, target=0, **more)


def _robust(metric: Any, explanation: Any, zeros: Reference) -> Tensor:
    return metric(explanation.explainer, explanation, zeros).scores


def measured(name: str, pairs: int) -> list[Comparison]:
    """Every metric on one network, and the sum of those that Quantus has."""
    w, rows = WORKLOADS[name](), []
    with peer(partial(theirs, name)) as other:
        for what, (call, same) in ours(w).items():
            row = compare(what, call, other, pairs, same)
            rows.append(Comparison(**vars(row) | {"what": f"{w.name} {what}"}))
            print(rows[-1].line, flush=True)
    suite = [r for r in rows if "sensitivity_max" not in r.what]
    mine, other_ms = sum(r.ours_ms for r in suite), sum(r.peer_ms for r in suite)
    total = Comparison(
        f"{w.name} suite", mine, other_ms, other_ms / mine, other_ms / mine, other_ms / mine, None
    )
    print(total.line, flush=True)
    return [*rows, total]


def main() -> None:
    """Compare on the networks named on the command line, or on both."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("networks", nargs="*", help="mlp, cnn")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--python", default=sys.executable)
    chosen = parser.parse_args()
    spawn.set_executable(chosen.python)
    torch.set_num_threads(1)
    Remembered.LIMIT = 0  # a call that is repeated passes its rows again
    keep_freed_memory()
    warnings.simplefilter("ignore")
    print(HEADER)
    save("metrics", [row for name in chosen.networks or WORKLOADS for row in measured(name, chosen.pairs)])


if __name__ == "__main__":
    main()
