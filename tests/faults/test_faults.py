"""Full disks, crowds, dead readers, odd clocks and damaged folders: F5, F9, F14, F16 to F18, F20 to F28."""

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

import captum.attr
import cli
import faulty
import pytest
import runs
import torch

import salience
from salience import WrongInput, artifacts, files, report
from salience.comparisons.command import command as compare
from salience.resume import command as resume
from salience.sharing.export import command as export
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


def test_f16_the_same_command_twice_gives_the_same_bytes_and_more_threads_only_round(tmp_path):
    """(Sizes of passes: tests/attribution/test_randomness.py; there are no workers that load data.)"""
    quick = [QUICK[1], *QUICK[3:], "attribution=[kernel_shap]", "metric=[infidelity]", "figures=false"]
    first, second, threads = (
        salience.run([*quick, f"outputs={tmp_path / str(n)}", *more])
        for n, more in enumerate([(), (), ("threads=2",)])
    )
    for name in ("network.safetensors", "attributions/kernel_shap/00000.safetensors", "scores.csv"):
        assert (first.path / name).read_bytes() == (second.path / name).read_bytes(), name
    torch.set_num_threads(1)
    here, there = (r.explanations["kernel_shap"].load().attributions[0] for r in (first, threads))
    torch.testing.assert_close(here, there, atol=1e-5 * float(here.abs().max()), rtol=0)


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


@pytest.mark.slow
def test_f26_fifty_runs_two_at_a_time_are_no_more_processes_and_threads_than_that(tmp_path, monkeypatch):
    """What counts is who is alive at once, not the time it takes: the cores may be somebody else's just then."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    cli.make_configs(tmp_path / "configs")
    more = ("hydra.launcher.n_jobs=2", "hydra.launcher.preload=[torch]")
    started = tmp_path / "started"
    done = cli.run(tmp_path, "-m", "only=counts", "seed=range(50)", *more, STARTED=str(started))
    assert done.returncode == 0, done.stderr
    found = [json.loads(path.read_text()) for path in tmp_path.glob("started.*")]
    assert len(found) == 50
    assert max(known["alive"] for known in found) == 2
    assert {known["torch"] for known in found} == {1}
    assert max(known["threads"] for known in found) == 2, "its own, and the one that watches its parent"
    runs_ = (tmp_path / "outputs" / "latest").glob("*/known.json")
    assert {json.loads(path.read_text())["threads"] for path in runs_} == {"1"}


def with_schema(root: Path, version: int) -> Path:
    """A finished run folder that says it was written with schema `version`."""
    folder, *_ = runs.write(root)
    for name in (artifacts.STATUS, artifacts.MANIFEST):
        path = folder.path / name
        path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": version}))
    return folder.path


def test_f25_a_run_of_an_older_version_is_read(tmp_path, capsys):
    older = with_schema(tmp_path / "outputs", artifacts.SCHEMA_VERSION - 1)
    assert salience.load_run(older).summary["methods"]
    assert resume([str(older)]) == 0 and compare([str(older), f"outputs={tmp_path}"]) == 0
    assert "1 of 1 runs" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "what"), [("jobs.json", "sweep"), ("search.json", "search")])
def test_f25_a_sweep_of_a_newer_version_is_refused_too(tmp_path, name, what, capsys):
    (tmp_path / "sweep.json" if what == "sweep" else tmp_path / name).touch()
    (tmp_path / name).write_text(json.dumps({"schema_version": 2, "unheard": "of"}))
    assert resume([str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said == f"error: {tmp_path} was written with schema 2, this salience reads up to 1: upgrade it\n"
    (tmp_path / name).write_text("[]")
    assert resume([str(tmp_path)]) == 2
    assert f"not a {what} that can be resumed" in capsys.readouterr().err


def test_f25_a_run_of_a_newer_version_is_refused_with_a_line_that_names_it(tmp_path, capsys):
    mine = artifacts.SCHEMA_VERSION
    newer = with_schema(tmp_path / "outputs", mine + 1)
    line = f"was written with schema {mine + 1}, this salience reads up to {mine}: upgrade it"
    with pytest.raises(WrongInput, match=f"{newer} {line}"):
        salience.load_run(newer)
    for command in (resume, export):
        assert command([str(newer)]) == 2
        assert capsys.readouterr().err == f"error: {newer} {line}\n"
    assert compare([str(newer), f"outputs={tmp_path}"]) == 2
    assert "none of these runs can be compared" in capsys.readouterr().err
    whole = with_schema(tmp_path / "outputs", mine)
    assert compare([str(newer), str(whole), f"outputs={tmp_path}"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"newer: {newer.name} {line}" in said and "1 of 2 runs" in said


SOURCE = Path(__file__).parents[2]
WORKERS = re.compile(r"\b(DataLoader|num_workers|torch\.utils\.data)\b")


def test_f27_no_process_loads_data_so_none_can_be_killed():
    """Data is whole in memory, and batches are slices of it: see docs/reliability.md."""
    written = [p for folder in ("src", "scripts", "configs") for p in (SOURCE / folder).rglob("*.*")]
    texts = {p: p.read_text(encoding="utf-8") for p in written if p.suffix in (".py", ".yaml")}
    assert len(texts) > 200
    assert not [str(p) for p, text in texts.items() if WORKERS.search(text)]
    assert WORKERS.search("from torch.utils.data import DataLoader") and WORKERS.search("f(num_workers=2)")


class Interrupted(torch.nn.Module):
    """A network whose pass with this number fails."""

    def __init__(self, fails: int = 0):
        super().__init__()
        torch.manual_seed(0)
        layers = (torch.nn.Linear(4, 6), torch.nn.ReLU(), torch.nn.Dropout(0.5), torch.nn.Linear(6, 3))
        self.net = torch.nn.Sequential(*layers)
        self.net[0].requires_grad_(False)
        self.train()
        self.net[1].eval()
        self.fails, self.passes = fails, 0

    def forward(self, x):
        self.passes += 1
        if self.passes == self.fails:
            raise RuntimeError("in the middle of it")
        return self.net(x)


def as_it_is(model: torch.nn.Module):
    """All that a method may leave behind on a network."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    modules = [
        (m.training, sorted(vars(m)), [len(getattr(m, name)) for name in hooks]) for m in model.modules()
    ]
    parameters = [(p.requires_grad, p.grad, p.tolist()) for p in model.parameters()]
    return modules, parameters


