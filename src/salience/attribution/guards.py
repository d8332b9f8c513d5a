"""Where Captum would be silently wrong: refuse before, check after, and leave the network as it was found."""

from collections.abc import Iterator
from contextlib import contextmanager

import captum.attr
import torch
from torch import Tensor, nn

from ..errors import WrongInput
from .batched import DeepLift, DeepLiftShap, IntegratedGradients
from .explanation import Explained, Explanation

NEEDS_RELU = (captum.attr.GuidedBackprop, captum.attr.Deconvolution, captum.attr.GuidedGradCam)
EXACT = (DeepLift, DeepLiftShap)
"""Methods whose attributions must sum to the change of the output whatever the settings."""
CONVERGING = (IntegratedGradients, captum.attr.IntegratedGradients)
"""Methods whose attributions do so as the number of steps grows."""
RELATIVE, ABSOLUTE = 1e-3, 1e-4
"""A completeness gap above RELATIVE |f(x) - f(baseline)| + ABSOLUTE is worth a warning."""


class Refused(WrongInput):  # noqa: N818 - what happened to the method, as messages say it
    """A method cannot explain this network, or would only seem to."""


class NotFinite(ArithmeticError):  # noqa: N818
    """A result holds NaN or infinity."""


def before(method: captum.attr.Attribution, model: Explained) -> str | None:
    """Why `method` would silently be something else on this network; None where it would not."""
    kinds = {type(m) for m in model.model.modules()}
    if isinstance(method, NEEDS_RELU) and not any(issubclass(k, nn.ReLU) for k in kinds):
        return "the network has no nn.ReLU module, so the result would be the plain gradient"
    needs_module = isinstance(method, NEEDS_RELU + EXACT + (captum.attr.DeepLift, captum.attr.LRP))
    if needs_module and any(issubclass(k, torch.jit.ScriptModule) for k in kinds):
        return "it changes modules, which a scripted or traced network hides"
    if isinstance(method, (*EXACT, captum.attr.DeepLift)) and _ends_in_softmax(model.model):
        return "the network ends in a softmax, which mixes the classes: explain its logits"
    return None


def _ends_in_softmax(model: nn.Module) -> bool:
    leaves = [m for m in model.modules() if not any(True for _ in m.children())]
    return bool(leaves) and isinstance(leaves[-1], nn.Softmax | nn.LogSoftmax | nn.Softmax2d)


def notes(method: captum.attr.Attribution) -> tuple[str, ...]:
    """What a reader of this method's results must know, whatever the network."""
    if type(method) is captum.attr.FeaturePermutation:
        return ("each example's result depends on the others in its batch; feature_permutation's does not",)
    return ()


def check(
    explanation: Explanation, method: captum.attr.Attribution, change: Tensor | None
) -> tuple[str, ...]:
    """Warnings about a finished explanation; NotFinite or Refused where it is none.

    `change` is f(x) - f(baseline) [examples], where the method promises to sum to it.
    """
    for a, x in zip(explanation.attributions, explanation.inputs, strict=True):
        if a.shape != x.shape:
            raise Refused(
                f"{explanation.method} returned shape {tuple(a.shape)} for an input of {tuple(x.shape)}"
            )
    finite = torch.stack([a.reshape(len(a), -1).isfinite().all(1) for a in explanation.attributions]).all(0)
    if not bool(finite.all()):
        row = explanation.index[~finite][0].item()
        raise NotFinite(f"{explanation.method}: attributions of example {row} are not finite")
    return incomplete(explanation, method, change)


def gaps(delta: Tensor, change: Tensor) -> Tensor:
    """Which examples' attributions miss the change of output by more than the tolerance, bool [examples]."""
    return delta.abs() > RELATIVE * change.abs() + ABSOLUTE


def incomplete(
    explanation: Explanation, method: captum.attr.Attribution, change: Tensor | None
) -> tuple[str, ...]:
    """A warning where attributions do not sum to the change of output as the method promises."""
    delta = explanation.convergence_delta
    if change is None or delta is None or not isinstance(method, EXACT + CONVERGING):
        return ()
    missed = gaps(delta, change)
    if not bool(missed.any()):
        return ()
    worst = (delta.abs() / change.abs().clamp(min=1e-12))[missed].max().item()
    remedy = (
        "raise n_steps or set it to auto" if isinstance(method, CONVERGING) else "use integrated_gradients"
    )
    return (
        f"incomplete for {int(missed.sum())} of {len(missed)} examples: the sum misses f(x) - f(baseline) "
        f"by up to {worst:.1%}; {remedy}",
    )


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Restore train/eval mode, requires_grad and hooks afterwards, also when the block raises.

    RuntimeError where the block changed weights.
    """
    modules, parameters = list(model.modules()), list(model.parameters())
    modes = [m.training for m in modules]
    wanted = [p.requires_grad for p in parameters]
    versions = [p._version for p in parameters]
    hooks = [_hooks(m) for m in modules]
    try:
        yield
    finally:
        for module, mode, kept in zip(modules, modes, hooks, strict=True):
            module.training = mode
            for registry, before_ in zip(_registries(module), kept, strict=True):
                for key in set(registry) - before_:
                    del registry[key]
        for parameter, grad in zip(parameters, wanted, strict=True):
            parameter.requires_grad_(grad)
    if versions != [p._version for p in parameters]:
        raise RuntimeError("the weights of the network were changed while it was explained")


def _registries(module: nn.Module) -> tuple[dict, ...]:
    return (
        module._forward_hooks,
        module._forward_pre_hooks,
        module._backward_hooks,
        module._backward_pre_hooks,
    )


def _hooks(module: nn.Module) -> tuple[set, ...]:
    return tuple(set(r) for r in _registries(module))
