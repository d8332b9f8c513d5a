"""Every network over every kind of input, and what attribution methods need of them."""

from pathlib import Path

import pytest
import torch
from captum.attr import LRP, DeepLift, IntegratedGradients, LayerGradCam, Saliency
from omegaconf import OmegaConf
from small_data import KINDS, make
from torch import nn

from salience.config import build
from salience.errors import WrongInput
from salience.models.base import ACTIVATIONS, embed, predict
from salience.models.cnn import CNN
from salience.models.logistic import Logistic
from salience.models.mlp import MLP
from salience.models.transformer import Transformer
from salience.settings import Training
from salience.training import fit, initialised

CONFIGS = Path(__file__).parents[2] / "configs" / "model"
WITHOUT_A_CHOICE = {"squared_sum", "sigmoid_unit", "pretrained"}  # white boxes, and one that needs a folder
MODELS = sorted(p.stem for p in CONFIGS.glob("*.yaml") if p.stem not in WITHOUT_A_CHOICE)
ONE_IMAGE = {"cnn", "resnet"}
ONE_INPUT = {"temporal_cnn", "gru", "lstm"}


def reads(model, kind):
    """Whether a network is made for a kind of input."""
    return not (model in ONE_IMAGE and kind != "image" or model in ONE_INPUT and kind == "several")


pytestmark = pytest.mark.filterwarnings("ignore:Input Tensor", "ignore:Setting forward")
READS = [(m, k) for m in MODELS for k in KINDS if reads(m, k)]
READ_TOKENS = [m for m in MODELS if reads(m, "tokens")]


def network(name, data, **own):
    node = OmegaConf.load(CONFIGS / f"{name}.yaml")[name]
    node.update(own)
    known = {"modalities": data.modalities, "num_outputs": data.task.num_outputs}
    return initialised(lambda: build(node, **known), 0)


def embedded(model, examples):
    with torch.no_grad():
        return embed(model, examples.inputs)


@pytest.mark.parametrize("name, kind", READS)
def test_every_network_learns_every_kind_of_input_that_it_reads(name, kind):
    data = make(kind, rows=300)
    model = network(name, data)
    fit(model, data, Training(epochs=25, patience=None), seed=0)
    outputs = predict(model, data.test.inputs, data.test.context)
    assert outputs.shape == (len(data.test), 2)
    assert data.task.scores(outputs, data.test.labels)["accuracy"] > 0.75


@pytest.mark.parametrize("name, kind", READS)
def test_an_output_does_not_depend_on_the_other_rows(name, kind):
    data = make(kind, rows=20)
    model = network(name, data)
    together = predict(model, data.train.inputs, data.train.context)
    alone = predict(model, data.train.inputs, data.train.context, rows=1)
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name, kind", READS)
def test_gradient_methods_explain_it_and_integrated_gradients_are_complete(name, kind):
    data = make(kind, rows=20)
    model = network(name, data).eval()
    inputs, context = embedded(model, data.test), data.test.context
    saliency = Saliency(model).attribute(inputs, target=1, additional_forward_args=context)
    assert all(s.shape == x.shape and s.isfinite().all() for s, x in zip(saliency, inputs, strict=True))
    assert sum(s.sum() for s in saliency) > 0
    _, delta = IntegratedGradients(model).attribute(
        inputs, target=1, additional_forward_args=context, n_steps=200, return_convergence_delta=True
    )
    assert delta.abs().max() < 5e-3


@pytest.mark.parametrize("name, kind", READS)
def test_every_activation_is_a_module_used_once(name, kind):
    data = make(kind, rows=4)
    model = network(name, data).eval()
    kinds = (*ACTIVATIONS.values(), nn.LayerNorm, nn.Softmax, nn.MaxPool2d, nn.BatchNorm1d, nn.BatchNorm2d)
    uses = {n: 0 for n, m in model.named_modules() if isinstance(m, kinds)}
    for module_name in uses:

        def count(*_, key=module_name):
            uses[key] += 1

        model.get_submodule(module_name).register_forward_hook(count)
    model(*embedded(model, data.test), *data.test.context)
    assert set(uses.values()) <= {1}
    assert uses or name in ("logistic", "gru", "lstm")


