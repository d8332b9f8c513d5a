"""Where Captum 0.9 is silently wrong: its failure first, then what comes of it here."""

from functools import partial

import captum.attr
import captum.concept
import captum.influence
import pytest
import torch
from captum.attr._utils.lrp_rules import GammaRule
from known_networks import examples, linear, make_explainer, make_explicand, random_mlp, random_rows
from torch import nn

import salience
from salience.attribution.guards import Refused
from salience.attribution.preflight import preflight
from salience.errors import WrongInput

pytestmark = pytest.mark.filterwarnings("ignore")  # Captum narrates its hooks

X, B = random_rows(4, 6), random_rows(4, 6, seed=1)


def cnn(*tail: nn.Module) -> nn.Sequential:
    """Convolution, ReLU and max-pooling directly after it."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 3), *tail
    ).eval()


IMAGES = random_rows(4, 1, 8, 8)


class Functional(nn.Module):
    """A non-linearity that is no module, so that no rule can be attached to it."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.second(torch.relu(self.first(x)))


def functional() -> Functional:
    torch.manual_seed(0)
    return Functional()


def refused(method, model, rows, **arguments) -> str:
    """Why preflight refuses, in one line."""
    data = examples(*rows)
    with pytest.raises(WrongInput) as caught:
        preflight(
            explainer := make_explainer(method, model, data, arguments=arguments),
            make_explicand(explainer, data),
        )
    assert "\n" not in str(caught.value)
    return str(caught.value)


# -- 1: DeepLift where a non-linearity has no rule, or directly follows another one ------------------------------------


def test_deep_lift_with_adjacent_non_linearities():
    model = cnn()
    call = dict(baselines=random_rows(4, 1, 8, 8, seed=1), target=0)
    _, delta = captum.attr.DeepLift(model).attribute(IMAGES, **call, return_convergence_delta=True)
    assert delta.abs().max() > 1e-2, "Captum says nothing unless asked"
    flagged = salience.explain(model, IMAGES, captum.attr.DeepLift, **call)
    assert any("incomplete" in w for w in flagged.warnings)
    repaired = salience.explain(model, IMAGES, "deep_lift", **call)
    assert repaired.convergence_delta.abs().max() < 1e-6 and repaired.warnings == ()


def test_deep_lift_with_a_functional_non_linearity():
    model = functional()
    _, delta = captum.attr.DeepLift(model).attribute(X, target=0, return_convergence_delta=True)
    assert delta.abs().max() > 1e-2
    for method in ("deep_lift", captum.attr.DeepLift):
        assert any("incomplete" in w for w in salience.explain(model, X, method, target=0).warnings)
        assert "do not sum to f(x) - f(baseline)" in refused(method, model, (X,))
    pool = {"baselines": B}
    assert any(
        "incomplete" in w for w in salience.explain(model, X, "deep_lift_shap", target=0, **pool).warnings
    )


def test_completeness_is_not_asked_of_multipliers():
    """Without the factor x - baseline nothing sums to the change of output."""
    for method in (captum.attr.DeepLift, captum.attr.IntegratedGradients):
        explained = salience.explain(random_mlp(), X, partial(method, multiply_by_inputs=False), target=0)
        assert explained.warnings == ()


def test_integrated_gradients_say_where_steps_are_too_few():
    model = random_mlp()
    assert any(
        "raise n_steps" in w
        for w in salience.explain(model, 20 * X, "integrated_gradients", n_steps=2).warnings
    )
    assert salience.explain(model, X, "integrated_gradients", n_steps="auto").warnings == ()


# -- 2: softmax --------------------------------------------------------------------------------------------------------


def test_deep_lift_through_softmax():
    model = cnn(nn.Softmax(1))
    method = captum.attr.DeepLift(model)
    alone, among = method.attribute(IMAGES[:1], target=0), method.attribute(IMAGES, target=0)[:1]
    assert (alone - among).abs().max() > 1e-3, "an example's attribution depends on its batch mates"
    for method in ("deep_lift", "deep_lift_shap", captum.attr.DeepLift):
        assert "softmax" in refused(method, model, (IMAGES,))
        with pytest.raises(Refused, match="softmax"):
            salience.explain(
                model, IMAGES, method, target=0, baselines=IMAGES[:2] if "shap" in str(method) else None
            )


def test_a_softmax_that_is_not_used_is_no_reason():
    model = functional()
    model.softmax = nn.Softmax(1)
    model.forward = lambda x: model.second(model.first(x))
    assert salience.explain(model, X, "deep_lift").warnings == ()


# -- 3, 4: gradients that a hook should have changed -------------------------------------------------------------------


def test_guided_backprop_without_relu_is_the_gradient():
    model = random_mlp(activation=nn.GELU)
    plain = captum.attr.Saliency(model).attribute(X, target=0, abs=False)
    for method, name in (
        (captum.attr.GuidedBackprop, "guided_backprop"),
        (captum.attr.Deconvolution, "deconvolution"),
    ):
        assert torch.equal(method(model).attribute(X, target=0), plain)
        assert "no nn.ReLU" in refused(name, model, (X,))
        with pytest.raises(Refused, match="no nn.ReLU"):
            salience.explain(model, X, method)


