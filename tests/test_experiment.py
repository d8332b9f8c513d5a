"""One run from config to folder, and what a run promises."""

import json
import subprocess
import sys
from pathlib import Path

import captum.attr
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import salience
from salience import WrongInput
from salience.networks import Networks

STEPS = "attribution.integrated_gradients.arguments.n_steps"
SMALL = ["explained=12", "training.epochs=4", "metric=[deletion,sparseness,completeness_gap]"]
EVERY_FILE = {
    "config.yaml", "overrides.yaml", "choices.json", "status.json", "environment.json", "network.safetensors",
    "network.json", "history.csv", "predictions.csv", "scores.csv", "summary.json", "report.html", "run.log",
    "manifest.json",
}  # fmt: skip


def run(folder: Path, *overrides: str):
    """A small run whose outputs lie in `folder`."""
    typed = {o.split("=")[0] for o in overrides}
    return salience.run(
        [f"outputs={folder}", *(o for o in SMALL if o.split("=")[0] not in typed), *overrides]
    )


@pytest.fixture(scope="module")
def outputs(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("outputs")


@pytest.fixture(scope="module")
def first(outputs):
    return run(outputs, "attribution=[integrated_gradients,kernel_shap,saliency]", f"{STEPS}=50")


def attributions(result, method: str) -> torch.Tensor:
    return load_file(result.path / "attributions" / method / "00000.safetensors")["attributions.0"]


def test_run_folder_holds_everything(first):
    assert {p.name for p in first.path.iterdir() if p.is_file()} == EVERY_FILE
    assert {p.name for p in first.path.iterdir() if p.is_dir()} == {
        "examples",
        "attributions",
        "curves",
        "figures",
    }
    assert json.loads((first.path / "status.json").read_text())["state"] == "completed"
    assert (first.path.parents[1] / "latest").resolve() == first.path.resolve()


def test_summary_names_scores_methods_and_ruler(first):
    summary = json.loads((first.path / "summary.json").read_text())
    assert set(summary) == {"network", "ruler", "methods"}
    assert summary["network"]["trained"] is True and 0.8 < summary["network"]["accuracy"] <= 1
    assert list(summary["methods"]) == ["integrated_gradients", "kernel_shap", "saliency", "random", "input"]
    deletion = summary["methods"]["integrated_gradients"]["metrics"]["deletion"]
    assert {"mean", "low", "high", "n", "undefined", "higher_is_better"} <= set(deletion)
    assert deletion["n"] == 12 and deletion["low"] <= deletion["mean"] <= deletion["high"]
    assert summary["methods"]["integrated_gradients"]["cost"]["backward_rows"] == 50 * 12
    assert summary["ruler"]["output"] == "logit" and summary["ruler"]["reference"] == "blank"


def test_second_run_of_the_same_network_does_not_train_and_repeats_bit_for_bit(first, outputs):
    again = run(
        outputs, "attribution=[saliency,integrated_gradients,kernel_shap]", f"{STEPS}=50"
    )  # in another order
    assert again.summary["network"]["trained"] is False
    for method in ("integrated_gradients", "kernel_shap", "saliency", "random", "input"):
        assert torch.equal(attributions(first, method), attributions(again, method)), method
    assert (first.path / "history.csv").read_bytes() == (again.path / "history.csv").read_bytes()


def test_a_fresh_store_trains_to_the_same_bits(first, tmp_path):
    fresh = run(tmp_path, "attribution=[kernel_shap]")
    assert fresh.summary["network"]["trained"] is True
    assert torch.equal(attributions(first, "kernel_shap"), attributions(fresh, "kernel_shap"))


def test_other_batch_mates_change_nothing_but_rounding(first, outputs):
    chosen = ("attribution=[integrated_gradients,kernel_shap,saliency]", f"{STEPS}=50")
    few = run(outputs, *chosen, "explained=[3,1,7]")
    for method in ("integrated_gradients", "kernel_shap", "saliency", "random"):
        whole, part = attributions(first, method), attributions(few, method)
        assert (whole[[3, 1, 7]] - part).abs().max() <= 1e-5 * whole.abs().max(), method


def test_integrated_gradients_equal_a_direct_captum_call_on_the_loaded_network(first):
    result = salience.load_run(first.path)
    x = result.data.test[:12]
    direct = captum.attr.IntegratedGradients(result.model).attribute(
        x.inputs[0], target=result.model(x.inputs[0]).argmax(1), n_steps=50
    )
    assert (direct - attributions(first, "integrated_gradients")).abs().max() <= 1e-6


def test_predictions_are_those_of_the_loaded_network(first):
    result = salience.load_run(first.path)
    table = result.predictions
    probabilities = result.model(result.data.test.inputs[0]).softmax(1).detach().numpy()
    assert np.allclose(table.filter(like="probability").to_numpy(), probabilities, atol=1e-6)
    assert len(table) == len(result.data.test)


def test_dry_run_says_what_it_costs_and_writes_nothing(tmp_path, capsys):
    assert run(tmp_path / "outputs", "dry=true") is None
    assert "rows" in capsys.readouterr().out
    assert not list(tmp_path.glob("outputs/2*"))


def test_sigmoid_unit_explains_its_only_output(outputs):
    result = run(
        outputs,
        "model=logistic",
        "model.logistic.num_outputs=1",
        "attribution=[input_x_gradient]",
        "controls=[]",
    )
    assert load_file(result.path / "examples" / "00000.safetensors")["target"].unique().tolist() == [0]
    assert list(result.summary["methods"]) == ["input_x_gradient"]


def test_probability_is_explained_and_measured_where_asked(outputs):
    result = run(outputs, "output=probability", "attribution=[shapley_value_sampling]", "controls=[]")
    scores = load_file(result.path / "examples" / "00000.safetensors")["score"]
    assert bool(((scores > 0) & (scores <= 1)).all()) and result.summary["ruler"]["output"] == "probability"


def test_only_wrong_explains_wrong_predictions(outputs):
    result = run(
        outputs, "only=wrong", "explained=all", "attribution=[saliency]", "training.epochs=1", "controls=[]"
    )
    rows = load_file(result.path / "examples" / "00000.safetensors")["index"].tolist()
    table = result.predictions
    wrong = table[table["label"] != table["prediction"]]
    assert rows == wrong["example"].tolist() and rows


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["explained=100000"], "explained=100000: the test split of breast_cancer has"),
        (["target=3"], "target=3: no such class"),
        (["target=benig"], "Did you mean benign?"),
        (["only=benig"], "no such class"),
        (["attribution=[layer_grad_cam]"], "needs a layer with a place in the input"),
        (["attribution=[shapley_values]"], "up to 16 features are possible"),
        (["attribution=[layer_grad_cam]"], "Methods that can: "),
        (
            ["attribution=[occlusion]", "attribution.occlusion.arguments.sliding_window_shapes=[99]"],
            "occlusion",
        ),
        (["attribution.integrated_gradients.arguments.n_steps=0"], "n_steps=0"),
        (["attribution.integrated_gradients.arguments.n_step=9"], "Did you mean n_steps?"),
        (["metric=[auprc]"], "metric=auprc: needs known relevant features"),
        (["baseline=blur"], "is not an image or a series"),
        (["attribution=[guided_backprop]", "model.mlp.activation=tanh"], "no nn.ReLU"),
        (["attribution=[layer_grad_cam]", "attribution.layer_grad_cam.layer=layers.9"], "no such layer"),
    ],
)
def test_wrong_input_is_one_line_and_nothing_is_trained(overrides, line, tmp_path):
    with pytest.raises(WrongInput) as caught:
        run(tmp_path, *overrides)
    assert line in str(caught.value)
    assert not (tmp_path / "networks").exists()