@pytest.mark.parametrize("name", sorted(ONE_IMAGE))
@pytest.mark.parametrize("kind", [k for k in KINDS if k != "image"])
def test_networks_for_images_refuse_what_is_not_one_image(name, kind):
    with pytest.raises(
        WrongInput, match=rf"model={name}: reads one image .* models that fit: logistic, mlp, transformer"
    ):
        network(name, make(kind, rows=4))


@pytest.mark.parametrize("name", sorted(ONE_INPUT))
def test_networks_that_read_step_by_step_refuse_several_inputs(name):
    with pytest.raises(WrongInput, match=rf"model={name}: reads one input, but there are 3; models that fit"):
        network(name, make("several", rows=4))


@pytest.mark.parametrize("name", MODELS)
def test_one_output_makes_a_sigmoid_unit(name):
    data = make("image", rows=200)
    model = network(name, data, num_outputs=1)
    fit(model, data, Training(epochs=20), seed=0)
    outputs = predict(model, data.test.inputs)
    assert outputs.shape == (100, 1)
    assert data.task.scores(outputs, data.test.labels)["accuracy"] > 0.8


@pytest.mark.parametrize("name", READ_TOKENS)
def test_what_is_padded_changes_nothing(name):
    data = make("tokens", rows=20)
    model = network(name, data).eval()
    (x,), (padded,) = embedded(model, data.test), data.test.context
    other = torch.where(padded[..., None], torch.randn_like(x), x)
    assert padded.any()
    assert torch.equal(model(x, padded), model(other, padded))
    assert not torch.equal(model(x, padded), model(other, torch.zeros_like(padded)))


@pytest.mark.parametrize("name, kind", [r for r in READS if r[1] in ("tokens", "several")])
def test_rows_that_are_padded_throughout_have_finite_outputs_and_gradients(name, kind):
    data = make(kind, rows=20)
    model = network(name, data).eval()
    inputs = tuple(x.requires_grad_() for x in embedded(model, data.test))
    outputs = model(*inputs, *(torch.ones_like(c) for c in data.test.context))
    assert outputs.isfinite().all()
    gradients = torch.autograd.grad(outputs.sum(), inputs, allow_unused=True)
    assert all(g is None or g.isfinite().all() for g in gradients)


@pytest.mark.parametrize("name", READ_TOKENS)
def test_without_context_nothing_is_padded(name):
    data = make("tokens", rows=4)
    model = network(name, data).eval()
    x = embedded(model, data.test)
    assert torch.equal(model(*x), model(*x, torch.zeros_like(data.test.context[0])))


@pytest.mark.parametrize("name", READ_TOKENS)
def test_padding_is_embedded_as_zeros_and_stays_so(name):
    data = make("tokens", rows=40)
    model = network(name, data)
    fit(model, data, Training(epochs=2), seed=0)
    table = model.embeddings["0"].weight
    assert not table[0].any()
    assert table[1:].any(1).all()


def test_logistic_attributions_are_weights():
    data = make("several", rows=10)
    model = Logistic(data.modalities, 2).eval()
    inputs = tuple(x.requires_grad_() for x in embedded(model, data.test))
    shown = [torch.zeros_like(c) for c in data.test.context]
    gradients = torch.autograd.grad(model(*inputs, *shown)[:, 1].sum(), inputs)
    flat = torch.cat([g.flatten(1) for g in gradients], 1)
    torch.testing.assert_close(flat, model.linear.weight[1].expand_as(flat))


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "elu", "leaky_relu", "softplus"])
def test_deep_lift_is_complete_on_the_mlp(activation):
    data = make("several", rows=20)
    model = MLP(data.modalities, 2, hidden=[9, 8], activation=activation, dropout=0.1).eval()
    inputs, context = embedded(model, data.test), data.test.context
    _, delta = DeepLift(model).attribute(
        inputs, target=1, additional_forward_args=context, return_convergence_delta=True
    )
    assert delta.abs().max() < 1e-5


