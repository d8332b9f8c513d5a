"""Cards: what each method and metric of a run is, from the docstrings of what its config names."""

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from ..comparisons.leaderboard import Column
from ..edge.trust import allowed
from ..errors import WrongInput

METRICS = "salience.metrics."
"""Modules whose classes may be looked up by name beside those that `trust` allows."""


def method_cards(config: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Name, what it is, settings."""
    rows = []
    for group in ("attribution", "controls"):
        for name, spec in (config.get(group) or {}).items():
            node = spec.get("method") if isinstance(spec, Mapping) else None
            arguments = spec.get("arguments") or {} if isinstance(spec, Mapping) else {}
            own = {k: v for k, v in (node or {}).items() if not k.startswith("_")}
            rows.append((str(name), first_line(_class(node)), _settings({**own, **arguments})))
    return rows


def metric_cards(config: Mapping[str, Any], columns: list[Column]) -> list[tuple[str, str, str, str, str]]:
    """Name, what it is, which way is better, best value, settings."""
    better = {c.name: "higher" if c.higher_is_better else "lower" for c in columns}
    rows = []
    for name, node in (config.get("metric") or {}).items():
        found = _class(node)
        best = getattr(found, "best", None)
        own = {k: v for k, v in node.items() if not k.startswith("_")} if isinstance(node, Mapping) else {}
        told = "none" if best is None else f"{best:g}"
        rows.append((str(name), first_line(found), better.get(name, ""), told, _settings(own)))
    return rows


def first_line(found: Any) -> str:
    """The first paragraph of a docstring, without markup; empty where there is none."""
    text = (inspect.getdoc(found) or "") if found is not None else ""
    return " ".join(text.split("\n\n")[0].replace("`", "").split())[:300]


def _class(node: Any) -> Any:
    """What a node names, where a page of a run of unknown origin may look it up; else None."""
    name = str(node.get("_target_") or "") if isinstance(node, Mapping) else ""
    try:
        return allowed(name)
    except WrongInput:
        pass
    module, _, attribute = name.rpartition(".")
    if not module.startswith(METRICS) or not module.removeprefix(METRICS).isidentifier():
        return None
    try:
        return vars(import_module(module)).get(attribute)
    except ImportError:
        return None


def _settings(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in values.items() if value is not None)