def test_guided_grad_cam_of_a_layer_without_a_place_is_empty():
    model = random_mlp()
    assert captum.attr.GuidedGradCam(model, model[0]).attribute(X, target=0).numel() == 0
    for method in ("guided_grad_cam", captum.attr.GuidedGradCam):
        with pytest.raises(Refused, match="place|shape"):
            salience.explain(model, X, method, layer="0")


# -- 5: permuting a batch of one ---------------------------------------------------------------------------------------


def test_permutation_of_one_row_is_nothing():
    model = random_mlp()
    assert captum.attr.FeaturePermutation(model).attribute(X[:1], target=0).abs().max() == 0
    for method in ("captum_feature_permutation", captum.attr.FeaturePermutation):
        with pytest.raises(Refused, match="use feature_permutation"):
            salience.explain(model, X[:1], method)
        assert any("depends on the others" in w for w in salience.explain(model, X, method).warnings)
    ours = salience.explain(model, X[:1], "feature_permutation", baselines=B)
    assert ours.attributions[0].abs().min() > 0


# -- 6: Lime -----------------------------------------------------------------------------------------------------------


def test_lime_sets_coefficients_to_zero():
    """Captum's Lasso takes probabilities, which differ by hundredths, for noise."""
    model = nn.Sequential(random_mlp(), nn.Softmax(1))
    torch.manual_seed(0)
    theirs = captum.attr.Lime(model).attribute(X, target=0, n_samples=50)
    assert (theirs == 0).double().mean() > 0.5
    flagged = salience.explain(model, X, captum.attr.Lime, target=0, n_samples=50)
    assert any("exactly 0" in w for w in flagged.warnings)
    ours = salience.explain(model, X, "lime", target=0, n_samples=200)
    assert (ours.attributions[0] == 0).sum() == 0
    assert not any("exactly 0" in w for w in ours.warnings)
    same_as_baseline = salience.explain(model, X, "lime", target=0, baselines=X.clone())
    assert same_as_baseline.warnings == (), "features that equal their baseline are 0 by right"


def test_lime_says_where_its_surrogate_does_not_fit():
    def parity(x):  # no linear function comes near
        return torch.cos(torch.pi * x.sum(1))

    class Parity(nn.Module):
        forward = staticmethod(parity)

    bad = salience.explain(Parity(), torch.ones(2, 6), "lime", n_samples=300)
    assert any("surrogate fits badly for 2 of 2" in w for w in bad.warnings)
    assert salience.explain(linear([[1.0, 2.0, 3.0]]), torch.ones(2, 3), "lime").warnings == ()


# -- 7: LRP ------------------------------------------------------------------------------------------------------------


def test_lrp_of_a_bare_linear_layer():
    layer = linear([[1.0, -2.0, 0.5]])
    x = torch.tensor([[2.0, 1.0, 4.0]])
    wanted = torch.tensor([[2.0, -2.0, 2.0]])
    assert (captum.attr.LRP(layer).attribute(x) - wanted).abs().max() > 0.1
    for method in ("lrp", captum.attr.LRP):
        torch.testing.assert_close(
            salience.explain(layer, x, method).attributions[0], wanted, atol=1e-4, rtol=0
        )


def test_lrp_keeps_its_rules():
    model, x = random_mlp(), X[:2]
    model[0].rule = GammaRule()
    theirs = captum.attr.LRP(model)
    first, second = theirs.attribute(x, target=0), theirs.attribute(x, target=0)
    assert (first - second).abs().max() > 1e-4, "the rule was deleted by the first call"
    model[0].rule = rule = GammaRule()
    for method in ("lrp", captum.attr.LRP):
        for _ in range(2):
            got = salience.explain(model, x, method, target=0).attributions[0]
            torch.testing.assert_close(got, first, atol=1e-5, rtol=1e-4)
            assert model[0].rule is rule


def test_lrp_has_rules_for_layers_that_captum_lacks():
    model = nn.Sequential(
        nn.Conv1d(1, 2, 3, bias=False), nn.GELU(), nn.Flatten(), nn.Linear(8, 2, bias=False)
    )
    x = random_rows(3, 1, 6)
    with pytest.raises(TypeError, match="has no rule"):
        captum.attr.LRP(model).attribute(x, target=0)
    got = salience.explain(model, x, "lrp")
    assert got.attributions[0].shape == x.shape
    assert "has no rule for LayerNorm" in refused(
        "lrp", nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 3)), (X,)
    )


# -- 8: misspelled arguments -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method", ["feature_ablation", captum.attr.FeatureAblation, captum.attr.FeaturePermutation]
)
def test_misspelled_arguments(method):
    swallowed = captum.attr.FeatureAblation(random_mlp()).attribute(X, target=0, perturbation_per_eval=4)
    assert swallowed.shape == X.shape
    with pytest.raises(
        WrongInput, match="no argument perturbation_per_eval. Did you mean perturbations_per_eval"
    ):
        salience.explain(random_mlp(), X, method, target=0, perturbation_per_eval=4)


