"""Before anything is trained: two examples through every method on the untrained network."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch

from ..errors import WrongInput
from . import guards
from .explainer import Explainer
from .explanation import Explicand


@dataclass(frozen=True)
class Plan:
    """What a method will need for one example."""

    forward_rows: float
    backward_rows: float
    warnings: tuple[str, ...] = ()
    """What there is to warn of in the explanations that were tried."""


def preflight(explainer: Explainer, x: Explicand) -> Plan:
    """Try `explainer` on the few examples of `x`; learn what it costs and whether it draws random numbers.

    Refused with the reason where it cannot explain this network, or its attributions do not sum to what it promises.
    """
    counter = explainer.model.counter
    counter.largest_pass = 0
    before = counter.forward_rows, counter.backward_rows
    try:
        explanation = explainer.explain(x)
    except WrongInput:
        raise
    except Exception as error:
        raise guards.Refused(f"attribution={explainer.key}: {reason(error)}") from error
    explainer.expansion = max(1, -(-counter.largest_pass // len(x)))
    _refuse_incomplete(explainer, explanation, x)
    rows = counter.forward_rows - before[0], counter.backward_rows - before[1]
    return Plan(rows[0] / len(x), rows[1] / len(x), explanation.warnings)


def _refuse_incomplete(explainer: Explainer, explanation: guards.Explanation, x: Explicand) -> None:
    """An exact method that is not exact here would only seem to explain."""
    if not isinstance(explainer.method, guards.EXACT) or explainer.guarded != "error":
        return
    delta = explanation.convergence_delta
    if delta is None:
        return
    scale = x.score.abs().max() + explanation.attributions[0].abs().sum() / len(x)
    if bool((delta.abs() > 1e-3 * scale + 1e-6).any()):
        raise guards.Refused(
            f"attribution={explainer.key}: its attributions do not sum to f(x) - f(baseline) on this network (off by "
            f"{delta.abs().max().item():.2g}): parts such as attention or LayerNorm have no rule"
        )


def reason(error: Exception) -> str:
    """An exception as one short line."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]


def refusals(
    names: Iterable[str], make: Callable[[str], Explainer], x: Explicand
) -> tuple[dict[str, str], dict[str, Plan]]:
    """Try many methods: why each refused one cannot explain this network, and what each other one needs."""
    refused, planned = {}, {}
    for name in names:
        try:
            with torch.random.fork_rng(devices=[]):
                planned[name] = preflight(make(name), x)
        except WrongInput as error:
            refused[name] = str(error)
    return refused, planned
