"""A network and its inputs are as they were, also after a method that fails (the fourteenth of Captum's traps)."""

import captum.attr
import pytest
import torch
from known_networks import random_mlp, random_rows
from torch import nn

import salience
from salience.attribution.guards import Refused, untouched
from salience.errors import WrongInput

pytestmark = pytest.mark.filterwarnings("ignore")  # Captum narrates its hooks
X = random_rows(4, 6)


class Breaks(captum.attr.Attribution):
    """Does to a network all that a method may do, then fails."""

    def attribute(self, inputs, target=None):
        inputs.requires_grad_()
        self.forward_func.train()
        for module in self.forward_func.modules():
            module.register_forward_hook(lambda *_: None)
            module.rule = module.input = "left behind"
        for parameter in self.forward_func.parameters():
            parameter.requires_grad_(False)
        raise ValueError("in the middle of it")


def state(model):
    hooks = [
        len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in model.modules()
    ]
    attributes = [sorted(vars(m)) for m in model.modules()]
    return (
        [m.training for m in model.modules()],
        hooks,
        attributes,
        [(p.requires_grad, p.grad, p.clone()) for p in model.parameters()],
    )


def assert_same_state(before, after):
    assert before[:3] == after[:3]
    for (wanted, grad, value), (got, grad_, value_) in zip(before[3], after[3], strict=True):
        assert wanted == got and grad is None and grad_ is None and torch.equal(value, value_)


def mixed() -> nn.Sequential:
    """Parts in train mode, a frozen layer, a hook of its own."""
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Dropout(0.5), nn.Linear(5, 3)).train()
    model[0].requires_grad_(False)
    model[1].eval()
    model[3].register_forward_hook(lambda *_: None)
    return model


def test_a_method_that_fails_leaves_the_network_and_the_input_alone():
    model, x = mixed(), X.clone()
    with pytest.raises(RuntimeError):
        captum.attr.Saliency(lambda z: z.detach().sum(1)).attribute(x)
    assert x.requires_grad, "Captum leaves a trace on the user's input"
    before, x = state(model), X.clone()
    with pytest.raises(Refused, match="in the middle of it"):
        salience.explain(model, x, Breaks)
    with pytest.raises(Refused):
        salience.explain(model, x, "integrated_gradients", n_steps=-1)
    with pytest.raises(WrongInput, match="inputs: the network does not read them: .*dtype"):
        salience.explain(model, x.double(), "saliency")
    assert_same_state(before, state(model))
    assert not x.requires_grad and torch.equal(x, X)


@pytest.mark.parametrize("method", ["deep_lift", "lrp", "guided_backprop", "smooth_grad", "lime", captum.attr.LRP,
                                    captum.attr.DeepLift, captum.attr.Deconvolution])  # fmt: skip
def test_methods_leave_the_network_and_the_input_alone(method):
    model, x = mixed(), X.clone().requires_grad_()
    before = state(model)
    explained = salience.explain(model, x, method)
    assert_same_state(before, state(model))
    assert x.grad is None and torch.equal(x, X) and not explained.attributions[0].requires_grad


def test_a_method_that_changes_weights_is_found_out():
    model = random_mlp()
    with (
        pytest.raises(RuntimeError, match="weights of the network were changed"),
        untouched(model),
        torch.no_grad(),
    ):
        model[0].weight += 1


def test_captums_lrp_puts_weights_back_when_it_fails():
    """Two uses of one layer stop it in the middle, with other weights in place."""
    model = random_mlp()
    model = nn.Sequential(model[0], nn.ReLU(), nn.Linear(16, 6), model[0], nn.Linear(16, 3))
    before = state(model)
    with pytest.raises(Refused, match="more than once"):
        salience.explain(model, X, captum.attr.LRP)
    assert_same_state(before, state(model))
