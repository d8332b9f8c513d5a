"""Go on with a run that ended early, from its own saved config: `python scripts/resume.py <folder|latest>`.

Stages that were finished and are whole on disk are not done again; the result is that of a run that was never cut
short, to the bit.
"""

import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import WrongInput

if TYPE_CHECKING:
    from .artifacts import RunFolder
    from .results import RunResult

GRACE = 600.0
"""Seconds without a heartbeat after which a run on another machine counts as dead."""
USAGE = """usage: python scripts/resume.py <folder|latest> [--trust PACKAGE ...]

Goes on with what lies in a folder, from the configs that were saved there:
  a sweep    runs what is missing or failed; completed runs are not touched
  a search   makes the trials that are left
  a run      continues at the piece where it stopped
It takes no settings: another setting is another run. Only networks, methods, data and metrics of salience, torch and
captum are built from what a folder says; --trust names a package of yours."""


def command(typed: Sequence[str]) -> int:
    """What `scripts/resume.py` does; its exit code, as for `scripts/run.py`."""
    from .edge.commandline import exit_code

    if {"-h", "--help"} & set(typed):
        print(USAGE)
        return 0
    return exit_code(lambda: _resume(typed))


def _resume(typed: Sequence[str]) -> None:
    words, trust = split_trust(typed)
    folder = chosen(words)
    if (folder / "sweep.json").is_file():
        from .sweeps.sweep import resume as resume_sweep

        resume_sweep(folder, trust)
    elif (folder / "search.json").is_file():
        from .sweeps.search import resume as resume_search

        resume_search(folder, trust)
    else:
        print(f"run folder  {resume(folder, trust).path}")


def split_trust(typed: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """What was typed without `--trust PACKAGE`, and the packages."""
    words, trust = list(typed), []
    while "--trust" in words[:-1]:
        at = words.index("--trust")
        trust.append(words[at + 1])
        del words[at : at + 2]
    return words, tuple(trust)


def chosen(typed: Sequence[str]) -> Path:
    """The folder that was typed; `latest` is the newest in outputs/. WrongInput where anything else was typed."""
    extra = [word for word in typed if word.startswith("-") or ("=" in word and not Path(word).exists())]
    if extra:
        raise WrongInput(f"{extra[0]}: not accepted; what is resumed keeps its own settings")
    if len(typed) != 1:
        raise WrongInput("give one folder, or latest; --help says more")
    folder = Path("outputs/latest") if typed[0] == "latest" else Path(typed[0])
    if folder.is_file() and folder.stat().st_size < 4096:  # where links fail, it is a text
        folder = folder.parent / folder.read_text(encoding="utf-8").strip()
    if not folder.is_dir():
        raise WrongInput(f"{typed[0]}: no such folder")
    return folder.resolve()


def resume(path: Path | str, trust: Sequence[str] = ()) -> "RunResult":
    """Finish the run in a folder. One that is finished and whole is only loaded.

    Raises WrongInput where there is no run, where another process works on it, where its config holds a value that was
    blotted out, or names anything that lies neither in salience, torch, captum nor in a package of `trust`.
    """
    from .artifacts import RunFolder
    from .results import check_schema, found, load_run

    folder = RunFolder(found(Path(path)).resolve())
    status = folder.json("status.json")
    check_schema(folder, status)
    if status.get("state") == "completed":
        try:
            return _whole(folder, load_run(folder.path, trust))
        except WrongInput as damage:
            folder.log(f"resume: {damage}")
    if holder := user_of(status):
        raise WrongInput(f"{folder.path}: in use by {holder}")
    return _go_on(folder, trust)


def _whole(folder: "RunFolder", result: "RunResult") -> "RunResult":
    """A finished run; its page, which comes last, is made where its process was killed before."""
    from . import report
    from .artifacts import LOCK, PAGE

    folder.tidy()
    (folder.path / LOCK).unlink(missing_ok=True)  # nobody works in a run that is finished
    if result.config.get("figures", True) and not (folder.path / PAGE).is_file():
        try:
            report.page(folder.path, result.data, result.model)
        except WrongInput:  # its data or network cannot be had here: the page shows the rest
            report.page(folder.path)
    return result


def _go_on(folder: "RunFolder", trust: Sequence[str]) -> "RunResult":
    from omegaconf import OmegaConf

    from .config import Composed
    from .edge.trust import check_config
    from .experiment import run
    from .storage.redaction import HIDDEN

    saved = folder.yaml("config.yaml")
    if not isinstance(saved, dict):
        raise WrongInput(f"{folder.path}: config.yaml holds no config")
    if HIDDEN in str(saved):
        raise WrongInput(
            f"{folder.path}: its config had a secret in it, which was not saved; start a new run, "
            "with ${oc.env:NAME} in place of the value"
        )
    check_config(saved, trust)
    saved["outputs"] = str(outputs_of(folder.path))
    config = OmegaConf.create(saved)
    composed = Composed(config, tuple(folder.yaml("overrides.yaml")), folder.json("choices.json"))
    try:
        result: Any = run(composed, folder.taken_up())
    except BlockingIOError:
        raise WrongInput(f"{folder.path}: in use by another process") from None
    return result


def outputs_of(run: Path) -> Path:
    """The outputs that a run folder lies in (never a place that its config names): where its networks are kept."""
    above = list(run.resolve().parents[1:3])
    return next((folder for folder in above if (folder / "networks").is_dir()), above[0])


def user_of(status: dict[str, Any]) -> str | None:
    """Who works on a run, by its status; None: nobody does any more."""
    from .storage import environment

    if status.get("state") not in ("created", "running"):
        return None
    pid, host, beat = status.get("pid"), status.get("host"), str(status.get("heartbeat"))
    who = f"pid {pid} on host {host} since {status.get('started')}"
    if host != environment.host():
        return f"{who} (last sign of life {beat})" if _age(beat) < GRACE else None
    if not isinstance(pid, int) or pid == os.getpid() or pid <= 0:
        return None
    known = status.get("process")
    if known is not None:
        return who if environment.process(pid) == known else None
    return who if _alive(pid) else None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _age(stamp: str) -> float:
    try:
        return (datetime.now().astimezone() - datetime.fromisoformat(stamp)).total_seconds()
    except (ValueError, TypeError):
        return 0.0
