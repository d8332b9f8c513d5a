"""A run folder: what is in it, whole or not at all, safe to open, and no memory for what lies on disk."""

import csv
import json
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from salience import artifacts
from salience.artifacts import RunFolder
from salience.attribution.explanation import Cost, Explanation, Explicand
from salience.data.base import Classification, Examples, Regression
from salience.errors import WrongInput
from salience.metrics.base import Reference
from salience.storage import formats


def explicand(rows: int = 5, start: int = 0) -> Explicand:
    raw = torch.arange(rows * 3).reshape(rows, 3)
    return Explicand(
        raw=(raw,),
        inputs=(torch.randn(rows, 3, 4),),
        context=(raw == 0,),
        feature_mask=(torch.arange(3).reshape(1, 3, 1).expand(1, 3, 4),),
        present=raw != 0,
        target=torch.zeros(rows, dtype=torch.long),
        score=torch.randn(rows),
        index=torch.arange(start, start + rows),
        labels=torch.ones(rows, dtype=torch.long),
        num_outputs=2,
    )


def explanation(shared: Explicand, **own) -> Explanation:
    return Explanation(**vars(shared), attributions=tuple(torch.randn_like(x) for x in shared.inputs), **own)


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as opened:
        return list(csv.DictReader(opened))


@pytest.fixture
def folder(tmp_path) -> RunFolder:
    return RunFolder.create(tmp_path, "mlp", "breast_cancer")


def test_name_says_when_which_model_and_which_data(folder, tmp_path):
    day, name = folder.path.relative_to(tmp_path).parts
    assert len(day.split("-")) == 3
    assert name[8:-7] == "-mlp-breast_cancer"
    assert folder.json(artifacts.STATUS)["state"] == "created"


def test_a_name_cannot_leave_the_outputs(tmp_path):
    made = RunFolder.create(tmp_path, "../../evil", "a/b\n\x1b]0;")
    assert made.path.parent.parent == tmp_path


def test_folders_made_at_once_are_distinct(tmp_path):
    made: list[Path] = []
    threads = [
        threading.Thread(target=lambda: made.append(RunFolder.create(tmp_path, "m", "d").path))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 8


def test_a_sweep_chooses_the_folder_and_a_second_run_is_refused(tmp_path):
    RunFolder.create_at(tmp_path / "sweep" / "0-seed=0")
    with pytest.raises(FileExistsError, match="already holds a run"):
        RunFolder.create_at(tmp_path / "sweep" / "0-seed=0")


def test_status_names_stage_and_error_in_one_line(folder):
    folder.set_status("failed", stage="train", error=RuntimeError("loss is nan\nat epoch 3"))
    status = folder.json(artifacts.STATUS)
    assert (status["schema_version"], status["state"], status["stage"]) == (1, "failed", "train")
    assert status["error"] == "RuntimeError: loss is nan at epoch 3"
    assert status["heartbeat"][-6] in "+-"  # ISO 8601 with the offset
    assert {"pid", "host", "started"} <= set(status)


def test_a_failure_keeps_its_stage_and_its_traceback_is_in_the_log(folder):
    folder.set_status("running", "explain")
    try:
        raise RuntimeError("no such layer")
    except RuntimeError as error:
        folder.fail(error)
    status = folder.json(artifacts.STATUS)
    assert (status["state"], status["stage"], status["error"]) == (
        "failed",
        "explain",
        "RuntimeError: no such layer",
    )
    assert (
        "Traceback" in (folder.path / "run.log").read_text()
        and "test_artifacts.py" in (folder.path / "run.log").read_text()
    )


def test_config_keeps_references_and_what_was_typed(folder):
    text = "data:\n  token: ${oc.env:TOKEN}\n"
    folder.save_config(text, ["model=mlp", "data.name=a b: c"], {"attribution": ["saliency"]})
    assert (folder.path / "config.yaml").read_text() == text
    assert folder.yaml("overrides.yaml") == ["model=mlp", "data.name=a b: c"]
    assert folder.json("choices.json") == {"attribution": ["saliency"]}


def test_environment_has_versions_but_no_variables(folder, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "canary-4711")
    folder.save_environment(seed=3, device="cpu")
    stored = folder.json("environment.json")
    assert stored["seed"] == 3 and stored["packages"]["torch"] == torch.__version__
    assert {"python", "git", "cpu", "threads", "platform"} <= set(stored)
    assert "canary" not in json.dumps(stored)


def test_network_comes_back_to_the_bit_also_with_tied_weights(folder):
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3))
    model[1].weight = model[0].weight
    folder.save_network(model, {"recipe": "ab", "lost": float("nan")})
    tensors, _ = folder.tensors("network.safetensors")
    assert all(torch.equal(tensors[name], value) for name, value in model.state_dict().items())
    assert folder.json("network.json") == {"recipe": "ab", "lost": None}


def test_history_has_the_columns_of_all_rows(folder):
    folder.save_history([{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25, "accuracy": 0.75}])
    assert rows_of(folder.path / "history.csv")[1] == {"epoch": "2", "loss": "0.25", "accuracy": "0.75"}
    assert rows_of(folder.path / "history.csv")[0]["accuracy"] == ""


