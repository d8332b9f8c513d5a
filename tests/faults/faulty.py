"""Runs in processes of their own, with what may go wrong in them; and how to compare two run folders."""

import csv
import io
import json
import os
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


def start(outputs: Path, *overrides: str, fault: str = "", resume: Path | None = None, **environment):
    """Start a run in `outputs`, or go on with the one in `resume`; `fault` is code that breaks something first."""
    known = dict(here=str(Path(__file__).parent), fault=fault)
    if resume is None:
        code = CHILD.format(
            module="commandline", function="command", first="'salience.experiment.run', ", **known
        )
        arguments = [f"outputs={outputs}", *SMALL, *overrides]
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
    import signal

    replace, done = os.replace, [0]

    def replaced(source, target):
        if done[0] == number:
            os.kill(os.getpid(), signal.SIGKILL)
        done[0] += 1
        replace(source, target)

    os.replace = replaced
