"""How far attributions are from what is known: closed forms, Shapley's definition, completeness, other batch mates.

python benchmarks/correctness.py
"""

import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import captum.attr
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "attribution"))

import test_randomness as randomness  # noqa: E402
from known_networks import (  # noqa: E402
    NetworkB,
    NetworkC,
    Products,
    network_a,
    random_rows,
    shapley,
)
from test_guards import cnn  # noqa: E402

from salience.attribution import batched as of  # noqa: E402


def closed_forms() -> Iterator[tuple[str, float]]:
    """Largest difference from the value known by hand, as a share of the largest."""
    a, b = torch.tensor([[3.0]]), torch.tensor([[1.0]])
    x = torch.tensor([[20.0, 50.0, 30.0]])

    def off(got: Tensor | tuple, wanted: list[float]) -> float:
        values = torch.cat([g.flatten() for g in got]) if isinstance(got, tuple) else got.flatten()
        known = torch.tensor(wanted)
        return ((values.detach() - known).abs().max() / known.abs().max()).item()

    got = of.IntegratedGradients(NetworkB()).attribute((a, b), n_steps=600)
    yield "integrated gradients, two ReLUs, 600 steps", off(got, [1.5, -0.5])
    got = of.IntegratedGradients(NetworkB()).attribute((a, b), n_steps="auto")
    yield "integrated gradients, two ReLUs, auto", off(got, [1.5, -0.5])
    got = of.DeepLift(NetworkC()).attribute((torch.tensor([[1.0]]), torch.tensor([[2.0]])))
    yield "DeepLift, two ReLUs", off(got, [2.0, 1.0])
    yield "feature ablation", off(of.FeatureAblation(network_a()).attribute(x, target=0), [80, 200, 120])
    got = of.Occlusion(network_a()).attribute(x, (1,), target=0)
    yield "occlusion", off(got, [80, 200, 120])
    wanted = [76.6667, 196.6667, 116.6667]
    yield "Shapley values", off(of.ShapleyValues(network_a()).attribute(x, target=0), wanted)
    got = of.KernelShap(network_a()).attribute(x, torch.tensor([[10.0, 20.0, 10.0]]), target=0)
    yield "KernelShap, linear region", off(got, [40, 120, 80])


def shapley_values() -> Iterator[tuple[str, float]]:
    """Largest absolute difference from the sum over all coalitions, 10 features."""
    network, x, b = Products(10), random_rows(2, 10), random_rows(2, 10, seed=5)
    wanted = torch.stack([shapley(lambda z: network(z)[:, 1], x[i], b[i]) for i in range(2)]).detach()
    for method in (of.ShapleyValues, of.ShapleyValueSampling, of.KernelShap):
        exact = {} if method is of.ShapleyValues else {"exact": True}
        got = method(network).attribute(x, b, target=1, **exact)
        yield f"{method.__name__}, all coalitions, 10 features", (got - wanted).abs().max().item()


def completeness() -> Iterator[tuple[str, float]]:
    """Largest gap of DeepLift as a share of the largest |f(x) - f(baseline)|, ReLU directly before max-pooling."""
    model, images, base = cnn(), random_rows(64, 1, 8, 8), random_rows(64, 1, 8, 8, seed=1)
    change = (model(images) - model(base))[:, 0].abs().max()
    for name, method in (("ours", of.DeepLift), ("Captum's", captum.attr.DeepLift)):
        gap = method(model).attribute(images, base, target=0, return_convergence_delta=True)[1]
        yield f"DeepLift's completeness gap, ReLU then max-pool, {name}", (gap.abs().max() / change).item()


def batch_mates() -> Iterator[tuple[str, float]]:
    """Largest deviation of rows among other batch mates and orders, as a share of the largest attribution."""
    worst = 0.0
    for name in (*randomness.METHODS, *randomness.CLASSES):
        everything = randomness.values(randomness.explainer_of(name))
        for which in ([7], [3, 0], [11, 7, 3, 5, 0]):
            for whole, part in zip(
                everything, randomness.values(randomness.explainer_of(name), which), strict=True
            ):
                worst = max(
                    worst, ((whole[which] - part).abs().max() / whole.abs().max().clamp(min=1e-12)).item()
                )
    count = len(randomness.METHODS) + len(randomness.CLASSES)
    yield f"{count} methods, other batch mates and orders", worst


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    print("| what | largest difference |\n|---|---|")
    for part in (closed_forms, shapley_values, completeness, batch_mates):
        for name, value in part():
            print(f"| {name} | {value:.1e} |")


if __name__ == "__main__":
    main()
