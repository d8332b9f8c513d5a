"""The template engine, and the style and the script that every page carries inside."""

import base64
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from ..terminal import clean

HERE = Path(__file__).parent


def render(name: str, **content: Any) -> str:
    """A page: everything that is not a template is escaped, and nothing but our own style and script runs."""
    style, script = _style(), _script()
    return template(name).render(
        style=_trusted(style),
        script=_trusted(script),
        style_hash=_digest(style),
        script_hash=_digest(script),
        **content,
    )


def template(name: str) -> Any:
    """One template by file name."""
    return _environment().get_template(name)


@cache
def _environment() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"clean": clean, "number": number, "setting": setting, "json": json.dumps}
    return made


@cache
def _style() -> str:
    from ..figures.cards import shades

    rules = [f".v{level} {{ background: {back}; color: {ink} }}" for level, back, ink in shades()]
    return "\n".join([(HERE / "look.css").read_text(encoding="utf-8"), *rules])


@cache
def _script() -> str:
    return (HERE / "act.js").read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _trusted(text: str) -> Any:
    from markupsafe import Markup

    return Markup(text)  # noqa: S704  (files of this package)


def number(value: Any) -> str:
    """Four significant digits; whole numbers in groups of three; a dash for what is not there."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value != value:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def setting(value: Any) -> str:
    """A value as it would be typed; a dash for nothing."""
    if isinstance(value, bool):
        return str(value).lower()
    return "–" if value is None or value == "" else str(value)
