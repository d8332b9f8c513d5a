"""A run that was cut short goes on, and ends as if nothing had happened: the faults F1 to F4, F6, F7, F10 and F15."""

import json
import os
import random
import shutil
import signal
from functools import partial
from pathlib import Path

import faulty
import pytest

import salience
from salience import WrongInput
from salience.resume import outputs_of, resume, user_of
from salience.storage import environment

STAGES = ("check", "train", "explain and measure", "figures and page")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that was never interrupted, from an empty store."""
    outputs = tmp_path_factory.mktemp("whole") / "outputs"
    assert faulty.forked(outputs) == 0, faulty.said(outputs)
    return faulty.content(faulty.latest(outputs))


@pytest.fixture
def outputs(tmp_path) -> Path:
    return tmp_path / "outputs"


def assert_same(folder: Path, whole) -> None:
    found = faulty.content(folder)
    assert list(found) == list(whole)
    for name in whole:
        assert found[name] == whole[name], name
    assert not list(folder.rglob("*.part*")) and not (folder / "parts").exists()
    assert faulty.state(folder) == "completed"


def resumed(outputs: Path, whole) -> None:
    """Go on with the run in `outputs`; it ends like the one that was never interrupted."""
    folder = faulty.latest(outputs)
    assert faulty.forked(outputs, resume=folder) == 0, faulty.said(outputs)
    assert_same(folder, whole)


@pytest.mark.parametrize(
    "file",
    ["network.json", "history.csv", "parts/00000/random", "summary.json", "manifest.json", "report.html"],
)
def test_f1_f2_killed_between_writing_and_renaming_at_each_stage(outputs, whole, file):
    assert faulty.forked(outputs, fault=partial(faulty.kill_at_file, file)) == -signal.SIGKILL
    folder = faulty.latest(outputs)
    assert faulty.state(folder) == ("completed" if file == "report.html" else "running")
    resumed(outputs, whole)
    assert (folder / "report.html").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_f1_killed_at_a_random_write(outputs, whole, seed):
    number = random.Random(seed).randrange(5, 45)
    assert faulty.forked(outputs, fault=partial(faulty.kill_at, number)) == -signal.SIGKILL
    resumed(outputs, whole)


@pytest.mark.parametrize(
    ("stage", "number", "code"),
    [
        (STAGES[2], signal.SIGTERM, 143),
        pytest.param(STAGES[1], signal.SIGTERM, 143, marks=pytest.mark.slow),
        pytest.param(STAGES[3], signal.SIGTERM, 143, marks=pytest.mark.slow),
        pytest.param(STAGES[1], signal.SIGINT, 130, marks=pytest.mark.slow),
    ],
)
def test_f3_f4_one_signal_saves_and_says_how_to_go_on(outputs, whole, stage, number, code):
    assert faulty.forked(outputs, fault=partial(faulty.signal_at_stage, stage, number)) == code
    folder = faulty.latest(outputs)
    assert faulty.state(folder) == "interrupted"
    assert f"python scripts/resume.py {folder}" in faulty.said(outputs)
    assert "Traceback" not in faulty.said(outputs)
    resumed(outputs, whole)


@pytest.mark.slow
def test_f4_a_second_signal_ends_at_once_and_what_is_there_can_be_read(outputs, whole):
    fault = partial(faulty.signal_at_stage, STAGES[2], signal.SIGINT, times=2)
    assert faulty.forked(outputs, fault=fault) == 130
    with pytest.warns(UserWarning, match="did not finish"):
        assert salience.load_run(faulty.latest(outputs)).status["state"] == "interrupted"
    resumed(outputs, whole)


def test_a_training_goes_on_in_the_middle_of_an_epoch(outputs, whole):
    """The checkpoint that the signal asked for is used: the batches before it are not done again."""
    assert faulty.forked(outputs, fault=partial(faulty.signal_at_stage, "train", signal.SIGTERM)) == 143
    assert len(list((outputs / "networks").glob(".*.checkpoints/*.safetensors"))) == 1
    resumed(outputs, whole)
    assert not list((outputs / "networks").glob(".*.checkpoints"))


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A run that was killed while it measured its last method."""
    outputs = tmp_path_factory.mktemp("killed") / "outputs"
    assert faulty.forked(outputs, fault=partial(faulty.kill_at_file, "parts/00000/random")) == -signal.SIGKILL
    return outputs


