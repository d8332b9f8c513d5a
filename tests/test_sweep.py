"""Sweeps on the command line: checked before anything runs, isolated, and nothing left behind when they end early."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli import make_configs, run, start
from rich.console import Console
from test_command_line import wait_for

from salience.config import Composer, WrongInput
from salience.sweeps.jobs import Jobs
from salience.sweeps.scheduling import Settings, Sweep
from salience.sweeps.screen import Lines, Table
from salience.sweeps.sweep import crowded, planned
from salience.sweeps.workers import Report, Workers


@pytest.fixture
def folder(tmp_path):
    make_configs(tmp_path / "configs")
    return tmp_path


@pytest.fixture(scope="module")
def composer(tmp_path_factory):
    return Composer.create(folder=make_configs(tmp_path_factory.mktemp("configs") / "configs"))


def swept(folder):
    """`sweep.json` of the newest sweep."""
    return json.loads((folder / "outputs" / "latest" / "sweep.json").read_text())


def given(folder, job):
    return json.loads((folder / "outputs" / "latest" / job["folder"] / "known.json").read_text())


def test_a_grid_is_a_run_each_in_a_process_and_a_folder_of_its_own(folder):
    done = run(folder, "-m", "attribution=saliency,occlusion", "seed=0,1", "controls=[random]", "model=cnn")
    assert done.returncode == 0, done.stderr
    content = swept(folder)
    assert content["state"] == "completed"
    assert [job["changed"] for job in content["jobs"]] == [
        ["attribution=saliency", "seed=0"],
        ["attribution=saliency", "seed=1"],
        ["attribution=occlusion", "seed=0"],
        ["attribution=occlusion", "seed=1"],
    ]
    assert content["jobs"][0]["folder"] == "0-attribution=saliency-seed=0"
    assert content["jobs"][0]["overrides"] == [
        "attribution=saliency",
        "seed=0",
        "controls=[random]",
        "model=cnn",
    ]
    runs = [given(folder, job) for job in content["jobs"]]
    assert len({known["pid"] for known in runs}) == 4
    assert runs[3]["choices"]["attribution"] == ["occlusion"] and runs[3]["choices"]["controls"] == ["random"]
    assert runs[3]["overrides"] == content["jobs"][3]["overrides"]
    assert (folder / "outputs" / "latest").is_symlink()
    assert not list(folder.rglob("multirun.yaml")) and not list(folder.rglob("*.txt"))


def test_lists_of_methods_are_swept_as_lists(folder):
    done = run(folder, "-m", "attribution=[saliency,occlusion],[kernel_shap]", "metric=[],deletion")
    assert done.returncode == 0, done.stderr
    runs = [given(folder, job)["choices"] for job in swept(folder)["jobs"]]
    assert [run["attribution"] for run in runs] == [["saliency", "occlusion"]] * 2 + [["kernel_shap"]] * 2
    assert [run["metric"] for run in runs] == [[], ["deletion"]] * 2


def test_f11_what_happens_to_a_run_is_a_row(folder):
    """Raising, exiting, crashing, being killed: five of seven complete nothing else's end."""
    done = run(folder, "-m", "only=all,fails,exits,dies,killed,memory,wrong,correct")
    assert done.returncode == 3
    latest = os.path.relpath((folder / "outputs" / "latest").resolve(), folder)
    assert done.stderr == f"error: 6 of 8 runs failed; to run them again: python scripts/resume.py {latest}\n"
    rows = swept(folder)["jobs"]
    assert [(row["state"], row["cause"]) for row in rows] == [
        ("completed", ""),
        ("failed", "RuntimeError: it broke"),
        ("failed", "sys.exit(3)"),
        ("failed", "the process ended with exit code 9 before the run did"),
        ("failed", "killed by SIGKILL"),
        ("failed", "MemoryError"),
        ("failed", "explained=9: the test split has 5 examples"),
        ("completed", ""),
    ]
    for row in rows:
        place = folder / "outputs" / "latest" / row["folder"]
        if row["state"] == "completed":
            assert (place / "done").exists() and not (place / "run.log").exists()
        else:
            log = (place / "run.log").read_text()
            assert row["cause"] in log and "the job prints" in log
            status = json.loads((place / "status.json").read_text())
            assert (status["state"], status["error"]) == ("failed", row["cause"])
    assert "in fails" in (folder / "outputs" / "latest" / rows[1]["folder"] / "run.log").read_text()
    for line in ("only=fails: failed", "killed by SIGKILL", "3-only=dies"):
        assert line in done.stdout


