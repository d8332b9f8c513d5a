"""Layer-wise relevance propagation through Captum's rules, on a private copy of the network."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import captum.attr
import torch
from captum.attr._core.lrp import SUPPORTED_LAYERS_WITH_RULES, SUPPORTED_NON_LINEAR_LAYERS
from captum.attr._utils.lrp_rules import Alpha1_Beta0_Rule, EpsilonRule, GammaRule, PropagationRule
from torch import nn

RULES: dict[type[nn.Module], type[PropagationRule]] = {
    **SUPPORTED_LAYERS_WITH_RULES,
    **dict.fromkeys(
        (nn.Conv1d, nn.Conv3d, nn.BatchNorm1d, nn.Flatten, nn.AvgPool1d, nn.AvgPool3d), EpsilonRule
    ),
    **dict.fromkeys((nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool1d), EpsilonRule),
}
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
KINDS: dict[str, tuple[type[nn.Module], ...]] = {"linear": (nn.Linear,), "conv": CONVOLUTIONS}
"""What `rules` calls the layers with weights."""
NAMED: dict[str, Callable[[], PropagationRule]] = {
    "epsilon": EpsilonRule,
    "gamma": GammaRule,
    "alpha1_beta0": Alpha1_Beta0_Rule,
}
"""Rules by name. `gamma` (0.25) and `alpha1_beta0` are meant for layers whose inputs are not negative."""
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

    one_pass = True
    """All rows pass at once: who calls it decides how many."""

    def attribute(  # type: ignore[override]
        self,
        inputs: Any,
        target: Any = None,
        additional_forward_args: Any = None,
        return_convergence_delta: bool = False,
        verbose: bool = False,
        rules: str | Mapping[str, str] | None = None,
    ) -> Any:
        """As Captum's; `rules` is the rule of the layers with weights (`epsilon`, `gamma`, `alpha1_beta0`), or one for
        each kind, `{"conv": "gamma", "linear": "epsilon"}`. ValueError for another name.

        Layers that read ids (nn.Embedding) need no rule: relevance ends there. Ids are not explained themselves.
        """
        chosen = rules_by_type(rules)
        copy = OnCopy(
            nn.Sequential(deepcopy(self.model))
            if not any(True for _ in self.model.children())
            else deepcopy(self.model)
        )
        copy.chosen = chosen
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
    chosen: Mapping[type[nn.Module], Callable[[], PropagationRule]] = {}

    def _get_layers(self, model: nn.Module) -> None:
        innermost = [m for m in model.modules() if m in self.used and not any(True for _ in m.children())]
        self.layers = [m for m in innermost if not isinstance(m, nn.Embedding | nn.EmbeddingBag)]

    def _check_and_attach_rules(self) -> None:
        for layer in self.layers:
            if type(layer) in PASSED_THROUGH and not hasattr(layer, "rule"):
                layer.rule = None  # type: ignore[assignment]
                continue
            if not hasattr(layer, "rule"):
                if type(layer) not in RULES:
                    raise TypeError(f"LRP has no rule for {type(layer).__name__}; give the module a `.rule`")
                layer.rule = self.chosen.get(type(layer), RULES[type(layer)])()  # type: ignore[assignment]
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


def rules_by_type(
    rules: str | Mapping[str, str] | None,
) -> dict[type[nn.Module], Callable[[], PropagationRule]]:
    """The rule of each type of layer that `rules` names."""
    named = dict.fromkeys(KINDS, rules) if isinstance(rules, str) else dict(rules or {})
    for kind, rule in named.items():
        if kind not in KINDS or rule not in NAMED:
            raise ValueError(
                f"rules={rules}: one of {', '.join(NAMED)}, or one for each of {', '.join(KINDS)}"
            )
    return {layer: NAMED[rule] for kind, rule in named.items() for layer in KINDS[kind]}


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
