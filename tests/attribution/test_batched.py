"""The twins of Captum's looping methods: the same values for the same draws, the same arguments, fewer rows."""

import captum.attr
import numpy as np
import pytest
import torch
from captum._utils.models.linear_model import SkLearnRidge
from captum.attr._core.lime import LimeBase, get_exp_kernel_similarity_function
from known_networks import Products, random_mlp, random_rows, same
from torch import nn

from salience.attribution import batched
from salience.attribution.batched import coalitions
from salience.attribution.batched.coalitions import Game
from salience.attribution.batched.surrogates import _ridge_of_few, _ridge_of_many, constrained_fit
from salience.attribution.explanation import Explained
from salience.attribution.planner import Call

pytestmark = pytest.mark.filterwarnings("ignore:Input Tensor", "ignore:Setting forward", "ignore:.*converge")

MLP = random_mlp()
X, B = random_rows(4, 6), random_rows(4, 6, seed=1)
TARGETS = [None, 1, [0, 2, 1, 1], torch.tensor([0, 2, 1, 1]), torch.tensor(1)]


class TwoInputs(nn.Module):
    """Reads a vector [rows, 3] and an image [rows, 1, 2, 2], which interact; one or three outputs."""

    def __init__(self, outputs: int = 3):
        super().__init__()
        self.body = random_mlp(7, outputs, seed=2)

    def forward(self, a, b):
        return self.body(torch.cat([a, b.flatten(1) * a[:, :1]], 1))


class OneNumber(nn.Module):
    """One number per row, without a second axis."""

    def forward(self, x):
        return torch.tanh(x).prod(1) + x[:, 0] ** 2


class Context(nn.Module):
    """Reads positions [rows, 4, 3], a table that mixes positions [4, 4] and a number for every row."""

    def forward(self, x, mixing, scale):
        return torch.tanh(mixing @ x).sum((1, 2))[:, None] * torch.stack([scale, -scale], 1)


def pair():
    return random_rows(4, 3), random_rows(4, 1, 2, 2, seed=3)


# -- integrated gradients ----------------------------------------------------------------------------------------------

RULES = ["gausslegendre", "riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid"]


@pytest.mark.parametrize("rule", RULES)
def test_integrated_gradients_by_every_rule(rule):
    for target, baselines in zip(TARGETS[1:], [None, 0.3, B[:1], B], strict=True):
        call = dict(baselines=baselines, target=target, n_steps=13, method=rule)
        for factor in (True, False):
            ours, theirs = (of.IntegratedGradients(MLP, factor) for of in (batched, captum.attr))
            same(ours.attribute(X, **call), theirs.attribute(X, **call))


@pytest.mark.parametrize("rows", [None, 1, 7])
def test_integrated_gradients_of_two_inputs(rows):
    inputs, baselines = pair(), (random_rows(4, 3, seed=4), random_rows(1, 1, 2, 2, seed=5))
    call = dict(baselines=baselines, target=2, n_steps=9, return_convergence_delta=True)
    got, delta = batched.IntegratedGradients(TwoInputs()).attribute(inputs, internal_batch_size=rows, **call)
    wanted, theirs = captum.attr.IntegratedGradients(TwoInputs()).attribute(inputs, **call)
    same(got, wanted)
    same(delta, theirs, 1e-5)


def test_integrated_gradients_of_one_row_and_of_one_number_per_row():
    for method in (batched.IntegratedGradients, captum.attr.IntegratedGradients):
        assert method(MLP).attribute(X[:1], target=0).shape == (1, 6)
    for x in (X, X[:1]):
        same(*(of.IntegratedGradients(OneNumber()).attribute(x) for of in (batched, captum.attr)))


