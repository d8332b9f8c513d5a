"""What is wrong in a list of overrides, in words: one line per mistake, with the nearest right name.

The overrides are Hydra's parsed ones, which answer for themselves (`is_sweep_override()`, `value()`, ...); this
module needs neither Hydra's messages nor its exceptions, so it reads the same for every version of it.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import listed, nearest
from .overrides import GROUPS_OF_SEVERAL, as_typed, method_of, shown_key

if TYPE_CHECKING:
    from omegaconf import DictConfig

OPTION = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")


def unreadable(override: str) -> str:
    """An override that Hydra's grammar cannot read."""
    override = as_typed(override)
    key, equals, value = override.partition("=")
    if not equals:
        return f"{override}: a key and a value are needed: {override}=<value>"
    bare = value.strip("'\"")
    return f"""{override}: cannot be read; put the value in quotes: '{key}="{bare}"'"""


def in_groups(
    parsed: Sequence[Any], options: Callable[[str], Sequence[str]], several_jobs: bool
) -> Iterator[tuple[Any, str]]:
    """Overrides that choose an option of a group and cannot be right, with the line that says why.

    `options(group)` lists what a group offers, nothing where there is no such group.
    """
    chosen: dict[str, tuple[Any, str]] = {}
    for override in parsed:
        if line := _too_many(override, several_jobs, bool(options(override.key_or_group))):
            yield override, line
            continue
        known = options(override.key_or_group)
        if not known or override.is_delete() or isinstance(override.value(), dict):
            continue
        key = shown_key(override.get_key_element())
        for value in _values(override):
            if line := _not_an_option(key, value, known, options(_inner(override.key_or_group, value))):
                yield override, line
                break
        now, (_, before) = as_typed(override.input_line).partition("=")[2], chosen.get(key, (None, ""))
        if before and before != now:
            yield override, f"{key} is set twice ({before}, {now}); give it once"
        elif override.is_add() and key not in GROUPS_OF_SEVERAL:
            yield override, f'{override.input_line}: write {key}={now} without "+"'
        chosen[key] = override, now


def _too_many(override: Any, several_jobs: bool, is_group: bool) -> str | None:
    """Several values where one job is run."""
    if several_jobs or not override.is_sweep_override():
        return None
    typed = as_typed(override.input_line)
    key, _, value = typed.partition("=")
    if is_group and shown_key(override.get_key_element()) in GROUPS_OF_SEVERAL:
        return f"{typed}: write '{key}=[{value}]' to have them in one run, or add -m for a run each"
    hint = "give one" if is_group else f"a list is '{key}=[{value}]'"
    return f"{typed}: several values need -m (a sweep, one run each); {hint}"


def _values(override: Any) -> list[Any]:
    """Every option that an override names, over all jobs."""
    values = list(override.sweep_iterator()) if override.is_discrete_sweep() else [override.value()]
    flat: list[Any] = []
    for value in values:
        flat += value if isinstance(value, list) else [value]
    return [getattr(value, "text", value) for value in flat]  # a quoted string holds its text


def _inner(group: str, value: Any) -> str:
    """The group that `value` lies in: an option may be in a folder of its group, `model=vision/vit`."""
    return "/".join([group, *str(value).split("/")[:-1]]) if OPTION.fullmatch(str(value)) else group


def _not_an_option(key: str, value: Any, known: Sequence[str], here: Sequence[str]) -> str | None:
    if value is None or not OPTION.fullmatch(str(value)):
        return (
            f"{key}={'null' if value is None else value}: not the name of an option. Options: {listed(known)}"
        )
    if str(value).rpartition("/")[2] not in here:
        return f"{key}={value}: no such option.{nearest(value, known)} Options: {listed(known)}"
    return None


def in_keys(parsed: Sequence[Any], config: "DictConfig", groups: Sequence[str]) -> Iterator[tuple[Any, str]]:
    """Overrides of keys that `config`, composed from the chosen options alone, does not have (or has, behind `+`)."""
    from omegaconf import OmegaConf

    for override in parsed:
        key = override.key_or_group
        if override.is_force_add() or override.is_hydra_override() or override.package:
            if override.package:
                yield (
                    override,
                    f"{override.input_line}: no such group.{nearest(key, groups)} Groups: {listed(groups)}",
                )
            continue
        above, _, name = key.rpartition(".")
        node = OmegaConf.select(config, above, throw_on_missing=False) if above else config
        there = OmegaConf.is_dict(node) and name in node
        if override.is_add():
            if there and not isinstance(override.value(), dict | list):
                yield override, f'{override.input_line}: there is such a key; write it without "+"'
        elif not there:
            yield override, f"{as_typed(override.input_line)}: {_no_such_key(key, config, groups)}"


def _no_such_key(key: str, config: "DictConfig", groups: Sequence[str]) -> str:
    """Names the first part of `key` that does not exist, the nearest that does, and what there is beside it."""
    from omegaconf import OmegaConf

    node: Any = config
    parts = key.split(".")
    while OmegaConf.is_dict(node) and parts[0] in node:
        node = node._get_node(parts.pop(0))
    part, above = parts[0], ".".join(key.split(".")[: -len(parts)])
    names = (
        [str(k) for k in node if k != "hydra"] if OmegaConf.is_dict(node) and not node._is_missing() else []
    )
    if not above:
        names = sorted({*names, *groups} - {"hydra"})
        return f"no such key or group.{nearest(part, names)} There are: {listed(names)}"
    deeper = [f"{name}.{inner}" for name in names for inner in _keys_below(node, name)]
    return f"{above} has no {part}.{nearest(part, names) or nearest(part, deeper)} It has: {listed(names)}"


def _keys_below(node: Any, name: str) -> list[str]:
    from omegaconf import OmegaConf

    inner = node._get_node(name)
    return [str(k) for k in inner] if OmegaConf.is_dict(inner) and not inner._is_none() else []


def without_methods(overrides: Sequence[str], config: "DictConfig") -> list[str]:
    """`overrides` without settings of methods that `config` does not choose (it was composed with all of them)."""
    kept = []
    for override in overrides:
        at = method_of(override)
        if at is None or "method" in config[at[0]][at[1]]:
            kept.append(override)
    return kept
