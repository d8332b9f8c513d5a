"""DeepLift: Captum's where Captum's is right, and complete where it is not."""

import captum.attr
import pytest
import torch
from known_networks import NetworkC, random_mlp, random_rows, same
from torch import nn

from salience.attribution import batched

pytestmark = pytest.mark.filterwarnings("ignore:Input Tensor", "ignore:Setting forward")
X, B = random_rows(4, 6), random_rows(4, 6, seed=1)


def test_deep_lift_where_captum_is_right():
    for activation in (nn.ReLU, nn.Tanh, nn.ELU, nn.Sigmoid, nn.LeakyReLU, nn.Softplus):
        model = random_mlp(activation=activation)
        for call in (dict(target=1), dict(target=[0, 1, 2, 0], baselines=B), dict(target=0, baselines=B[:1])):
            same(*(of.DeepLift(model).attribute(X, **call) for of in (batched, captum.attr)), 2e-5)
        ours, theirs = (of.DeepLiftShap(model).attribute(X, B[:3], target=2) for of in (batched, captum.attr))
        same(ours, theirs, 2e-5)


def test_deep_lift_of_two_inputs():
    x, b = (
        (random_rows(3, 1), random_rows(3, 1, seed=1)),
        (random_rows(2, 1, seed=2), random_rows(2, 1, seed=3)),
    )
    same(*(of.DeepLift(NetworkC()).attribute(x, (0.1, -0.2)) for of in (batched, captum.attr)), 1e-5)
    same(*(of.DeepLiftShap(NetworkC()).attribute(x, b) for of in (batched, captum.attr)), 1e-5)


def pooled(activation: nn.Module, pool: nn.Module, channels: int = 3, side: int = 10) -> nn.Sequential:
    """Convolution, activation, pooling, twice."""
    torch.manual_seed(3)
    body = nn.Sequential(
        nn.Conv2d(1, channels, 3, padding=1), activation, pool, nn.Conv2d(channels, 4, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(),
    )  # fmt: skip
    with torch.no_grad():
        width = body(torch.zeros(1, 1, side, side)).shape[1]
    return nn.Sequential(*body, nn.Linear(width, 8), nn.Tanh(), nn.Linear(8, 3)).eval()


def completeness(method, model, x, b):
    """The gap of completeness, as a share of the largest change of output."""
    attributions = method(model).attribute(x, b, target=1)
    with torch.no_grad():
        change = (model(x) - model(b))[:, 1]
    return ((attributions.flatten(1).sum(1) - change).abs().max() / change.abs().max()).item()


@pytest.mark.parametrize("pool", [nn.MaxPool2d(2), nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(3, 1)], ids=str)
def test_deep_lift_is_complete_with_pooling_where_captum_is_not(pool):
    x, b = random_rows(4, 1, 10, 10), random_rows(4, 1, 10, 10, seed=7)
    model = pooled(nn.ReLU(), pool)
    assert completeness(captum.attr.DeepLift, model, x, b) > 1e-2
    assert completeness(batched.DeepLift, model, x, b) < 1e-5


@pytest.mark.parametrize(
    "activation",
    [nn.ReLU(inplace=True), nn.ELU(), nn.GELU(), nn.SiLU(), nn.Tanh(), nn.PReLU(), nn.Hardswish(), nn.Mish(),
     nn.ReLU6(), nn.Softplus(), nn.ELU(inplace=True)],
    ids=str,
)  # fmt: skip
def test_deep_lift_is_complete_with_any_activation(activation):
    x, b = random_rows(4, 1, 10, 10), random_rows(4, 1, 10, 10, seed=7)
    assert completeness(batched.DeepLift, pooled(activation, nn.MaxPool2d(3, 2, 1)), x, b) < 1e-5


class Chain(nn.Module):
    """One activation module used three times, and non-linearities that follow each other directly."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.out = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.reused, self.tanh, self.silu = nn.ReLU(), nn.Tanh(), nn.SiLU()

    def forward(self, x):
        hidden = self.silu(self.tanh(self.reused(self.first(x))))
        return self.out(self.reused(self.second(self.reused(hidden)) + hidden))


def test_deep_lift_is_complete_with_a_reused_module():
    torch.manual_seed(0)
    model = Chain()
    with pytest.raises(RuntimeError, match="more than once|A Module"):
        captum.attr.DeepLift(model).attribute(X, B, target=1)
    assert completeness(batched.DeepLift, model, X, B) < 1e-5
    assert completeness(batched.DeepLift, model, X, B[:1]) < 1e-5


class Folded(nn.Module):
    """Activations see [rows x positions, width], or positions first, as recurrent code has it."""

    def __init__(self, positions_first: bool):
        super().__init__()
        self.positions_first, self.inner, self.tanh, self.out = (
            positions_first,
            nn.Linear(3, 5),
            nn.Tanh(),
            nn.Linear(20, 2),
        )

    def forward(self, x):
        rows = len(x)
        folded = x.transpose(0, 1) if self.positions_first else x.reshape(-1, 3)
        hidden = self.tanh(self.inner(folded))
        hidden = hidden.transpose(0, 1) if self.positions_first else hidden.reshape(rows, 4, 5)
        return self.out(hidden.flatten(1))


@pytest.mark.parametrize("positions_first", [False, True])
@pytest.mark.parametrize("references", [1, 4])
def test_deep_lift_where_activations_have_other_rows_than_the_batch(positions_first, references):
    torch.manual_seed(1)
    model, x, b = Folded(positions_first), random_rows(4, 4, 3), random_rows(references, 4, 3, seed=2)
    assert completeness(batched.DeepLift, model, x, b) < 1e-5
    pool = random_rows(3, 4, 3, seed=5)
    got, delta = batched.DeepLiftShap(model).attribute(x, pool, target=0, return_convergence_delta=True)
    assert delta.abs().max() < 1e-5


class InPlace(nn.Module):
    """What follows an activation and a pool changes their outputs in place."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.act, self.pool = nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2)
        self.outer, self.end = nn.Linear(27, 6), nn.ReLU(inplace=True)
        self.last = nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.inner(x))
        x *= 2
        x = self.pool(x)
        x += 0.5
        return self.last(self.end(self.outer(x.flatten(1))))


def test_what_changes_an_output_in_place_does_no_harm():
    model, x, pool = InPlace().eval(), random_rows(3, 64).reshape(3, 1, 8, 8), random_rows(5, 64, seed=1)
    for method, baselines in (
        (batched.DeepLift, None),
        (batched.DeepLiftShap, pool.reshape(5, 1, 8, 8)),
    ):
        _, delta = method(model).attribute(x, baselines, target=1, return_convergence_delta=True)
        assert delta.abs().max() < 1e-5
