"""The version of what a run, a sweep or a search leaves behind: older ones are read, newer ones refused."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import files
from ..errors import WrongInput

SCHEMA_VERSION = 1


def too_new(known: Mapping[str, Any]) -> str:
    """Why something cannot be read, where a newer salience wrote it; else nothing."""
    version = known.get("schema_version")
    if not isinstance(version, int) or version <= SCHEMA_VERSION:
        return ""
    return f"was written with schema {version}, this salience reads up to {SCHEMA_VERSION}: upgrade it"


def read(path: Path, what: str, limit: int = 1 << 26) -> dict[str, Any]:
    """A JSON file that says its version; WrongInput where it cannot be read, or a newer salience wrote it."""
    try:
        known = files.read_json(path, limit=limit)
    except (OSError, ValueError) as error:
        raise WrongInput(f"{path.parent}: not a {what} that can be resumed ({error})") from None
    if not isinstance(known, dict):
        raise WrongInput(f"{path.parent}: not a {what} that can be resumed ({path.name} is damaged)")
    if why := too_new(known):
        raise WrongInput(f"{path.parent} {why}")
    return known