def test_predictions_of_a_sigmoid_unit(folder):
    examples = Examples((torch.zeros(4, 2),), torch.tensor([0, 1, 1, 0]), torch.arange(4))
    folder.save_predictions(
        examples, torch.tensor([[1.0], [1.0], [2.0], [0.0]]), Classification(("off", "on"))
    )
    rows = rows_of(folder.path / "predictions.csv")
    assert [round(float(r["probability_on"]), 4) for r in rows] == [0.7311, 0.7311, 0.8808, 0.5]
    assert rows[1] | {"probability_off": "", "probability_on": ""} == {
        "example": "1",
        "label": "on",
        "prediction": "on",
        "probability_off": "",
        "probability_on": "",
    }


def test_predictions_of_numbers_are_in_original_units(folder):
    examples = Examples((torch.zeros(2, 1),), torch.tensor([[0.0], [1.0]]), torch.tensor([7, 9]))
    task = Regression(("progression",), ("points",), mean=(150.0,), scale=(50.0,))
    folder.save_predictions(examples, torch.tensor([[1.0], [-1.0]]), task)
    rows = rows_of(folder.path / "predictions.csv")
    assert [(r["example"], float(r["label"]), float(r["prediction"])) for r in rows] == [
        ("7", 150.0, 200.0),
        ("9", 200.0, 100.0),
    ]


@pytest.mark.parametrize("name", ["=1+1", "+cmd", "-2", "@sum", "\tx"])
def test_text_that_a_spreadsheet_would_run_is_quoted(folder, name):
    examples = Examples((torch.zeros(1, 1),), torch.tensor([0]), torch.tensor([0]))
    folder.save_predictions(examples, torch.tensor([[-2.0, 1.0]]), Classification((name, "b")))
    row = rows_of(folder.path / "predictions.csv")[0]
    assert row["label"] == "'" + name and formats.unquoted(row["label"]) == name
    assert formats.unquoted("'quoted'") == "'quoted'"


def test_negative_numbers_are_not_quoted(folder):
    folder.save_history([{"loss": -0.5}])
    assert rows_of(folder.path / "history.csv") == [{"loss": "-0.5"}]


def test_examples_and_attributions_come_back(folder):
    shared = explicand()
    reference = Reference((torch.zeros(1, 3, 4),))
    mine = explanation(
        shared, baselines=(torch.ones(1, 3, 4),), convergence_delta=torch.randn(5), reduce="mean"
    )
    theirs = explanation(shared, baselines=(torch.zeros(1, 3, 4),))
    none = explanation(shared)
    folder.save_examples(0, shared, reference)
    for method, one in (("mine", mine), ("theirs", theirs), ("none", none)):
        folder.save_attributions(method, 0, one, reference)
        back = folder.read_attributions(method, 0, cost=Cost(seconds=2.0))
        assert torch.equal(back.per_feature(), one.per_feature())
        assert torch.equal(back.raw[0], shared.raw[0]) and torch.equal(back.context[0], shared.context[0])
        assert back.reduce == one.reduce and back.cost.seconds == 2.0 and back.num_outputs == 2
        assert (back.baselines is None) == (one.baselines is None)
        if one.baselines is not None:
            assert torch.equal(back.baselines[0], one.baselines[0])
    assert "baselines.0" not in folder.tensors("attributions", "theirs", "00000.safetensors")[0]
    assert torch.equal(folder.read_attributions("mine", 0).convergence_delta, mine.convergence_delta)
    assert folder.shards() == [0] and folder.lengths() == [5]


def test_raw_inputs_are_stored_once_where_they_are_the_inputs(folder):
    shared = explicand()
    folder.save_examples(0, replace(shared, raw=shared.inputs), Reference((torch.zeros(1, 3, 4),)))
    assert "raw.0" not in folder.tensors("examples", "00000.safetensors")[0]
    back, _ = folder.read_examples(0)
    assert torch.equal(back.raw[0], shared.inputs[0])


def test_scores_are_tidy_and_undefined_ones_stay(folder):
    folder.add_scores("saliency", "deletion", torch.tensor([3, 4]), torch.tensor([0.5, float("nan")]))
    folder.add_scores("saliency", "deletion", torch.tensor([9]), torch.tensor([0.25]))
    folder.add_scores("saliency", "roar", None, [0.75])
    assert np.array_equal(folder.scores("saliency", "deletion"), [0.5, np.nan, 0.25], equal_nan=True)
    assert not (folder.path / "scores.csv").exists()
    folder.save_summary({"methods": {"saliency": {"mean": float("nan")}}})
    rows = [tuple(r.values()) for r in rows_of(folder.path / "scores.csv")]
    assert rows == [
        ("saliency", "deletion", "3", "0.5"),
        ("saliency", "deletion", "4", "nan"),
        ("saliency", "deletion", "9", "0.25"),
        ("saliency", "roar", "", "0.75"),
    ]
    assert folder.json("summary.json")["methods"]["saliency"]["mean"] is None