def test_deep_lift_is_complete_on_the_cnn_with_average_pooling():
    data = make("image", rows=20)
    model = CNN(data.modalities, 2, pooling="average").eval()
    _, delta = DeepLift(model).attribute(data.test.inputs, target=1, return_convergence_delta=True)
    assert delta.abs().max() < 1e-5


@pytest.mark.parametrize("name", ["logistic", "mlp", "cnn"])
def test_lrp_has_a_rule_for_every_layer(name):
    data = make("image", rows=10)
    model = network(name, data).eval()
    relevance = LRP(model).attribute(data.test.inputs, target=1)[0]
    assert relevance.isfinite().all() and relevance.any()


@pytest.mark.parametrize("channels", [[4], [4, 6], [4, 5, 6, 7, 8, 9]])
def test_grad_cam_reads_the_explained_layer_of_the_cnn(channels):
    data = make("image", rows=10)
    model = CNN(data.modalities, 2, channels=channels).eval()
    layer = model.get_submodule(model.explained_layer)
    cam = LayerGradCam(model, layer).attribute(data.test.inputs[0], target=1)
    assert cam.dim() == 4 and cam.shape[:2] == (len(data.test), 1)
    assert cam.isfinite().all()


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_the_transformer_has_hook_points(pooling):
    data = make("several", rows=10)
    model = Transformer(data.modalities, 2, depth=2, heads=2, width=8, pooling=pooling).eval()
    seen = {}
    for name in ("embed_out", "blocks.1.out", "blocks.0.attention.probabilities"):
        model.get_submodule(name).register_forward_hook(lambda m, i, o, n=name: seen.update({n: o}))
    model(*embedded(model, data.test), *data.test.context)
    first = int(pooling == "cls")
    length = first + 5 + 7 + 3  # columns, tokens, segments
    assert seen["embed_out"].shape == seen["blocks.1.out"].shape == (len(data.test), length, 8)
    probabilities = seen["blocks.0.attention.probabilities"]
    assert probabilities.shape == (len(data.test), 2, length, length)
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(len(data.test), 2, length))
    of_text = probabilities[..., first + 5 : first + 12]
    assert not of_text.masked_select(data.test.context[0][:, None, None]).any()


def test_the_transformer_tells_columns_and_positions_apart():
    data = make("table", rows=10)
    model = network("transformer", data).eval()
    x = data.test.inputs[0]
    assert not torch.allclose(model(x), model(x.flip(1)), atol=1e-4)


@pytest.mark.parametrize(
    "model, own, message",
    [
        (MLP, {"activation": "rellu"}, r"model.mlp.activation=rellu: .* Did you mean relu\?"),
        (Transformer, {"activation": "gellu"}, r"model.transformer.activation=gellu: .* Did you mean gelu\?"),
        (Transformer, {"heads": 5}, r"model.transformer.heads=5: must divide the width 64"),
        (Transformer, {"pooling": "max"}, r"model.transformer.pooling=max: unknown; choose from mean, cls"),
        (CNN, {"pooling": "median"}, r"model.cnn.pooling=median: unknown; choose from max, average"),
        (CNN, {"channels": []}, r"model.cnn.channels=\[\]: at least one"),
        (CNN, {"kernel": 4}, r"model.cnn.kernel=4: must be odd"),
        (CNN, {"dropout": 1.5}, r"model.cnn.dropout=1.5: must be from 0 to below 1"),
        (MLP, {"dropout": -0.5}, r"model.mlp.dropout=-0.5: must be from 0 to below 1"),
        (MLP, {"hidden": [8, 0]}, r"model.mlp.hidden=\[8, 0\]: must be whole numbers from 1"),
        (Transformer, {"width": 0}, r"model.transformer.width=0: must be a whole number from 1"),
        (Logistic, {"embedding": 0}, r"embedding=0: must be a whole number from 1"),
        (MLP, {"num_outputs": 0}, r"model.mlp.num_outputs=0: must be a whole number from 1"),
    ],
)
def test_wrong_arguments_are_one_line(model, own, message):
    data = make("image", rows=4)
    with pytest.raises(WrongInput, match=message):
        model(data.modalities, **{"num_outputs": 2, **own})
