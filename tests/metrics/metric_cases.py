"""Networks whose answer is known, methods given as a formula, and the same example with and without padding."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor, nn

from salience.attribution.explanation import Explained, Explanation, Explicand, at_target
from salience.data.base import Classification, Data, Examples
from salience.metrics.base import Reference
from salience.modality import Tabular

Formula = Callable[[tuple[Tensor, ...], Tensor, Tensor], tuple[Tensor, ...]]


class Linear(nn.Module):
    """Outputs are weighted sums of all elements of all inputs; padding masks in the context are ignored."""

    def __init__(self, *weights: Tensor):
        super().__init__()
        self.weights = nn.ParameterList(nn.Parameter(w, requires_grad=False) for w in weights)
        """One [outputs, elements] per input."""

    def forward(self, *inputs: Tensor) -> Tensor:
        used = zip(inputs, self.weights, strict=False)
        return sum(x.reshape(len(x), -1) @ w.T for x, w in used)  # type: ignore[return-value]


class Curved(nn.Module):
    """A small smooth network over all elements of all inputs."""

    def __init__(self, elements: int, outputs: int = 3, seed: int = 0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.first = nn.Parameter(torch.randn(16, elements, generator=generator) / elements**0.5)
        self.second = nn.Parameter(torch.randn(outputs, 16, generator=generator))

    def forward(self, *inputs: Tensor) -> Tensor:
        flat = torch.cat([x.reshape(len(x), -1) for x in inputs], 1)
        return torch.tanh(flat @ self.first.T) @ self.second.T


class Bag(nn.Module):
    """Reads embedded tokens [rows, length, width] and a padding mask: the sum over real tokens decides."""

    def __init__(self, width: int, outputs: int = 2, seed: int = 0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(outputs, width, generator=generator))

    def forward(self, tokens: Tensor, padded: Tensor) -> Tensor:
        return torch.tanh(tokens.masked_fill(padded[..., None], 0.0).sum(1)) @ self.weight.T


class Method:
    """Stands in for an explainer: attributions by a formula of (inputs, target, index), or of a network as well.

    `of` makes the formula of a network, for metrics that ask what the method says of another one.
    """

    takes_baselines, takes_distribution = True, False

    def __init__(self, model: nn.Module, formula: Formula, of: Callable[[nn.Module], Formula] | None = None):
        self.model = model if isinstance(model, Explained) else Explained(model)
        self.formula = formula
        self.of = of or getattr(formula, "of", None)

    def on(self, model: Explained) -> "Method":
        return Method(model, self.formula if self.of is None else self.of(model), self.of)

    def comparing_with(self, baseline) -> "Method":
        return self

    def attribute(self, inputs, baselines, target, index, context, feature_mask):
        self.context = context
        return self.formula(inputs, target, index), None

    def explain(self, x: Explicand) -> Explanation:
        return Explanation(**vars(x), attributions=self.formula(x.inputs, x.target, x.index))


def gradient_times_input(model: nn.Module, context: tuple[Tensor, ...] = ()) -> Formula:
    """Of the target's score."""

    def formula(inputs: tuple[Tensor, ...], target: Tensor, index: Tensor) -> tuple[Tensor, ...]:
        leaves = tuple(x.detach().requires_grad_() for x in inputs)
        score = at_target(model(*leaves, *context), target).sum()
        return tuple(g * x.detach() for g, x in zip(torch.autograd.grad(score, leaves), leaves, strict=True))

    formula.of = lambda other: gradient_times_input(other, context)  # type: ignore[attr-defined]
    return formula


def explained(
    method: Method,
    *inputs: Tensor,
    mask: tuple[Tensor, ...] | None = None,
    present: Tensor | None = None,
    context: tuple[Tensor, ...] = (),
    target: Tensor | None = None,
    **fields,
) -> Explanation:
    """The explanation that `method` gives of `inputs`; every element is a feature unless `mask` says otherwise."""
    count = len(inputs[0])
    if mask is None:
        starts = [0, *torch.tensor([x[0].numel() for x in inputs]).cumsum(0).tolist()]
        mask = tuple(
            torch.arange(s, s + x[0].numel()).reshape(1, *x.shape[1:])
            for s, x in zip(starts, inputs, strict=False)
        )
    if present is None:
        present = torch.ones(count, int(max(m.max() for m in mask)) + 1, dtype=torch.bool)
    with torch.no_grad():
        outputs = method.model(*inputs, *context)
    target = outputs.argmax(1) if target is None else target
    index = fields.pop("index", torch.arange(count))
    return Explanation(
        raw=inputs,
        inputs=inputs,
        context=context,
        feature_mask=mask,
        present=present,
        target=target,
        score=at_target(outputs, target),
        index=index,
        num_outputs=outputs.shape[1],
        attributions=method.formula(inputs, target, index),
        task=Classification(tuple("abcdefgh"[: outputs.shape[1]])),
        **fields,
    )


def with_map(explanation: Explanation, values: Tensor) -> Explanation:
    """The same examples with other attributions [examples, features], one element per feature."""
    return replace(explanation, attributions=(values.reshape(explanation.inputs[0].shape),))


def zeros(explanation: Explanation) -> Reference:
    """A reference of zeros."""
    return Reference(tuple(torch.zeros_like(x[:1]) for x in explanation.inputs))


def uniform(*shape: int, seed: int = 0) -> Tensor:
    """Random numbers within [-1, 1]."""
    return 2 * torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) - 1


def linear_case(weights: list[float], inputs: list[list[float]]) -> tuple[Method, Explanation]:
    """f(x) = weights . x with its exact attributions, explained at its only output."""
    w = torch.tensor([weights])
    model = Linear(w)
    method = Method(model, lambda xs, target, index: (xs[0] * w,))
    return method, explained(method, torch.tensor(inputs))


class Retrain:
    """Stands in for training: the network with other weights, the same whatever the data."""

    def __init__(self, model: nn.Module):
        self.model = model
        rows = Examples((uniform(10, 3),), torch.arange(10) % 2, torch.arange(10))
        self.data = Data((Tabular((3,)),), Classification(("a", "b")), rows, rows, rows)

    def __call__(self, data: Data) -> nn.Module:
        other, generator = deepcopy(self.model), torch.Generator().manual_seed(11)
        for parameter in other.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator)
        return other
