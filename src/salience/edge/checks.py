"""Check (a): the values of a composed config, before torch is imported. Each mistake is one line, all are told."""

import math
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import WrongInput, listed, nearest
from .overrides import GROUPS_OF_SEVERAL
from .targets import nodes

if TYPE_CHECKING:
    from pydantic import ValidationError

    from ..settings import Run

TARGET = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")


def check(config: Any) -> "Run":
    """The run's settings, typed, from a composed config (OmegaConf or dict).

    Types, ranges, choices, unknown keys, values that were left open (`???`), references that lead nowhere, and the form
    of every `_target_` name. Raises WrongInput with one line per mistake.
    """
    from pydantic import ValidationError

    from ..settings import Run

    values, lines = _resolved(config)
    for look in (_open_values, _not_chosen, _networks, _names):
        lines += look(values)
    try:
        run = Run.model_validate(values)
    except ValidationError as error:
        told = tuple(line.partition(":")[0].partition("=")[0] for line in lines)
        lines += [line for line in _lines(error, values) if not line.startswith(told or "\n")]
        raise WrongInput("\n".join(dict.fromkeys(lines))) from None
    if lines:
        raise WrongInput("\n".join(dict.fromkeys(lines)))
    return run


def _resolved(config: Any) -> tuple[dict[str, Any], list[str]]:
    """The values with their references followed, and a line for each top-level key where one leads nowhere."""
    if isinstance(config, dict):
        return config, []
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    values, lines = {}, []
    for key in (key for key in config if key != "hydra"):
        node = config._get_node(key)
        try:
            if OmegaConf.is_config(node):
                values[str(key)] = OmegaConf.to_container(node, resolve=True)
            else:
                values[str(key)] = "???" if OmegaConf.is_missing(config, key) else config[key]
        except OmegaConfBaseException as error:
            lines.append(f"{error.full_key or key}: {str(error).splitlines()[0]}")
            values[str(key)] = OmegaConf.to_container(node) if OmegaConf.is_config(node) else None
    return values, lines


def _walk(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping | list):
        pairs = value.items() if isinstance(value, Mapping) else enumerate(value)
        for name, inner in pairs:
            yield from _walk(inner, f"{key}.{name}" if key else str(name))
    else:
        yield key, value


def _open_values(values: dict[str, Any]) -> Iterator[str]:
    for key, value in _walk(values):
        if value == "???":
            yield f"{key}: needs a value: {key}=..."


def _names(values: dict[str, Any]) -> Iterator[str]:
    for key, node in nodes(values):
        name = node["_target_"]
        if not isinstance(name, str) or (name != "???" and not TARGET.fullmatch(name)):
            yield f"{key}._target_={name}: must be a dotted name such as torch.nn.Linear"


def _not_chosen(values: dict[str, Any]) -> Iterator[str]:
    """Settings of a method that is not among those of the run."""
    for group in ("attribution", "controls"):
        table = values.get(group) or {}
        chosen = [name for name, method in table.items() if isinstance(method, dict) and "method" in method]
        for name in sorted(set(table) - set(chosen)):
            add = f" Add it with {group}=[{','.join([*chosen, name])}]"
            yield f"{group}.{name}: {name} is not in this run.{nearest(name, chosen, 0.75) or add}"


def _networks(values: dict[str, Any]) -> Iterator[str]:
    model = values.get("model")
    if isinstance(model, dict):
        chosen = [name for name, node in model.items() if isinstance(node, dict) and "_target_" in node]
        for name in sorted(set(model) - set(chosen) - {"weights"}):
            known = [*chosen, "weights"]
            yield f"model.{name}: no such key.{nearest(name, known)} Keys: {listed(known)}"
        if len(chosen) != 1:
            yield f"model: one network is needed, not {len(chosen)} ({', '.join(chosen)})"


def _lines(error: "ValidationError", values: dict[str, Any]) -> Iterator[str]:
    """One line per key; a value that may be several things gives several errors, of which one line tells all."""
    from ..settings import Run

    schema = Run.model_json_schema()
    for problem in error.errors(include_url=False):
        path: list[str] = []
        value: Any = values
        here: dict[str, Any] = schema
        for part in problem["loc"]:
            inner = _child(schema, here, part)
            is_there = (
                isinstance(value, Mapping)
                and part in value
                or isinstance(value, list)
                and isinstance(part, int)
            )
            if inner is None or not (is_there or problem["type"] == "missing"):
                break
            path.append(str(part))
            here, value = inner, value[part] if is_there else None
        key = ".".join(path)
        if problem["type"] == "extra_forbidden":
            known, name = _properties(schema, here), problem["loc"][-1]
            above = f"{key}." if key else ""
            yield f"{above}{name}: no such key.{nearest(str(name), known)} Keys: {listed(known)}"
        elif problem["type"] == "missing":
            hint = f"={key}" if key in GROUPS_OF_SEVERAL else ""
            yield f"{key}: {'choose at least one' if hint else 'needs a value'}"
        else:
            yield f"{key}={_show(value)}: must be {_allowed(schema, here, value)}"


def _child(schema: dict[str, Any], here: dict[str, Any], part: Any) -> dict[str, Any] | None:
    """The schema of one key or item below `here`."""
    for option in _options(schema, here):
        if part in option.get("properties", {}):
            return option["properties"][part]
        if isinstance(part, int) and "items" in option:
            return option["items"]
        if isinstance(option.get("additionalProperties"), dict):
            return option["additionalProperties"]
    return None


def _options(schema: dict[str, Any], here: dict[str, Any]) -> list[dict[str, Any]]:
    if "$ref" in here:
        return [schema["$defs"][here["$ref"].rpartition("/")[2]]]
    return here.get("anyOf", [here])


def _properties(schema: dict[str, Any], here: dict[str, Any]) -> list[str]:
    return [name for option in _options(schema, here) for name in option.get("properties", {})]


def _allowed(schema: dict[str, Any], here: dict[str, Any], value: Any) -> str:
    """What a value may be, from the schema: "an integer >= 1, a list of integers >= 0 or all"."""
    words = [_words(option) for option in _options(schema, here)]
    finite = ", finite" if isinstance(value, float) and not math.isfinite(value) else ""
    return (", ".join(words[:-1]) + " or " if words[1:] else "") + words[-1] + finite


def _words(option: dict[str, Any]) -> str:
    if "enum" in option or "const" in option:
        choices = [str(c) for c in option.get("enum", [option.get("const")])]
        return choices[0] if len(choices) == 1 else f"one of {', '.join(choices)}"
    kind = {
        "integer": "an integer",
        "number": "a number",
        "string": "text",
        "boolean": "true or false",
        "null": "null",
    }
    if option.get("type") == "array":
        return "a list of " + _words(option["items"]).replace("an integer", "integers").replace(
            "a number", "numbers"
        )
    limits = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {option[name]:g}" for name, sign in limits.items() if option.get(name, 2**53) < 2**53]
    return " ".join([kind.get(option.get("type", ""), "a group of keys"), " and ".join(bounds)]).strip()


def _show(value: Any) -> str:
    text = {None: "null", True: "true", False: "false"}.get(value) if isinstance(value, bool | None) else None
    return text or (str(value) if len(str(value)) <= 60 else f"{str(value)[:57]}...")
