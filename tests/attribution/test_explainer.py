"""The explainer: arguments from signatures, baselines, chunks, cost, other networks; preflight and what it learns."""

from functools import partial

import captum.attr
import pytest
import torch
from known_networks import Fixed, examples, linear, make_explainer, make_explicand, random_mlp, random_rows
from small_worlds import MODALITIES, network, rows
from torch import nn

from salience.attribution import planner
from salience.attribution.explainer import Explainer
from salience.attribution.explanation import Explained
from salience.attribution.guards import Refused
from salience.attribution.inner import LayerExplainer, NeuronExplainer, explainer_of
from salience.attribution.preflight import preflight, refusals
from salience.attribution.signatures import is_method, made_by, named, parameters
from salience.errors import WrongInput
from salience.modality import Tabular

X, B = random_rows(5, 6), random_rows(3, 6, seed=1)
DATA = examples(X)


def explained(method, model=None, data=DATA, **given):
    explainer = make_explainer(method, model or random_mlp(), data, **given)
    return explainer.explain(make_explicand(explainer, data, 1))


class Seen(captum.attr.Attribution):
    """Writes down what it was called with."""

    calls: list = []

    def attribute(self, inputs, baselines=None, target=None, additional_forward_args=None, feature_mask=None, alpha=1,
                  window=None, **swallowed):  # fmt: skip
        self.calls.append(dict(baselines=baselines, target=target, context=additional_forward_args, mask=feature_mask,
                               alpha=alpha, window=window, swallowed=swallowed))  # fmt: skip
        return (
            tuple(torch.ones_like(x) for x in inputs)
            if isinstance(inputs, tuple)
            else torch.ones_like(inputs)
        )


@pytest.fixture(autouse=True)
def nothing_seen():
    Seen.calls = []


# -- arguments ---------------------------------------------------------------------------------------------------------


def test_arguments_are_filled_in_from_the_signature():
    explained(Seen, arguments={"alpha": 3, "window": [1, [2, 2]], "target": None})
    call = Seen.calls[0]
    assert call["alpha"] == 3 and call["window"] == (1, (2, 2)), "lists, as configs have them, become tuples"
    assert call["baselines"].shape == (1, 6) and call["mask"].shape == (1, 6), "bare where there is one input"
    assert call["target"].tolist() == [1] * 5 and call["context"] is None and call["swallowed"] == {}


def test_what_a_method_does_not_name_it_is_not_given():
    assert set(parameters(captum.attr.Saliency(random_mlp()))) == {
        "inputs",
        "target",
        "abs",
        "additional_forward_args",
    }
    assert "kwargs" not in named(captum.attr.FeatureAblation.attribute)
    tunnel = captum.attr.NoiseTunnel(captum.attr.Saliency(random_mlp()))
    assert {"abs", "nt_type", "target"} <= set(parameters(tunnel)), "a wrapped method's arguments count too"


def test_several_inputs_stay_a_tuple():
    class Two(nn.Module):
        def forward(self, a, b, scale):
            return (a.sum(1) + b.sum((1, 2)))[:, None] * scale[:, None] * torch.ones(3)

    data = examples(random_rows(4, 2), random_rows(4, 3, 2), context=(torch.arange(4.0),))
    explanation = explained(Seen, Two(), data)
    call = Seen.calls[0]
    assert [b.shape for b in call["baselines"]] == [(1, 2), (1, 3, 2)]
    assert [m.unique().tolist() for m in call["mask"]] == [[0, 1], [2, 3, 4, 5, 6, 7]], (
        "features are numbered through"
    )
    assert call["context"][0].tolist() == [0.0, 1.0, 2.0, 3.0]
    assert [a.shape for a in explanation.attributions] == [(4, 2), (4, 3, 2)]


def test_occlusion_hides_one_feature_at_a_time():
    data = rows("image")
    explainer = make_explainer("occlusion", network("cnn", "image"), data, (MODALITIES["image"],))
    x = make_explicand(explainer, data[:2], 0)
    features, values = explainer.explain(x).per_feature(), explainer.explain(x).attributions[0]
    assert features.shape == (2, 9) and values.flatten(1).unique(dim=1).shape[1] == 9
    ablated = make_explainer("feature_ablation", explainer.model, data, (MODALITIES["image"],)).explain(x)
    torch.testing.assert_close(features, ablated.per_feature(), atol=1e-5, rtol=1e-4)


# -- baselines ---------------------------------------------------------------------------------------------------------


