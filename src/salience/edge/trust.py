"""Which names a stranger's run folder may name: the boundary between reading a result and running its author's code.

A prefix test is not enough: `torch.nn.functional.torch.load` starts with `torch.nn` and runs any pickle. So the
module part of a name must be a module of its own, and the last part something that this module defines.
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import find_spec
from typing import Any

from ..errors import WrongInput

OPEN = ("captum.attr", "torch.nn")
"""Modules whose own classes may be named, but not those of their submodules."""
PATHS = {"path", "folder", "downloads", "file", "url", "root"}


def allowed(name: str, trust: Sequence[str] = (), whole: bool = False) -> Any:
    """The class or function called `name`, if a run folder of unknown origin may name it.

    `name` is `module.attribute`; the module is exactly captum.attr or torch.nn, or lies in salience or in a package
    of `trust`, which is settled before anything is imported. The attribute is a class or function that the module
    defines or exports, and its role is one that a run folder needs: a network, a method, or a data set; with `whole`
    also a metric, a baseline or an optimiser, which a run needs that goes on. Raises WrongInput otherwise.
    """
    module, _, attribute = str(name).rpartition(".")
    parts = str(name).split(".")
    named = all(part.isidentifier() and not part.startswith("_") for part in parts)
    inside = any(module.startswith(f"{package}.") for package in ("salience", *trust)) or module in trust
    if (
        not named
        or not (module in (*OPEN, *(("torch.optim",) if whole else ())) or inside)
        or not _is_module(module)
    ):
        raise _refused(name)
    found = vars(import_module(module)).get(attribute)
    if not (inspect.isclass(found) or inspect.isfunction(found)) or not _belongs(found, module, attribute):
        raise _refused(name)
    if not (_is_network(found) or _is_method(found) or _is_data(found) or (whole and _is_part(found))):
        raise _refused(name)
    return found


def check_config(config: Mapping[str, Any], trust: Sequence[str] = ()) -> None:
    """Raise WrongInput unless every name in a whole config may be built by a run that goes on.

    Paths to data are let pass: whoever resumes a run asks for its data to be read.
    """
    for node in _nodes(config):
        allowed(node["_target_"], trust, whole=True)


def check_node(node: Mapping[str, Any], trust: Sequence[str] = ()) -> None:
    """Raise WrongInput unless `node` and all nodes inside it are allowed and open no path that the config chose."""
    for inner in _nodes(node):
        found = allowed(inner["_target_"], trust)
        chosen = sorted(PATHS & {str(key) for key, value in inner.items() if value is not None})
        if chosen and _is_data(found):
            raise WrongInput(
                f"{inner['_target_']}: {chosen[0]} is a path chosen by the run folder; load its data yourself"
            )


def _nodes(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        if "_target_" in value:
            yield value
        value = list(value.values())
    if isinstance(value, list | tuple):
        for inner in value:
            yield from _nodes(inner)


def _refused(name: str) -> WrongInput:
    return WrongInput(
        f"_target_={str(name)[:80]}: not built from a run folder; allowed: networks, methods and data sets "
        "of salience, torch.nn, captum.attr and the packages given as trust"
    )


def _is_module(name: str) -> bool:
    """Whether `name` is a module with a file of its own; looks at folders only, so that nothing is imported."""
    top, *rest = name.split(".")
    spec = find_spec(top)  # of a top-level name: imports nothing
    for depth, part in enumerate(rest):
        if spec is None or spec.submodule_search_locations is None:
            return False
        above = ".".join([top, *rest[:depth]])
        spec = PathFinder.find_spec(f"{above}.{part}", spec.submodule_search_locations)
    return spec is not None and spec.has_location


def _belongs(found: Any, module: str, attribute: str) -> bool:
    home = getattr(found, "__module__", "")
    if module in ("torch.nn", "torch.optim"):
        return home.startswith("torch.nn.modules." if module == "torch.nn" else "torch.optim.")
    return home == module or attribute in getattr(import_module(module), "__all__", ())


def _is_network(found: Any) -> bool:
    bases = [(base.__module__, base.__name__) for base in getattr(found, "__mro__", ())]
    return ("torch.nn.modules.module", "Module") in bases


PARTS = {
    ("salience.metrics.base", "Metric"),
    ("salience.attribution.baselines", "Baseline"),
    ("torch.optim.optimizer", "Optimizer"),
}


def _is_part(found: Any) -> bool:
    bases = {(base.__module__, base.__name__) for base in getattr(found, "__mro__", ())}
    return bool(bases & PARTS)


def _is_method(found: Any) -> bool:
    return inspect.isclass(found) and callable(getattr(found, "attribute", None))


def _is_data(found: Any) -> bool:
    from ..data.base import Data

    return inspect.isfunction(found) and found.__annotations__.get("return") in (Data, "Data")
