"""Shapley values by their definition, a sum over all coalitions, against every method that gives or estimates them."""

import pytest
import torch
from known_networks import Products, random_mlp, random_rows, shapley

from salience.attribution import batched
from salience.attribution.batched.coalitions import Game
from salience.attribution.batched.sampling import kernel_mass, strata
from salience.attribution.batched.surrogates import coalitions, constrained_fit
from salience.attribution.planner import Call


@pytest.mark.parametrize("features", [1, 2, 3, 6, 10])
def test_exact_shapley_values(features):
    network = Products(features)
    x, b = random_rows(2, features), random_rows(2, features, seed=5)
    wanted = torch.stack([shapley(lambda z: network(z)[:, 1], x[i], b[i]) for i in range(2)]).detach()
    for method in (batched.ShapleyValues, batched.KernelShap, batched.ShapleyValueSampling):
        exact = {} if method is batched.ShapleyValues else {"exact": True}
        got = method(network).attribute(x, b, target=1, **exact)
        torch.testing.assert_close(got.double(), wanted, atol=2e-5, rtol=0)


@pytest.mark.parametrize("features", [2, 3, 5, 8])
def test_sampling_comes_near(features):
    """300 orders of a function whose values differ by s in each step: the error is a few s / sqrt(300)."""
    network = Products(features)
    x, b = random_rows(1, features), torch.zeros(1, features)
    wanted = shapley(lambda z: network(z)[:, 0], x[0], b[0]).detach()
    scale = wanted.abs().max().clamp(min=0.1)
    change = (network(x) - network(b))[0, 0]
    for antithetic in (False, True):
        got = batched.ShapleyValueSampling(network).attribute(
            x, b, target=0, n_samples=300, exact=False, antithetic=antithetic,
            generators=[torch.Generator().manual_seed(3)],
        )  # fmt: skip
        assert (got[0] - wanted).abs().max() < 0.25 * scale
        torch.testing.assert_close(got.sum(), change, atol=1e-4, rtol=0)
    for paired in (False, True):
        got = batched.KernelShap(network).attribute(
            x,
            b,
            target=0,
            n_samples=600,
            exact=False,
            paired=paired,
            generators=[torch.Generator().manual_seed(4)],
        )
        assert (got[0] - wanted).abs().max() < 0.25 * scale
        torch.testing.assert_close(got.sum(), change, atol=1e-4, rtol=0)


def test_sampling_gets_better_with_more_samples():
    network, x, b = random_mlp(8), random_rows(4, 8), torch.zeros(1, 8)
    wanted = batched.ShapleyValues(network).attribute(x, b, target=0)

    def error(method, **arguments):
        generators = [torch.Generator().manual_seed(i) for i in range(4)]
        got = method(network).attribute(x, b, target=0, exact=False, generators=generators, **arguments)
        return (got - wanted).abs().mean().item()

    for method in (batched.ShapleyValueSampling, batched.KernelShap):
        assert error(method, n_samples=1600) < 0.5 * error(method, n_samples=40)


def test_shapley_values_of_groups_across_inputs():
    """Two inputs, one feature that lies in both: players are the features, not the elements."""
    network = Products(4)

    def both(a, b):
        return network(torch.cat([a, b], 1))

    x = random_rows(1, 4)
    mask = torch.tensor([[0, 1]]), torch.tensor([[1, 2]])
    got = batched.ShapleyValues(both).attribute((x[:, :2], x[:, 2:]), target=0, feature_mask=mask)

    def grouped(z):  # of three switches
        return network(z[:, [0, 1, 1, 2]] * x)[:, 0]

    wanted = shapley(grouped, torch.ones(3), torch.zeros(3)).detach()
    torch.testing.assert_close(torch.cat(got, 1)[0].double(), wanted[[0, 1, 1, 2]], atol=2e-5, rtol=0)


def test_a_feature_that_equals_its_baseline_is_no_player():
    network, x = Products(5), random_rows(1, 5)
    b = torch.zeros(1, 5)
    b[0, 2] = x[0, 2]
    wanted = shapley(lambda z: network(z)[:, 0], x[0], b[0]).detach()
    for method, exact in ((batched.ShapleyValues, {}), (batched.KernelShap, {"exact": True})):
        got = method(network).attribute(x, b, target=0, **exact)
        assert got[0, 2] == 0
        torch.testing.assert_close(got[0].double(), wanted, atol=2e-5, rtol=0)


@pytest.mark.parametrize("shared", [False, True])
def test_fewer_coalitions_than_features_give_the_least_deviation(shared):
    """The solution of least norm, found by least squares over each row's own coalitions (float64)."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 12, generator=generator)
    x[1, 4:6] = 0.0  # no players
    network = Products(12)
    game = Game(Call(network, x, None, 0))
    shown, weight = coalitions(game, 8, paired=True, shared=shared, generators=None)
    assert shown.shape[1] == 8
    got = constrained_fit(game, shown, weight).double()
    values = game.values(shown).double()
    full, empty = game.call.all_scores().double(), game.call.baseline_scores().double()
    for row in range(3):
        players = game.players[row]
        member = shown[min(row, len(shown) - 1)][:, players].double()
        even = (full[row] - empty[row]) / players.sum()
        relative = member - member.mean(1, keepdim=True)
        rest = values[row] - empty[row] - member.sum(1) * even
        wanted = torch.linalg.pinv(relative, rtol=1e-8) @ rest + even
        torch.testing.assert_close(got[row][players], wanted, atol=1e-5, rtol=1e-4)
        assert (got[row][~players] == 0).all()


@pytest.mark.parametrize(
    ("players", "count"), [(10, 198), (8, 100), (30, 198), (5, 100), (2, 10), (3, 4), (12, 23)]
)
def test_strata_keep_the_kernel(players, count):
    """Whole sizes have each of their coalitions once; together, every size weighs what the Shapley kernel gives it."""
    plan = strata(players, count)
    taken, weights = plan.taken, torch.tensor(plan.weights)
    assert len({tuple(row.tolist()) for row in taken}) == len(taken)
    assert len(taken) + plan.drawn == len(weights) <= count
    mass = torch.tensor(kernel_mass(players))
    sizes = torch.bincount(taken.sum(1), weights[: len(taken)], players + 1)[1:players]
    whole = torch.tensor([min(k, players - k) <= plan.whole for k in range(1, players)])
    torch.testing.assert_close(sizes, torch.where(whole, mass, 0.0).to(sizes.dtype))
    torch.testing.assert_close(weights[len(taken) :].sum(), mass[~whole].sum())


def test_taking_sizes_whole_comes_nearer():
    """Ten features and 200 samples: the singles are all there, and the error is no larger than by draws alone."""
    network, x = Products(10), random_rows(8, 10)
    exact = batched.ShapleyValues(network).attribute(x, target=0)
    game = Game(Call(network, x, None, 0))
    errors = []
    for seed in range(10):
        torch.manual_seed(seed)
        shown, weight = coalitions(game, 198, paired=True, shared=False, generators=None)
        assert weight is not None and set(shown[0].sum(1).tolist()) >= {1, 9}
        errors.append((constrained_fit(game, shown, weight) - exact).square().mean().sqrt())
        torch.manual_seed(seed)
        plain, _ = coalitions(game, 198, paired=False, shared=False, generators=None)
        errors[-1] /= (constrained_fit(game, plain) - exact).square().mean().sqrt()
    assert torch.stack(errors).median() < 0.6