# -- ablation ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", TARGETS[1:], ids=str)
@pytest.mark.parametrize("baselines", [None, 2, B[:1], B], ids=["none", "number", "row", "rows"])
def test_feature_ablation(target, baselines):
    masks = [None, torch.tensor([[0, 0, 1, 2, 2, 2]]), torch.arange(24).reshape(4, 6) // 4]
    for mask in masks:
        call = dict(target=target, baselines=baselines, feature_mask=mask)
        same(*(of.FeatureAblation(MLP).attribute(X, **call) for of in (batched, captum.attr)))


def test_feature_ablation_of_groups_across_inputs():
    mask = torch.tensor([[0, 1, 1]]), torch.tensor([[[[1, 2], [2, 0]]]])
    for call in (dict(feature_mask=mask, target=1), dict(target=[0, 1, 2, 0], baselines=(1.0, 0.5))):
        same(*(of.FeatureAblation(TwoInputs()).attribute(pair(), **call) for of in (batched, captum.attr)))


def test_ablation_without_a_target():
    """One number per row; all classes at once ([rows x classes, ...], as Captum gives it); one number per batch."""
    whole = nn.Sequential(MLP, nn.Flatten(0), nn.Softmax(0))
    for model in (OneNumber(), MLP, lambda x: whole(x).max()):
        for name, call in (("FeatureAblation", {}), ("Occlusion", {"sliding_window_shapes": (2,)})):
            same(*(getattr(of, name)(model).attribute(X, **call) for of in (batched, captum.attr)))


@pytest.mark.parametrize(
    ("shapes", "strides"),
    [
        ((1, 1, 1), None), ((2, 2, 2), None), ((1, 3, 2), (1, 2, 1)), ((2, 3, 3), (2, 3, 3)), ((1, 2, 5), 1),
        ((2, 5, 5), (1, 1, 1)), ((1, 3, 3), (1, 2, 3)),
    ],
)  # fmt: skip
def test_occlusion(shapes, strides):
    images, model = random_rows(3, 2, 5, 5), nn.Sequential(nn.Flatten(), random_mlp(50, 3))
    for baselines in (None, 0.5, random_rows(3, 2, 5, 5, seed=9)):
        theirs = strides if strides is not None else 1
        call = dict(sliding_window_shapes=shapes, target=[0, 1, 2], baselines=baselines)
        got = batched.Occlusion(model).attribute(images, strides=theirs, **call)
        same(got, captum.attr.Occlusion(model).attribute(images, strides=theirs, **call))


def test_occlusion_without_strides_is_captums():
    call = dict(sliding_window_shapes=(2,), target=1)
    same(*(of.Occlusion(MLP).attribute(X, **call) for of in (batched, captum.attr)))


def test_occlusion_of_two_inputs():
    call = dict(
        sliding_window_shapes=((2,), (1, 1, 2)), strides=((1,), (1, 1, 1)), target=0, baselines=(0.5, 1.0)
    )
    same(*(of.Occlusion(TwoInputs()).attribute(pair(), **call) for of in (batched, captum.attr)))


@pytest.mark.parametrize("method", ["FeatureAblation", "ShapleyValues"])
def test_integer_inputs(method):
    """Ids through an embedding: what is hidden becomes the id 0, and the attributions are not cut to integers."""
    torch.manual_seed(0)
    embedding, head = nn.Embedding(9, 4), random_mlp(4)
    ids = torch.tensor([[3, 8, 1, 1], [0, 2, 2, 5]])

    def model(x):
        return head(embedding(x).sum(1))

    ours, theirs = (getattr(of, method)(model).attribute(ids, target=1) for of in (batched, captum.attr))
    assert ours.is_floating_point() and ours.abs().sum() > 0
    same(ours, theirs)


# -- Shapley values and surrogates -------------------------------------------------------------------------------------


def test_shapley_values():
    for call in (
        dict(target=[0, 1, 2, 0], baselines=B),
        dict(target=1, feature_mask=torch.tensor([[0, 1, 1, 2, 3, 3]])),
    ):
        same(*(of.ShapleyValues(MLP).attribute(X[:, :6], **call) for of in (batched, captum.attr)), 1e-5)


def coalitions_of(features: int, count: int, rows: int) -> torch.Tensor:
    drawn = torch.rand(rows, count, features, generator=torch.Generator().manual_seed(0)) < 0.5
    drawn[..., 0] |= ~drawn.any(-1)  # the two end points are no coalitions of the fit
    drawn[..., 0] &= ~drawn.all(-1)
    return drawn


def test_kernel_shap_minimises_its_objective():
    """The same coalitions in a least-squares problem of its own, with the end points put in by hand (float64)."""
    network, shown = Products(5), coalitions_of(5, 40, 4)
    game = Game(Call(network, X[:, :5], B[:, :5], 1))
    got = constrained_fit(game, shown).double().detach().numpy()
    values = game.values(shown).double().detach().numpy()
    full, empty = (s.double().detach().numpy() for s in (game.call.all_scores(), game.call.baseline_scores()))
    for row in range(4):
        member, change = shown[row].double().numpy(), full[row] - empty[row]
        # With the last attribution as what the others leave of the change, the rest is an ordinary fit.
        left = values[row] - empty[row] - member[:, -1] * change
        rest = np.linalg.lstsq(member[:, :-1] - member[:, -1:], left, rcond=None)[0]
        np.testing.assert_allclose(got[row], [*rest, change - rest.sum()], atol=1e-5)


def test_kernel_shap_is_captums_for_the_same_coalitions():
    network, shown = Products(5), coalitions_of(5, 40, 1)
    theirs = captum.attr.KernelShap(network)

    def given(original, **_):
        yield torch.ones(1, 5, dtype=torch.long)
        yield torch.zeros(1, 5, dtype=torch.long)
        yield from shown[0].long().split(1)

    theirs.perturb_func = given
    wanted = theirs.attribute(X[:1, :5], baselines=B[:1, :5], target=0, n_samples=42)
    got = constrained_fit(Game(Call(network, X[:1, :5], B[:1, :5], 0)), shown)
    same(got, wanted, 2e-3)  # Captum's end points only weigh a million, in float32


@pytest.mark.parametrize("alpha", [0.01, 1.0])
@pytest.mark.parametrize("inputs", ["one", "two"])
def test_lime_is_the_weighted_ridge_of_scikit_learn(alpha, inputs):
    """The same masks through Captum's machinery, with Ridge; the penalty there is in units of the weights' sum."""
    if inputs == "one":
        model, x, b, mask = MLP, (X[:1],), (B[:1],), (torch.tensor([[0, 1, 2, 2, 3, 4]]),)
    else:
        model, x = TwoInputs(), tuple(z[:1] for z in pair())
        b, mask = (
            (torch.zeros(1, 3), torch.ones(1, 1, 2, 2)),
            (torch.tensor([[0, 1, 2]]), torch.tensor([[[[3, 3], [0, 4]]]])),
        )
    shown = torch.rand(1, 60, 5, generator=torch.Generator().manual_seed(1)) < 0.5
    ours = batched.Lime(model)
    game = Game(Call(model, x, b, 1), mask)
    got = ours._fit(game, shown, alpha, kernel_width=0.7)
    similarity = get_exp_kernel_similarity_function("cosine", 0.7)
    flat = [tuple(torch.where(s[m], z, q) for z, q, m in zip(x, b, mask, strict=True)) for s in shown[0]]
    weights = torch.tensor([similarity(x, f, None) for f in flat])
    masks = iter(shown[0].long().split(1))
    base = LimeBase(
        model,
        SkLearnRidge(alpha=alpha * weights.sum().item() / 60),
        similarity,
        lambda *_, **__: next(masks),
        True,
        lambda s, *_, **__: tuple(
            torch.where(s.bool()[0][m], z, q) for z, q, m in zip(x, b, mask, strict=True)
        ),
        None,
    )
    same(got, base.attribute(x, target=1, n_samples=60), 1e-4)
    assert 0 < ours.details["surrogate_r2"].item() <= 1


def test_lime_of_a_linear_function_is_exact_and_says_so():
    layer = nn.Linear(6, 2)
    lime = batched.Lime(layer)
    got = lime.attribute(X, baselines=B, target=1, alpha=0.0)
    same(got, layer.weight[1] * (X - B), 1e-5)
    torch.testing.assert_close(lime.details["surrogate_r2"], torch.ones(4, dtype=torch.float64))
    assert lime.details["zero_fraction"].tolist() == [0.0] * 4


# -- noise -------------------------------------------------------------------------------------------------------------


def test_noise_tunnel_without_noise_is_the_method_itself():
    inner = captum.attr.Saliency(MLP)
    tunnel = batched.NoiseTunnel(inner)
    plain = inner.attribute(X, target=1, abs=False)
    call = dict(target=1, abs=False, nt_samples=3, stdevs=0.0)
    same(tunnel.attribute(X, nt_type="smoothgrad", **call), plain)
    same(tunnel.attribute(X, nt_type="smoothgrad_sq", **call), plain**2)
    assert tunnel.attribute(X, nt_type="vargrad", **call).abs().max() < 1e-6
    two = batched.NoiseTunnel(captum.attr.InputXGradient(TwoInputs()))
    same(
        two.attribute(pair(), target=[0, 1, 2, 0], stdevs=(0.0, 0.0)),
        two.attribution_method.attribute(pair(), target=[0, 1, 2, 0]),
    )


@pytest.mark.parametrize("nt_type", ["smoothgrad", "smoothgrad_sq", "vargrad"])
def test_noise_tunnel_is_the_average_over_its_draws(nt_type):
    generators = [torch.Generator().manual_seed(i) for i in range(4)]
    got = batched.NoiseTunnel(captum.attr.Saliency(MLP)).attribute(
        X, nt_type=nt_type, nt_samples=7, stdevs=0.3, generators=generators, target=1, abs=False
    )
    for i in range(4):
        noise = 0.3 * torch.randn(7, 6, generator=torch.Generator().manual_seed(i))
        all_ = captum.attr.Saliency(MLP).attribute(X[i] + noise, target=1, abs=False)
        moments = {
            "smoothgrad": all_.mean(0),
            "smoothgrad_sq": (all_**2).mean(0),
            "vargrad": all_.var(0, unbiased=False),
        }
        same(got[i], moments[nt_type], 1e-5)


def test_gradient_shap_is_the_average_over_its_draws():
    generator, again = torch.Generator().manual_seed(5), torch.Generator().manual_seed(5)
    got, delta = batched.GradientShap(MLP).attribute(
        X[:1], B, n_samples=50, target=1, generators=[generator], return_convergence_delta=True
    )
    base = B[torch.randint(4, (50,), generator=again)]
    points = base + torch.rand(50, generator=again)[:, None] * (X[:1] - base)
    gradient = captum.attr.Saliency(MLP).attribute(points, target=1, abs=False)
    same(got, (gradient * (X[:1] - base)).mean(0, keepdim=True), 1e-5)
    with torch.no_grad():
        change = MLP(X[:1])[0, 1] - MLP(base)[:, 1].mean()
    same(delta, (got.sum() - change)[None], 1e-5)


def test_gradient_shap_converges_to_completeness():
    _, few = batched.GradientShap(MLP).attribute(X, B, n_samples=10, target=1, return_convergence_delta=True)
    _, many = batched.GradientShap(MLP).attribute(
        X, B, n_samples=4000, target=1, return_convergence_delta=True
    )
    assert many.abs().mean() < 0.2 * few.abs().mean() + 0.01


# -- what the network also reads ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [4, 3, 1])
def test_additional_arguments_batched_or_not(count):
    """The table [4, 4] is handed on as it is and never taken apart, the numbers follow their rows."""
    x, mixing, scale = random_rows(count, 4, 3), random_rows(4, 4, seed=2), torch.arange(1.0, count + 1)
    wanted = []
    for i in range(count):

        def alone(z, i=i):
            return Context()(z, mixing, scale[i].expand(len(z)))

        wanted.append(alone)
    methods = {
        "IntegratedGradients": dict(n_steps=5),
        "FeatureAblation": {},
        "Occlusion": dict(sliding_window_shapes=(1, 3)),
    }
    for name, call in methods.items():
        model = Context()
        if count == 4:  # as many rows as the table: which of the two it is cannot be seen from the shape
            model = _closed(model, mixing)
        given = (scale,) if count == 4 else (mixing, scale)
        got = getattr(batched, name)(model).attribute(x, target=1, additional_forward_args=given, **call)
        for i, alone in enumerate(wanted):
            same(
                got[i : i + 1],
                getattr(captum.attr, name)(alone).attribute(x[i : i + 1], target=1, **call),
                1e-5,
            )


def _closed(model, mixing):
    return lambda x, scale: model(x, mixing, scale)


# -- cost --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "call", "forward", "backward"),
    [
        ("IntegratedGradients", dict(n_steps=50), 50, 50),
        ("FeatureAblation", {}, 7, 0),
        ("Occlusion", dict(sliding_window_shapes=(1,)), 7, 0),
        ("KernelShap", dict(n_samples=30, exact=False), 30, 0),
        ("Lime", dict(n_samples=30), 30, 0),
        ("ShapleyValues", {}, 64, 0),
        ("KernelShap", dict(n_samples=30, exact=True), 64, 0),
        ("ShapleyValueSampling", dict(n_samples=10, exact=False), 2 + 10 * 5, 0),
        ("DeepLift", {}, 2, 1),
    ],
)
def test_rows_that_pass_through_the_network(name, call, forward, backward):
    """Per example; the end points of a shared baseline are one row or one row per example."""
    model = Explained(random_mlp())
    method = getattr(batched, name)(model)
    method.attribute(X, baselines=B[:1], target=1, **call)
    assert model.counter.backward_rows == 4 * backward
    assert 4 * forward - 4 <= model.counter.forward_rows <= 4 * forward


