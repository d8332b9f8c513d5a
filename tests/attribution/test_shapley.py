"""Shapley values by their definition, a sum over all coalitions, against every method that gives or estimates them."""

import pytest
import torch
from known_networks import Products, random_mlp, random_rows, shapley

from salience.attribution import batched


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