@pytest.fixture
def killed(kept, outputs):
    """A copy of it."""
    shutil.copytree(kept, outputs, symlinks=True)
    return faulty.latest(outputs)


def test_f6_f7_damaged_pieces_are_done_again(outputs, whole, killed):
    pieces = sorted((killed / "parts").rglob("*.safetensors"))
    assert len(pieces) > 6
    pieces[0].write_bytes(b"")
    flip(pieces[1], -1)
    pieces[2].write_bytes(pieces[2].read_bytes()[:-30])
    pieces[3].write_bytes(b"garbage")
    flip(killed / "attributions" / "saliency" / "00000.safetensors", -1)
    (store,) = (outputs / "networks").glob("*/network.safetensors")
    flip(store, -1)
    resumed(outputs, whole)


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.slow
def test_finished_pieces_are_not_done_again(outputs, killed):
    def refuse():
        from salience.artifacts import RunFolder

        save = RunFolder.save_attributions

        def only_the_last(self, method, *rest):
            assert method == "random", f"{method} is explained again"
            save(self, method, *rest)

        RunFolder.save_attributions = only_the_last

    assert faulty.forked(outputs, resume=killed, fault=refuse) == 0, faulty.said(outputs)


@pytest.mark.slow
def test_a_finished_run_is_only_loaded_and_a_damaged_one_mended(outputs, whole):
    assert faulty.forked(outputs) == 0
    folder = faulty.latest(outputs)
    before = (folder / "scores.csv").stat().st_mtime_ns
    assert faulty.forked(outputs, resume=folder) == 0
    assert (folder / "scores.csv").stat().st_mtime_ns == before
    flip(folder / "attributions" / "saliency" / "00000.safetensors", -1)
    with pytest.raises(WrongInput, match="saliency/00000.safetensors is damaged"):
        salience.load_run(folder)
    resumed(outputs, whole)


def test_other_overrides_are_refused(outputs, killed):
    assert faulty.forked(outputs, "seed=1", resume=killed) == 2
    assert "seed=1: not accepted" in faulty.said(outputs)


def test_f10_f15_one_process_at_a_time(killed, tmp_path):
    status = json.loads((killed / "status.json").read_text())
    assert user_of(status) is None, "its process was killed"
    mine = {**status, "pid": os.getppid(), "process": environment.process(os.getppid())}
    assert str(os.getppid()) in (user_of(mine) or "")
    assert user_of({**mine, "process": "another boot/1"}) is None, "the number was given to another process"
    elsewhere = {**status, "host": "elsewhere"}
    assert "host elsewhere" in (user_of(elsewhere) or "")
    assert user_of({**elsewhere, "heartbeat": "2020-01-01T00:00:00+00:00"}) is None
    (killed / "status.json").write_text(json.dumps(mine))
    with pytest.raises(WrongInput, match=f"in use by pid {os.getppid()} on host"):
        resume(killed)


def test_f10_the_lock_keeps_out_who_came_at_the_same_moment(killed):
    from salience.files import locked

    with locked(killed / ".lock"), pytest.raises(WrongInput, match="in use by another process"):
        resume(killed)


@pytest.mark.slow
def test_a_strangers_run_builds_nothing_and_writes_nowhere_else(killed, tmp_path):
    config = killed / "config.yaml"
    text = config.read_text()
    config.write_text(text.replace("salience.metrics.faithfulness.Deletion", "os.system"))
    if config.read_text() == text:
        config.write_text(text.replace("captum.attr.Saliency", "os.system"))
    with pytest.raises(WrongInput, match="_target_=os.system: not built from a run folder"):
        resume(killed)
    config.write_text(text.replace(f"outputs: {outputs_of(killed)}", f"outputs: {tmp_path / 'elsewhere'}"))
    resume(killed)
    assert not (tmp_path / "elsewhere").exists()


def test_a_config_whose_secret_was_not_saved_is_not_resumed(killed):
    config = killed / "config.yaml"
    config.write_text(config.read_text().replace("seed: 0", "seed: <redacted>"))
    with pytest.raises(WrongInput, match="had a secret in it"):
        resume(killed)
