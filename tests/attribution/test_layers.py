"""Layer and neuron methods against Captum's own where those are right, and against formulas where they are not."""

import captum.attr
import pytest
import torch
from known_networks import linear, make_explainer, make_explicand, random_mlp, random_rows
from small_worlds import network, rows
from torch import nn

import salience
from salience.artifacts import RunFolder
from salience.attribution import layers, neurons, planner
from salience.attribution.explainer import Explainer
from salience.attribution.inner import LayerExplainer, NeuronExplainer, explainer_of
from salience.attribution.inside import Unit, selected
from salience.attribution.layer_explanation import LayerExplanation
from salience.attribution.layer_paths import LayerConductance, LayerIntegratedGradients
from salience.attribution.methods import LayerGradCam
from salience.config import options
from salience.errors import WrongInput
from salience.metrics.base import Reference

TARGETS = torch.tensor([0, 2, 1, 1])
POOL = random_rows(5, 6, seed=9)


def close(found, expected, share: float = 1e-5) -> bool:
    found, expected = (v[0] if isinstance(v, tuple) else v for v in (found, expected))
    return bool((found - expected).abs().max() <= share * expected.abs().max().clamp(min=1e-9))


def convolutional() -> nn.Sequential:
    """ReLU then max-pooling, where Captum's DeepLift loses contributions."""
    with torch.random.fork_rng():
        torch.manual_seed(4)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 2), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(4, 3),
        ).eval()  # fmt: skip


IMAGES, IMAGE_BASE = random_rows(6, 1, 8, 8), random_rows(1, 1, 8, 8, seed=2)


# -- layer methods -----------------------------------------------------------------------------------------------

SAME_AS_CAPTUM = {
    LayerIntegratedGradients: {"baselines": POOL[:1], "target": TARGETS, "n_steps": 12},
    LayerConductance: {"baselines": POOL[:1], "target": TARGETS, "n_steps": 12},
    layers.LayerDeepLift: {"baselines": POOL[:4], "target": TARGETS},
    layers.LayerDeepLiftShap: {"baselines": POOL, "target": TARGETS},
    layers.LayerFeatureAblation: {"layer_baselines": 0.5, "target": 2},
}


@pytest.mark.parametrize("method", SAME_AS_CAPTUM)
@pytest.mark.parametrize("layer", [1, 2, 3])
def test_layer_methods_give_what_captums_give(method, layer, monkeypatch):
    net, x, arguments = random_mlp(), random_rows(4, 6), SAME_AS_CAPTUM[method]
    captums = getattr(captum.attr, method.__name__)
    expected = captums(net, net[layer]).attribute(x, **arguments)
    assert close(method(net, net[layer]).attribute(x, **arguments), expected)
    monkeypatch.setattr(planner, "rows_per_pass", lambda *_, **__: 3)
    assert close(method(net, net[layer]).attribute(x, **arguments), expected)


@pytest.mark.parametrize("layer", [0, 2])
def test_layer_lrp_gives_what_captums_gives_and_leaves_no_rules(layer):
    net, x = random_mlp(), random_rows(4, 6)
    other = random_mlp()
    expected = captum.attr.LayerLRP(other, other[layer]).attribute(x, TARGETS)
    found = layers.LayerLRP(net, net[layer])
    assert close(found.attribute(x, TARGETS), expected) and close(found.attribute(x, TARGETS), expected)
    assert not any(hasattr(m, "rule") for m in net.modules())


def test_layer_lrp_reads_activations_and_conserves():
    net, x = random_mlp(activation=nn.GELU), random_rows(4, 6)
    for linear_layer in (net[0], net[2], net[4]):
        linear_layer.bias.data.zero_()
    with pytest.raises(AttributeError):  # Captum keeps no relevance of activations
        plain = random_mlp()
        captum.attr.LayerLRP(plain, plain[1]).attribute(x, TARGETS)
    f = net(x).gather(1, TARGETS[:, None])[:, 0].detach()
    for layer in range(4):
        found = layers.LayerLRP(net, net[layer]).attribute(x, TARGETS)
        found = found[0] if isinstance(found, tuple) else found
        assert torch.allclose(found.sum(1), f, atol=1e-4 * float(f.abs().max()))


