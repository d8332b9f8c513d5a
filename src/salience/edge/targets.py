"""From a node of a config, `{_target_: module.name, ...}`, to the object it describes.

The same meaning as Hydra's instantiate with `_convert_: all`, in few lines and without importing Hydra: a constructor's
own exception arrives as it was raised, arguments arrive as they are (Hydra turns dataclasses into dicts), and
nothing depends on the version of Hydra.
"""

import functools
import inspect
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

from ..errors import WrongInput, listed, nearest

RESERVED = {"_target_", "_partial_", "_args_", "_recursive_", "_convert_"}
FILLED = {"inputs", "target", "additional_forward_args"}
"""Arguments of every method's `attribute` that come from the data and the run, never from a config."""


def build(node: Mapping[str, Any], /, *, trusted: Sequence[str] | None = None, **known: Any) -> Any:
    """The object that `node` describes.

    Of `known`, the target is given those arguments that its signature names and that the node leaves out or sets to
    null. `_partial_: true` gives a callable instead of its result; nodes inside the node are built first.
    With `trusted` (a tuple of packages, may be empty) the node comes from a stranger: nothing is imported but what
    `trust.allowed` lets pass. Raises WrongInput for an unknown name or argument, or one that is missing.
    """
    values = plain(node)
    if trusted is not None:
        from .trust import check_node

        check_node(values, trusted)
    return _build(values, known)


def plain(node: Any) -> Any:
    """A config as dicts, lists and values, with references resolved; a plain dict needs no OmegaConf."""
    if isinstance(node, dict):
        return node
    from omegaconf import OmegaConf

    return OmegaConf.to_container(node, resolve=True)


def _build(node: dict[str, Any], known: Mapping[str, Any]) -> Any:
    target = locate(node["_target_"])
    own = {key: _inner(value) for key, value in node.items() if key not in RESERVED}
    names = parameters(target)
    filled = {key: value for key, value in known.items() if key in names and own.get(key) is None}
    arguments, positional = {**own, **filled}, [_inner(value) for value in node.get("_args_", ())]
    if node.get("_partial_"):
        return functools.partial(target, *positional, **arguments)
    _check_complete(node["_target_"], target, positional, arguments)
    return target(*positional, **arguments)


def _inner(value: Any) -> Any:
    if isinstance(value, dict):
        if "_target_" in value:
            return _build(value, {})
        return {key: _inner(inner) for key, inner in value.items()}
    return [_inner(inner) for inner in value] if isinstance(value, list) else value


def locate(name: str) -> Any:
    """The object with a dotted name; WrongInput where a part of it does not exist."""
    parts = str(name).split(".")
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        raise WrongInput(f"_target_={name}: not a dotted name such as torch.nn.Linear")
    found, at = _import(name, parts[0]), parts[0]
    for part in parts[1:]:
        at = f"{at}.{part}"
        if not hasattr(found, part) and inspect.ismodule(found):
            _import(name, at)
        if not hasattr(found, part):
            raise WrongInput(f"_target_={name}: {at} does not exist.{nearest(part, vars(found))}")
        found = getattr(found, part)
    return found


def _import(name: str, module: str) -> Any:
    """The module, or None where there is none (a class may be misspelled); WrongInput without its package."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name == module and "." in module:
            return None
        raise WrongInput(
            f"_target_={name}: needs the package {error.name}, which is not installed"
        ) from error


def parameters(target: Any) -> dict[str, inspect.Parameter]:
    """The arguments that a class or function takes by name."""
    try:
        found = inspect.signature(target).parameters
    except (TypeError, ValueError):
        return {}
    return {n: p for n, p in found.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}


def takes_any(target: Any) -> bool:
    """Whether a class or function takes arguments under any name, so that a config's cannot be judged."""
    try:
        found = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):
        return True
    return any(p.kind is p.VAR_KEYWORD for p in found)


def _check_complete(name: str, target: Any, positional: Sequence[Any], arguments: Mapping[str, Any]) -> None:
    names = parameters(target)
    if unknown := [] if takes_any(target) else sorted(set(arguments) - set(names)):
        raise WrongInput(f"{name}: {unknown_argument(unknown[0], names)}")
    given = set(arguments) | set(list(names)[: len(positional)])
    if missing := [n for n, p in names.items() if p.default is p.empty and n not in given]:
        raise WrongInput(f"{name}: needs a value for {', '.join(missing)}")


def unknown_argument(argument: str, names: Sequence[str] | Mapping[str, Any]) -> str:
    """The part of a message that says what would have been right."""
    return f"no argument {argument}.{nearest(argument, names)} Arguments: {listed(names)}"


# -- check (b): arguments against signatures, before anything is constructed -------------------------------------------


def signatures(config: Any) -> None:
    """Import every `_target_` of a composed config and compare its arguments with what it takes.

    Nothing is constructed. All mistakes are reported together, one line each, in one WrongInput.
    """
    config = plain(config)
    lines: list[str] = []
    for key, node in nodes(config):
        lines += _node_mistakes(key, node)
    for group in ("attribution", "controls"):
        for name, method in config.get(group, {}).items():
            lines += _argument_mistakes(f"{group}.{name}", method)
    if lines:
        raise WrongInput("\n".join(dict.fromkeys(lines)))


def nodes(value: Any, key: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every node with a `_target_` in `value`, with its dotted key."""
    if isinstance(value, dict):
        if "_target_" in value:
            yield key, value
        inner: Iterator[tuple[Any, Any]] = iter(value.items())
    elif isinstance(value, list):
        inner = iter(enumerate(value))
    else:
        return
    for name, part in inner:
        yield from nodes(part, f"{key}.{name}" if key else str(name))


def _node_mistakes(key: str, node: dict[str, Any]) -> list[str]:
    try:
        target = locate(node["_target_"])
    except WrongInput as error:
        return [f"{key}.{error}"]
    if takes_any(target):
        return []
    names, own = parameters(target), set(node) - RESERVED
    return [f"{key}.{a}={node[a]}: {unknown_argument(a, names)}" for a in sorted(own - set(names))]


def _argument_mistakes(key: str, method: dict[str, Any]) -> list[str]:
    """`arguments` of a method, judged by the named parameters of its class's `attribute`, and of the one it wraps.

    Named ones only: several Captum methods swallow any keyword and ignore it.
    """
    names: dict[str, Any] = {}
    for _, node in nodes(method.get("method", {})):
        try:
            names |= parameters(getattr(locate(node["_target_"]), "attribute", None))
        except WrongInput:
            return []  # told by _node_mistakes
    names.pop("self", None)
    free = {name: p for name, p in names.items() if name not in FILLED}
    lines = []
    for argument, value in method.get("arguments", {}).items():
        where = f"{key}.arguments.{argument}={value}"
        if argument in FILLED:
            lines.append(f"{where}: filled by the framework; leave it out")
        elif argument not in free:
            lines.append(f"{where}: {unknown_argument(argument, free)}")
    return lines
