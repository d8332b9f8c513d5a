"""Sweeps on the command line: checked before anything runs, isolated, and nothing left behind when they end early."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
from cli import make_configs, run, start
from test_command_line import wait_for

from salience.config import Composer, WrongInput
from salience.sweep import planned
from salience.workers import Workers


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


def test_what_happens_to_a_run_is_a_row(folder):
    """Raising, exiting, crashing, being killed: five of seven complete nothing else's end."""
    done = run(folder, "-m", "only=all,fails,exits,dies,killed,memory,wrong,correct")
    assert done.returncode == 3
    assert done.stderr == "error: 6 of 8 runs failed\n"
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
    assert (folder / "outputs" / "single" / "done").exists()


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
def test_no_worker_outlives_the_sweep(folder, how, number, code):
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