def breaks_after(calls: int):
    """Captum's custom rule, which fails after so many layers or batches."""

    def rule(multipliers, inputs, baselines):
        nonlocal calls
        calls -= 1
        if calls < 0:
            raise RuntimeError("in the middle of it")
        return tuple(m * (x - b) for m, x, b in zip(multipliers, inputs, baselines, strict=True))

    return rule


class Careless(captum.attr.Attribution):
    """A method of one's own that cleans nothing up: the first pass fails with its hooks set."""

    def attribute(self, inputs, target=None):
        self.forward_func.train()
        for module in self.forward_func.modules():
            module.register_forward_hook(lambda *_: 0 / 0)
            module.activations = inputs
        for parameter in self.forward_func.parameters():
            parameter.requires_grad_(not parameter.requires_grad)
        raise RuntimeError("in the middle of it")


@pytest.mark.filterwarnings("ignore")  # Captum narrates its hooks
@pytest.mark.parametrize(
    ("method", "fails", "more"),
    [
        (captum.attr.DeepLift, 0, {"custom_attribution_func": breaks_after(0)}),
        ("deep_lift", 0, {"custom_attribution_func": breaks_after(0)}),
        (Careless, 0, {}),
        (captum.attr.DeepLift, 4, {}),
        (captum.attr.GuidedBackprop, 3, {}),
        (captum.attr.LRP, 4, {}),
        (captum.attr.FeatureAblation, 5, {}),
        ("deep_lift", 4, {}),
        ("integrated_gradients", 6, {}),
        ("kernel_shap", 3, {}),
    ],
)
def test_f28_a_method_that_fails_in_the_middle_disturbs_no_other(method, fails, more):
    x = torch.randn(40, 4, generator=torch.Generator().manual_seed(1))
    model = Interrupted(fails)
    before = as_it_is(model)
    with pytest.raises(WrongInput, match="in the middle of it"):
        salience.explain(model, x, method, target=0, **more)
    model.fails = 0
    assert as_it_is(model) == before
    for other in ("deep_lift", "guided_backprop", "integrated_gradients", "kernel_shap"):
        found, wanted = (salience.explain(m, x, other, target=0) for m in (model, Interrupted()))
        assert torch.equal(found.attributions[0], wanted.attributions[0])
