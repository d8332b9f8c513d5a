"""What many runs explained together: the methods of one leaderboard, each from the run that measured it."""

from pathlib import Path
from typing import Any

from ..comparisons.boards import Board
from .explained import Explained


def together(board: Board, drawn: bool = False) -> Explained | None:
    """The explanations of all methods on the first network, read from the runs that made them; None without any."""
    if not board.networks:
        return None
    sources = {m: by[board.networks[0]] for m, by in board.sources.items() if board.networks[0] in by}
    by_run: dict[Path, list[str]] = {}
    for label, source in sources.items():
        by_run.setdefault(source.record.path, []).append(label)
    data = _data(next(iter(sources.values())).record.path) if drawn else None
    parts = []
    for labels in by_run.values():
        record = sources[labels[0]].record
        only = tuple(sources[label].method for label in labels)
        read = Explained(record.folder, board.controls, data, only=only)
        names = {sources[label].method: label for label in labels}
        read.methods = {names[name]: e for name, e in read.methods.items()}
        parts.append(read)
    found = parts[0] if parts else None
    if found is None:
        return None
    methods = {label: e for part in parts for label, e in part.methods.items()}
    index = next(iter(methods.values())).index.tolist() if methods else []
    found.methods = {
        m: methods[m] for m in board.sources if m in methods and methods[m].index.tolist() == index
    }
    found.missing = [line for part in parts for line in part.missing]
    return found


def _data(path: Path) -> Any:
    """The data set of a run, for names and units; None where it cannot be rebuilt."""
    import warnings

    from ..results import (
        load_run,
    )  # results come later in the import order; a page asks for them when it is made

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return load_run(path, verify=False).data
    except (ValueError, OSError):
        return None