def test_a_feature_that_equals_its_baseline_costs_nothing():
    model, b = Explained(random_mlp()), X.clone()
    b[:, :2] += 1
    got = batched.FeatureAblation(model).attribute(X, b, target=1)
    assert model.counter.forward_rows == 4 + 4 * 2
    assert got[:, 2:].abs().max() == 0 and got[:, :2].abs().min() > 0


def test_a_batch_of_no_rows_is_refused():
    with pytest.raises(ValueError, match="internal_batch_size=0: must be 1 or more"):
        batched.IntegratedGradients(nn.Linear(3, 2)).attribute(
            torch.ones(2, 3), target=0, internal_batch_size=0
        )


@pytest.mark.parametrize("of", [batched.KernelShap, batched.Lime])
def test_rows_in_blocks_get_what_they_get_together(of, monkeypatch):
    """However few rows' coalitions are held at a time; with a baseline, a mask and a target for each row."""
    call = dict(target=[0, 1, 2, 0], baselines=B, n_samples=20)
    call["feature_mask"] = torch.tensor([[0, 1, 2, 3, 4, 5], [0, 0, 1, 2, 3, 4], [0, 1, 2, 2, 3, 3], [0] * 6])

    def explained() -> tuple[torch.Tensor, dict]:
        method = of(MLP)
        exact = {"exact": False} if of is batched.KernelShap else {}
        found = method.attribute(
            X[:, :6], generators=[torch.Generator().manual_seed(i) for i in range(4)], **call, **exact
        )
        return found, dict(getattr(method, "details", {}))

    together, said = explained()
    monkeypatch.setattr(coalitions, "HELD", 20 * 6 * 3)  # three rows, then one
    blocks, again = explained()
    same(blocks, together, 1e-5)
    for name in said:
        torch.testing.assert_close(again[name], said[name])


@pytest.mark.parametrize("alpha", [0.01, 1.0])
def test_lime_of_fewer_samples_than_features_is_the_same_ridge(alpha):
    """By a matrix of the samples or of the features: the same minimiser, the same fit."""
    generator = torch.Generator().manual_seed(0)
    member = (torch.rand(3, 8, 12, generator=generator) < 0.5).double()
    member[1, :, 4] = 0.0  # no player
    weight = torch.rand(3, 8, generator=generator).double()
    weight = weight / weight.sum(1, keepdim=True)
    value = torch.randn(3, 8, generator=generator).double()
    value = value - (weight * value).sum(1, keepdim=True)
    for few, many in zip(
        _ridge_of_few(member, weight, value, alpha), _ridge_of_many(member, weight, value, alpha), strict=True
    ):
        torch.testing.assert_close(few, many)
