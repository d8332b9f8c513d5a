"""Attention methods against attention read from outside, and the conservation of LRP."""

import captum.attr
import pytest
import torch
from known_networks import random_rows
from torch import nn

import salience
from salience.attribution.transformers import AttentionRollout, GradientXAttention, TransformerLRP, linear
from salience.errors import WrongInput
from salience.modality import Image, Tabular, Tokens
from salience.models.mlp import MLP
from salience.models.transformer import Transformer

METHODS = (AttentionRollout, GradientXAttention, TransformerLRP)
TABLE = Tabular((5,))
TEXT = Tokens((6,), vocabulary=tuple("pstuvwxyz"), special_ids=(1,))


def network(*modalities, **options) -> Transformer:
    options = {"depth": 2, "width": 8, "heads": 2, "ff": 12, "embedding": 6} | options
    with torch.random.fork_rng():
        torch.manual_seed(2)
        net = Transformer(modalities or (TABLE,), 3, **options)
        for p in net.parameters():
            p.data.add_(0.3 * torch.randn_like(p))
    return net.eval()


def attention(net: Transformer, *tensors) -> list[torch.Tensor]:
    kept: list[torch.Tensor] = []
    hooks = [
        b.attention.probabilities.register_forward_hook(lambda _, __, out: kept.append(out))
        for b in net.blocks
    ]
    with torch.no_grad():
        net(*tensors)
    for hook in hooks:
        hook.remove()
    return kept


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_rollout_is_the_product_of_attention_and_residual(pooling):
    net, x = network(pooling=pooling), random_rows(3, 5)
    first, second = ((0.5 * a.mean(1) + 0.5 * torch.eye(a.shape[-1])) for a in attention(net, x))
    product = second @ first
    expected = product[:, 0, 1:] if pooling == "cls" else product.mean(1)
    found = AttentionRollout(net).attribute(x)
    assert torch.allclose(found, expected, atol=1e-6)
    assert (found >= 0).all() and (found.sum(1) <= 1 + 1e-6).all()


def test_gradient_x_attention_agrees_with_finite_differences():
    net, x = network(depth=1).double(), random_rows(2, 5).double()
    (probabilities,) = attention(net, x)

    def score(given: torch.Tensor) -> torch.Tensor:
        hook = net.blocks[0].attention.probabilities.register_forward_hook(lambda *_: given)
        with torch.no_grad():
            out = net(x)[:, 1]
        hook.remove()
        return out

    grads = torch.zeros_like(probabilities)
    for at in torch.cartesian_prod(*(torch.arange(n) for n in probabilities.shape[1:])).tolist():
        shift = torch.zeros_like(probabilities)
        shift[(slice(None), *at)] = 1e-5
        grads[(slice(None), *at)] = (score(probabilities + shift) - score(probabilities - shift)) / 2e-5
    expected = (grads * probabilities).relu().mean(1).mean(1)
    assert torch.allclose(GradientXAttention(net).attribute(x, target=1), expected, atol=1e-8)


def without_biases(net: Transformer) -> Transformer:
    for name, parameter in net.named_parameters():
        if name.endswith("bias") or name in ("positions", "cls"):
            parameter.data.zero_()
    return net


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_lrp_conserves_where_there_are_no_biases(activation, pooling):
    net, x = without_biases(network(activation=activation, pooling=pooling)), random_rows(4, 5, seed=1)
    f = net(x)[:, 2].detach()
    found = TransformerLRP(net).attribute(x, target=2)
    assert ((found.sum(1) - f).abs() <= 1e-6 * f.abs().max()).all()
    plain = captum.attr.InputXGradient(net).attribute(x, target=2).detach()
    assert ((plain.sum(1) - f).abs() > 1e-2 * f.abs().max()).any()


def test_what_is_held_fixed_changes_no_output():
    net, x = network(), random_rows(3, 5)
    with linear(net):
        held = net(x)
    assert torch.allclose(held, net(x), atol=1e-6)
    assert not any(m._forward_hooks for m in net.modules())


@pytest.mark.parametrize("method", METHODS)
def test_padding_changes_nothing(method):
    net, ids = network(TEXT), torch.tensor([[1, 3, 4, 5, 0, 0], [1, 4, 6, 0, 0, 0]])
    (embedded,) = net.embed(ids)
    padded = ids == 0
    given = {} if method is AttentionRollout else {"target": 0}
    found = method(net).attribute(embedded, additional_forward_args=padded, **given)
    assert found.shape == embedded.shape
    assert (found[padded] == 0).all() and (found[~padded].abs().sum(1) > 0).all()
    other = embedded.detach().clone()
    other[padded] = 9.0
    again = method(net).attribute(other, additional_forward_args=padded, **given)
    assert torch.allclose(found[~padded], again[~padded], atol=1e-6)


@pytest.mark.parametrize("method", METHODS[:2])
def test_a_tokens_share_is_spread_over_what_it_is_made_of(method):
    image, table = Image((2, 5, 5), patch=2), Tabular((3,))
    net, inputs = network(image, table), (random_rows(2, 2, 5, 5), random_rows(2, 3))
    given = {} if method is AttentionRollout else {"target": 0}
    on_image, on_table = method(net).attribute(inputs, **given)
    assert on_image.shape == inputs[0].shape and on_table.shape == inputs[1].shape
    corner = on_image[:, :, 4:, 4:]  # a patch of one pixel in each channel
    assert torch.allclose(corner, corner[:, :1].expand_as(corner))
    whole = on_image[:, :, :2, :2]
    assert torch.allclose(whole, whole[:, :1, :1, :1].expand_as(whole))
    if method is AttentionRollout:
        assert torch.allclose(on_image.sum((1, 2, 3)) + on_table.sum(1), torch.ones(2), atol=1e-5)


@pytest.mark.parametrize("method", ["attention_rollout", "gradient_x_attention", "transformer_lrp"])
def test_a_network_that_declares_no_attention_is_refused(method):
    with pytest.raises(WrongInput, match="MLP declares no `attention_layers`"):
        salience.explain(MLP((TABLE,), 3).eval(), random_rows(2, 5), method)
    stock = nn.TransformerEncoderLayer(8, 2, batch_first=True)
    with pytest.raises(WrongInput, match="attention_layers"):
        salience.explain(nn.Sequential(stock, nn.Flatten()), random_rows(2, 3, 8), method)
    found = salience.explain(network(), random_rows(2, 5), method)
    assert found.per_feature().shape == (2, 5) and not found.inputs[0].requires_grad
