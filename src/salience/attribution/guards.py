"""Where Captum would be silently wrong: refuse before, check after, and leave the network as it was found."""

from collections.abc import Iterator
from contextlib import contextmanager

import captum.attr
import torch
from torch import Tensor, nn

from ..errors import WrongInput
from .batched.gradients import MOST_STEPS, total
from .explanation import Explained, Explanation, Explicand, feature_totals

NEEDS_RELU = (
    captum.attr.GuidedBackprop, captum.attr.Deconvolution, captum.attr.GuidedGradCam,
    captum.attr.NeuronGuidedBackprop, captum.attr.NeuronDeconvolution,
)  # fmt: skip
EXACT = (captum.attr.DeepLift, captum.attr.NeuronDeepLift, captum.attr.NeuronDeepLiftShap)
"""Methods whose attributions must sum to the change of the output whatever the settings (and their subclasses)."""
CONVERGING = (
    captum.attr.IntegratedGradients, captum.attr.LayerIntegratedGradients, captum.attr.LayerConductance,
    captum.attr.NeuronIntegratedGradients,
)  # fmt: skip
"""Methods whose attributions do so as the number of steps grows."""
NEEDS_MODULES = (*NEEDS_RELU, *EXACT, captum.attr.LRP)
SOFTMAX = (nn.Softmax, nn.LogSoftmax, nn.Softmax2d, nn.Softmin, nn.AdaptiveLogSoftmaxWithLoss)
RELATIVE, ABSOLUTE = 1e-3, 1e-4
"""A completeness gap above RELATIVE |f(x) - f(baseline)| + ABSOLUTE is worth a warning."""
LOWEST_R2, MOST_ZEROS = 0.3, 0.5
"""A linear surrogate that fits worse, or whose coefficients are more often exactly 0, is worth a warning."""


class Refused(WrongInput):  # noqa: N818 - what happened to the method, as messages say it
    """A method cannot explain this network, or would only seem to."""


class NotFinite(ArithmeticError):  # noqa: N818
    """A result holds NaN or infinity."""


def before(method: captum.attr.Attribution, model: Explained) -> str | None:
    """Why `method` would silently be something else on this network; None where it would not."""
    modules = list(model.model.modules())
    if isinstance(method, NEEDS_MODULES) and any(isinstance(m, torch.jit.ScriptModule) for m in modules):
        return "it changes modules, which a scripted or traced network hides; give the network itself"
    if isinstance(method, NEEDS_RELU) and not any(isinstance(m, nn.ReLU) for m in modules):
        return "the network has no nn.ReLU module, so the result would be the plain gradient"
    recurrent = any(isinstance(m, nn.RNNBase) for m in modules)
    if recurrent and isinstance(method, EXACT) and not isinstance(method, captum.attr.LayerAttribution):
        return "the gates of a recurrent layer have no rule: use integrated_gradients"
    return None


def before_rows(method: captum.attr.Attribution, model: Explained, x: Explicand) -> str | None:
    """Why `method` would silently be wrong for these examples; None where it would not."""
    if type(method) is captum.attr.FeaturePermutation and len(x) == 1:
        return "one row has nothing to be permuted with, so the result would be 0; use feature_permutation"
    if isinstance(method, EXACT) and _calls_softmax(model, x):
        return "a softmax inside mixes what its rule keeps apart: explain logits, or use integrated_gradients"
    return None


def _calls_softmax(model: Explained, x: Explicand) -> bool:
    """Whether a pass of one row goes through a softmax module (some networks have one that only they use)."""
    called: list[nn.Module] = []
    suspects = [m for m in model.model.modules() if isinstance(m, SOFTMAX)]
    hooks = [m.register_forward_pre_hook(lambda module, _: called.append(module)) for m in suspects]
    try:
        if suspects:
            with torch.no_grad():
                model.uncounted(*(i[:1] for i in x.inputs), *(c[:1] for c in x.context))
    finally:
        for hook in hooks:
            hook.remove()
    return bool(called)


def notes(method: captum.attr.Attribution) -> tuple[str, ...]:
    """What a reader of this method's results must know, whatever the network."""
    if type(method) is captum.attr.FeaturePermutation:
        return ("each example's result depends on the others in its batch; feature_permutation's does not",)
    return ()


def check(explanation: Explanation, method: captum.attr.Attribution) -> tuple[str, ...]:
    """Warnings about a finished explanation; NotFinite or Refused where it is none."""
    for a, x in zip(explanation.attributions, explanation.inputs, strict=True):
        if a.shape != x.shape:
            raise Refused(
                f"attribution={explanation.method}: gives shape {tuple(a.shape)} for an input of {tuple(x.shape)}"
            )
    finite(explanation)
    return incomplete(explanation, method) + surrogate(explanation, method)


def finite(explanation: Explanation) -> None:
    """NotFinite names the first example that has a NaN or an infinity."""
    good = torch.stack([a.reshape(len(a), -1).isfinite().all(1) for a in explanation.attributions]).all(0)
    if not bool(good.all()):
        row = explanation.index[~good][0].item()
        raise NotFinite(f"attribution={explanation.method}: attributions of example {row} are not finite")


def gaps(delta: Tensor, change: Tensor) -> Tensor:
    """Which examples' attributions miss the change of output by more than the tolerance, bool [examples]."""
    return delta.abs() > RELATIVE * change.abs() + ABSOLUTE


