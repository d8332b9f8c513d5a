"""load_run: what comes back is what was written, damage is named, and a stranger's folder runs nothing."""

import json
import os
import warnings
from pathlib import Path

import pytest
import runs
import torch
import yaml

from salience import artifacts, files, load_run
from salience.data.base import Classification
from salience.data.tables import breast_cancer
from salience.errors import WrongInput
from salience.report import leaderboard_html


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return runs.write(tmp_path_factory.mktemp("outputs"), breast_cancer(seed=0))


@pytest.fixture
def run(made):
    return load_run(made[0].path)


def test_settings_and_status_come_back(run):
    assert run.status["state"] == "completed"
    assert run.config["model"]["mlp"]["hidden"] == [4]
    assert run.overrides == ["model=mlp", "seed=0"] and run.choices["model"] == "mlp"
    assert run.environment["packages"]["torch"] == torch.__version__
    assert run.controls == ("random",)
    assert "completed" in repr(run)


def test_tables_come_back(run):
    assert set(run.scores.columns) == {"method", "metric", "example", "score"}
    assert len(run.scores) == 2 * 2 * runs.ROWS
    assert list(run.predictions.columns[:3]) == ["example", "label", "prediction"]
    assert run.history["train_loss"].tolist() == [1.0, 0.5, pytest.approx(1 / 3)]
    curve = run.curves["saliency"]["deletion"]
    assert curve.shape == (runs.ROWS, 30) and curve.columns[0] == 0.0 and curve.columns[-1] == 1.0


def test_explanations_come_back_by_example_by_shard_and_whole(run, made):
    whole = made[2]["saliency"]
    stored = run.explanations["saliency"]
    assert list(run.explanations) == ["saliency", "random"] and len(stored) == runs.ROWS
    assert torch.equal(stored.load().per_feature(), whole.per_feature())
    assert [len(part) for part in stored] == [8, 4]
    for i in (0, 7, 8, -1):
        assert torch.equal(stored[i].attributions[0][0], whole.attributions[0][i])
    assert torch.equal(stored[9].index, whole.index[9:10])
    with pytest.raises(IndexError):
        stored[runs.ROWS]
    with pytest.raises(KeyError):
        run.explanations["lime"]


def test_a_joined_explanation_keeps_what_examples_share(run):
    whole = run.explanations["saliency"].load()
    assert whole.feature_mask[0].shape == (1, 30) and whole.baselines[0].shape == (1, 30)
    assert whole.inputs[0].shape == (runs.ROWS, 30) and len(whole) == runs.ROWS
    assert whole.cost.seconds == 0.25 and whole.modalities[0].columns[0] == "mean radius"


def test_network_and_data_are_rebuilt(run, made):
    data = run.data
    assert torch.equal(data.test.inputs[0], breast_cancer(seed=0).test.inputs[0])
    assert not run.model.training
    with torch.no_grad():
        assert torch.equal(run.model(*data.test.inputs), made[1](*data.test.inputs))


def test_rebuilding_draws_from_no_stream(run):
    before = torch.get_rng_state()
    assert run.model is not None
    assert torch.equal(before, torch.get_rng_state())


def test_a_run_draws_itself(run):
    page = run._repr_html_()
    assert "<table>" in page and "saliency" in page and "↓" in page
    assert run.explanations["saliency"]._repr_html_().startswith("<div><img")


def test_names_in_the_notebook_table_are_only_text():
    html = leaderboard_html({"methods": {"<script>x</script>": {"metrics": {'"><b>': runs.entry()}}}})
    assert "<script>" not in html and "&lt;script&gt;" in html and '"><b>' not in html


def test_latest_may_be_a_link_or_a_text_file(made, tmp_path):
    files.point_to(tmp_path / "latest", made[0].path)
    assert load_run(tmp_path / "latest").status["state"] == "completed"
    (tmp_path / "text").write_text(os.path.relpath(made[0].path, tmp_path))
    assert load_run(tmp_path / "text").status["state"] == "completed"


def test_folders_that_are_no_run_are_refused(tmp_path, made):
    with pytest.raises(WrongInput, match="no such folder"):
        load_run(tmp_path / "missing")
    with pytest.raises(WrongInput, match=r"no run folder: it has no status\.json"):
        load_run(tmp_path)
    with pytest.raises(WrongInput, match=f"holds 1 runs; load one of them: {made[0].path.name}"):
        load_run(made[0].path.parent)


# -- damage ----------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    return runs.write(tmp_path)[0]


def test_one_flipped_bit_is_found_and_named(folder):
    path = folder.path / "attributions" / "saliency" / "00001.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(WrongInput, match=r"saliency/00001\.safetensors is damaged: its sha256"):
        load_run(folder.path)
    assert load_run(folder.path, verify=False).status["state"] == "completed"


def test_a_truncated_file_is_found_without_digests(folder):
    path = folder.path / "network.safetensors"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(WrongInput, match=r"network\.safetensors is damaged: \d+ bytes instead of"):
        load_run(folder.path, verify=False)


def test_a_missing_file_is_named(folder):
    (folder.path / "scores.csv").unlink()
    with pytest.raises(WrongInput, match=r"scores\.csv is missing"):
        load_run(folder.path)


@pytest.mark.parametrize("content", ["{", "[]", '{"files": {"a": 3}}', "null"])
def test_a_damaged_manifest_is_named(folder, content):
    (folder.path / "manifest.json").write_text(content)
    with pytest.raises(WrongInput, match=r"manifest\.json"):
        load_run(folder.path)