# -- 9: scripted and compiled networks ---------------------------------------------------------------------------------


def test_traced_networks_hide_their_modules():
    model = random_mlp()
    traced = torch.jit.trace(model, X)
    _, delta = captum.attr.DeepLift(traced).attribute(X, target=0, return_convergence_delta=True)
    assert delta.abs().max() > 1e-3
    for method in ("deep_lift", "guided_backprop", "lrp", "deconvolution", captum.attr.DeepLift):
        with pytest.raises(Refused, match="scripted or traced"):
            salience.explain(traced, X, method)
    ours, plain = (salience.explain(m, X, "integrated_gradients", target=0) for m in (traced, model))
    torch.testing.assert_close(ours.attributions, plain.attributions)


def test_compiled_networks_are_taken_apart():
    """Hooks on the layers of a compiled network never fire; the network that was compiled is explained."""
    model = random_mlp()
    compiled = torch.compile(model, backend="eager")
    for method in ("deep_lift", "guided_backprop", "lrp"):
        ours, plain = (salience.explain(m, X, method, target=0) for m in (compiled, model))
        torch.testing.assert_close(ours.attributions, plain.attributions)


# -- 10: additional arguments that are not batched ---------------------------------------------------------------------


class Mixing(nn.Module):
    """Reads positions [rows, 4] and a table [4, 4] by which they mix."""

    def forward(self, x, table):
        return torch.tanh(x @ table).cumsum(1)


@pytest.mark.parametrize("rows", [1, 3, 4, 5])
@pytest.mark.parametrize(
    "method", ["integrated_gradients", captum.attr.IntegratedGradients, "kernel_shap", "occlusion"]
)
def test_arguments_that_all_rows_share(rows, method):
    """Captum repeats the table for every step; rows=4 is a table with as many rows as the batch."""
    x, table = random_rows(rows, 4), random_rows(4, 4, seed=2)
    if rows == 1:
        repeated: list = []
        captum.attr.IntegratedGradients(lambda z, t: repeated.append(t.shape) or z).attribute(
            x, target=1, n_steps=5, additional_forward_args=table
        )
        assert repeated[0] == (20, 4)

    class Closed(nn.Module):
        def forward(self, z):
            return Mixing()(z, table)

    got = salience.explain(Mixing(), x, method, target=2, additional_forward_args=table)
    wanted = salience.explain(Closed(), x, method, target=2)
    torch.testing.assert_close(got.attributions, wanted.attributions, atol=1e-6, rtol=1e-5)
    assert got.context == ()
    both = salience.measure(got, ["deletion"]), salience.measure(wanted, ["deletion"])
    assert both[0].equals(both[1]), "metrics hand the table on too"


# -- 11, 12: influence and concepts ------------------------------------------------------------------------------------


def test_influence_and_concepts_are_no_attribution_methods():
    """TracIn leaves the last checkpoint's weights in the network, concept vectors lie about in ./cav: not offered."""
    model, old = random_mlp(), random_mlp(seed=1).state_dict()
    before = model[0].weight.clone()
    data = torch.utils.data.TensorDataset(X, torch.zeros(4, dtype=torch.long))
    tracin = captum.influence.TracInCP(
        model, data, checkpoints=["old"], layers=["0"], loss_fn=nn.CrossEntropyLoss(reduction="none"), batch_size=4,
        checkpoints_load_func=lambda network, _: network.load_state_dict(old) and 1.0,
    )  # fmt: skip
    tracin.influence((X, torch.zeros(4, dtype=torch.long)))
    assert not torch.equal(model[0].weight, before)
    for method in (
        captum.influence.TracInCP,
        captum.influence.SimilarityInfluence,
        captum.concept.TCAV,
        nn.Linear,
    ):
        with pytest.raises(WrongInput, match="no attribution method"):
            salience.explain(model, X, method)


# -- 13: dtypes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_the_dtype_of_the_inputs_is_kept(dtype):
    model, x, b = random_mlp().to(dtype), X.to(dtype), B.to(dtype)
    if dtype is torch.float64:
        assert captum.attr.Occlusion(model).attribute(x, (1,), target=0).dtype is torch.float32
    baselines = ("deep_lift_shap", "gradient_shap", "feature_permutation")
    for method in ("integrated_gradients", "deep_lift", "occlusion", "kernel_shap", "lime", "shapley_value_sampling",
                   "feature_ablation", "smooth_grad", "random", "lrp", "shapley_values", *baselines):  # fmt: skip
        given = {"baselines": b} if method in baselines else {}
        got = salience.explain(model, x, method, target=1, **given).attributions[0]
        assert got.dtype is dtype and got.isfinite().all(), method
        if dtype is torch.float64 and method in ("occlusion", "feature_ablation", "shapley_values"):
            exact = salience.explain(linear(torch.ones(1, 6)).to(dtype), x / 3, method).attributions[0]
            assert (exact - x / 3).abs().max() < 1e-13, method