@pytest.mark.parametrize("layer", [0, 1, 2, 4])
def test_layer_deep_lift_is_complete_where_captums_is_not(layer):
    net, x = convolutional(), IMAGES
    change = (net(x) - net(IMAGE_BASE))[:, 1].detach()
    found, delta = layers.LayerDeepLift(net, net[layer]).attribute(
        x, IMAGE_BASE, 1, return_convergence_delta=True
    )
    assert found.shape[1:] == dict(enumerate([(4, 6, 6), (4, 6, 6), (4, 3, 3), 0, (4, 2, 2)]))[layer]
    assert torch.allclose(found.flatten(1).sum(1), change, atol=1e-5 * float(change.abs().max()))
    assert delta.abs().max() <= 1e-5 * change.abs().max()
    pool = torch.cat([torch.zeros(1, 1, 8, 8), random_rows(3, 1, 8, 8, seed=1)])
    shap, gap = layers.LayerDeepLiftShap(net, net[layer]).attribute(x, pool, 1, return_convergence_delta=True)
    expected = (net(x)[:, 1] - net(pool)[:, 1].mean()).detach()
    assert torch.allclose(shap.flatten(1).sum(1), expected, atol=1e-5 * float(expected.abs().max()))
    assert gap.abs().max() <= 1e-5 * expected.abs().max()


def test_captums_layer_deep_lift_is_wrong_there():
    net, x = convolutional(), IMAGES
    change = (net(x) - net(IMAGE_BASE))[:, 1].detach()
    method = captum.attr.LayerDeepLift(net, net[0])
    _, delta = method.attribute(x, IMAGE_BASE, target=1, return_convergence_delta=True)
    assert delta.abs().max() > 1e-2 * change.abs().max()


def test_layer_ablation_takes_a_target_per_row_and_groups():
    net, x = random_mlp(), random_rows(4, 6)
    with pytest.raises(Exception):  # noqa: B017 - what Captum does with several units per pass
        captum.attr.LayerFeatureAblation(net, net[1]).attribute(x, target=TARGETS, perturbations_per_eval=4)
    method = layers.LayerFeatureAblation(net, net[1])
    found = method.attribute(x, target=TARGETS)
    for row in range(4):
        assert close(found[row : row + 1], method.attribute(x[row : row + 1], target=int(TARGETS[row])))
    mask = torch.arange(16)[None] // 4
    grouped = method.attribute(x, target=1, layer_mask=mask)
    expected = captum.attr.LayerFeatureAblation(net, net[1]).attribute(x, target=1, layer_mask=mask)
    assert close(grouped, expected) and torch.equal(grouped[:, 0], grouped[:, 3])


def test_layer_permutation_where_captums_takes_no_target():
    net, x = (
        nn.Sequential(linear(random_rows(4, 6)), nn.Identity(), linear(random_rows(3, 4, seed=1))),
        random_rows(4, 6),
    )
    with pytest.raises(AssertionError, match="Cannot choose target"):
        captum.attr.LayerFeaturePermutation(net, net[1]).attribute(x, target=0)
    generators = [torch.Generator().manual_seed(i) for i in range(4)]
    found = layers.LayerFeaturePermutation(net, net[1]).attribute(
        x, POOL, TARGETS, n_samples=6, generators=generators
    )
    inner = net[0](POOL).detach()
    for row in range(4):
        drawn = inner[torch.randint(5, (6,), generator=torch.Generator().manual_seed(row))]
        expected = net[2].weight[TARGETS[row]] * (net[0](x[row]) - drawn.mean(0))
        assert torch.allclose(found[row], expected.detach(), atol=1e-5)
    with pytest.raises(ValueError, match="n_samples=0"):
        layers.LayerFeaturePermutation(net, net[1]).attribute(x, POOL, 0, n_samples=0)


