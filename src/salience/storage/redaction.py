"""Secrets stay out of what is written: values of keys and environment variables that are named like one."""

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

HIDDEN = "<redacted>"
SECRET = re.compile(
    r"(?:^|[_.\-\s])(?:token|secrets?|pass(?:words?|wd|phrase)?|pwd|credentials?|"
    r"(?:api|access|private|secret)[_-]?keys?|auth)(?:$|[_.\-\s])",
    re.IGNORECASE,
)
REFERENCE = re.compile(r"\$\{oc\.env:\s*([A-Za-z_][A-Za-z0-9_]*)")
WORD = "baseline.token"
"""A key of ours that holds a word of a vocabulary."""
SHORTEST = 6
"""Characters from which a secret is looked for inside other text: a shorter one would blot out words."""


def is_secret(name: object) -> bool:
    """Whether a dotted key or a variable is named like something that nobody else may read."""
    own = str(name).rpartition(".")[2]
    return bool(SECRET.search(own)) and not str(name).endswith(WORD)


class Redactor:
    """Knows the secrets of one run, and blots them out of text and of whatever JSON can say."""

    def __init__(self, config: Any = None, overrides: Iterable[str] = (), config_yaml: str = ""):
        named = set(REFERENCE.findall(config_yaml)) | set(REFERENCE.findall(" ".join(overrides)))
        found = {value for name, value in os.environ.items() if name in named or is_secret(name)}
        found |= set(_values(config))
        for override in overrides:
            key, _, value = override.partition("=")
            if is_secret(key.lstrip("+~")):
                found.add(value.strip("'\""))
        whole = {value for value in found if len(value) >= SHORTEST and not value.isspace()}
        whole |= {repr(value)[1:-1] for value in whole}  # as a traceback or a YAML file spells it
        longest = sorted(whole, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest))) if longest else None

    def text(self, text: str) -> str:
        """`text` without the secrets."""
        return text if self._pattern is None else self._pattern.sub(HIDDEN, text)

    def override(self, typed: str) -> str:
        """What was typed, without the value where the key is named like a secret."""
        key, equals, value = typed.partition("=")
        if equals and is_secret(key.lstrip("+~")) and not _harmless(value):
            return f"{key}={HIDDEN}"
        return self.text(typed)

    def value(self, value: Any, key: str = "") -> Any:
        """The same in dicts and lists, by the names of keys too."""
        if isinstance(value, Mapping):
            return {k: self.value(v, f"{key}.{k}") for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(v, key) for v in value]
        if is_secret(key) and not _harmless(value):
            return HIDDEN
        return self.text(value) if isinstance(value, str) else value


def _harmless(value: Any) -> bool:
    """What a key named like a secret may hold in the open: nothing, a switch, or a reference to the environment."""
    return not isinstance(value, str) or value in ("", "null", "???", HIDDEN) or value.startswith("${")


def _values(value: Any, key: str = "") -> Iterable[str]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _values(inner, f"{key}.{name}")
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _values(inner, key)
    elif is_secret(key) and not _harmless(value):
        yield value
