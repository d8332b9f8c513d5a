"""Networks whose attributions are known by hand, small ones that are not, and an explainer for any of them."""

from itertools import combinations
from math import factorial
from typing import Any

import torch
from torch import Tensor, nn

from salience.attribution.baselines import Baseline
from salience.attribution.explainer import Explainer
from salience.attribution.explanation import Explained, Explicand, explicand
from salience.attribution.inner import explainer_of
from salience.attribution.signatures import made_by
from salience.config import build, shipped
from salience.data.base import Classification, Examples
from salience.modality import Modality
from salience.randomness import Streams


def linear(weight: Any, bias: Any = None) -> nn.Linear:
    """A linear layer with given weights [outputs, inputs]."""
    weight = torch.as_tensor(weight, dtype=torch.float32)
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight.data = weight.clone()
    if bias is not None:
        layer.bias.data = torch.as_tensor(bias, dtype=torch.float32)
    return layer


def network_a() -> nn.Sequential:
    """Three inputs, a hidden ReLU of which one unit starts at 10, two outputs."""
    return nn.Sequential(
        linear(torch.eye(3), [0.0] * 3),
        linear(torch.ones(4, 3), [-10.0, 1.0, 1.0, 1.0]),
        nn.ReLU(),
        linear(torch.ones(2, 4), [-1.0, 1.0]),
    )


class NetworkB(nn.Module):
    """relu(relu(a) - 1 - relu(b))."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.out = nn.ReLU(), nn.ReLU(), nn.ReLU()

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.out(self.a(a) - 1 - self.b(b))


class NetworkC(nn.Module):
    """2 relu(a) + 2 relu(b - 1.5)."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.ReLU(), nn.ReLU()

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return 2 * self.a(a) + 2 * self.b(b - 1.5)


class NetworkD(nn.Module):
    """Two inputs of three, one linear unit each, ReLU, their sum; no biases."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.relu, self.out = (
            linear([[3, 1, 0]]),
            linear([[2, 3, 0]]),
            nn.ReLU(),
            linear([[1, 1]]),
        )

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.out(self.relu(torch.cat([self.a(a), self.b(b)], 1)))


class NetworkE(nn.Module):
    """A convolution of ones with biases -50 and -75, ReLU, four linear units, ReLU; reads [1, 4, 4]."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(1, 2, 3)
        self.convolution.weight.data.fill_(1.0)
        self.convolution.bias.data = torch.tensor([-50.0, -75.0])
        self.first, self.second = nn.ReLU(), nn.ReLU()
        self.linear = linear(torch.tensor([[1.0] * 5 + [-1.0] * 3] * 4), [0.0] * 4)

    def forward(self, image: Tensor) -> Tensor:
        return self.second(self.linear(self.first(self.convolution(image)).flatten(1)))


class NetworkP(nn.Module):
    """The largest of four values, through an identity layer."""

    def __init__(self):
        super().__init__()
        self.linear, self.pool = linear(torch.eye(4)), nn.MaxPool1d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.linear(x)[:, None])[:, 0]


def network_l(negative: bool = False) -> nn.Sequential:
    """3 x 3 twos, ReLU, 1 x 3 threes, no biases; with `negative` the first weight is -2."""
    first = torch.full((3, 3), 2.0)
    first[0, 0] = -2.0 if negative else 2.0
    return nn.Sequential(linear(first), nn.ReLU(), linear(torch.full((1, 3), 3.0)))


class Additive(nn.Module):
    """sum_i c_i (x_i + x_i^2): every way of sharing f(x) - f(0) fairly gives each term to its own input."""

    def __init__(self, coefficients: Tensor):
        super().__init__()
        self.coefficients = nn.Parameter(coefficients)

    def forward(self, x: Tensor) -> Tensor:
        return ((x + x**2) * self.coefficients).sum(1)