@pytest.mark.parametrize("method", [LayerIntegratedGradients, LayerConductance])
def test_steps_are_doubled_until_complete(method):
    net, x = random_mlp(activation=nn.Tanh), 4 * random_rows(4, 6)
    change = (net(x) - net(torch.zeros(1, 6))).gather(1, TARGETS[:, None])[:, 0].detach()
    found, gap = method(net, net[1]).attribute(
        x, target=TARGETS, n_steps="auto", return_convergence_delta=True
    )
    assert (gap.abs() <= 1e-3 * change.abs() + 1e-4).all()
    assert torch.allclose(found.sum(1) - gap, change, atol=1e-4)
    few = method(net, net[1]).attribute(x, target=TARGETS, n_steps=4, return_convergence_delta=True)[1]
    assert few.abs().max() > gap.abs().max()
    with pytest.raises(ValueError, match="n_steps=0"):
        method(net, net[1]).attribute(x, n_steps=0)


# -- neuron methods ----------------------------------------------------------------------------------------------

NEURONS = {
    "NeuronGradient": {},
    "NeuronIntegratedGradients": {"baselines": POOL[:1], "n_steps": 20},
    "NeuronConductance": {"baselines": POOL[:1], "target": TARGETS, "n_steps": 20},
    "NeuronDeepLift": {"baselines": POOL[:1]},
    "NeuronDeepLiftShap": {"baselines": POOL},
    "NeuronGuidedBackprop": {},
    "NeuronDeconvolution": {},
    "NeuronFeatureAblation": {"baselines": POOL[:1], "feature_mask": torch.tensor([[0, 0, 1, 2, 3, 3]])},
}


@pytest.mark.parametrize("name", NEURONS)
@pytest.mark.parametrize("layer", [2, 3])
def test_neuron_methods_give_what_captums_give(name, layer, monkeypatch):
    net, x = random_mlp(), random_rows(4, 6)
    unit = int((net[:4](x) > 0).sum(0).argmax())  # one that is not dead
    expected = getattr(captum.attr, name)(net, net[layer]).attribute(x, unit, **NEURONS[name])
    method = getattr(neurons, name)(net, net[layer])
    assert expected.abs().max() > 0 and close(method.attribute(x, unit, **NEURONS[name]), expected)
    monkeypatch.setattr(planner, "rows_per_pass", lambda *_, **__: 3)
    assert close(method.attribute(x, unit, **NEURONS[name]), expected)


def test_neuron_gradient_shap_has_draws_of_its_own():
    weight, x = random_rows(4, 6), random_rows(3, 6, seed=1)
    net = nn.Sequential(linear(weight), nn.Identity(), linear(random_rows(2, 4)))
    generators = [torch.Generator().manual_seed(i) for i in range(3)]
    found = neurons.NeuronGradientShap(net, net[1]).attribute(x, 2, POOL, n_samples=40, generators=generators)
    drawn = torch.stack(
        [POOL[torch.randint(5, (40,), generator=torch.Generator().manual_seed(i))].mean(0) for i in range(3)]
    )
    assert torch.allclose(found, weight[2] * (x - drawn), atol=1e-5)


def test_neuron_deep_lift_is_complete_where_captums_is_not():
    net, x, base, place = convolutional(), IMAGES, IMAGE_BASE, (1, 1, 0)
    change = (net[:5](x) - net[:5](base))[:, 1, 1, 0].detach()
    found = neurons.NeuronDeepLift(net, net[4]).attribute(x, place, base)
    assert torch.allclose(found.flatten(1).sum(1), change, atol=1e-5 * float(change.abs().max()))
    captums = captum.attr.NeuronDeepLift(net, net[4]).attribute(x, place, base).detach()
    assert (captums.flatten(1).sum(1) - change).abs().max() > 1e-2 * change.abs().max()


