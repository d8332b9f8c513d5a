"""Tables made by known functions: what matters in each row is known, so explanations can be checked."""

import math

import torch
from torch import Tensor

from ..modality import Tabular
from ..randomness import Streams
from .arguments import require_number, require_whole
from .base import Classification, Data, split_rows, splits, take

OFF_ON = Classification(("off", "on"))
L2X = "Chen, Song, Wainwright and Jordan (2018), Learning to Explain, ICML; its code's formulas"


def linear(
    seed: int = 0,
    examples: int = 1000,
    informative: int = 5,
    correlated: int = 2,
    suppressors: int = 1,
    irrelevant: int = 2,
    correlation: float = 0.9,
    noise: float = 0.1,
    validation: float = 0.1,
    test: float = 0.5,
) -> Data:
    """Linear: known weights, with columns that only correlate and columns that only take noise away.

    Informative columns weigh 1, -0.8, 0.6, ... A correlated column follows an informative one (`correlation`)
    and weighs nothing. A suppressor is the disturbance inside an informative column: alone it tells nothing
    about the class, yet it weighs. `relevant` are the columns that weigh. `noise` is the deviation of what is
    added to the weighted sum before its sign is taken, in deviations of that sum: a share atan(noise) / pi of
    the labels is wrong. Columns have mean 0 and deviation 1. Suppressors: Haufe et al. (2014), NeuroImage.
    """
    require_whole("examples", examples, 1)
    require_whole("informative", informative, max(1, suppressors))
    for key, count in (("correlated", correlated), ("suppressors", suppressors), ("irrelevant", irrelevant)):
        require_whole(key, count, 0)
    require_number("correlation", correlation, -1, 1)
    require_number("noise", noise, 0)
    generator = Streams(seed).generator("synthetic")
    signal = torch.randn(examples, informative, generator=generator)
    disturbance = torch.randn(examples, suppressors, generator=generator)
    observed = signal.clone()
    observed[:, :suppressors] = (signal[:, :suppressors] + disturbance) / math.sqrt(2)
    fresh = torch.randn(examples, correlated, generator=generator)
    followed = torch.arange(correlated) % informative
    followers = correlation * observed[:, followed] + math.sqrt(1 - correlation**2) * fresh
    filling = torch.randn(examples, irrelevant, generator=generator)
    inputs = torch.cat([observed, followers, disturbance, filling], 1)
    weights = _known_weights(informative, correlated, suppressors, irrelevant)
    total = inputs @ weights
    error = torch.randn(examples, generator=generator) * noise * total.std(correction=0)
    labels = (total + error > 0).long()
    columns = [f"informative {i}" for i in range(informative)]
    columns += [f"correlated with {i}" for i in followed.tolist()]
    columns += [f"suppressor of {i}" for i in range(suppressors)]
    columns += [f"irrelevant {i}" for i in range(irrelevant)]
    return Data(
        (Tabular((len(columns),), "table", columns=tuple(columns)),),
        OFF_ON,
        **splits(
            split_rows(labels, OFF_ON, seed, validation, test),
            (inputs,),
            labels,
            relevant=(weights != 0).expand(examples, -1),
        ),
        title="Linear, with correlated and suppressor columns",
        source="made by salience",
        weights=torch.stack([-weights, weights]),
    )


def _known_weights(informative: int, correlated: int, suppressors: int, irrelevant: int) -> Tensor:
    """Weights per column; those of suppressors take the disturbance out: the sum reads the signals alone."""
    of_signal = torch.arange(informative, 0, -1) / informative * (-1.0) ** torch.arange(informative)
    of_observed = of_signal.clone()
    of_observed[:suppressors] *= math.sqrt(2)
    nothing = torch.zeros
    return torch.cat([of_observed, nothing(correlated), -of_signal[:suppressors], nothing(irrelevant)])