class Products(nn.Module):
    """A function with interactions of three features, two outputs; reads [rows, features]."""

    def __init__(self, features: int, seed: int = 0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.w = nn.Parameter(torch.randn(2, features, generator=generator))
        self.v = nn.Parameter(torch.randn(2, features, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x @ self.w.T) * (x @ self.v.T) + (x**2).sum(1, keepdim=True) * 0.1


def random_mlp(
    features: int = 6, outputs: int = 3, seed: int = 0, activation: type = nn.ReLU
) -> nn.Sequential:
    """Two hidden layers with random weights, in eval mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = nn.Sequential(
            nn.Linear(features, 16), activation(), nn.Linear(16, 12), activation(), nn.Linear(12, outputs)
        )
    return layers.eval()


def random_rows(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def shapley(f: Any, x: Tensor, baseline: Tensor) -> Tensor:
    """Shapley values [features] of one row by their definition: a sum over all coalitions, in float64."""
    features = len(x)

    def value(coalition: tuple[int, ...]) -> Tensor:
        mixed = baseline.clone()
        mixed[list(coalition)] = x[list(coalition)]
        return f(mixed[None])[0].double()

    values = {c: value(c) for size in range(features + 1) for c in combinations(range(features), size)}
    result = torch.zeros(features, dtype=torch.float64)
    for i in range(features):
        for c in values:
            if i not in c:
                weight = factorial(len(c)) * factorial(features - len(c) - 1) / factorial(features)
                result[i] += weight * (values[tuple(sorted((*c, i)))] - values[c])
    return result


def same(got, wanted, tolerance=2e-6):
    """Equal within `tolerance` of the largest value, in the same form."""
    assert isinstance(got, tuple) == isinstance(wanted, tuple)
    pairs = zip(got, wanted, strict=True) if isinstance(got, tuple) else [(got, wanted)]
    for g, w in pairs:
        assert g.shape == w.shape
        torch.testing.assert_close(
            g, w.detach().to(g.dtype), atol=tolerance * max(1.0, w.abs().max().item()), rtol=0
        )


class Fixed(Baseline):
    """Baselines given as tensors."""

    name = "fixed"

    def __init__(self, *values: Tensor, is_distribution: bool = False):
        self.values, self.is_distribution = values, is_distribution  # type: ignore[misc]

    def __call__(self, modalities, train, inputs, streams):
        return self.values


def examples(*inputs: Tensor, index: Tensor | None = None, context: tuple[Tensor, ...] = ()) -> Examples:
    """Rows with labels 0, numbered from 0 unless told otherwise."""
    count = len(inputs[0])
    index = torch.arange(count) if index is None else index
    return Examples(inputs, torch.zeros(count, dtype=torch.long), index, context=context)


def make_explainer(
    method: Any,
    model: nn.Module | Explained,
    train: Examples,
    modalities: tuple[Modality, ...] | None = None,
    baseline: Baseline | None = None,
    arguments: dict[str, Any] | None = None,
    layer: str | None = None,
    guarded: str = "error",
    seed: int = 0,
    outputs: int = 3,
) -> Explainer:
    """An explainer; `method` is the name of a config, or a class."""
    spec = shipped("attribution", method)[method] if isinstance(method, str) else {}
    factory = build({**spec["method"], "_partial_": True}) if spec else method
    modalities = modalities or tuple(Modality(tuple(x.shape[1:])) for x in train.inputs)
    own = build(spec["baseline"]) if "baseline" in spec else None
    return explainer_of(factory)(
        method if isinstance(method, str) else made_by(method).__name__,
        factory,
        model if isinstance(model, Explained) else Explained(model),
        modalities,
        Classification(tuple(str(i) for i in range(outputs))),
        train,
        baseline or own or Fixed(*(torch.zeros_like(x[:1]) for x in train.inputs)),
        Streams(seed),
        {**(spec.get("arguments") or {}), **(arguments or {})},
        layer or spec.get("layer"),
        guarded,
    )


def make_explicand(explainer: Explainer, rows: Examples, choice: str | int = "predicted") -> Explicand:
    """The rows as the explainer reads them."""
    return explicand(explainer.model, explainer.modalities, explainer.task, rows, choice)


COMPLETE = (
    "integrated_gradients", "deep_lift", "shapley_values", "shapley_value_sampling", "kernel_shap", "feature_ablation",
    "occlusion", "gradient_shap", "deep_lift_shap", "input_x_gradient",
)  # fmt: skip
"""Methods whose attributions of a linear network are weight x (input - baseline) (input x gradient: baseline 0)."""