def test_no_cuda_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(WrongInput, match="device=cuda: no CUDA device"):
        run(tmp_path, "device=cuda")


def test_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("here already")
    with pytest.raises(WrongInput, match="not writable"):
        run(tmp_path / "file" / "outputs")


def test_a_failed_run_says_so_in_its_folder(outputs):
    with pytest.raises(FloatingPointError, match="training diverged"):
        run(outputs, "training.learning_rate=1e30", "training.optimizer=sgd", "model.mlp.activation=relu")
    folder = (outputs / "latest").resolve()
    status = json.loads((folder / "status.json").read_text())
    assert status["state"] == "failed" and "diverged" in status["error"]
    assert "Traceback" in (folder / "run.log").read_text()


def test_a_run_without_figures_is_whole_otherwise(outputs, capsys):
    result = run(outputs, "attribution=[saliency]", "controls=[]", "figures=false")
    assert not (result.path / "figures").exists() and not (result.path / "report.html").exists()
    assert json.loads((result.path / "status.json").read_text())["state"] == "completed"
    assert (
        len(salience.load_run(result.path).scores)
        and "figures" not in capsys.readouterr().out.split("repeat")[0]
    )


@pytest.mark.slow
def test_two_processes_under_torchrun_keep_one_run(tmp_path):
    """The first process writes the run, the second only trains along."""
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--master-port",
        "29577",
    ]
    script = str(Path(__file__).parents[1] / "scripts" / "run.py")
    small = ["attribution=[saliency]", "metric=[deletion]", "training.epochs=3", "explained=5"]
    done = subprocess.run(
        [*command, script, *small], cwd=tmp_path, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    runs = list((tmp_path / "outputs").glob("2*/*"))
    assert len(runs) == 1 and json.loads((runs[0] / "summary.json").read_text())["network"]["trained"]


def test_a_run_that_waited_for_another_did_not_train(tmp_path, monkeypatch):
    """Two that start in one moment: neither finds the network stored, one of them trains it."""
    quick = ("attribution=[saliency]", "controls=[]", "metric=[]", "training.epochs=1", "figures=false")
    before = run(tmp_path, *quick)
    monkeypatch.setattr(Networks, "holds", lambda self, recipe: False)  # as it was when the second looked
    after = run(tmp_path, *quick)
    assert [r.summary["network"]["trained"] for r in (before, after)] == [True, False]
