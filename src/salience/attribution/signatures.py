"""What a method takes, read from its class: how the explainer knows what to fill in."""

import inspect
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import captum.attr

TUPLES = ("inputs", "baselines", "feature_mask", "sliding_window_shapes", "strides")
"""Arguments with one entry per input, given bare where there is one input."""


def parameters(method: captum.attr.Attribution) -> dict[str, inspect.Parameter]:
    """The arguments of a method's `attribute`, with those of the method that it wraps."""
    own = named(type(method).attribute)
    inner = getattr(method, "attribution_method", None)
    both = own if inner is None else named(type(inner).attribute) | own
    return {name: p for name, p in both.items() if name != "self"}


@cache
def named(function: Callable) -> dict[str, inspect.Parameter]:
    """Parameters that have a name of their own (neither *args nor **kwargs)."""
    found = inspect.signature(function).parameters
    return {n: p for n, p in found.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}


def constructor_of(factory: Callable) -> dict[str, inspect.Parameter]:
    """The arguments of the class that a factory makes."""
    return named(made_by(factory))


def is_method(factory: Any) -> bool:
    """Whether this is a class of attribution methods, or a partial of one."""
    made = made_by(factory)
    return isinstance(made, type) and issubclass(made, captum.attr.Attribution)


def made_by(factory: Any) -> Any:
    """The class whose objects a factory makes."""
    return factory.func if isinstance(factory, partial) else factory


def innermost(method: captum.attr.Attribution) -> captum.attr.Attribution:
    """The method that another one wraps (NoiseTunnel), or the method itself."""
    return getattr(method, "attribution_method", method)


def as_tuples(value: Any) -> Any:
    """Lists, as YAML has them, in Captum's form."""
    return tuple(as_tuples(v) for v in value) if isinstance(value, list) else value
