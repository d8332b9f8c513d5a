"""Attributions that can be worked out by hand: what Captum's own tests know, linear and additive functions."""

import captum.attr
import pytest
import torch
from known_networks import (
    Additive,
    NetworkB,
    NetworkC,
    NetworkD,
    NetworkE,
    NetworkP,
    linear,
    network_a,
    network_l,
    random_rows,
)
from torch import nn

import salience
from salience.attribution import batched
from salience.attribution.methods import FeaturePermutation

pytestmark = pytest.mark.filterwarnings("ignore:Input Tensor", "ignore:Setting forward")  # Captum narrates
BOTH = pytest.mark.parametrize("of", [batched, captum.attr], ids=["ours", "captum"])
PAIR = (torch.tensor([[3.0]]), torch.tensor([[1.0]]))


def close(got, wanted, tolerance=1e-4):
    got = torch.cat([g.flatten() for g in got]) if isinstance(got, tuple) else got
    torch.testing.assert_close(got.flatten(), torch.tensor(wanted).flatten(), atol=tolerance, rtol=0)


# -- gradients ---------------------------------------------------------------------------------------------------------


@BOTH
def test_integrated_gradients_of_nested_relu(of):
    close(of.IntegratedGradients(NetworkB()).attribute(PAIR, n_steps=600), [1.5, -0.5], 1e-2)
    close(of.IntegratedGradients(NetworkB(), False).attribute(PAIR, n_steps=600), [0.5, -0.5], 1e-2)


@BOTH
def test_integrated_gradients_of_one_hidden_relu(of):
    x = torch.tensor([[0.0, 100.0, 0.0]])
    got, delta = of.IntegratedGradients(network_a()).attribute(
        x, target=0, n_steps=1000, return_convergence_delta=True
    )
    close(got, [0.0, 389.97, 0.0], 0.02)
    close(delta, [389.97 - 390.0], 0.02)
    ones = of.IntegratedGradients(network_a(), multiply_by_inputs=False)
    close(ones.attribute(torch.full((1, 3), 100.0), target=0, n_steps=1000), [1190 / 300] * 3, 2e-3)


def test_integrated_gradients_until_complete():
    method = batched.IntegratedGradients(network_a())
    x = torch.tensor([[0.0, 100.0, 0.0], [0.0, 5.0, 0.0]])
    got, delta = method.attribute(x, target=0, n_steps="auto", return_convergence_delta=True)
    assert delta.abs().le(1e-3 * torch.tensor([390.0, 15.0]) + 1e-4).all()
    close(got[:, 1], [390.0, 15.0], 0.4)
    assert method.details["steps"].tolist()[1] == 50, "linear on the way: nothing to refine"


@pytest.mark.parametrize("method", ["saliency", "input_x_gradient"])
def test_gradients(method):
    wanted = {"saliency": [4.0, 4.0, 4.0], "input_x_gradient": [0.0, 400.0, 0.0]}[method]
    close(
        salience.explain(network_a(), torch.tensor([[0.0, 100.0, 0.0]]), method, target=0).attributions,
        wanted,
    )


@BOTH
def test_deep_lift_of_two_relus(of):
    pair = torch.tensor([[1.0]]), torch.tensor([[2.0]])
    got, delta = of.DeepLift(NetworkC()).attribute(pair, return_convergence_delta=True)
    close(got, [2.0, 1.0])
    close(delta, [0.0])
    close(of.DeepLift(NetworkC(), multiply_by_inputs=False).attribute(pair), [2.0, 0.5])


@BOTH
def test_deep_lift_of_nested_relu(of):
    """The rescale rule: relu(3 - 1 - 1) from relu(-1), so a change of 1 for inputs that changed by 2."""
    close(of.DeepLift(NetworkB()).attribute(PAIR), [1.5, -0.5])


@BOTH
def test_deep_lift_of_a_sum_of_relus(of):
    pair = torch.tensor([[1.0, 2.0, 5.0]]), torch.tensor([[1.0, 1.0, 7.0]])
    close(of.DeepLift(NetworkD()).attribute(pair), [3.0, 2.0, 0.0, 2.0, 3.0, 0.0])