@pytest.mark.parametrize(
    ("typed", "lines"),
    [
        (["seed=0,x"], ["seed=x: must be an integer >= 0"]),
        (["model=mlp,cn", "seed=0,1"], ["model=cn: no such option. Did you mean cnn? Options: cnn, mlp"]),
        (["model=mlp,../evil"], ["model=../evil: not the name of an option. Options: cnn, mlp"]),
        (
            ["model=mlp,cnn", "model.mlp.hidden=3"],
            ["model.mlp.hidden=3: model has no mlp. It has: cnn, weights"],
        ),
        (["seed=0,1", "sed=3", "split=train,tst"], ["sed=3: no such key", "split=tst: must be one of"]),
        (["seed=0,1", "+training.epoch=3"], ["training.epoch: no such key. Did you mean epochs?"]),
        (["seed=interval(0,1)"], ["seed=interval(0,1): an interval needs a search"]),
        (["hydra.launcher.n_job=2", "seed=0,1"], ["hydra.launcher.n_job=2: "]),
        # by signature, in a worker
        (
            ["seed=0,1", "attribution.saliency.arguments.n_step=3"],
            ["attribution.saliency.arguments.n_step=3: no argument"],
        ),
        (
            ["seed=0,1", "data._target_=standins.date"],
            ["data._target_=standins.date: standins.date does not exist. Did"],
        ),
    ],
)
def test_wrong_input_anywhere_runs_nothing_and_writes_nothing(folder, typed, lines):
    done = run(folder, "-m", *typed, extra="--loaded")
    *said, loaded = done.stderr.splitlines()
    assert done.returncode == 2, done.stderr
    assert len(said) == len(lines)
    for line, start_of_line in zip(said, lines, strict=True):
        assert line.startswith(f"error: {start_of_line}")
    assert not (folder / "outputs").exists() and done.stdout == ""
    assert not {"torch", "standins"} & set(loaded.split())


def test_settings_of_a_method_are_dropped_from_runs_without_it(composer):
    typed = ["attribution=saliency,occlusion", "++attribution.occlusion.arguments.stride=2,3"]
    assert planned(composer, typed) == [
        ["attribution=saliency"],
        ["attribution=occlusion", "++attribution.occlusion.arguments.stride=2"],
        ["attribution=occlusion", "++attribution.occlusion.arguments.stride=3"],
    ]
    with pytest.raises(WrongInput, match="attribution.lime: lime is not in this run"):
        planned(composer, ["attribution=saliency,occlusion", "++attribution.lime.arguments.stride=2"])


