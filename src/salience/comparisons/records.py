"""Runs on disk as records: found by path or glob, filtered, and read only as far as somebody asks."""

import csv
import glob
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from .. import artifacts, files
from ..artifacts import RunFolder
from ..errors import WrongInput, listed, nearest
from ..storage import formats
from ..storage.schema import too_new
from .leaderboard import network_scores

SWEEP = "sweep.json"
FIELDS = ("data", "model", "seed", "state", "reference", "output")
"""What every run has a value of, beside the keys of its config."""
Scores = dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]
"""By method and metric: the rows of the examples (-1: the whole data set), and their scores."""


@dataclass
class Record:
    """One run as its folder tells it. A job that left no folder is a record too: it has a state and a cause."""

    path: Path
    state: str
    cause: str = ""
    changed: tuple[str, ...] = ()
    """What this run of a sweep was given that not all were."""
    missing: list[str] = field(default_factory=list)
    """Files that could not be read, with the reason."""

    @property
    def folder(self) -> RunFolder:
        return RunFolder(self.path)

    @property
    def complete(self) -> bool:
        """Whether there are scores to compare."""
        if self.state == "completed" and not (self.config and self.summary):
            self.state, self.cause = "damaged", "; ".join(self.missing)
        return self.state == "completed" and bool(self.summary.get("methods"))

    @cached_property
    def choices(self) -> dict[str, Any]:
        return self._read(artifacts.CHOICES, formats.read_json)

    @cached_property
    def config(self) -> dict[str, Any]:
        return self._read(artifacts.CONFIG, formats.read_yaml)

    @cached_property
    def flat(self) -> dict[str, Any]:
        """The config with dotted keys."""
        return dict(flattened(self.config))

    @cached_property
    def summary(self) -> dict[str, Any]:
        return self._read(artifacts.SUMMARY, formats.read_json)

    @property
    def data(self) -> str:
        return str(self.choices.get("data") or "unknown")

    @property
    def model(self) -> str:
        return str(self.choices.get("model") or "unknown")

    @property
    def seed(self) -> Any:
        return self.value("seed")

    @property
    def controls(self) -> tuple[str, ...]:
        return tuple(self.config.get("controls") or ())

    @property
    def network(self) -> str:
        """Which trained network was explained: runs with the same one may be joined."""
        found = self.summary.get("network") or {}
        return str(found.get("recipe") or found.get("weights") or self.path)

    @property
    def network_scores(self) -> dict[str, float]:
        return network_scores(self.summary)

    @property
    def ruler(self) -> dict[str, str]:
        """What scores may only be compared under: the ruler of the summary, and which outputs and examples it was."""
        found = {str(k): str(v) for k, v in (self.summary.get("ruler") or {}).items()}
        return found | {key: str(self.config.get(key)) for key in ("target", "split", "only")}

    @cached_property
    def scores(self) -> Scores:
        """Every score, read when it is first asked for."""
        return read_scores(self.path / artifacts.SCORES)

    def value(self, key: str) -> Any:
        """What this run has for a field, a group or a key of its config; None where it has none."""
        if key in ("data", "model", "state"):
            return getattr(self, key)
        if key in ("reference", "output"):
            return self.ruler.get(key)
        typed = dict(change.partition("=")[::2] for change in self.changed)
        return self.flat[key] if key in self.flat else self.choices.get(key, typed.get(key))

    def _read(self, name: str, reader: Any) -> dict[str, Any]:
        try:
            found = reader(self.path / name)
        except (OSError, ValueError) as mistake:
            self.missing.append(f"{name}: {' '.join(str(mistake).split())}"[:200])
            return {}
        return found if isinstance(found, dict) else {}