def test_one_baseline_per_example():
    b = random_rows(5, 6, seed=4)
    got = explained("integrated_gradients", linear(torch.ones(3, 6)), baseline=Fixed(b))
    torch.testing.assert_close(got.attributions[0], X - b, atol=1e-5, rtol=0)
    assert got.background is None and got.baselines[0].shape == (5, 6)


def test_a_distribution_is_averaged_over_where_a_method_takes_one_baseline():
    pool = Fixed(B, is_distribution=True)
    got = explained("integrated_gradients", baseline=pool)
    single = [explained("integrated_gradients", baseline=Fixed(B[i : i + 1])) for i in range(3)]
    wanted = sum(s.attributions[0] for s in single) / 3
    torch.testing.assert_close(got.attributions[0], wanted, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(
        got.convergence_delta, sum(s.convergence_delta for s in single) / 3, atol=1e-6, rtol=0
    )
    assert got.baselines is None and torch.equal(got.background[0], B)


def test_a_distribution_is_given_whole_to_a_method_that_wants_one():
    got = explained("deep_lift_shap", baseline=Fixed(B, is_distribution=True))
    assert got.baselines is None and torch.equal(got.background[0], B)
    single = [explained("deep_lift", baseline=Fixed(B[i : i + 1])).attributions[0] for i in range(3)]
    torch.testing.assert_close(got.attributions[0], sum(single) / 3, atol=1e-5, rtol=1e-4)


def test_more_baselines_than_examples_are_wrong_input():
    with pytest.raises(WrongInput, match="3 baselines for 5 examples; give one, or one per example"):
        explained("integrated_gradients", baseline=Fixed(B))


# -- chunks and cost ---------------------------------------------------------------------------------------------------


def test_a_captum_class_is_called_with_what_fits(monkeypatch):
    data = examples(random_rows(40, 6))
    explainer = make_explainer(captum.attr.IntegratedGradients, random_mlp(), data)
    preflight(explainer, make_explicand(explainer, data[:2], 1))
    assert explainer.expansion == 50, "rows of one pass for an example"
    monkeypatch.setattr(planner, "rows_per_pass", lambda *_, **__: 400)
    monkeypatch.setattr("salience.attribution.explainer.rows_per_pass", lambda *_, **__: 400)
    explainer.model.counter.largest_pass = 0
    whole = explainer.explain(make_explicand(explainer, data, 1))
    assert explainer.model.counter.largest_pass == 400 and len(whole.attributions[0]) == 40


def test_cost_counts_rows():
    cost = explained("integrated_gradients", arguments={"n_steps": 50}).cost
    assert (cost.forward_rows, cost.backward_rows) == (5 * 50 + 5 + 1, 5 * 50)
    assert cost.seconds > 0 and cost.peak_mb is None
    assert explained("feature_ablation").cost.forward_rows == 5 * 7
    assert explained("random").cost.forward_rows == 0
    total = cost + cost
    assert total.forward_rows == 2 * cost.forward_rows and total.seconds == 2 * cost.seconds


@pytest.mark.parametrize(
    ("method", "forward", "backward"),
    [
        (captum.attr.Saliency, 1, 1), ("saliency", 1, 1), ("smooth_grad", 20, 20), ("gradient_shap", 20 + 20 + 1, 20),
        ("kernel_shap", 64, 0), ("lime", 200, 0), ("deep_lift", 2, 1), ("feature_permutation", 61, 0),
    ],
)  # fmt: skip
def test_rows_per_example(method, forward, backward):
    pool = (
        {"baseline": Fixed(B, is_distribution=True)}
        if method in ("gradient_shap", "feature_permutation")
        else {}
    )
    cost = explained(method, **pool).cost
    assert cost.backward_rows == 5 * backward
    assert abs(cost.forward_rows - 5 * forward) <= 2 * 5


def test_rows_per_pass_is_a_function_of_network_and_shapes():
    small, large = random_mlp(), nn.Sequential(nn.Linear(6, 500_000), nn.Linear(500_000, 1))
    assert planner.rows_per_pass(small, (X,)) == planner.MOST
    assert planner.rows_per_pass(large, (X,)) == planner.FEWEST
    assert planner.rows_per_pass(lambda x: x, (X,)) == planner.UNKNOWN
    middle = nn.Linear(6, 20_000)
    size = planner.rows_per_pass(middle, (X,))
    assert size & (size - 1) == 0 and size * 20_006 * 4 <= planner.BUDGET < 2 * size * 20_006 * 4


# -- other networks and layers -----------------------------------------------------------------------------------------


def test_on_another_network():
    explainer = make_explainer("integrated_gradients", linear(torch.ones(3, 6)), DATA)
    other = explainer.on(Explained(linear(2 * torch.ones(3, 6))))
    x = make_explicand(explainer, DATA, 1)
    torch.testing.assert_close(other.explain(x).attributions[0], 2 * explainer.explain(x).attributions[0])
    assert other.key == explainer.key and other.stochastic == explainer.stochastic


def test_probabilities_are_explained_through_the_link():
    model = random_mlp()
    explainer = make_explainer("integrated_gradients", Explained(model, torch.nn.Softmax(1)), DATA)
    x = make_explicand(explainer, DATA, 1)
    assert x.score.max() <= 1
    explanation = explainer.explain(x)
    with torch.no_grad():
        change = model(X).softmax(1)[:, 1] - model(torch.zeros(1, 6)).softmax(1)[:, 1]
    torch.testing.assert_close(explanation.per_feature().sum(1), change, atol=1e-3, rtol=0)


def test_layers_by_name():
    model = network("cnn", "image")
    data = rows("image")
    own = make_explainer("layer_grad_cam", model, data, (MODALITIES["image"],))
    named_ = make_explainer("layer_grad_cam", model, data, (MODALITIES["image"],), layer="blocks.1.relu")
    first = make_explainer("layer_grad_cam", model, data, (MODALITIES["image"],), layer="blocks.0.relu")
    x = make_explicand(own, data, 1)
    assert torch.equal(own.explain(x).attributions[0], named_.explain(x).attributions[0])
    assert not torch.equal(own.explain(x).attributions[0], first.explain(x).attributions[0])
    with pytest.raises(WrongInput, match=r"layer=blocks.1.rel: no such layer. Did you mean blocks.1.relu\?"):
        make_explainer("layer_grad_cam", model, data, layer="blocks.1.rel")
    with pytest.raises(Refused, match="needs a layer with a place in the input, and Sequential names none"):
        make_explainer("layer_grad_cam", random_mlp(), DATA)


def test_which_explainer_a_class_needs():
    assert explainer_of(captum.attr.Saliency) is Explainer
    assert explainer_of(captum.attr.LayerConductance) is LayerExplainer
    assert explainer_of(partial(captum.attr.NeuronGradient, neuron_selector=0)) is NeuronExplainer
    assert is_method(captum.attr.Lime) and is_method(
        partial(captum.attr.NoiseTunnel, attribution_method=None)
    )
    assert (
        not is_method(nn.Linear)
        and not is_method("saliency")
        and not is_method(captum.attr.Saliency(random_mlp()))
    )
    assert made_by(partial(captum.attr.Lime)) is captum.attr.Lime


# -- preflight ---------------------------------------------------------------------------------------------------------


def test_preflight_learns_what_a_method_needs():
    explainer = make_explainer("integrated_gradients", random_mlp(), DATA, arguments={"n_steps": 50})
    plan = preflight(explainer, make_explicand(explainer, DATA[:2]))
    assert plan.backward_rows == 50 and 50 < plan.forward_rows <= 52
    lime = make_explainer(captum.attr.Lime, random_mlp(), DATA)
    assert lime.stochastic is None
    preflight(lime, make_explicand(lime, DATA[:2]))
    assert lime.stochastic is True


def test_preflight_turns_any_failure_into_one_line():
    class Fails(captum.attr.Attribution):
        def attribute(self, inputs, target=None):
            raise KeyError("first line\nsecond line")

    explainer = make_explainer(Fails, random_mlp(), DATA)
    with pytest.raises(Refused) as caught:
        preflight(explainer, make_explicand(explainer, DATA[:2]))
    assert str(caught.value).startswith("attribution=Fails: ") and "\n" not in str(caught.value)
    assert isinstance(caught.value.__cause__, KeyError)


def test_preflight_sorts_methods():
    data, model = rows("table"), network("mlp", "table")
    modality = (Tabular((6,)),)
    first = make_explainer("saliency", model, data, modality)
    names = ["saliency", "layer_grad_cam", "edge_filter", "kernel_shap"]
    refused, planned = refusals(
        names, lambda name: make_explainer(name, model, data, modality), make_explicand(first, data[:2])
    )
    assert set(refused) == {"layer_grad_cam", "edge_filter"} and set(planned) == {"saliency", "kernel_shap"}
    assert all(reason.startswith(f"attribution={name}: ") for name, reason in refused.items())


def test_shapes_that_are_no_explanation_are_refused():
    class Short(captum.attr.Attribution):
        def attribute(self, inputs, target=None):
            return inputs[:, :2]

    with pytest.raises(Refused, match=r"attribution=Short: gives shape \(5, 2\) for an input of \(5, 6\)"):
        explained(Short)
