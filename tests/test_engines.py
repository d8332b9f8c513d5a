"""The same sweep on every engine, for real: this machine's processes, Ray, submitit's local executor."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_sweep import alive, family

pytestmark = pytest.mark.slow

TESTS = Path(__file__).parent
SCRIPTS = TESTS.parent / "scripts"
GRID = ["model=logistic,mlp,transformer", "seed=0,1", "attribution=[saliency,input_x_gradient],[fragile]"]
TWELVE = (
    "saliency,input_x_gradient,integrated_gradients,deep_lift,gradient_shap,guided_backprop,deconvolution,"
)
TWELVE += "feature_ablation,occlusion,lime,kernel_shap,smooth_grad"
FEW = ["model=logistic,mlp", "attribution=[saliency,input_x_gradient],[fragile]"]
"""Four runs, two networks."""
SMALL = ["explained=6", "training.epochs=2", "metric=[deletion,complexity]", "controls=[random]"]


@pytest.fixture
def folder(tmp_path):
    """An empty working directory, with an option of its own: the method that dies."""
    options = tmp_path / "own" / "attribution"
    options.mkdir(parents=True)
    (options / "fragile.yaml").write_text(
        "fragile:\n  method: {_target_: fragile.Fragile}\n  arguments: {}\n"
    )
    return tmp_path


def started(folder, script, *arguments, lots=()):
    (folder / "lots").mkdir(exist_ok=True)
    for lot in lots:
        (folder / "lots" / lot).touch()
    path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path, "LOTS": str(folder / "lots")}
    return subprocess.Popen(
        [sys.executable, str(SCRIPTS / script), *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(folder, script, *arguments, lots=()):
    process = started(folder, script, *arguments, lots=lots)
    out, err = process.communicate(timeout=900)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def sweep(folder, *settings, lots=(), grid=FEW):
    done = run(folder, "run.py", "-m", "--config-dir", "own", *grid, *SMALL, *settings, lots=lots)
    latest = (folder / "outputs" / "latest").resolve()
    return done, latest, json.loads((latest / "sweep.json").read_text())


def scores(place, content):
    """Everything that the runs measured."""
    return {
        row["digest"]: list(csv.reader((place / row["folder"] / "scores.csv").open()))
        for row in content["jobs"]
    }


def trainings(place, content):
    """How many runs trained their network."""
    summaries = [json.loads((place / row["folder"] / "summary.json").read_text()) for row in content["jobs"]]
    return sum(summary["network"]["trained"] for summary in summaries)


def mtimes(place, rows):
    files = [path for row in rows for path in (place / row["folder"]).rglob("*") if path.is_file()]
    return {path: path.stat().st_mtime_ns for path in files}


def test_of_twelve_two_die_ten_complete_and_resume_runs_the_two(folder):
    done, place, content = sweep(folder, lots=("exit", "kill"), grid=GRID)
    assert done.returncode == 3, done.stderr
    rows = content["jobs"]
    completed = [row for row in rows if row["state"] == "completed"]
    assert len(rows) == 12 and len(completed) == 10
    assert {row["cause"] for row in rows} == {
        "", "killed by SIGKILL", "the process ended with exit code 9 before the run did",
    }  # fmt: skip
    for row in rows:
        assert json.loads((place / row["folder"] / "status.json").read_text())["state"] == row["state"]
    before = mtimes(place, completed)
    again = run(folder, "resume.py", "latest", "--trust", "fragile")
    assert again.returncode == 0, again.stdout + again.stderr
    content = json.loads((place / "sweep.json").read_text())
    assert content["state"] == "completed"
    assert [row["state"] for row in content["jobs"]] == ["completed"] * 12
    assert mtimes(place, completed) == before
    assert sum(row["attempts"] for row in content["jobs"]) == 14


@pytest.mark.parametrize(
    ("methods", "seeds", "n_jobs"),
    [("saliency,integrated_gradients,occlusion", "0,1", 1), (TWELVE, "0,1,2", 2)],
)
def test_each_method_a_run_of_its_own_trains_a_network_per_seed(folder, methods, seeds, n_jobs):
    grid = [f"attribution={methods}", f"seed={seeds}", "model=mlp", f"hydra.launcher.n_jobs={n_jobs}"]
    done, place, content = sweep(folder, grid=grid)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(content["jobs"]) == len(methods.split(",")) * len(seeds.split(","))
    assert trainings(place, content) == len(seeds.split(","))


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """What the sweep gives one run at a time, with its own store of networks."""
    folder = tmp_path_factory.mktemp("local")
    (folder / "own" / "attribution").mkdir(parents=True)
    text = "fragile:\n  method: {_target_: fragile.Fragile}\n  arguments: {}\n"
    (folder / "own" / "attribution" / "fragile.yaml").write_text(text)
    done, place, content = sweep(folder)
    assert done.returncode == 0, done.stderr
    return scores(place, content)


@pytest.mark.parametrize(
    "settings",
    [
        ["hydra.launcher.n_jobs=2"],
        ["hydra.launcher.engine=ray", "hydra.launcher.n_jobs=2"],
        [
            "hydra.launcher.engine=submitit",
            "hydra.launcher.n_jobs=2",
            "+hydra.launcher.cluster.cluster=local",
        ],
        ["hydra/launcher=submitit_local"],
    ],
    ids=["processes", "ray", "submitit", "hydra's submitit"],
)
def test_every_engine_gives_the_same_numbers(folder, local, settings):
    done, place, content = sweep(folder, *settings)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [row["state"] for row in content["jobs"]] == ["completed"] * 4
    assert list(scores(place, content).values()) == list(local.values())
    assert trainings(place, content) == 2, "a network is trained once, whoever needs it"


@pytest.mark.parametrize(
    "settings",
    [
        ["hydra.launcher.engine=ray", "hydra.launcher.n_jobs=2"],
        [
            "hydra.launcher.engine=submitit",
            "hydra.launcher.n_jobs=2",
            "+hydra.launcher.cluster.cluster=local",
        ],
        ["hydra/launcher=submitit_local"],
    ],
    ids=["ray", "submitit", "hydra's submitit"],
)
def test_a_run_that_dies_is_a_row_on_every_engine(folder, settings):
    done, place, content = sweep(folder, *settings, lots=("exit", "kill"))
    assert done.returncode == 3, done.stdout + done.stderr
    failed = [row for row in content["jobs"] if row["state"] != "completed"]
    assert len(failed) == 2 and all(row["cause"] for row in failed)
    for row in failed:
        assert json.loads((place / row["folder"] / "status.json").read_text())["state"] == "failed"
    assert "2 of 4 runs failed" in done.stderr


@pytest.mark.parametrize("engine", ["ray", "submitit"])
def test_an_interrupted_sweep_leaves_no_worker_and_resumes(folder, engine):
    cluster = ["+hydra.launcher.cluster.cluster=local"] if engine == "submitit" else []
    typed = ["model=mlp", "seed=0,1", "training.epochs=2000", "training.patience=null", *SMALL[:1], *cluster]
    process = started(folder, "run.py", "-m", *typed, "metric=[]", f"hydra.launcher.engine={engine}")
    deadline = time.monotonic() + 240
    while not list(folder.glob("outputs/*/*-sweep-*/0-*/run.log")) and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.2)
    workers = family(process.pid)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    end = time.monotonic() + 3
    while any(map(alive, workers)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not [pid for pid in workers if alive(pid)]
    content = json.loads((folder / "outputs" / "latest" / "sweep.json").read_text())
    assert content["state"] == "interrupted"
    assert [row["state"] for row in content["jobs"]] == ["interrupted", "queued"]