@BOTH
def test_deep_lift_shap_averages_its_baselines(of):
    pair = torch.tensor([[1.0]]), torch.tensor([[2.0]])
    pool = torch.tensor([[0.0], [-1.0]]), torch.tensor([[0.0], [1.0]])
    single = [of.DeepLift(NetworkC()).attribute(pair, tuple(p[i : i + 1] for p in pool)) for i in range(2)]
    wanted = [sum(s[k].item() for s in single) / 2 for k in range(2)]
    close(of.DeepLiftShap(NetworkC()).attribute(pair, pool), wanted)
    assert sum(wanted) == pytest.approx(2 * 1 + 2 * 0.5), "f(x) - mean f(baselines)"


def test_deep_lift_through_max_pool_alone():
    x = torch.tensor([[3.0, 8.0, 1.0, 2.0]])
    close(batched.DeepLift(NetworkP()).attribute(x), [0.0, 8.0, 0.0, 0.0])
    # With a baseline of which another element is the largest: max(y, y_ref) = 8, so the winner of x gets 8 - 5
    # and the winner of the reference the rest, 0.
    close(
        batched.DeepLift(NetworkP()).attribute(x, torch.tensor([[5.0, 1.0, 1.0, 1.0]])), [0.0, 3.0, 0.0, 0.0]
    )


def test_deep_lift_of_the_image_network_is_complete():
    image = torch.arange(16.0).reshape(1, 1, 4, 4)
    network = NetworkE()
    # Convolutions: the four 3x3 sums 45, 54, 81, 90; channel 1 gives 0, 4, 31, 40 and channel 2 gives 0, 0, 6, 15.
    assert network(image)[0].tolist() == [0 + 4 + 31 + 40 + 0 - 0 - 6 - 15.0] * 4
    got, delta = batched.DeepLift(network).attribute(image, target=0, return_convergence_delta=True)
    assert got.sum().item() == pytest.approx(54.0, abs=1e-3)
    close(delta, [0.0], 1e-3)


# -- relevance ---------------------------------------------------------------------------------------------------------


def test_lrp_of_two_layers_by_hand():
    """Each hidden unit is 2 (1 + 2 + 3) = 12 and gives 3 x 12; a third of 6, 12 and 18 of each 36 goes back."""
    x = torch.tensor([[1.0, 2.0, 3.0]])
    close(batched.LRP(network_l()).attribute(x, target=0), [18.0, 36.0, 54.0], 1e-3)


def test_lrp_with_a_negative_weight():
    """The first unit is -2 + 4 + 6 = 8 and gives 24, shared as -2, 4, 6 of 8; the other two as before."""
    x = torch.tensor([[1.0, 2.0, 3.0]])
    first = [24 * share / 8 for share in (-2, 4, 6)]
    rest = [2 * 36 * share / 12 for share in (2, 4, 6)]
    wanted = [a + b for a, b in zip(first, rest, strict=True)]
    close(batched.LRP(network_l(negative=True)).attribute(x, target=0), wanted, 1e-3)


# -- perturbation ------------------------------------------------------------------------------------------------------

ROW = torch.tensor([[20.0, 50.0, 30.0]])
TWO = torch.tensor([[2.0, 10.0, 3.0], [20.0, 50.0, 30.0]])
SHARED = torch.tensor([[0, 0, 1]])


@BOTH
@pytest.mark.parametrize(
    ("x", "mask", "baseline", "wanted"),
    [
        (ROW, None, 0, [80, 200, 120]),
        (ROW, SHARED, 0, [280, 280, 120]),
        (ROW, SHARED, 4, [248, 248, 104]),
        (TWO, torch.tensor([[0, 0, 1], [1, 1, 0]]), 0, [41, 41, 12, 280, 280, 120]),
    ],
)
def test_feature_ablation(of, x, mask, baseline, wanted):
    got = of.FeatureAblation(network_a()).attribute(x, baseline, target=0, feature_mask=mask)
    close(got, [float(w) for w in wanted])


@BOTH
@pytest.mark.parametrize(
    ("window", "strides", "baseline", "wanted"),
    [((1,), None, 0, [80, 200, 120]), ((2,), None, 10, [200, 220, 240]), ((2,), 2, 0, [280, 280, 120])],
)
def test_occlusion(of, window, strides, baseline, wanted):
    """Without strides Captum moves its window by one; ours is called with what Captum does."""
    strides = 1 if strides is None else strides
    got = of.Occlusion(network_a()).attribute(ROW, window, strides=strides, baselines=baseline, target=0)
    close(got, [float(w) for w in wanted])


