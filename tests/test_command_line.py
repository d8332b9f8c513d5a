"""The real command in a subprocess: help, what it prints without running, runs and their exit codes."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli import TESTS, make_configs, run, start

from salience.terminal import repeat

REPOSITORY = TESTS.parent


@pytest.fixture
def folder(tmp_path):
    make_configs(tmp_path / "configs")
    return tmp_path


def known(folder):
    return json.loads((folder / "outputs" / "single" / "known.json").read_text())


# -- nothing is run ----------------------------------------------------------------------------------------------------


def test_help_is_one_screen_with_groups_options_and_commands(tmp_path):
    done = run(tmp_path, "--help", extra="--loaded")
    lines = done.stdout.splitlines()
    assert done.returncode == 0
    assert len(lines) <= 40 and max(map(len, lines)) <= 100
    for word in ("data", "model", "attribution", "breast_cancer", "deep_lift", "scripts/list.py"):
        assert word in done.stdout
    assert sum(line.strip().startswith("python scripts/run.py") for line in lines) == 5
    named = set(re.findall(r"python scripts/(\w+)\.py", done.stdout))
    assert named == {path.stem for path in (REPOSITORY / "scripts").glob("*.py")} - {"reproduce"}
    assert done.stderr.split() == ["loaded:"]


@pytest.mark.parametrize("flag", ["--cfg=job", "--info=defaults", "--cfg=hydra"])
def test_what_is_shown_without_torch(folder, flag):
    done = run(folder, flag, "controls=[random]", "attribution=saliency", extra="--loaded")
    assert done.returncode == 0, done.stderr
    assert done.stderr.split() == ["loaded:", "hydra"]
    assert "standins.Network" in done.stdout or "saliency" in done.stdout


def test_cfg_shows_what_would_run(folder):
    done = run(
        folder, "--cfg", "job", "attribution.saliency.arguments.stride=3", "attribution=saliency", "model=cnn"
    )
    assert "stride: 3" in done.stdout and "cnn:" in done.stdout and "occlusion" not in done.stdout
    assert (
        run(folder, "--cfg", "job", "--package", "data").stdout
        == "# @package data\n_target_: standins.data\nrows: 10\n"
    )


def test_shell_completion(folder):
    line = "python run.py model="
    done = run(folder, "-sc", "query=bash", COMP_LINE=line, COMP_POINT=str(len(line)))
    assert done.returncode == 0, done.stderr
    assert {"model=cnn", "model=mlp"} <= set(done.stdout.split())


def test_head_does_not_make_a_traceback(folder):
    command = f"{sys.executable} run.py --config-path {folder / 'configs'} --cfg job | head -1"
    run(folder, "--help")
    done = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr


# -- a run -------------------------------------------------------------------------------------------------------------


def test_a_run_is_given_what_was_typed_and_which_options(folder):
    typed = ["model=cnn", "controls=[random]", "attribution.saliency.arguments.stride=3"]
    done = run(folder, *typed)
    assert done.returncode == 0 and done.stdout == "the job prints\n", done.stderr
    assert known(folder)["overrides"] == typed
    assert known(folder)["choices"]["model"] == "cnn"
    assert known(folder)["choices"]["controls"] == ["random"]
    assert not list(folder.rglob("multirun.yaml")) and not list(folder.rglob(".hydra"))


def test_flags_may_stand_between_overrides(folder):
    own = folder / "own" / "model"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text("mine: {_target_: standins.Network}\n")
    done = run(folder, "seed=1", "--config-dir", "own", "model=mine")
    assert done.returncode == 0, done.stderr
    assert known(folder)["choices"]["model"] == "mine"


def test_what_a_run_keeps_as_typed_runs_again_with_options_of_ones_own(folder):
    own = folder / "own" / "model"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text("mine: {_target_: standins.Network}\n")
    typed = ["model=mine", "seed=1", "--config-dir=own"]
    done = run(folder, "--config-dir", str(folder / "own"), *typed[:2])
    assert done.returncode == 0, done.stderr
    assert known(folder)["overrides"] == typed
    assert shlex.split(repeat(typed))[2:] == typed
    again = run(folder, *typed)
    assert again.returncode == 0 and known(folder)["overrides"] == typed, again.stderr
    swept = run(folder, "-m", *typed)
    assert swept.returncode == 0, swept.stderr
    (job,) = json.loads((folder / "outputs" / "latest" / "sweep.json").read_text())["jobs"]
    assert job["overrides"] == typed and job["changed"] == typed[:2]
    given = json.loads((folder / "outputs" / "latest" / job["folder"] / "known.json").read_text())
    assert given["overrides"] == typed


def test_the_mode_may_come_from_a_config(folder):
    study = "# @package _global_\nhydra: {mode: MULTIRUN, sweeper: {params: {seed: '3,4'}}, launcher: {preload: []}}\n"
    (folder / "configs" / "experiment" / "grid.yaml").write_text(study)
    done = run(folder, "experiment=grid")
    assert done.returncode == 0, done.stderr
    jobs = json.loads((folder / "outputs" / "latest" / "sweep.json").read_text())["jobs"]
    assert [job["changed"] for job in jobs] == [["seed=3"], ["seed=4"]]


@pytest.mark.parametrize(
    ("how", "code", "line"),
    [
        ("wrong", 2, "error: explained=9: the test split has 5 examples"),
        ("fails", 1, "error: RuntimeError: it broke; HYDRA_FULL_ERROR=1 shows the traceback"),
        ("noted", 1, "error: RuntimeError: it broke; the traceback is in outputs/x/run.log"),
        ("memory", 1, "error: MemoryError; HYDRA_FULL_ERROR=1 shows the traceback"),
    ],
)
def test_a_run_that_fails_is_one_line(folder, how, code, line):
    done = run(folder, f"only={how}")
    assert (done.returncode, done.stderr) == (code, line + "\n")


def test_the_traceback_on_demand(folder):
    done = run(folder, "only=fails", HYDRA_FULL_ERROR="1")
    assert done.returncode == 1
    assert "Traceback" in done.stderr and "in fails" in done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted(folder, number, code):
    started = folder / "started"
    process = start(folder, "only=sleeps", STARTED=str(started))
    wait_for(started, process)
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert process.returncode == code
    assert err == "error: interrupted\n"
    assert Path(f"{started}.interrupted").exists(), "the job could put its affairs in order"


def wait_for(path, process, seconds=60):
    end = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)


# -- the scripts themselves --------------------------------------------------------------------------------------------


def script(name, *arguments):
    environment = {k: v for k, v in os.environ.items() if k != "HYDRA_FULL_ERROR"}
    command = [sys.executable, str(REPOSITORY / "scripts" / name), *arguments]
    return subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=120
    )


def test_list_has_a_line_for_every_option():
    done = script("list.py", "attribution", "baselines")  # "methods" also tries them all, which takes a while
    assert done.returncode == 0, done.stderr
    described = dict(
        line.strip().split(maxsplit=1) for line in done.stdout.splitlines() if line.startswith("  ")
    )
    files = [
        path.stem
        for group in ("attribution", "baseline")
        for path in (REPOSITORY / "configs" / group).glob("*.yaml")
    ]
    assert sorted(described) == sorted(files)
    assert "random" in described and "beat" in described["random"]


def test_list_of_something_else():
    done = script("list.py", "metod")
    assert done.returncode == 2
    assert done.stderr.startswith("error: metod: no such list. Did you mean methods?")


def test_run_script_refuses_before_torch():
    done = script("run.py", "model=mpl", "explained=0")
    assert done.returncode == 2
    assert [line.split(":")[1].strip() for line in done.stderr.splitlines()] == ["model=mpl", "explained=0"]
