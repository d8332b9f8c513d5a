"""What a user types and what Hydra is given: two things that Hydra cannot do alone are rewritten, and back."""

import re

GROUPS_OF_SEVERAL = ("attribution", "controls", "metric", "tracker")
"""Groups of which a run takes a list of options. `controls` holds options of the group `attribution`."""

_METHOD_KEY = re.compile(r"\+{0,2}((?:attribution|controls)\.[^.=@]+\.[^=]+=.*)", re.DOTALL)
_REWRITTEN = re.compile(r"\+\+((?:attribution|controls)\.[^.=@]+\.[^=]+=.*)", re.DOTALL)


def rewritten(typed: str) -> str:
    """`typed` in the form that Hydra understands.

    - an argument of a method may be one that its YAML file does not list: `attribution.lime.arguments.n_samples=9`
      becomes `++attribution...` (whether the method takes it is judged by its signature);
    - `controls=[random]` becomes `attribution@controls=[random]`.
    """
    if match := _METHOD_KEY.fullmatch(typed):
        return f"++{match[1]}"
    return re.sub(r"^controls=", "attribution@controls=", typed)


def as_typed(override: str) -> str:
    """The inverse of `rewritten`."""
    if match := _REWRITTEN.fullmatch(override):
        return match[1]
    return re.sub(r"^attribution@controls=", "controls=", override)


def shown_key(key: str) -> str:
    """A key of Hydra's as a user knows it."""
    return "controls" if key == "attribution@controls" else key.lstrip("+~")


def method_of(override: str) -> tuple[str, str] | None:
    """(table, method) of an override of one method's settings, such as ("attribution", "lime"); None for others."""
    match = _REWRITTEN.fullmatch(override)
    return None if match is None else (match[1].split(".")[0], match[1].split(".")[1])
