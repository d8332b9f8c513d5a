"""Our methods beside Captum's, with the limit that the hardware sets.

    python benchmarks/attribution.py [mlp] [cnn] [transformer] [--pairs 5] [--only KernelShap]

Workloads: an MLP 30-64-64-2 on 128 rows, a CNN on 64 images of 28 x 28 (49 patches), a transformer of two layers on 64
rows of 64 tokens. Captum runs with its defaults in a process of its own. One thread, CPU time.
"""

import argparse
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import captum.attr as captum
import torch
from timing import HEADER, Comparison, Peer, compare, cpu, peer, save
from torch import Tensor, nn

import salience.attribution.batched as batched
from salience.allocator import keep_freed_memory
from salience.attribution.planner import rows_per_pass, summed_gradients
from salience.modality import Image, Tabular, Tokens
from salience.models.cnn import CNN
from salience.models.mlp import MLP
from salience.models.transformer import Transformer


@dataclass(frozen=True)
class Workload:
    """A network, inputs, and what is a feature of them."""

    name: str
    model: nn.Module
    x: Tensor
    mask: Tensor
    pool: Tensor
    window: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def target(self) -> Tensor:
        return torch.zeros(len(self.x), dtype=torch.long)

    @property
    def features(self) -> int:
        return int(self.mask.max()) + 1

    @property
    def windows(self) -> int:
        """Positions of the sliding window."""
        total = 1
        for length, size, step in zip(self.x.shape[1:], self.window, self.stride, strict=True):
            total *= 1 + -(-(length - size) // step)
        return total


def mlp() -> Workload:
    torch.manual_seed(0)
    table = Tabular((30,))
    model, x = MLP((table,), 2, hidden=[64, 64]).eval(), torch.randn(128, 30)
    return Workload("MLP", model, x, table.feature_mask(x), torch.randn(20, 30), (3,), (1,))


def cnn() -> Workload:
    torch.manual_seed(0)
    image = Image((1, 28, 28), patch=4)
    model, x = CNN((image,), 10).eval(), torch.randn(64, 1, 28, 28)
    return Workload("CNN", model, x, image.feature_mask(x), torch.randn(20, 1, 28, 28), (1, 4, 4), (1, 2, 2))


def transformer() -> Workload:
    torch.manual_seed(0)
    tokens = Tokens((64,), vocabulary=tuple(str(i) for i in range(500)))
    model = Transformer((tokens,), 2, depth=2, width=64, heads=4, ff=128, embedding=64, dropout=0.0).eval()
    with torch.no_grad():
        x = model.embed(torch.randint(1, 500, (64, 64)))[0]
    width = x.shape[2]
    mask = tokens.feature_mask(x).contiguous()  # Captum's Shapley sampling needs it so
    return Workload("transformer", model, x, mask, x[:20], (1, width), (1, width))


WORKLOADS = {"mlp": mlp, "cnn": cnn, "transformer": transformer}
EXACT_FEATURES = 10


def captums(w: Workload) -> dict[str, Callable[[], Any]]:
    """Captum's side by name, with its defaults."""
    x, t, m = w.x, w.target, w.model
    one = dict(target=t)
    masked = one | dict(feature_mask=w.mask)
    few = 25 if w.name == "MLP" else 5
    kernel = masked | dict(n_samples=200)
    noisy = dict(nt_samples=10, stdevs=0.1, target=t, abs=False)
    small = nn.Sequential(nn.Linear(EXACT_FEATURES, 64), nn.ReLU(), nn.Linear(64, 2)).eval()
    calls: dict[str, Callable[[], Any]] = {
        "saliency": lambda: captum.Saliency(m).attribute(x, abs=False, **one),
        "input x gradient": lambda: captum.InputXGradient(m).attribute(x, **one),
        "integrated gradients 50": lambda: captum.IntegratedGradients(m).attribute(x, **one),
        "feature ablation": lambda: captum.FeatureAblation(m).attribute(x, **masked),
        "occlusion": lambda: captum.Occlusion(m).attribute(x, w.window, w.stride, **one),
        f"Shapley sampling {few}": lambda: captum.ShapleyValueSampling(m).attribute(
            x, n_samples=few, **masked
        ),
        "KernelShap 200": lambda: captum.KernelShap(m).attribute(x, **kernel),
        "KernelShap 200, paired and shared": lambda: captum.KernelShap(m).attribute(x, **kernel),
        "Lime 200": lambda: captum.Lime(m).attribute(x, **kernel),
        "GradientShap 5": lambda: captum.GradientShap(m).attribute(x, w.pool, **one),
        "SmoothGrad 10": lambda: captum.NoiseTunnel(captum.Saliency(m)).attribute(x, **noisy),
        "DeepLift": lambda: captum.DeepLift(m).attribute(x, **one),
        "DeepLiftShap 20": lambda: captum.DeepLiftShap(m).attribute(x, w.pool, **one),
        "exact Shapley, 10 features x 64": lambda: captum.KernelShap(small).attribute(
            torch.ones(64, EXACT_FEATURES), target=0, n_samples=200, perturbations_per_eval=200
        ),
        "feature ablation, 784 pixels": lambda: captum.FeatureAblation(m).attribute(
            with_background(x), **one
        ),
    }
    return calls


def ours(w: Workload) -> dict[str, tuple[Callable[[], Any], float, bool]]:
    """Our side by name: the call, the rows it needs (in milliseconds at the best batch size), whether results agree."""
    x, t, m, n = w.x, w.target, w.model, len(w.x)
    forward, back = row_cost(w, False), row_cost(w, True)
    few = 25 if w.name == "MLP" else 5
    masked = dict(target=t, feature_mask=w.mask)
    small = nn.Sequential(nn.Linear(EXACT_FEATURES, 64), nn.ReLU(), nn.Linear(64, 2)).eval()
    noisy = dict(nt_samples=10, stdevs=0.1, target=t, abs=False)
    kernel = masked | dict(n_samples=200)
    calls: dict[str, tuple[Callable[[], Any], float, bool]] = {
        "saliency": (lambda: summing(captum.Saliency(m)).attribute(x, target=t, abs=False), n * back, True),
        "input x gradient": (lambda: summing(captum.InputXGradient(m)).attribute(x, target=t), n * back, True),
        "integrated gradients 50": (
            lambda: batched.IntegratedGradients(m).attribute(x, target=t), 50 * n * back, True,
        ),
        "feature ablation": (
            lambda: batched.FeatureAblation(m).attribute(x, **masked), (w.features + 1) * n * forward, True,
        ),
        "occlusion": (
            lambda: batched.Occlusion(m).attribute(x, w.window, w.stride, target=t), w.windows * n * forward, True,
        ),
        f"Shapley sampling {few}": (
            lambda: batched.ShapleyValueSampling(m).attribute(x, n_samples=few, **masked),
            few * w.features * n * forward, False,
        ),
        "KernelShap 200": (
            lambda: batched.KernelShap(m).attribute(x, paired=False, **kernel), 200 * n * forward, False,
        ),
        "KernelShap 200, paired and shared": (
            lambda: batched.KernelShap(m).attribute(x, shared=True, **kernel), 200 * n * forward, False,
        ),
        "Lime 200": (lambda: batched.Lime(m).attribute(x, **kernel), 200 * n * forward, False),
        "GradientShap 5": (
            lambda: batched.GradientShap(m).attribute(x, w.pool, target=t), 5 * n * back, False,
        ),
        "SmoothGrad 10": (
            lambda: batched.NoiseTunnel(summing(captum.Saliency(m))).attribute(x, **noisy), 10 * n * back, False,
        ),
    }  # fmt: skip
    if w.name != "transformer":  # DeepLift has no rule for attention
        pooled = w.name == "CNN"  # where Captum's is wrong
        calls["DeepLift"] = lambda: batched.DeepLift(m).attribute(x, target=t), n * back, not pooled
        calls["DeepLiftShap 20"] = (
            lambda: batched.DeepLiftShap(m).attribute(x, w.pool, target=t), 20 * n * back, not pooled,
        )  # fmt: skip
    if w.name == "MLP":
        calls["exact Shapley, 10 features x 64"] = (
            lambda: batched.ShapleyValues(small).attribute(torch.ones(64, EXACT_FEATURES), target=0),
            0.0, False,
        )  # fmt: skip
    if w.name == "CNN":
        calls["feature ablation, 784 pixels"] = (
            lambda: batched.FeatureAblation(m).attribute(with_background(x), target=t), 785 * n * forward, True,
        )  # fmt: skip
    return calls


def with_background(x: Tensor) -> Tensor:
    """Images of which 30 % of the pixels are the baseline already, as in drawn digits."""
    return x * (torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) > 0.3)


