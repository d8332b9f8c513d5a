"""Networks over time, residual and joined ones, and white boxes: what is particular to each."""

import captum.attr
import pytest
import torch
from captum.attr import DeepLift, LayerGradCam
from small_data import make
from test_models import embedded, network

from salience.attribution.batched.lrp import LRP
from salience.data.sequences import rare
from salience.data.synthetic import sigmoid_unit
from salience.errors import WrongInput
from salience.models.sequential import last_step, mean_over_steps
from salience.models.sigmoid_unit import SigmoidUnit
from salience.models.squared_sum import SquaredSum

pytestmark = pytest.mark.filterwarnings("ignore:Input Tensor", "ignore:Setting forward")


@pytest.mark.parametrize("name, kind", [("temporal_cnn", "series"), ("resnet", "image")])
def test_grad_cam_reads_the_explained_layer(name, kind):
    data = make(kind, rows=10)
    model = network(name, data).eval()
    layer = model.get_submodule(model.explained_layer)
    cam = LayerGradCam(model, layer).attribute(data.test.inputs[0], target=1)
    assert cam.dim() == len(data.test.inputs[0].shape) and cam.shape[1] == 1 and cam.isfinite().all()


@pytest.mark.parametrize(
    "name, kind", [("temporal_cnn", "series"), ("temporal_cnn", "tokens"), ("resnet", "image")]
)
def test_deep_lift_is_complete(name, kind):
    data = make(kind, rows=20)
    model = network(name, data).eval()
    _, delta = DeepLift(model).attribute(
        embedded(model, data.test),
        target=1,
        additional_forward_args=data.test.context or None,
        return_convergence_delta=True,
    )
    assert delta.abs().max() < 1e-5


def test_lrp_has_a_rule_for_every_layer_of_the_temporal_network():
    data = make("series", rows=10)
    model = network("temporal_cnn", data).eval()
    assert LRP(model).attribute(data.test.inputs[0], target=1).isfinite().all()
    with pytest.raises(TypeError):  # Captum's own has none for Conv1d: the day it has, ours may go
        captum.attr.LRP(model).attribute(data.test.inputs[0], target=1)


@pytest.mark.parametrize("name", ["gru", "lstm"])
@pytest.mark.parametrize("own", [{"pooling": "mean"}, {"bidirectional": True}, {"depth": 2}])
def test_recurrent_layers_give_one_tensor(name, own):
    data = make("series", rows=6)
    model = network(name, data, **own).eval()
    seen = []
    model.states.register_forward_hook(lambda module, given, found: seen.append(found.shape))
    model(*data.test.inputs)
    assert seen == [(3, 10, 64 * (1 + own.get("bidirectional", False)))]


def test_the_last_step_is_the_last_that_is_not_padded():
    steps = torch.arange(12.0).reshape(2, 3, 2)
    padded = torch.tensor([[False, True, True], [True, True, True]])
    assert last_step(steps, padded).tolist() == [[0, 1], [0, 0]]
    assert last_step(steps, None).tolist() == [[4, 5], [10, 11]]
    assert mean_over_steps(steps, padded).tolist() == [[0, 1], [0, 0]]


def test_the_sigmoid_unit_has_the_weights_that_are_given():
    data = sigmoid_unit()
    outputs = SigmoidUnit(data.modalities, weights=[1, 1], bias=0)(*data.test.inputs)
    assert outputs[:, 0].sigmoid().tolist() == pytest.approx([0.7311, 0.7311, 0.8808, 0.5], abs=5e-5)
    with pytest.raises(WrongInput, match=r"sigmoid_unit.weights=\[1\]: there are 2 inputs, so 2 weights"):
        SigmoidUnit(data.modalities, weights=[1])


def test_the_squared_sum_is_what_the_data_says():
    data = rare(examples=4)
    model = SquaredSum(data.modalities)
    torch.testing.assert_close(model(*data.test.inputs, *data.test.context), data.test.labels)
    with pytest.raises(WrongInput, match="needs to be told which elements count"):
        model(*data.test.inputs)
    with pytest.raises(WrongInput, match="reads one input and has one output"):
        SquaredSum(data.modalities, num_outputs=2)