def flattened(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys of nested dicts with what is not a dict; lists are values."""
    if isinstance(value, dict) and value:
        for name, part in value.items():
            yield from flattened(part, f"{key}.{name}" if key else str(name))
    elif key:
        yield key, value


def read_scores(path: Path) -> Scores:
    """The tidy table of scores as arrays; WrongInput where it is none."""
    rows: dict[tuple[str, str], tuple[list[int], list[float]]] = {}
    try:
        with open(path, newline="", encoding="utf-8") as opened:
            reader = csv.reader(opened)
            if next(reader, None) != ["method", "metric", "example", "score"]:
                raise WrongInput(f"{path}: not a table of method, metric, example, score")
            for method, metric, example, score in reader:
                index, values = rows.setdefault((method, metric), ([], []))
                index.append(int(example) if example else -1)
                values.append(float(score))
    except (OSError, ValueError) as mistake:
        raise WrongInput(f"{path} cannot be read: {mistake}") from None
    return {
        (formats.unquoted(method), formats.unquoted(metric)): (np.asarray(index), np.asarray(values))
        for (method, metric), (index, values) in rows.items()
    }


# -- finding -----------------------------------------------------------------------------------------------------------


def find(paths: Iterable[str | Path]) -> list[Record]:
    """The runs in folders of runs, sweeps or days, and in what globs match; each once, in the order of their names.

    WrongInput where a path matches nothing or holds no run.
    """
    found: dict[Path, Record] = {}
    for path in paths:
        records = [record for folder in _matches(path) for record in _inside(folder)]
        if not records:
            raise WrongInput(
                f"{path}: holds no run; give run folders, sweep folders or globs, such as outputs/*/*"
            )
        for record in records:
            found.setdefault(record.path.resolve(), record)
    return list(found.values())


def _matches(path: str | Path) -> list[Path]:
    if str(path) == "latest" and not Path(path).exists():
        path = Path("outputs/latest")  # as resume and export have it
    if Path(path).exists():
        return [_followed(Path(path))]
    matched = sorted(glob.glob(str(path)))
    if not matched:
        raise WrongInput(f"{path}: no such folder, and no folder matches it")
    return [_followed(Path(m)) for m in matched]


def _followed(path: Path) -> Path:
    """The folder that `latest` names where the file system knows no links."""
    if path.is_file() and path.name == "latest" and path.stat().st_size < 4096:
        return path.parent / path.read_text(encoding="utf-8").strip()
    return path


def _inside(folder: Path, depth: int = 3) -> list[Record]:
    """The runs of a folder: itself, the jobs of a sweep, or what lies up to three folders below."""
    if (folder / artifacts.STATUS).is_file():
        return [record(folder)]
    if (folder / SWEEP).is_file():
        return _jobs(folder)
    if not depth or not folder.is_dir():
        return []
    below = sorted(f for f in folder.iterdir() if f.is_dir() and not f.is_symlink() and f.name[:1] != ".")
    return [found for inner in below for found in _inside(inner, depth - 1)]


def record(folder: Path, changed: Sequence[str] = (), state: str = "missing", cause: str = "") -> Record:
    """The record of a run folder; one without a readable status has the state and cause given."""
    try:
        status = formats.read_json(folder / artifacts.STATUS)
    except (OSError, ValueError):
        status = {}
    if not isinstance(status, dict):
        status = {}
    state, cause = str(status.get("state") or state), str(status.get("error") or cause or "")
    cause = cause.removeprefix("salience.errors.WrongInput: ")
    if why := too_new(status):
        state, cause = "newer", why
    elif state == "completed" and not (folder / artifacts.MANIFEST).is_file():
        state, cause = "damaged", f"{artifacts.MANIFEST} is missing, so nothing vouches for this run"
    return Record(folder, state, cause, tuple(changed))


def _jobs(folder: Path) -> list[Record]:
    """The runs of a sweep, also those that never began."""
    try:
        jobs = list(files.read_json(folder / SWEEP)["jobs"])
        return [
            record(
                files.inside(folder, str(job["folder"])),
                list(map(str, job.get("changed") or ())),
                "missing" if job.get("state") in ("completed", "running") else str(job.get("state")),
                str(job.get("cause") or ""),
            )
            for job in jobs
        ]
    except (OSError, ValueError, KeyError, TypeError) as mistake:
        raise WrongInput(f"{folder / SWEEP} cannot be read: {mistake}") from None


# -- choosing ----------------------------------------------------------------------------------------------------------


def chosen(records: Sequence[Record], where: Mapping[str, Any]) -> list[Record]:
    """The runs that have one of the wanted values for every key; WrongInput for a key that no run has."""
    kept = list(records)
    for key, wanted in where.items():
        values = {_text(v) for v in (wanted if isinstance(wanted, list | tuple | set) else [wanted])}
        known = {r.path: r.value(key) for r in records}
        if all(value is None for value in known.values()):
            keys = sorted({*FIELDS, *(k for r in records for k in (*r.flat, *r.choices))})
            raise WrongInput(
                f"{key}: no run has this key.{nearest(key, keys)} Fields: {listed(FIELDS)}, keys of configs"
            )
        kept = [r for r in kept if _text(known[r.path]) in values]
        if not kept:
            there = sorted({_text(value) for value in known.values()})
            raise WrongInput(f"{key}={','.join(sorted(values))}: no run has it; there are: {listed(there)}")
    return kept


def _text(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def varied(records: Sequence[Record], ignored: Sequence[str]) -> dict[str, list[Any]]:
    """The keys whose value is not the same in all runs, with their values in order of appearance.

    A key that some runs do not have counts only where those that have it differ.
    """
    values: dict[str, dict[str, Any]] = {}
    for one in records:
        for key, value in one.flat.items():
            if not key.startswith(tuple(ignored)):
                values.setdefault(key, {}).setdefault(_text(value), value)
    return {key: list(found.values()) for key, found in values.items() if len(found) > 1}