def test_two_at_a_time(folder):
    """Each run waits for the other, so that one at a time would never end."""
    done = run(
        folder, "-m", "only=meets", "seed=0,1", "hydra.launcher.n_jobs=2", STARTED=str(folder / "started")
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_one_thread_a_run_unless_told_otherwise(folder):
    assert run(folder, "-m", "seed=0", OMP_NUM_THREADS="2").returncode == 0
    assert given(folder, swept(folder)["jobs"][0])["threads"] == "2"


def test_modules_are_loaded_once_for_all_runs(folder):
    done = run(folder, "-m", "seed=0", "hydra.launcher.preload=[sqlite3,no_such_module]")
    assert done.returncode == 0, done.stderr
    assert "warning: not loaded ahead, so every run loads it again: no_such_module\n" in done.stdout
    assert "sqlite3" in given(folder, swept(folder)["jobs"][0])["modules"]


def test_a_secret_is_not_in_a_folders_name(folder):
    done = run(folder, "-m", "++data.rows=1,2", "++model.mlp.api_key=hush,hush2")
    assert done.returncode == 2, "standins.Network takes no key"
    (folder / "configs" / "model" / "mlp.yaml").write_text("mlp: {_target_: builtins.dict, api_key: x}\n")
    assert run(folder, "-m", "model.mlp.api_key=hush,hush2", "seed=1,2").returncode == 0
    assert [job["folder"] for job in swept(folder)["jobs"]] == [f"{n}-seed={1 + n % 2}" for n in range(4)]


def test_outputs_that_cannot_be_written_to(folder):
    (folder / "outputs").write_text("a file")
    done = run(folder, "-m", "seed=0,1")
    assert done.returncode == 2
    assert done.stderr.startswith("error: outputs=outputs: cannot be written to")


def test_another_launcher_runs_the_same_jobs(folder):
    (folder / "configs" / "run.yaml").write_text(
        (folder / "configs" / "run.yaml")
        .read_text()
        .replace("hydra/launcher: salience", "hydra/launcher: basic")
    )
    done = run(folder, "--multirun", "seed=0")
    assert done.returncode == 0, done.stderr
    assert given(folder, swept(folder)["jobs"][0])["overrides"] == ["seed=0"]
    assert not (folder / "outputs" / "single").exists()


def test_another_launcher_that_gives_up_is_judged_by_what_its_runs_left(folder):
    """Hydra's own stops at the first failure of some kinds; the sweep ends with rows and exit 3 all the same."""
    text = (folder / "configs" / "run.yaml").read_text()
    (folder / "configs" / "run.yaml").write_text(
        text.replace("hydra/launcher: salience", "hydra/launcher: basic")
    )
    done = run(folder, "--multirun", "only=all,fails,correct")
    assert done.returncode == 3, done.stderr
    rows = swept(folder)["jobs"]
    assert [row["state"] for row in rows] == ["completed", "failed", "completed"]


# -- ending early ------------------------------------------------------------------------------------------------------


def alive(pid):
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except (OSError, ProcessLookupError):
        return False


def family(pid):
    """The processes that descend from `pid`."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(entry.parent.name)] = int(fields[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


@pytest.mark.parametrize("how", ["sleeps", "stubborn"])
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_f13_no_worker_outlives_the_sweep(folder, how, number, code):
    started = folder / "started"
    process = start(folder, "-m", f"only={how}", "seed=0,1", STARTED=str(started))
    wait_for(started, process)
    workers = family(process.pid)
    assert workers
    process.send_signal(number)
    end = time.monotonic() + 3
    while any(map(alive, workers)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not [pid for pid in workers if alive(pid)]
    _, err = process.communicate(timeout=20)
    assert process.returncode == code
    if number != signal.SIGKILL:
        assert err == "error: interrupted\n"
        content = swept(folder)
        assert content["state"] == "interrupted"
        assert [job["state"] for job in content["jobs"]] == ["interrupted", "queued"]
    if how == "sleeps":
        assert Path(f"{started}.interrupted").exists(), "the run could put its affairs in order"


def double(number):
    return 2 * number


def test_workers_give_back_results_in_order():
    reports = Workers(n_jobs=2).run(double, [((number,), None) for number in range(5)])
    assert [report.value for report in reports] == [0, 2, 4, 6, 8]


# -- resume ------------------------------------------------------------------------------------------------------------


RESUME = """
import sys
sys.path.insert(0, {tests!r})
from salience.resume import command

if __name__ == "__main__":
    sys.exit(command(sys.argv[1:]))
"""


def resumed(folder, *arguments, **environment):
    """What scripts/resume.py says in `folder`."""
    script = folder / "resume.py"
    script.write_text(RESUME.format(tests=str(Path(__file__).parent)))
    command = [sys.executable, str(script), *arguments]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=120, env=os.environ | environment
    )


def mtimes(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_f12_resume_runs_only_what_failed_and_keeps_the_earlier_attempt(folder):
    gate = folder / "gate"
    assert run(folder, "-m", "only=all,once,correct", "seed=0,1", STARTED=str(gate)).returncode == 3
    before = swept(folder)["jobs"]
    done = [folder / "outputs" / "latest" / row["folder"] for row in before if row["state"] == "completed"]
    assert len(done) == 4
    kept = [mtimes(path) for path in done]
    gate.touch()
    again = resumed(folder, "latest", "--trust", "standins", STARTED=str(gate))
    assert again.returncode == 0, again.stderr
    assert "4 done, 2 to do" in again.stdout
    after = swept(folder)
    assert after["state"] == "completed" and {row["state"] for row in after["jobs"]} == {"completed"}
    assert [mtimes(path) for path in done] == kept
    assert [row["digest"] for row in after["jobs"]] == [row["digest"] for row in before]
    tried = [row for row in after["jobs"] if "only=once" in row["changed"]]
    assert [row["folder"] for row in tried] == ["2-only=once-seed=0-try2", "3-only=once-seed=1-try2"]
    assert given(folder, tried[0])["overrides"] == ["only=once", "seed=0"]
    assert (folder / "outputs" / "latest" / "2-only=once-seed=0" / "run.log").is_file()
    assert resumed(folder, "latest", "--trust", "standins").returncode == 0, "nothing is left"


def test_resume_after_the_sweep_was_killed(folder):
    started = folder / "started"
    process = start(folder, "-m", "only=all,sleeps_once,correct", STARTED=str(started))
    wait_for(started, process)
    workers = family(process.pid)
    process.kill()
    process.communicate(timeout=20)
    end = time.monotonic() + 10
    while any(map(alive, workers)) and time.monotonic() < end:
        time.sleep(0.05)
    again = resumed(folder, "latest", "--trust", "standins", STARTED=str(started))
    assert again.returncode == 0, again.stderr
    assert [row["state"] for row in swept(folder)["jobs"]] == ["completed"] * 3
    assert swept(folder)["jobs"][0]["attempts"] == 1


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        (["latest", "seed=1"], "seed=1: not accepted"),
        (["latest"], "names standins.job, which is not ours; --trust PACKAGE allows it"),
    ],
)
def test_resume_refuses(folder, typed, line):
    assert run(folder, "-m", "seed=0,1").returncode == 0
    done = resumed(folder, *typed)
    assert done.returncode == 2 and line in done.stderr, done.stderr


def test_a_sweep_whose_saved_configs_were_changed_is_not_resumed(folder):
    assert run(folder, "-m", "only=fails,dies").returncode == 3
    path = folder / "outputs" / "latest" / "jobs.json"
    path.write_text(path.read_text().replace("epochs: 3", "epochs: 4"))
    done = resumed(folder, "latest", "--trust", "standins")
    assert done.returncode == 2 and "the config of run 0 is not what was saved" in done.stderr


def test_a_sweep_that_runs_is_not_resumed_beside_itself(folder):
    started = folder / "started"
    process = start(folder, "-m", "only=sleeps", "seed=0,1", STARTED=str(started))
    wait_for(started, process)
    done = resumed(folder, "latest", "--trust", "standins")
    process.terminate()
    assert process.wait(timeout=20) == 143
    assert done.returncode == 2 and f"in use by pid {process.pid} on" in done.stderr


# -- what a failure means ----------------------------------------------------------------------------------------------


def test_a_run_that_failed_is_tried_again(folder):
    done = run(folder, "-m", "only=all,second", "hydra.launcher.retry=1", STARTED=str(folder / "gate"))
    assert done.returncode == 0, done.stderr
    row = swept(folder)["jobs"][1]
    assert (row["state"], row["attempts"], row["folder"]) == ("completed", 2, "1-only=second-try2")


def test_after_too_many_failures_no_further_run_starts(folder):
    done = run(folder, "-m", "only=fails,all,dies,correct,exits", "hydra.launcher.max_failures=1")
    assert done.returncode == 3
    assert [row["state"] for row in swept(folder)["jobs"]] == [
        "failed",
        "completed",
        "failed",
        "queued",
        "queued",
    ]
    assert done.stderr.startswith("error: 2 of 5 runs failed, 2 not started; to run them again: ")


def test_the_first_failure_ends_the_sweep_where_asked(folder):
    typed = ["only=sleeps,fails,all", "hydra.launcher.fail_fast=true", "hydra.launcher.n_jobs=2"]
    began = time.monotonic()
    done = run(folder, "-m", *typed, STARTED=str(folder / "started"))
    assert done.returncode == 3 and time.monotonic() - began < 30
    assert [row["state"] for row in swept(folder)["jobs"]] == ["interrupted", "failed", "queued"]


@pytest.mark.parametrize(
    "typed", ["n_jobs=0", "retry=-1", "max_failures=-2", "engine=rey"], ids=lambda typed: typed.split("=")[0]
)
def test_what_the_launcher_is_told_is_checked(folder, typed):
    done = run(folder, "-m", "seed=0,1", f"hydra.launcher.{typed}")
    assert done.returncode == 2 and done.stderr.startswith(f"error: hydra.launcher.{typed}: ")
    assert not (folder / "outputs").exists()


def test_many_runs_need_a_word(composer):
    typed = ["seed=range(0,201)"]
    with pytest.raises(WrongInput) as refused:
        planned(composer, typed, Settings(n_jobs=2))
    said = (
        "201 runs: about 17 min, 2 at a time, guessing 10 s a run; to start them add hydra.launcher.yes=true"
    )
    assert str(refused.value) == said
    with pytest.raises(WrongInput, match="modle=3: no such key"):
        planned(composer, [*typed, "modle=3"], Settings())
    assert len(planned(composer, typed, Settings(yes=True))) == 201


def test_settings_of_the_launcher_are_part_of_no_runs_identity(folder):
    digests = []
    for settings in ([], ["hydra.launcher.n_jobs=2", "hydra.launcher.retry=3"]):
        assert run(folder, "-m", "seed=0,1", *settings).returncode == 0
        digests.append([row["digest"] for row in swept(folder)["jobs"]])
    assert digests[0] == digests[1] and len(set(digests[0])) == 2


# -- which run is next, and what is shown ------------------------------------------------------------------------------


class Ended:
    """An engine on which the runs end in the order in which the test wants them to."""

    def __init__(self, n_jobs, order=lambda running: running[0]):
        self.n_jobs, self.order, self.running, self.started, self.together = n_jobs, order, [], [], []

    free = property(lambda self: len(self.running) < self.n_jobs)
    busy = property(lambda self: bool(self.running))

    def start(self, number, function, arguments, printed):
        self.running.append(number)
        self.started.append(number)
        self.together.append(tuple(self.running))

    def wait(self, timeout=None):
        number = self.order(self.running)
        self.running.remove(number)
        return [(number, Report("completed"))]

    def stop(self):
        return []

    def close(self):
        pass


def made(composer, folder, *overrides):
    runs = [composer.compose([f"outputs={folder}", *typed]) for typed in overrides]
    return Jobs.create(runs, "standins.job", {})


def test_runs_that_share_a_network_do_not_wait_for_each_other(composer, tmp_path):
    """Two at a time: while one trains, the next run is one that needs another network."""
    overrides = [
        [f"seed={seed}", f"attribution={m}"] for seed in (0, 1) for m in ("saliency", "lime", "occlusion")
    ]
    overrides = [[s, m.replace("lime", "kernel_shap")] for s, m in overrides]
    jobs = made(composer, tmp_path, *overrides)
    engine = Ended(2)
    Sweep(jobs, engine, Settings(n_jobs=2), Lines(jobs, 2)).run(str)
    networks = [given.network for given in jobs.given]
    assert len(set(networks)) == 2 and sorted(engine.started) == list(range(6))
    assert all(networks[a] != networks[b] for a, b in (pair for pair in engine.together if len(pair) == 2))


def test_more_threads_than_cores_are_told(composer, tmp_path):
    jobs, many = made(composer, tmp_path, ["seed=0"], ["seed=1", "threads=3"]), os.cpu_count()
    assert crowded(jobs, Settings(n_jobs=1)) is None
    said = crowded(jobs, Settings(n_jobs=many))
    assert said == f"{many} runs at a time with threads=3 each, on {many} cores; they will be slow"
    assert crowded(jobs, Settings(n_jobs=many, engine="ray")) is None


def test_equal_runs_are_one_run(composer, tmp_path):
    jobs = made(composer, tmp_path, ["attribution=saliency"], ["attribution=[saliency]"], ["seed=1"])
    assert [row.changed for row in jobs.rows] == [["attribution=saliency"], ["seed=1"]]


def test_the_live_table_counts_and_says_how_long(composer, tmp_path):
    jobs = made(composer, tmp_path, *([f"seed={seed}"] for seed in range(5)))
    states = [("completed", 4.0), ("failed", 1.0), ("running", None), ("queued", None), ("queued", None)]
    for row, (state, seconds) in zip(jobs.rows, states, strict=True):
        row.state, row.seconds = state, seconds
    table = Table(jobs, n_jobs=1)
    table.started(jobs.rows[2])
    assert table.left() == pytest.approx(12.0, abs=0.5)
    console = Console(width=90, record=True, file=io.StringIO())
    console.print(table.drawn())
    text = console.export_text()
    assert "1 done  1 running  1 failed  2 to do  about 12 s left" in text
    assert "[3]  seed=2  starting" in " ".join(text.split("\n")).replace("   ", "  ")


def test_on_a_terminal_failures_stay_on_the_screen(folder):
    """Through a pseudo-terminal: the table is drawn over itself, and the last screen is the table of runs."""
    reader, writer = os.openpty()
    script = folder / "run.py"
    run(folder, "--help")
    process = subprocess.Popen(
        [sys.executable, str(script), f"--config-path={folder / 'configs'}", "-m", "only=all,fails"]
        + ["hydra.launcher.preload=[]"],
        cwd=folder,
        stdout=writer,
        stderr=subprocess.PIPE,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(writer)
    seen = b""
    try:
        while part := os.read(reader, 65536):
            seen += part
    except OSError:  # the other end is closed
        pass
    assert process.wait(timeout=60) == 3
    os.close(reader)
    process.stderr.close()
    text = seen.decode()
    assert "[2/2] only=fails: failed in" in text and "1 done" in text and "RuntimeError: it broke" in text
    assert "[1/2] only=all" not in text