def test_units_are_named_by_number_place_slices_or_a_function():
    output = random_rows(2, 3, 4, 5)
    assert torch.equal(selected(27)(output), output[:, 1, 1, 2])
    assert torch.equal(selected([1, 1, 2])(output), output[:, 1, 1, 2])
    assert torch.allclose(selected((0, slice(1, 3), 2))(output), output[:, 0, 1:3, 2].sum(1))
    assert torch.equal(selected(lambda out: out.amax((1, 2, 3)))(output), output.amax((1, 2, 3)))
    for wrong, what in (
        (60, "no such unit"),
        ((1, 9, 0), "no such unit"),
        ((1, 2), "needs 3 numbers"),
        ("a", "no such"),
    ):
        with pytest.raises(ValueError, match=what):
            selected(wrong)(output)
    net, x = random_mlp(), random_rows(2, 6)
    assert torch.equal(Unit(net, net[2], 3)(x), net[:3](x)[:, 3])
    assert torch.equal(Unit(net, net[2], 3, of_input=True)(x), net[:2](x)[:, 3])


def test_layers_that_are_not_one_tensor_used_once_say_so():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.relu, self.unused, self.rnn = nn.ReLU(), nn.Linear(2, 2), nn.GRU(6, 2, batch_first=True)

        def forward(self, x):
            return self.relu(self.relu(self.rnn(x[:, None])[0][:, 0]) - 0.1)

    net, x = Twice(), random_rows(2, 6)
    for layer, what in (
        (net.relu, "used 2 times"),
        (net.unused, "used 0 times"),
        (net.rnn, "gives 2 tensors"),
    ):
        with pytest.raises(ValueError, match=what):
            neurons.NeuronGradient(net, layer).attribute(x, 0)
        assert not layer._forward_hooks


# -- in a run ----------------------------------------------------------------------------------------------------


def test_captums_classes_say_which_explainer_they_need():
    assert explainer_of(captum.attr.LayerConductance) is LayerExplainer
    assert explainer_of(neurons.NeuronDeepLift) is NeuronExplainer
    for method in (captum.attr.Saliency, captum.attr.GuidedGradCam, LayerGradCam):
        assert explainer_of(method) is Explainer


@pytest.mark.parametrize("name", [n for n in options("attribution") if n.startswith(("layer_", "internal_"))])
def test_layer_configs_explain_the_networks_hidden_layer(name):
    if name == "layer_grad_cam":
        assert make_explainer(name, network("cnn", "image"), rows("image")).default_layer == "blocks.1.relu"
        return
    data, net = rows("table"), network("mlp", "table")
    explainer = make_explainer(name, net, data)
    found = explainer.explain(make_explicand(explainer, data[:3]))
    assert isinstance(found, LayerExplanation) and found.layer == net.hidden_layer == "layers.3"
    assert found.attributions[0].shape == (3, 8) and found.per_unit().shape == (3, 8)
    assert "metrics do not apply" in found.warnings[0] and "layers.3" in found.warnings[0]
    with pytest.raises(ValueError, match="not the features"):
        found.per_feature()
    assert explainer.on(explainer.model).explain(make_explicand(explainer, data[:1])).layer == "layers.3"


def test_layer_explanations_are_kept_and_read_back(tmp_path):
    data = rows("image")
    explainer = make_explainer("layer_conductance", network("cnn", "image"), data)
    x = make_explicand(explainer, data[:3])
    found, reference = explainer.explain(x), Reference((torch.zeros(1, 1, 8, 8),))
    folder = RunFolder.create(tmp_path, "cnn", "image")
    folder.save_examples(0, x, reference)
    folder.save_attributions("layer_conductance", 0, found, reference)
    again = folder.read_attributions("layer_conductance", 0)
    assert isinstance(again, LayerExplanation) and again.layer == "blocks.1.relu" and not again.of_inputs
    assert torch.equal(again.attributions[0], found.attributions[0])
    assert torch.equal(again.convergence_delta, found.convergence_delta)
    part = found.rows(slice(1, 2))
    assert isinstance(part, LayerExplanation) and torch.equal(part.per_unit(), found.per_unit()[1:2])


