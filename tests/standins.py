"""Jobs and targets that the tests of the command line run in place of an experiment; import no torch."""

import json
import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace


class Network:
    """A network with two settings."""

    def __init__(self, modalities=None, num_outputs=None, hidden=8, dropout=0.0):
        self.arguments = {"modalities": modalities, "hidden": hidden, "dropout": dropout}


class Method:
    """A method with two settings."""

    def __init__(self, forward_func, scale=1.0):
        self.scale = scale

    def attribute(self, inputs, target=None, n_steps=50, stride=1, **ignored):
        return inputs


class Wrapper:
    """A method around another method."""

    def __init__(self, forward_func, method=None):
        self.method = method

    def attribute(self, inputs, n_samples=5):
        return inputs


def data(seed, rows=10):
    """Rows of numbers."""
    return list(range(rows))


def metric(steps=10):
    """A score."""
    return steps


def job(composed):
    """Write down what a run is given; `only` says how it goes."""
    folder = composed.folder or Path(str(composed.config.outputs)) / "single"
    folder.mkdir(parents=True, exist_ok=True)
    known = {"overrides": list(composed.overrides), "choices": composed.choices, "pid": os.getpid()}
    known |= {"modules": sorted(sys.modules), "threads": os.environ.get("OMP_NUM_THREADS")}
    (folder / "known.json").write_text(json.dumps(known))
    print("the job prints")
    ENDS.get(str(composed.config.only), lambda: None)()
    (folder / "done").touch()
    (folder / "manifest.json").write_text("{}")
    (folder / "status.json").write_text('{"state": "completed"}')
    return SimpleNamespace(path=folder)


def wrong():
    from salience.errors import WrongInput

    raise WrongInput("explained=9: the test split has 5 examples")


def fails():
    raise RuntimeError("it broke\nin two lines")


def noted():
    error = RuntimeError("it broke")
    error.add_note("the traceback is in outputs/x/run.log")
    raise error


def sleeps():
    Path(os.environ["STARTED"]).touch()
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        Path(os.environ["STARTED"] + ".interrupted").touch()
        raise


def stubborn():
    Path(os.environ["STARTED"]).write_text(str(os.getpid()))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    time.sleep(60)


def meets():
    """Ends when a second process is here."""
    start = Path(os.environ["STARTED"])
    Path(f"{start}.{os.getpid()}").touch()
    while len(list(start.parent.glob(f"{start.name}.*"))) < 2:
        time.sleep(0.05)


def counts():
    """Works as a run does, and writes down how many of its kind are alive and how many threads it has."""
    import torch

    torch.ones(300, 300) @ torch.ones(300, 300)
    time.sleep(0.05)
    alive = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        alive += int(parent) == os.getppid() and state != "Z"
    known = {"alive": alive, "threads": len(os.listdir("/proc/self/task")), "torch": torch.get_num_threads()}
    Path(f"{os.environ['STARTED']}.{os.getpid()}").write_text(json.dumps(known))


def once():
    """Crashes until the test has opened the gate."""
    if not Path(os.environ["STARTED"]).exists():
        os._exit(9)


def second():
    """Fails the first time."""
    gate = Path(os.environ["STARTED"])
    if not gate.exists():
        gate.touch()
        raise RuntimeError("not yet")


def sleeps_once():
    if not Path(os.environ["STARTED"]).exists():
        sleeps()


ENDS = {
    "once": once,
    "second": second,
    "sleeps_once": sleeps_once,
    "meets": meets,
    "counts": counts,
    "wrong": wrong,
    "fails": fails,
    "noted": noted,
    "exits": lambda: sys.exit(3),
    "dies": lambda: os._exit(9),
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "memory": lambda: (_ for _ in ()).throw(MemoryError()),
    "sleeps": sleeps,
    "stubborn": stubborn,
}
