"""Full disks, crowds, dead readers, odd clocks and damaged folders: F5, F8, F9, F14, F16 to F24."""

import json
import multiprocessing
import os
import re
import resource
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import faulty
import pytest
import runs
import torch

import salience
from salience import WrongInput, artifacts, files, report
from salience.storage import formats

QUICK = ("attribution=[saliency]", "controls=[]", "metric=[sparseness]", "explained=4", "training.epochs=1")


@pytest.fixture
def outputs(tmp_path) -> Path:
    return tmp_path / "outputs"


def limit_files(size: int) -> None:
    """No file may grow beyond `size` bytes: what a full disk does, without being root."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.parametrize("kind", ["text", "bytes", "tensors", "csv", "callable"])
def test_f5_a_full_disk_keeps_the_old_file(tmp_path, kind):
    path = tmp_path / "kept.safetensors"
    write = {
        "text": lambda n: files.atomic_write(path, "x" * n),
        "bytes": lambda n: files.atomic_write(path, b"x" * n),
        "tensors": lambda n: formats.write_tensors(path, {"a": torch.zeros(n)}),
        "csv": lambda n: formats.write_csv(path, ["a"], ([i] for i in range(n))),
        "callable": lambda n: files.atomic_write(path, lambda p: p.write_bytes(b"x" * n)),
    }[kind]
    write(10)
    before = path.read_bytes()

    def child():
        limit_files(4096)
        with pytest.raises(OSError, match="kept.safetensors"):
            write(100_000)

    assert in_a_fork(child) == 0
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def in_a_fork(function) -> int:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            function()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_f5_a_run_on_a_full_disk_is_one_line(outputs):
    assert faulty.forked(outputs, *QUICK, fault=partial(limit_files, 6000)) == 1
    said = faulty.said(outputs)
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and re.search(r"no space left|cannot write|File too large", errors[0])


def _create(root: str, ready, go, names) -> None:
    ready.release()
    go.wait()
    names.put(str(artifacts.RunFolder.create(root, "mlp", "data").path))


def test_f9_f21_eight_runs_of_one_second_have_a_folder_each(tmp_path, monkeypatch):
    class Fixed(artifacts.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2026, 10, 25, 2, 30, 0, tzinfo=tz)

    monkeypatch.setattr(artifacts, "datetime", Fixed)
    context = multiprocessing.get_context("fork")
    ready, go, names = context.Semaphore(0), context.Event(), context.Queue()
    started = [context.Process(target=_create, args=(str(tmp_path), ready, go, names)) for _ in range(8)]
    for process in started:
        process.start()
    for _ in started:
        ready.acquire()
    go.set()
    found = {names.get(timeout=30) for _ in started}
    for process in started:
        process.join(30)
    assert len(found) == 8
    assert {json.loads((Path(p) / "status.json").read_text())["state"] for p in found} == {"created"}


def test_f14_a_lock_that_does_not_work_harms_nothing(tmp_path, monkeypatch):
    import fcntl

    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    with files.locked(tmp_path / ".lock"), files.locked(tmp_path / ".lock"):
        assert files.write_json(tmp_path / "x.json", 1).is_file()


@pytest.mark.parametrize("name", ["a\nb", "\U0001f600", "x" * 240, "../../x", "a/b", ".", ""])
def test_f20_names_make_safe_folders(tmp_path, name):
    folder = artifacts.RunFolder.create(tmp_path / "outputs", name, name)
    assert folder.path.is_relative_to(tmp_path / "outputs") and len(folder.path.name) < 120
    assert re.fullmatch(r"[\w=.-]+", folder.path.name, re.ASCII)


def test_f21_times_have_an_offset(tmp_path, monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    try:
        folder, *_ = runs.write(tmp_path)
        assert json.loads((folder.path / "status.json").read_text())["heartbeat"].endswith("+05:45")
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["| head -1", ">&-", "> /dev/full"])
def test_f23_a_reader_that_goes_away(tmp_path, shell):
    code = "from salience.edge.commandline import command; import sys; sys.exit(command('salience.experiment.run'))"
    typed = " ".join(f"'{word}'" for word in (f"outputs={tmp_path / 'o'}", "data=breast_cancer", *QUICK))
    done = subprocess.run(
        ["bash", "-c", f'"{sys.executable}" -c "{code}" {typed} {shell}'],
        capture_output=True, text=True, timeout=120, env=os.environ | {"TERM": "dumb", "LANG": "C", "PYTHONUTF8": "0"},
    )  # fmt: skip
    assert "Traceback" not in done.stderr and "\x1b[" not in done.stderr + done.stdout
    assert faulty.state(faulty.latest(tmp_path / "o")) == "completed"


@pytest.mark.parametrize(
    "name", ["summary.json", "scores.csv", "config.yaml", "figures", "network.safetensors"]
)
def test_f24_a_page_is_made_of_what_is_left(tmp_path, name):
    import shutil

    folder, *_ = runs.write(tmp_path, draw=True)
    path = folder.path / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert report.page(folder.path).stat().st_size > 1000
    with pytest.raises(WrongInput, match="is missing"):
        salience.load_run(folder.path)


def test_f18_what_is_not_a_number_is_named():
    from small_data import make

    from salience.data.base import Examples
    from salience.finite import NotFinite, check_data, check_outputs, infinite_scores

    data = make("table")
    check_data(data)
    inputs = data.train.inputs[0].clone()
    inputs[3, 1] = torch.nan
    broken = data.with_train(Examples((inputs,), data.train.labels, data.train.index))
    with pytest.raises(WrongInput, match="data: example 3 of the train split, .*: nan or infinite"):
        check_data(broken)
    outputs = torch.zeros(5, 2)
    outputs[4, 0] = torch.inf
    with pytest.raises(NotFinite, match="outputs for example 4 of the test split"):
        check_outputs(outputs, "test")
    said = infinite_scores("infidelity", torch.tensor([0.1, torch.inf]), torch.tensor([7, 9]))
    assert said == ("infidelity: infinite for 1 examples (first: example 9), which count as undefined",)
    assert infinite_scores("x", torch.tensor([0.1, torch.nan]), None) == ()


@pytest.mark.slow
def test_f17_methods_do_not_disturb_each_other(outputs):
    """Another method more, another order, one less: the numbers of the others stay."""
    found = []
    for methods in ("[kernel_shap,saliency]", "[saliency,gradient_shap,kernel_shap]", "[kernel_shap]"):
        own = outputs.parent / methods.strip("[]").replace(",", "-") / "outputs"
        own.parent.mkdir()
        assert faulty.forked(own, *QUICK[1:], f"attribution={methods}") == 0, faulty.said(own)
        found.append((faulty.latest(own) / "attributions" / "kernel_shap" / "00000.safetensors").read_bytes())
    assert found[0] == found[1] == found[2]