@pytest.mark.parametrize(
    "model, kind, unit",
    [("mlp", "table", "unit"), ("cnn", "image", "channel"), ("transformer", "table", "position")],
)
def test_layer_explanations_draw_themselves(model, kind, unit):
    from salience.figures.layers import layer_means

    data = rows(kind)
    explainer = make_explainer("layer_activation", network(model, kind), data)
    found = explainer.explain(make_explicand(explainer, data[:4]))
    means = layer_means([found.rows(slice(0, 1)), found.rows(slice(1, 4))])
    assert means.kind == unit and means.examples == 4
    assert torch.allclose(means.mean.float(), found.per_unit().mean(0), atol=1e-5)
    assert (means.places is not None) == (kind == "image")
    for figure in (found.show(), found.show(2)):
        labels = [t.get_text() for t in figure.axes[0].get_yticklabels()]
        assert labels[0] == f"{unit} {int(abs(means.mean).argmax())}" or len(labels) > 1
    assert found._repr_html_().startswith("<img alt=")
    with pytest.raises(ValueError, match="nothing was explained"):
        layer_means([])


def test_metrics_are_undefined_for_layers_and_warned_of_for_neurons():
    net, x = network("mlp", "table"), random_rows(4, 6)
    scores = salience.measure(salience.explain(net, x, "layer_conductance"), ["deletion", "complexity"])
    assert scores.shape == (4, 2) and scores.isna().all().all()
    neuron = salience.explain(net, x, "neuron_gradient", neuron_selector=[2], layer="layers.1")
    assert neuron.of_inputs and "a unit of the layer layers.1" in neuron.warnings[0]
    assert torch.equal(neuron.attributions[0], neurons.NeuronGradient(net, net.layers[1]).attribute(x, 2))
    assert salience.measure(neuron, "complexity").notna().any().all()


def test_a_layer_must_be_named_where_the_network_names_none():
    net, x = random_mlp(), random_rows(2, 6)
    with pytest.raises(
        WrongInput, match=r"needs a layer, and Sequential names none; set attribution\.layer_lrp\.layer"
    ):
        salience.explain(net, x, "layer_lrp")
    with pytest.raises(WrongInput, match="no such layer"):
        salience.explain(net, x, "neuron_gradient", layer="7")
    with pytest.raises(WrongInput, match="neuron_selector=99: no such unit"):
        salience.explain(net, x, "neuron_gradient", layer="1", neuron_selector=99)


def test_stochastic_layer_methods_do_not_depend_on_batch_mates():
    data = rows("table")
    for name in ("layer_gradient_shap", "layer_feature_permutation", "neuron_gradient_shap"):
        explainer = make_explainer(name, network("mlp", "table"), data)
        before = torch.get_rng_state()
        whole = explainer.explain(make_explicand(explainer, data[:4])).attributions[0]
        alone = explainer.explain(make_explicand(explainer, data[2:3])).attributions[0]
        assert (whole[2] - alone[0]).abs().max() <= 1e-5 * whole.abs().max()
        assert torch.equal(before, torch.get_rng_state())


@pytest.mark.slow
def test_a_run_keeps_and_draws_layers_beside_other_methods(tmp_path):
    result = salience.run(
        [
            "model=mlp", "data=breast_cancer", "attribution=[layer_conductance,neuron_gradient,saliency]",
            "explained=8", "controls=[random]", "metric=[deletion]", "training.epochs=1", f"outputs={tmp_path}",
            "attribution.neuron_gradient.arguments.neuron_selector=[5]", "attribution.neuron_gradient.layer=layers.1",
        ]
    )  # fmt: skip
    found = result.explanations["layer_conductance"].load()
    assert isinstance(found, LayerExplanation) and found.attributions[0].shape == (8, 64)
    entry = result.summary["methods"]["layer_conductance"]["metrics"]["deletion"]
    assert entry["n"] == 0 and entry["undefined"] == 8 and entry["mean"] is None
    assert result.summary["methods"]["neuron_gradient"]["metrics"]["deletion"]["n"] == 8
    direct = captum.attr.NeuronGradient(result.model, result.model.layers[1])
    neuron = result.explanations["neuron_gradient"].load()
    assert torch.allclose(neuron.attributions[0], direct.attribute(neuron.inputs[0], 5), atol=1e-6)
    assert {p.name for p in result.folder.figures.glob("*.png")} >= {"layers.png", "examples.png"}