@BOTH
@pytest.mark.parametrize(
    ("x", "mask", "baseline", "wanted"),
    [
        (ROW, None, 0, [76.66666, 196.66666, 116.66666]),
        (TWO[:1], None, 0, [7.0, 32.5, 10.5]),
        (ROW, SHARED, 0, [275.0, 275.0, 115.0]),
        (ROW, SHARED, 4, [248.0, 248.0, 104.0]),
    ],
)
def test_shapley_values(of, x, mask, baseline, wanted):
    close(of.ShapleyValues(network_a()).attribute(x, baseline, target=0, feature_mask=mask), wanted, 1e-3)


@BOTH
def test_kernel_shap_where_the_function_is_linear(of):
    torch.manual_seed(0)
    got = of.KernelShap(network_a()).attribute(
        ROW, torch.tensor([[10.0, 20.0, 10.0]]), target=0, n_samples=100
    )
    close(got, [40.0, 120.0, 80.0], 0.05)


def test_kernel_shap_where_it_is_not():
    generators = [torch.Generator().manual_seed(0)]
    method = batched.KernelShap(network_a())
    got = method.attribute(ROW, target=0, n_samples=500, exact=False, generators=generators)
    close(got, [76.5, 196.7, 116.7], 0.6)
    close(method.attribute(ROW, target=0), [76.66666, 196.66666, 116.66666], 1e-3)


# -- linear and additive functions -------------------------------------------------------------------------------------

WEIGHT = torch.tensor([[1.0, -2.0, 0.5, 3.0], [0.0, 1.0, 1.0, -1.0]])
X, B = random_rows(3, 4), random_rows(3, 4, seed=1)


@pytest.mark.parametrize(
    "method",
    ["integrated_gradients", "deep_lift", "feature_ablation", "occlusion", "shapley_values", "shapley_value_sampling",
     "kernel_shap"],
)  # fmt: skip
@pytest.mark.parametrize("network", ["linear", "bare"])
def test_linear_network_gives_weight_times_change(method, network):
    layer = linear(WEIGHT, [0.3, -0.2])
    model = layer if network == "bare" else nn.Sequential(layer)
    for exact in ({"exact": False}, {}) if method in ("kernel_shap", "shapley_value_sampling") else ({},):
        got = salience.explain(model, X, method, target=[0, 1, 0], baselines=B, **exact).attributions[0]
        torch.testing.assert_close(got, WEIGHT[[0, 1, 0]] * (X - B), atol=2e-5, rtol=0)


@pytest.mark.parametrize(
    "method", ["gradient_shap", "deep_lift_shap", "input_x_gradient", "lrp", "smooth_grad"]
)
def test_linear_network_by_methods_of_another_kind(method):
    """One baseline repeated is a distribution too; without biases relevance is weight x input."""
    layer = linear(WEIGHT)
    if method in ("gradient_shap", "deep_lift_shap"):
        got = salience.explain(layer, X, method, target=1, baselines=B[:1].repeat(2, 1))
        wanted = WEIGHT[1] * (X - B[0])
    else:
        got = salience.explain(layer, X, method, target=1)
        wanted = WEIGHT[1].expand(3, 4) if method == "smooth_grad" else WEIGHT[1] * X
    torch.testing.assert_close(got.attributions[0], wanted, atol=1e-5, rtol=0)


def test_permutation_of_a_linear_network_compares_with_the_mean_of_its_pool():
    """Each replacement is a pool row; with one row in the pool nothing is random."""
    got = FeaturePermutation(linear(WEIGHT)).attribute(X, B[:1], target=0, n_samples=3)
    torch.testing.assert_close(got, WEIGHT[0] * (X - B[0]), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "method",
    [
        "integrated_gradients",
        "feature_ablation",
        "occlusion",
        "shapley_values",
        "shapley_value_sampling",
        "kernel_shap",
    ],
)
def test_additive_function_gives_each_term_to_its_input(method):
    c = torch.tensor([1.0, -1.0, 2.0, 0.0])
    got = salience.explain(Additive(c), X, method).attributions[0]
    torch.testing.assert_close(got, c * (X + X**2), atol=2e-5, rtol=0)
