"""Runs in processes of their own, with what may go wrong in them; and how to compare two run folders."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
SMALL = [
    "data=breast_cancer", "attribution=[integrated_gradients,kernel_shap,saliency]", "controls=[random]",
    "metric=[deletion,sensitivity,sparseness]", "explained=12", "training.epochs=6",
]  # fmt: skip
TIMES = {"seconds", "cost"}
CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, {here!r})
import faulty
{fault}
from salience.{module} import {function} as main
sys.exit(main({first}sys.argv[1:]))
"""


def small(overrides) -> list[str]:
    """SMALL with what `overrides` set instead."""
    keys = {override.split("=")[0] for override in overrides}
    return [*(o for o in SMALL if o.split("=")[0] not in keys), *overrides]


def start(outputs: Path, *overrides: str, fault: str = "", resume: Path | None = None, **environment):
    """Start a run in `outputs`, or go on with the one in `resume`; `fault` is code that breaks something first."""
    known = dict(here=str(Path(__file__).parent), fault=fault)
    if resume is None:
        code = CHILD.format(
            module="edge.commandline", function="command", first="'salience.experiment.run', ", **known
        )
        arguments = [f"outputs={outputs}", *small(overrides)]
    else:
        code = CHILD.format(module="resume", function="command", first="", **known)
        arguments = [str(resume), *overrides]
    own = {k: v for k, v in os.environ.items() if k != "HYDRA_FULL_ERROR"}
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=outputs.parent,
        env=own | {"OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process, seconds: float = 120) -> subprocess.CompletedProcess:
    """Wait for a process."""
    out, err = process.communicate(timeout=seconds)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def forked(outputs: Path, *overrides: str, fault=None, resume: Path | None = None) -> int:
    """The same in a process forked from this one, which has everything loaded: its exit code, or minus a signal."""
    return ended(fork(outputs, *overrides, fault=fault, resume=resume))


def fork(outputs: Path, *overrides: str, fault=None, resume: Path | None = None) -> int:
    """Start such a process; its number."""
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            code = _child(outputs, overrides, fault, resume)
        finally:
            os._exit(code)
    return pid


def ended(pid: int) -> int:
    """Wait for a forked process: its exit code, or minus a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _child(outputs: Path, overrides, fault, resume: Path | None) -> int:
    from salience.edge.commandline import command
    from salience.resume import command as resuming

    with open(outputs.parent / "said.txt", "a", buffering=1) as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
        sys.stdout = sys.stderr = said
        os.chdir(outputs.parent)
        if fault is not None:
            fault()
        if resume is not None:
            return resuming([str(resume), *overrides])
        return command("salience.experiment.run", [f"outputs={outputs}", *small(overrides)])


def said(outputs: Path) -> str:
    """What forked processes printed."""
    return (outputs.parent / "said.txt").read_text()


def run(outputs: Path, *overrides: str, **known) -> subprocess.CompletedProcess:
    """`start`, to the end."""
    return finish(start(outputs, *overrides, **known))


def latest(outputs: Path) -> Path:
    """The only run."""
    (found,) = {path.parent.resolve() for path in outputs.glob("2*/*/status.json")}
    return found


def state(folder: Path) -> str:
    """What status.json says."""
    return json.loads((folder / "status.json").read_text())["state"]


def content(folder: Path) -> dict[str, object]:
    """All that a run promises to repeat to the bit: everything but times, figures, log, page and where it ran."""
    found: dict[str, object] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        if name in (
            "status.json",
            "run.log",
            "report.html",
            "manifest.json",
            "environment.json",
            "overrides.yaml",
        ):
            continue
        if name == "config.yaml":
            continue
        if name == "summary.json":
            found[name] = _timeless(json.loads(path.read_text()))
        elif name == "history.csv":
            rows = csv.DictReader(io.StringIO(path.read_text()))
            found[name] = [{k: v for k, v in row.items() if k != "seconds"} for row in rows]
        else:
            found[name] = path.read_bytes() if not name.startswith("figures/") else None
    return found


def _timeless(value):
    if isinstance(value, dict):
        return {k: _timeless(v) for k, v in value.items() if k not in TIMES}
    return [_timeless(v) for v in value] if isinstance(value, list) else value


# -- faults, for `fault=` ----------------------------------------------------------------------------------------------


def kill_at(number: int) -> None:
    """SIGKILL this process when it has replaced `number` files."""
    at_replace(number, lambda: os.kill(os.getpid(), signal.SIGKILL))


def kill_at_file(name: str, nth: int = 0) -> None:
    """SIGKILL this process between the writing of the `nth` file whose path holds `name` and its renaming."""
    replace, seen = os.replace, [0]

    def replaced(source, target):
        if name in str(target):
            if seen[0] == nth:
                os.kill(os.getpid(), signal.SIGKILL)
            seen[0] += 1
        replace(source, target)

    os.replace = replaced  # type: ignore[assignment]


def signal_at_stage(name: str, number: int, times: int = 1) -> None:
    """Send this process a signal when a stage begins and has advanced once."""
    from salience import artifacts

    set_status, sent = artifacts.RunFolder.set_status, [0]

    def status(self, state, stage=None, error=None):
        set_status(self, state, stage, error)
        if state == "running" and stage == name and not sent[0]:
            sent[0] = 1
            for _ in range(times):
                os.kill(os.getpid(), number)

    artifacts.RunFolder.set_status = status  # type: ignore[method-assign]


def at_replace(number: int, act) -> None:
    """Call `act` before the file with this number is given its name."""
    replace, done = os.replace, [0]

    def replaced(source, target):
        if done[0] == number:
            act()
        done[0] += 1
        replace(source, target)

    os.replace = replaced  # type: ignore[assignment]