def test_a_completed_run_without_a_manifest_is_refused(folder):
    (folder.path / "manifest.json").unlink()
    with pytest.raises(WrongInput, match="nothing vouches"):
        load_run(folder.path)


def test_a_manifest_cannot_make_files_outside_be_read(folder, tmp_path):
    (tmp_path / "secret").write_text("x")
    manifest = folder.json("manifest.json")
    manifest["files"]["../../../secret"] = {"size": 1, "sha256": "0"}
    (folder.path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="outside"):
        load_run(folder.path)


def test_an_unfinished_run_loads_with_a_warning(tmp_path):
    folder = runs.write(tmp_path, finish=False)[0]
    folder.set_status("failed", "explain", RuntimeError("no"))
    with pytest.warns(UserWarning, match=r"did not finish \(state failed, stage explain\)"):
        run = load_run(folder.path)
    assert run.status["error"] == "RuntimeError: no" and len(run.scores)


@pytest.mark.parametrize(
    ("version", "message"), [(2, "schema 2, this salience reads up to 1"), (None, "no schema")]
)
def test_newer_runs_are_refused(folder, version, message):
    status = folder.json("status.json") | {"schema_version": version}
    (folder.path / "status.json").write_text(json.dumps(status))
    with pytest.raises(WrongInput, match=message):
        load_run(folder.path)


def test_weights_of_another_network_are_refused(tmp_path):
    config = runs.CONFIG | {"model": {"mlp": {"_target_": "salience.models.mlp.MLP", "hidden": [5]}}}
    folder = runs.write(tmp_path, breast_cancer(seed=0), config=config)[0]
    with pytest.raises(WrongInput, match="weights do not fit"):
        load_run(folder.path).model  # noqa: B018


# -- strangers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "node",
    [
        {"_target_": "os.system", "command": "touch canary"},
        {"_target_": "salience.files.os.system", "command": "touch canary"},
        {"_target_": "torch.nn.functional.torch.load", "f": "canary"},
        {"_target_": "torch.nn.Linear", "in_features": {"_target_": "os.system", "command": "touch canary"}},
    ],
)
def test_a_stranger_s_folder_runs_nothing(tmp_path, monkeypatch, node):
    monkeypatch.chdir(tmp_path)
    folder = runs.write(tmp_path, config=runs.CONFIG | {"data": node, "model": {"mlp": node}})[0]
    run = load_run(folder.path)
    for ask in (lambda: run.data, lambda: run.model):
        with pytest.raises(WrongInput):
            ask()
    assert not (tmp_path / "canary").exists()


def test_explanations_can_be_read_without_building_anything(tmp_path):
    folder, _, made = runs.write(tmp_path, config=runs.CONFIG | {"data": {"_target_": "elsewhere.data"}})
    with pytest.warns(UserWarning, match="without names and units"):
        stored = load_run(folder.path).explanations["saliency"]
    assert torch.equal(stored.load().per_feature(), made["saliency"].per_feature())
    assert stored.show(3).axes


def test_a_path_of_the_run_folder_is_not_where_data_is_fetched(tmp_path, monkeypatch):
    from salience.results import _downloads

    monkeypatch.chdir(tmp_path)
    (tmp_path / "outputs" / "downloads").mkdir(parents=True)
    inside = tmp_path / "outputs" / "2026-01-31" / "run"
    inside.mkdir(parents=True)
    assert _downloads(inside) == tmp_path / "outputs" / "downloads"
    assert _downloads(tmp_path / "elsewhere" / "deep" / "stranger") == Path("outputs") / "downloads"


# -- text ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [("=1+1", "-x"), ("1", "2"), ("NA", "None"), ('a,"b"', "c\nd")])
def test_class_names_come_back_as_they_were(tmp_path, names):
    folder = runs.write(tmp_path, runs.data(classes=names))[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frame = load_run(folder.path).predictions
    task = Classification(names)
    assert frame["label"].tolist() == [task.display(y) for y in runs.data(classes=names).test.labels]
    assert f"probability_{names[0]}" in frame.columns


def test_an_untrained_network_has_an_empty_history(tmp_path):
    folder = runs.write(tmp_path, finish=False)[0]
    folder.save_history([])
    folder.finish()
    assert load_run(folder.path).history.empty and folder.history() == []


def test_references_in_the_config_are_kept_and_resolved_for_building(tmp_path):
    config = runs.CONFIG | {
        "model": {"mlp": {"_target_": "salience.models.mlp.MLP", "hidden": ["${width}"]}},
        "width": 4,
    }
    folder = runs.write(tmp_path, breast_cancer(seed=0), config=config)[0]
    run = load_run(folder.path)
    assert run.config["model"]["mlp"]["hidden"] == ["${width}"]
    assert run.model is not None


def test_a_config_of_a_stranger_without_a_network_is_refused(tmp_path):
    folder = runs.write(tmp_path, config={"data": runs.CONFIG["data"], "model": {"weights": None}})[0]
    with pytest.raises(WrongInput, match="names 0 networks"):
        load_run(folder.path).model  # noqa: B018
    (folder.path / artifacts.CONFIG).write_text(yaml.safe_dump({"seed": 0}))
    with pytest.raises(WrongInput):
        load_run(folder.path, verify=False)