def sigmoid_unit(seed: int = 0) -> Data:
    """The four points of a sigmoid unit with weights 1, 1 and bias 0: outputs .7311 .7311 .8808 .5.

    Nothing is trained, so every split holds all four points, in that order; `seed` changes nothing.
    """
    points = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    four = take(torch.arange(4), (points,), (points.sum(1) > 0).long())
    ones = torch.ones(2)
    return Data(
        (Tabular((2,), "inputs", columns=("x1", "x2")),),
        OFF_ON,
        train=four,
        validation=four,
        test=four,
        title="Four points of a sigmoid unit",
        source="made by salience",
        weights=torch.stack([-ones, ones]),
    )


def xor(seed: int = 0, examples: int = 4000, noise: float = 0.0) -> Data:
    """XOR: on where two of ten columns differ in sign (L2X)."""
    x = _normal(seed, examples)
    return _l2x("XOR of two columns", x, x[:, 0] * x[:, 1], _first(x, 2), seed, noise)


def orange_skin(seed: int = 0, examples: int = 4000, noise: float = 0.0) -> Data:
    """Orange skin: on inside a sphere over four of ten columns (L2X)."""
    x = _normal(seed, examples)
    return _l2x("Orange skin over four columns", x, _orange(x), _first(x, 4), seed, noise)


def additive(seed: int = 0, examples: int = 4000, noise: float = 0.0) -> Data:
    """Nonlinear additive: four of ten columns, each through its own function (L2X).

    -100 sin(0.2 x1) + |x2| + x3 + exp(-x4) - 2.4, as in the code: the first column outweighs the other three.
    """
    x = _normal(seed, examples)
    return _l2x("Nonlinear additive", x, _additive(x), _first(x, 4), seed, noise)


def switch(seed: int = 0, examples: int = 4000, noise: float = 0.0) -> Data:
    """Switch: the tenth column chooses between orange skin on columns 1-4 and additive on 5-8 (L2X).

    The released code copies where it should swap, so that half of its rows hold columns 1-4 twice; here they
    are independent. The tenth column (3 or -3, and noise) is relevant in every row.
    """
    x = _normal(seed, examples)
    x[:, 9] += torch.where(torch.arange(examples) % 2 == 0, 3.0, -3.0)
    up, column = x[:, 9:] > 0, torch.arange(10)
    g = torch.where(up[:, 0], _orange(x), _additive(x[:, 4:8]))
    chosen = torch.where(up, column < 4, (column >= 4) & (column < 8))
    return _l2x("Switch between two functions", x, g, chosen | (column == 9), seed, noise)


def _normal(seed: int, examples: int) -> Tensor:
    require_whole("examples", examples, 1)
    return torch.randn(examples, 10, generator=Streams(seed).generator("synthetic"))


def _l2x(title: str, x: Tensor, g: Tensor, relevant: Tensor, seed: int, noise: float) -> Data:
    """On with probability sigmoid(-g / noise).

    `noise=1` is the published form (labels are drawn); `noise=0` gives every row its likelier label.
    """
    require_number("noise", noise, 0)
    uniform = torch.rand(len(x), generator=Streams(seed).generator("synthetic labels"))
    labels = (g + noise * torch.logit(uniform, eps=1e-7) < 0).long()
    columns = tuple(f"x{i + 1}" for i in range(x.shape[1]))
    return Data(
        (Tabular((len(columns),), "table", columns=columns),),
        OFF_ON,
        **splits(split_rows(labels, OFF_ON, seed), (x,), labels, relevant=relevant),
        title=title,
        source=L2X,
    )


def _first(x: Tensor, count: int) -> Tensor:
    return (torch.arange(x.shape[1]) < count).expand(len(x), -1)


def _orange(x: Tensor) -> Tensor:
    return x[:, :4].square().sum(1) - 4


def _additive(x: Tensor) -> Tensor:
    return -100 * torch.sin(0.2 * x[:, 0]) + x[:, 1].abs() + x[:, 2] + torch.exp(-x[:, 3]) - 2.4
