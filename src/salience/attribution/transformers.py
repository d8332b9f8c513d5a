"""Methods for transformers, which look at attention itself.

They ask the network what it declares: `attention_layers`, modules that each have a hook point `probabilities`
[rows, heads, positions, positions], and `laid_over_inputs(rollout, *tensors)`, which pools the rows of a matrix
[rows, positions, positions] like the outputs are pooled and lays the result over the embedded inputs. ValueError for a
network that does not. See `models.transformer.Transformer`.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import captum.attr
import torch
from torch import Tensor, nn

from .batched.deep_lift import ELEMENTWISE
from .explanation import Explained
from .inside import once, read, row_parts
from .planner import Call, gradients, select


def attention_network(forward_func: Callable) -> Any:
    """The network behind `forward_func`, which declares its attention layers; ValueError where it does not."""
    network = forward_func.model if isinstance(forward_func, Explained) else forward_func
    if not getattr(network, "attention_layers", None) or not hasattr(network, "laid_over_inputs"):
        raise ValueError(f"reads attention, and {type(network).__name__} declares no `attention_layers`")
    return network


class AttentionRollout(captum.attr.Attribution):
    """Attention rollout (Abnar & Zuidema 2020): how much of each token reaches the pooled output.

    Attention averaged over heads, half of it the residual connection, multiplied through the layers. It sees neither
    values nor the target, and is never negative: attributions sum to at most 1.
    """

    def attribute(self, inputs: Any, additional_forward_args: Any = None) -> Any:  # type: ignore[override]
        """In the shape of the embedded inputs, a token's share spread over its width."""
        network = attention_network(self.forward_func)
        call = Call(self.forward_func, inputs, None, None, additional_forward_args)
        pieces = []
        for rows in row_parts(call):
            own, _, context = call.at(rows)
            with torch.no_grad(), ExitStack() as stack:
                kept = [stack.enter_context(read(layer.probabilities)) for layer in network.attention_layers]
                call.forward(*own, *context)
            pieces.append(network.laid_over_inputs(self._rollout([once(k) for k in kept]), *own, *context))
        return call.result(tuple(torch.cat(p) for p in zip(*pieces, strict=True)))

    @staticmethod
    def _rollout(attention: list[Tensor]) -> Tensor:
        rollout = torch.eye(attention[0].shape[-1]).to(attention[0])
        for probabilities in attention:
            rollout = 0.5 * (probabilities.mean(1) @ rollout + rollout)
        return rollout


class GradientXAttention(captum.attr.GradientAttribution):
    """Gradient x attention (Chefer 2021, the rule for self-attention): where attention raised the target.

    R starts as the identity and grows by relu(gradient * attention), averaged over heads, times R, layer by layer; the
    identity is taken off at the end. Never negative.
    """

    def __init__(self, forward_func: Callable):
        super().__init__(forward_func)

    def attribute(self, inputs: Any, target: Any = None, additional_forward_args: Any = None) -> Any:  # type: ignore[override]
        """In the shape of the embedded inputs, a token's relevance spread over its width."""
        network = attention_network(self.forward_func)
        call = Call(self.forward_func, inputs, None, target, additional_forward_args)
        pieces = []
        for rows in row_parts(call):
            own, wanted, context = call.at(rows)
            with torch.enable_grad(), ExitStack() as stack:
                kept = [stack.enter_context(read(layer.probabilities)) for layer in network.attention_layers]
                leaves = (x.requires_grad_(x.is_floating_point()) for x in own)
                scores = select(call.forward(*leaves, *context), wanted)
                attention = [once(k) for k in kept]
                grads = torch.autograd.grad(scores.sum(), attention)
            relevance = self._relevance([a.detach() for a in attention], grads)
            pieces.append(network.laid_over_inputs(relevance, *own, *context))
        return call.result(tuple(torch.cat(p).detach() for p in zip(*pieces, strict=True)))

    @staticmethod
    def _relevance(attention: list[Tensor], grads: tuple[Tensor, ...]) -> Tensor:
        identity = torch.eye(attention[0].shape[-1]).to(attention[0])
        relevance = identity.expand(len(attention[0]), -1, -1)
        for probabilities, grad in zip(attention, grads, strict=True):
            relevance = relevance + (grad * probabilities).relu().mean(1) @ relevance
        return relevance - identity


class TransformerLRP(captum.attr.GradientAttribution):
    """LRP for transformers (Ali 2022): input x gradient, with attention weights and normalisation held fixed.

    Softmax weights, the standard deviation of each LayerNorm and the slope y / x of each activation are constants for
    the way back, so that what is left is linear: relevance sums to the output where there are no biases (positions
    and biases keep what is theirs otherwise).
    """

    def __init__(self, forward_func: Callable):
        super().__init__(forward_func)

    def attribute(self, inputs: Any, target: Any = None, additional_forward_args: Any = None) -> Any:  # type: ignore[override]
        """In the shape of the embedded inputs."""
        network = attention_network(self.forward_func)
        call = Call(self.forward_func, inputs, None, target, additional_forward_args)
        pieces = []
        for rows in row_parts(call):
            own, wanted, context = call.at(rows)
            with linear(network):
                _, grads = gradients(call.forward, own, wanted, context)
            pieces.append(tuple(x * g for x, g in zip(own, grads, strict=True)))
        return call.result(tuple(torch.cat(p) for p in zip(*pieces, strict=True)))


@contextmanager
def linear(network: Any) -> Iterator[None]:
    """Hold what is not linear in `network` fixed for gradients taken inside the block; outputs stay the same."""
    hooks = [layer.probabilities.register_forward_hook(_detached) for layer in network.attention_layers]
    for module in network.modules():
        if isinstance(module, nn.LayerNorm):
            hooks.append(module.register_forward_hook(_fixed_scale))
        elif isinstance(module, ELEMENTWISE):
            hooks.append(module.register_forward_hook(_fixed_slope))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _detached(_: nn.Module, __: tuple, output: Tensor) -> Tensor:
    return output.detach()


def _fixed_scale(module: nn.LayerNorm, inputs: tuple[Tensor, ...], _: Tensor) -> Tensor:
    x, axes = inputs[0], tuple(range(-len(module.normalized_shape), 0))
    centred = x - x.mean(axes, keepdim=True)
    scale = (x.var(axes, unbiased=False, keepdim=True) + module.eps).rsqrt().detach()
    scaled = centred * scale if module.weight is None else centred * scale * module.weight
    return scaled if module.bias is None else scaled + module.bias


def _fixed_slope(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    x = inputs[0]
    zero = x == 0
    slope = torch.where(zero, torch.zeros_like(x), output / torch.where(zero, torch.ones_like(x), x)).detach()
    return x * slope + torch.where(zero, output, torch.zeros_like(x)).detach()