def test_curves_go_to_disk_as_they_come_and_keep_their_band(folder):
    curves, at = torch.rand(6, 4), torch.linspace(0, 1, 4)
    for start in (0, 3):
        part = curves[start : start + 3]
        folder.add_scores("ig", "deletion", torch.arange(start, start + 3), part.mean(1), part, at)
    assert not list(folder.path.glob("curves/*/[!.]*"))
    folder.save_summary({"methods": {"ig": {"metrics": {"deletion": {}, "sparseness": {}}}}})
    [(method, metric, path)] = folder.curves()
    rows = rows_of(path)
    assert (method, metric) == ("ig", "deletion")
    assert [r["example"] for r in rows] == list("012345")
    assert np.allclose([[float(v) for k, v in r.items() if k != "example"] for r in rows], curves)
    band = folder.curve_bands()["deletion"]["ig"]
    half = 1.96 * curves.numpy().std(0, ddof=1) / 6**0.5
    assert np.allclose(band.mean, curves.mean(0)) and np.allclose(band.high - band.mean, half, atol=1e-6)


def test_curves_at_other_steps_are_refused(folder):
    folder.add_scores("ig", "deletion", torch.tensor([0]), [0.5], torch.rand(1, 4), torch.linspace(0, 1, 4))
    with pytest.raises(ValueError, match="share their horizontal axis"):
        folder.add_scores(
            "ig", "deletion", torch.tensor([1]), [0.5], torch.rand(1, 3), torch.linspace(0, 1, 3)
        )


def test_memory_does_not_grow_with_curves(folder):
    import tracemalloc

    def add(shard: int) -> None:
        index = torch.arange(shard * 256, (shard + 1) * 256)
        folder.add_scores("ig", "deletion", index, torch.rand(256), torch.rand(256, 50))

    add(0)
    tracemalloc.start()
    for shard in range(1, 9):
        add(shard)
    grown = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert grown < 8 * 256 * 100  # about 16 bytes a score; the curves are 400 bytes an example


def test_finish_vouches_for_everything_but_status_log_and_page(folder):
    folder.save_history([{"epoch": 1}])
    folder.log("hello")
    (folder.path / "report.html").write_text("page")
    folder.finish()
    listed = folder.json("manifest.json")["files"]
    assert set(listed) == {"history.csv"}
    assert listed["history.csv"]["size"] == (folder.path / "history.csv").stat().st_size
    assert len(listed["history.csv"]["sha256"]) == 64
    assert folder.json("status.json")["state"] == "completed"
    assert not list(folder.path.rglob("*.part*"))


def test_log_keeps_the_time_and_every_line(folder):
    folder.log("first")
    folder.log("Traceback:\n  second")
    lines = (folder.path / "run.log").read_text().splitlines()
    assert lines[0].endswith(" first") and lines[2] == "  second" and lines[0][4] == "-"


def test_a_failed_write_leaves_the_old_file(folder):
    folder.save_history([{"epoch": 1}])

    def rows():
        yield [1]
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        formats.write_csv(folder.path / "history.csv", ["epoch"], rows())
    assert rows_of(folder.path / "history.csv") == [{"epoch": "1"}]
    assert not list(folder.path.glob(".*"))


def test_odd_method_names_stay_inside_and_apart(folder):
    shared, reference = explicand(), Reference((torch.zeros(1, 3, 4),))
    folder.save_examples(0, shared, reference)
    odd = {name: explanation(shared) for name in ("../../evil", "..-..-evil", "<script>", "")}
    for name, one in odd.items():
        folder.save_attributions(name, 0, one, reference)
    for name, one in odd.items():
        assert torch.equal(folder.read_attributions(name, 0).per_feature(), one.per_feature())
    assert not (folder.path.parent.parent / "evil").exists()


def test_files_outside_and_missing_ones_are_refused(folder, tmp_path):
    (tmp_path / "secret.json").write_text("{}")
    (folder.path / "link.json").symlink_to(tmp_path / "secret.json")
    for name in ("../../secret.json", "link.json"):
        with pytest.raises(ValueError, match="outside"):
            folder.json(name)
    with pytest.raises(WrongInput, match="summary.json is missing"):
        folder.json("summary.json")


@pytest.mark.parametrize(
    "text", ["a: &x [1]\nb: [*x, *x]", "!!python/object/apply:os.system ['true']", "a: [", "\0"]
)
def test_yaml_that_no_run_writes_is_refused(folder, text):
    (folder.path / "config.yaml").write_text(text)
    with pytest.raises(WrongInput, match=r"config\.yaml"):
        folder.yaml("config.yaml")


def test_broken_json_and_tensors_are_named(folder):
    (folder.path / "summary.json").write_text("{")
    with pytest.raises(WrongInput, match=r"summary\.json cannot be read"):
        folder.json("summary.json")
    (folder.path / "network.safetensors").write_bytes(b"garbage")
    with pytest.raises(WrongInput, match=r"network\.safetensors is damaged"):
        folder.tensors("network.safetensors")
