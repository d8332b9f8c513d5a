"""report.html from what lies in a run folder; whatever is missing is said instead of shown."""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import artifacts, files
from ..artifacts import RunFolder
from ..leaderboard import Leaderboard, leaderboard, network_scores
from ..terminal import clean, repeat

BUDGET = 3_600_000
"""Bytes of figures that a page takes in, so that it stays under 5 MB in base64 with everything else."""


@dataclass(frozen=True)
class Picture:
    """One figure: its bytes as text, or nothing where the page would grow too large."""

    title: str
    alt: str
    name: str
    data: str | None


def page(path: Path | str) -> Path:
    """Write report.html into a run folder, also of a run that did not finish; returns its path."""
    folder = RunFolder(path)
    return files.atomic_write(folder.path / artifacts.PAGE, _template("page.html").render(**_content(folder)))


def leaderboard_html(summary: Mapping[str, Any], controls: Any = ()) -> str:
    """The table alone, for notebooks."""
    board = leaderboard(summary, controls)
    return _template("notebook.html").render(board=board, scores=network_scores(summary))


def _template(name: str):
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(Path(__file__).parent)
    made = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.filters |= {"clean": clean, "number": _number}
    return made.get_template(name)


def _content(folder: RunFolder) -> dict[str, Any]:
    """Everything that the template shows."""
    missing: list[str] = []

    def read(reader: Callable[[str], Any], name: str, kind: type = dict) -> Any:
        try:
            found = reader(name)
        except (ValueError, OSError) as mistake:
            missing.append(f"{name}: {clean(mistake)}"[:200])
            return kind()
        return found if isinstance(found, kind) else kind()

    summary = read(folder.json, artifacts.SUMMARY)
    config, overrides = read(folder.yaml, artifacts.CONFIG), read(folder.yaml, artifacts.OVERRIDES, list)
    status, choices = read(folder.json, artifacts.STATUS), read(folder.json, artifacts.CHOICES)
    place, network = read(folder.json, artifacts.ENVIRONMENT), read(folder.json, artifacts.NETWORK)
    board = _board(summary, config)
    pictures = _pictures(folder, missing)
    return {
        "title": f"{_chosen(choices, network, 'model')} on {_chosen(choices, network, 'data')}",
        "status": status,
        "board": board,
        "scores": network_scores(summary),
        "trained": (summary.get("network") or {}).get("trained"),
        "ruler": summary.get("ruler") or {},
        "warnings": board.warnings if board.rows else [],
        "pictures": pictures,
        "settings": {k: v for k, v in config.items() if not isinstance(v, dict)},
        "groups": {k: ", ".join(v) if isinstance(v, list) else v for k, v in choices.items()},
        "config": _text(folder, artifacts.CONFIG),
        "place": place,
        "missing": missing,
        "command": repeat(overrides),
        "folder": folder.path.name,
    }


def _board(summary: Mapping[str, Any], config: Mapping[str, Any]) -> Leaderboard:
    return leaderboard(summary, set(config.get("controls") or ()))


def _chosen(choices: Mapping[str, Any], network: Mapping[str, Any], group: str) -> str:
    named = choices.get(group) or network.get("name" if group == "model" else group)
    return clean(named) if isinstance(named, str) else group


def _pictures(folder: RunFolder, missing: list[str]) -> list[Picture]:
    try:
        drawn = folder.drawn()
    except (ValueError, OSError, KeyError, TypeError) as mistake:
        missing.append(f"{artifacts.FIGURES}: {clean(mistake)}"[:200])
        return []
    pictures, used = [], 0
    for path, title, alt in drawn:
        used += path.stat().st_size
        content = path.read_bytes() if used <= BUDGET else b""
        if content and not content.startswith(b"\x89PNG"):
            missing.append(f"{path.name} is no PNG file")
            continue
        data = base64.b64encode(content).decode() if content else None
        pictures.append(Picture(title, alt, f"{artifacts.FIGURES}/{path.name}", data))
    return pictures


def _text(folder: RunFolder, name: str) -> str:
    path = folder.path / name
    readable = path.is_file() and path.stat().st_size <= 1 << 18
    return path.read_text(encoding="utf-8", errors="replace") if readable else ""


def _number(value: Any) -> str:
    """Four significant digits; whole numbers in groups of three."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "–" if value is None else str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
