"""Layer-wise relevance propagation through Captum's rules, on a private copy of the network."""

from collections import defaultdict
from copy import deepcopy
from typing import Any

import captum.attr
import torch
from captum.attr._core.lrp import SUPPORTED_LAYERS_WITH_RULES, SUPPORTED_NON_LINEAR_LAYERS
from captum.attr._utils.lrp_rules import EpsilonRule, PropagationRule
from torch import nn

RULES: dict[type[nn.Module], type[PropagationRule]] = {
    **SUPPORTED_LAYERS_WITH_RULES,
    **dict.fromkeys(
        (nn.Conv1d, nn.Conv3d, nn.BatchNorm1d, nn.Flatten, nn.AvgPool1d, nn.AvgPool3d), EpsilonRule
    ),
    **dict.fromkeys((nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool1d), EpsilonRule),
}
PASSED_THROUGH: tuple[type[nn.Module], ...] = (
    *SUPPORTED_NON_LINEAR_LAYERS, nn.ELU, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Softplus, nn.Identity,
    nn.Dropout1d, nn.Dropout2d,
)  # fmt: skip


class LRP(captum.attr.LRP):
    """Captum's LRP (Bach 2015; epsilon rule unless a module carries a `.rule`) without its traps.

    It works on a copy, so weights, hooks and rules of the network stay as they are, also when it raises; rules hold
    for every call; layers that the inputs do not pass through need none; a bare nn.Linear is right; and more layers
    have a rule (Conv1d, BatchNorm1d, Flatten, ...; GELU, SiLU, ... pass relevance through). Relevance sums to the
    output where there are no biases. TypeError names a layer that has no rule.
    """

    def attribute(  # type: ignore[override]
        self,
        inputs: Any,
        target: Any = None,
        additional_forward_args: Any = None,
        return_convergence_delta: bool = False,
        verbose: bool = False,
    ) -> Any:
        """As Captum's."""
        copy = OnCopy(
            nn.Sequential(deepcopy(self.model))
            if not any(True for _ in self.model.children())
            else deepcopy(self.model)
        )
        copy.used = modules_called(copy.model, inputs, additional_forward_args)
        return captum.attr.LRP.attribute(
            copy, inputs, target, additional_forward_args, return_convergence_delta, verbose
        )

    def has_convergence_delta(self) -> bool:
        """Captum's delta is the relevance that biases absorb: no error, so it is not taken for one."""
        return False


class OnCopy(captum.attr.LRP):
    """Captum's machinery with our tables, on a copy that is thrown away."""

    used: set[nn.Module]

    def _get_layers(self, model: nn.Module) -> None:
        self.layers = [m for m in model.modules() if m in self.used and not any(True for _ in m.children())]

    def _check_and_attach_rules(self) -> None:
        for layer in self.layers:
            if type(layer) in PASSED_THROUGH and not hasattr(layer, "rule"):
                layer.rule = None  # type: ignore[assignment]
                continue
            if not hasattr(layer, "rule"):
                if type(layer) not in RULES:
                    raise TypeError(f"LRP has no rule for {type(layer).__name__}; give the module a `.rule`")
                layer.rule = RULES[type(layer)]()  # type: ignore[assignment]
            layer.activations = {}  # type: ignore[assignment]
            layer.rule.relevance_input = defaultdict(list)  # type: ignore[union-attr, assignment]
            layer.rule.relevance_output = {}  # type: ignore[union-attr, assignment]

    def _forward_fn_wrapper(self, *inputs: Any) -> Any:
        """Captum adds 0 to everything, which makes a padding mask a row of numbers."""
        return self.model(*(x + 0 if torch.is_tensor(x) and x.is_floating_point() else x for x in inputs))

    def _register_forward_hooks(self) -> None:
        from captum._utils.common import _register_backward_hook

        for layer in self.layers:
            if type(layer) in PASSED_THROUGH and layer.rule is None:
                hook = PropagationRule.backward_hook_activation
                self.backward_handles.extend(_register_backward_hook(layer, hook, self))
            else:
                self.forward_handles.append(layer.register_forward_hook(layer.rule.forward_hook))  # type: ignore


def modules_called(model: nn.Module, inputs: Any, context: Any) -> set[nn.Module]:
    """The modules that a pass of one row goes through."""
    seen: set[nn.Module] = set()
    hooks = [m.register_forward_pre_hook(lambda module, _: seen.add(module)) for m in model.modules()]
    try:
        with torch.no_grad():
            args = context if isinstance(context, tuple) else () if context is None else (context,)
            model(*(inputs if isinstance(inputs, tuple) else (inputs,)), *args)
    finally:
        for hook in hooks:
            hook.remove()
    return seen