def summing(method: Any) -> Any:
    method.gradient_func = summed_gradients
    return method


def row_cost(w: Workload, backward: bool) -> float:
    """Milliseconds of one row at the batch size that a pass has, in the network's own layout."""
    rows = rows_per_pass(w.model, (w.x,), backward=backward)
    x = w.x.repeat(-(-rows // len(w.x)), *(1,) * (w.x.dim() - 1))[:rows]

    def forward() -> Any:
        with torch.inference_mode():
            return w.model(x)

    def both() -> Any:
        leaf = x.clone().requires_grad_()
        return torch.autograd.grad(w.model(leaf)[:, 0].sum(), leaf)

    function = both if backward else forward
    function()
    return 1e3 * min(cpu(function)[0] for _ in range(7)) / rows


def peer_of(name: str) -> dict[str, Callable[[], Any]]:
    return captums(WORKLOADS[name]())


def measured(name: str, other: Peer, pairs: int, only: str) -> list[Comparison]:
    """Every method on one network."""
    workload, rows = WORKLOADS[name](), []
    for what, (call, limit, same) in ours(workload).items():
        if only.lower() in what.lower():
            slow = "Kernel" in what or "Lime" in what or "784" in what
            row = compare(what, call, other, min(pairs, 3) if slow else pairs, same, limit or None)
            rows.append(Comparison(**vars(row) | {"what": f"{workload.name} {what}"}))
            print(rows[-1].line, flush=True)
    return rows


def main() -> None:
    """Compare on the networks named on the command line, or on all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("networks", nargs="*", help="mlp, cnn, transformer")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--only", default="", help="part of a workload's name")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    warnings.simplefilter("ignore")
    everything = []
    print(HEADER)
    for name in chosen.networks or WORKLOADS:
        with peer(partial(peer_of, name)) as other:
            everything += measured(name, other, chosen.pairs, chosen.only)
    save("attribution", everything)


if __name__ == "__main__":
    main()
