"""Our methods beside Captum's, with the limit that the hardware sets.

    python benchmarks/attribution.py [mlp] [cnn] [transformer] [--pairs 5]

Workloads: an MLP 30-64-64-2 on 128 rows, a CNN on 64 images of 28 x 28 (49 patches), a transformer of two layers on 64
rows of 64 tokens. Captum runs with its defaults. One thread, CPU time.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import captum.attr as captum
import torch
from timing import Comparison, cpu, pairs, save, show
from torch import Tensor, nn

import salience.attribution.batched as ours
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
    inputs: Tensor
    target: Tensor
    mask: Tensor
    pool: Tensor
    window: tuple
    stride: tuple


def workloads() -> dict[str, Workload]:
    """The three networks of the comparison, untrained: time does not depend on the weights."""
    torch.manual_seed(0)
    table, image = Tabular((30,)), Image((1, 28, 28), patch=4)
    tokens = Tokens((64,), vocabulary=tuple(str(i) for i in range(500)))
    mlp = MLP((table,), 2, hidden=[64, 64]).eval()
    cnn = CNN((image,), 10).eval()
    transformer = Transformer((tokens,), 2, depth=2, width=64, heads=4).eval()
    rows = torch.randn(128, 30)
    images = torch.randn(64, 1, 28, 28)
    ids = torch.randint(1, 500, (64, 64))
    with torch.no_grad():
        embedded = transformer.embed(ids)[0]
    return {
        "mlp": Workload(
            "MLP", mlp, rows, torch.zeros(128).long(), table.feature_mask(rows), torch.randn(20, 30), (3,), (1,)
        ),
        "cnn": Workload(
            "CNN", cnn, images, torch.zeros(64).long(), image.feature_mask(images), torch.randn(20, 1, 28, 28),
            (1, 4, 4), (1, 2, 2),
        ),  # fmt: skip
        "transformer": Workload(
            "transformer", transformer, embedded, torch.zeros(64).long(), tokens.feature_mask(embedded),
            embedded[:20], (1, embedded.shape[2]), (1, embedded.shape[2]),
        ),  # fmt: skip
    }  # fmt: skip


def gap(a: Any, b: Any) -> float:
    """Largest difference as a share of the largest value."""
    return ((a - b).abs().max() / b.abs().max().clamp(min=1e-12)).item()


def row_cost(w: Workload, backward: bool) -> float:
    """Milliseconds of one row at the batch size that a pass has."""
    rows = rows_per_pass(w.model, (w.inputs,))
    x = w.inputs.repeat(-(-rows // len(w.inputs)), *(1,) * (w.inputs.dim() - 1))[:rows]

    def forward() -> Any:
        with torch.inference_mode():
            return w.model(x)

    def both() -> Any:
        leaf = x.clone().requires_grad_()
        return torch.autograd.grad(w.model(leaf)[:, 0].sum(), leaf)

    function = both if backward else forward
    function()
    return 1e3 * min(cpu(function)[0] for _ in range(5)) / rows


def comparisons(w: Workload, count: int) -> list[Comparison]:
    """Every method on one network."""
    n, features, x, t = len(w.inputs), int(w.mask.max()) + 1, w.inputs, w.target
    forward, back = row_cost(w, False), row_cost(w, True)
    few = 3 if w.name == "MLP" else 2
    rows: list[Comparison] = []

    def add(
        what: str, mine: Callable, peer: Callable, limit: float, same: bool = True, times: int = count
    ) -> None:
        rows.append(pairs(f"{w.name} {what}", mine, peer, times, gap if same else None, limit))
        print(rows[-1].line, flush=True)

    def saliency() -> Tensor:
        method = captum.Saliency(w.model)
        method.gradient_func = summed_gradients
        return method.attribute(x, target=t, abs=False)

    add("saliency", saliency, lambda: captum.Saliency(w.model).attribute(x, target=t, abs=False), n * back)
    add(
        "integrated gradients 50",
        lambda: ours.IntegratedGradients(w.model).attribute(x, target=t),
        lambda: captum.IntegratedGradients(w.model).attribute(x, target=t),
        50 * n * back,
    )
    add(
        "feature ablation",
        lambda: ours.FeatureAblation(w.model).attribute(x, target=t, feature_mask=w.mask),
        lambda: captum.FeatureAblation(w.model).attribute(x, target=t, feature_mask=w.mask),
        (features + 1) * n * forward,
    )
    add(
        "occlusion",
        lambda: ours.Occlusion(w.model).attribute(x, w.window, w.stride, target=t),
        lambda: captum.Occlusion(w.model).attribute(x, w.window, w.stride, target=t),
        _windows(x, w) * n * forward,
    )
    samples = 25 if w.name == "MLP" else 5
    add(
        f"Shapley sampling {samples}",
        lambda: ours.ShapleyValueSampling(w.model).attribute(
            x, target=t, feature_mask=w.mask, n_samples=samples
        ),
        lambda: captum.ShapleyValueSampling(w.model).attribute(
            x, target=t, feature_mask=w.mask, n_samples=samples
        ),
        samples * features * n * forward,
        False,
        few,
    )
    kernel = dict(target=t, feature_mask=w.mask, n_samples=200)
    add(
        "KernelShap 200",
        lambda: ours.KernelShap(w.model).attribute(x, **kernel, paired=False),
        lambda: captum.KernelShap(w.model).attribute(x, **kernel),
        200 * n * forward,
        False,
        few,
    )
    add(
        "KernelShap 200, paired and shared",
        lambda: ours.KernelShap(w.model).attribute(x, **kernel, shared=True),
        lambda: captum.KernelShap(w.model).attribute(x, **kernel),
        200 * n * forward,
        False,
        few,
    )
    add(
        "Lime 200",
        lambda: ours.Lime(w.model).attribute(x, **kernel),
        lambda: captum.Lime(w.model).attribute(x, **kernel),
        200 * n * forward,
        False,
        few,
    )
    add(
        "GradientShap 5",
        lambda: ours.GradientShap(w.model).attribute(x, w.pool, target=t),
        lambda: captum.GradientShap(w.model).attribute(x, w.pool, target=t),
        5 * n * back,
        False,
    )
    add(
        "SmoothGrad 10",
        lambda: ours.NoiseTunnel(_summed(captum.Saliency(w.model))).attribute(
            x, nt_samples=10, stdevs=0.1, target=t, abs=False
        ),
        lambda: captum.NoiseTunnel(captum.Saliency(w.model)).attribute(
            x, nt_samples=10, stdevs=0.1, target=t, abs=False
        ),
        10 * n * back,
        False,
    )
    if w.name != "transformer":
        add(
            "DeepLift",
            lambda: ours.DeepLift(w.model).attribute(x, target=t),
            lambda: captum.DeepLift(w.model).attribute(x, target=t),
            n * back,
            w.name == "MLP",
        )
        add(
            "DeepLiftShap 20",
            lambda: ours.DeepLiftShap(w.model).attribute(x, w.pool, target=t),
            lambda: captum.DeepLiftShap(w.model).attribute(x, w.pool, target=t),
            20 * n * back,
            w.name == "MLP",
            few,
        )
    return rows


def _summed(method: Any) -> Any:
    method.gradient_func = summed_gradients
    return method


def _windows(x: Tensor, w: Workload) -> int:
    total = 1
    for length, size, step in zip(x.shape[1:], w.window, w.stride, strict=True):
        total *= 1 + -(-(length - size) // step)
    return total


def main() -> None:
    """Compare on the networks named on the command line, or on all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", help="mlp, cnn, transformer")
    parser.add_argument("--pairs", type=int, default=5)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    import warnings

    warnings.simplefilter("ignore")
    everything = []
    show([])
    for name, workload in workloads().items():
        if not chosen.networks or name in chosen.networks:
            everything += comparisons(workload, chosen.pairs)
    save("attribution", everything)


if __name__ == "__main__":
    main()