def with_verdict(explanation: Explanation, method: captum.attr.Attribution) -> dict[str, Tensor]:
    """The details of an explanation with its `gap` and whether it is `complete` [examples], where that is promised.

    What the attributions should sum to is their sum less the convergence delta.
    """
    delta, known = explanation.convergence_delta, dict(explanation.details)
    promised = isinstance(method, EXACT + CONVERGING) and method.multiplies_by_inputs
    if delta is None or not promised:
        return known
    return known | {"gap": delta, "complete": ~gaps(delta, total(explanation.attributions) - delta)}


def incomplete(explanation: Explanation, method: captum.attr.Attribution) -> tuple[str, ...]:
    """A warning where attributions do not sum to the change of output as the method promises."""
    complete, gap = explanation.details.get("complete"), explanation.details.get("gap")
    if complete is None or gap is None or bool((complete == 1).all()):
        return ()
    missed = complete != 1  # the mean over several baselines is a share
    change = total(explanation.attributions) - gap
    worst = (gap.abs() / change.abs().clamp(min=1e-12))[missed].max().item()
    steps = explanation.details.get("steps")
    remedy = "use integrated_gradients"
    if steps is not None:
        remedy = f"{int(steps.max())} steps are not enough: raise n_steps or set it to auto"
        remedy = remedy if int(steps.max()) < MOST_STEPS else f"the most steps ({MOST_STEPS}) are spent"
    return (
        f"incomplete for {int(missed.sum())} of {len(missed)} examples: the sum misses f(x) - f(baseline) "
        f"by up to {worst:.1%}; {remedy}",
    )


def surrogate(explanation: Explanation, method: captum.attr.Attribution) -> tuple[str, ...]:
    """Warnings about a linear surrogate that fits badly, or that its penalty has emptied."""
    if not isinstance(method, captum.attr.Lime) or isinstance(method, captum.attr.KernelShap):
        return ()
    found: tuple[str, ...] = ()
    fit = explanation.details.get("surrogate_r2")
    if fit is not None and bool((fit < LOWEST_R2).any()):
        found += (
            f"the linear surrogate fits badly for {int((fit < LOWEST_R2).sum())} of {len(fit)} examples "
            f"(median R2 {fit.median().item():.2f}): raise n_samples, or trust it less",
        )
    values = explanation.per_feature()[_players(explanation)]
    zeros = (values == 0).double().mean().item() if len(values) else 0.0
    if zeros > MOST_ZEROS:
        found += (
            f"{zeros:.0%} of the surrogate's coefficients are exactly 0: its penalty is too strong for these "
            "outputs; use lime with its ridge, or a smaller alpha",
        )
    return found


def _players(explanation: Explanation) -> Tensor:
    """Which features are there and differ from the baseline, bool [examples, features]."""
    if explanation.baselines is None:
        return explanation.present
    pairs = zip(explanation.inputs, explanation.baselines, strict=True)
    changes = tuple((x != b).to(torch.float32) for x, b in pairs)
    return (
        feature_totals(changes, explanation.feature_mask, explanation.num_features) > 0
    ) & explanation.present


SWAPS_WEIGHTS = (captum.attr.LRP,)
"""Methods that change weights while they work."""
ATTACHED = ("rule", "activations", "activation", "input", "input_ref", "output")
"""Attributes that Captum sets on modules and deletes again, or leaves there when it fails."""


@contextmanager
def same_mode(model: nn.Module) -> Iterator[None]:
    """Restore the train/eval mode of every module afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, mode in modes:
            if module.training != mode:  # setting an attribute of a module is slow
                module.training = mode


@contextmanager
def untouched(model: nn.Module, swaps_weights: bool = False) -> Iterator[None]:
    """Restore train/eval mode, requires_grad, hooks and attached rules afterwards, also when the block raises.

    RuntimeError where the block changed weights; with `swaps_weights` they are restored too.
    """
    modules, parameters = list(model.modules()), list(model.parameters())
    wanted = [p.requires_grad for p in parameters]
    versions = [p._version for p in parameters]
    copies = [p.detach().clone() for p in parameters] if swaps_weights else None
    hooks = [_hooks(m) for m in modules]
    attached = [{name: vars(m)[name] for name in ATTACHED if name in vars(m)} for m in modules]
    try:
        with same_mode(model):
            yield
    finally:
        for module, kept, own in zip(modules, hooks, attached, strict=True):
            for registry, before_ in zip(_registries(module), kept, strict=True):
                for key in set(registry) - before_:
                    del registry[key]
            for name in ATTACHED:
                vars(module).pop(name, None)
            vars(module).update(own)
        for parameter, grad in zip(parameters, wanted, strict=True):
            if parameter.requires_grad != grad:
                parameter.requires_grad_(grad)
        if copies is not None:
            _restore(parameters, copies)
    if copies is None and versions != [p._version for p in parameters]:
        raise RuntimeError("the weights of the network were changed while it was explained")


def _restore(parameters: list[nn.Parameter], copies: list[Tensor]) -> None:
    with torch.no_grad():
        for parameter, copy in zip(parameters, copies, strict=True):
            if not torch.equal(parameter, copy):
                parameter.copy_(copy)


def _registries(module: nn.Module) -> tuple[dict, ...]:
    return (
        module._forward_hooks,
        module._forward_pre_hooks,
        module._backward_hooks,
        module._backward_pre_hooks,
    )


def _hooks(module: nn.Module) -> tuple[set, ...]:
    return tuple(set(r) for r in _registries(module))
