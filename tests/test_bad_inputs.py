"""The 46 wrong inputs: each is one line and exit code 2 before anything is trained, or does what is promised."""

import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import runs
import torch

import salience
from salience import WrongInput
from salience.edge.commandline import command

SMALL = {
    "data": "breast_cancer", "attribution": "[saliency]", "controls": "[]", "metric": "[sparseness]",
    "training.epochs": "1", "explained": "4",
}  # fmt: skip
METHODS = "Methods that can: "


def table(path: str, *more: str) -> tuple[str, ...]:
    return ("data=csv", f"data.path={path}", "data.target=label", *more)


def argument(method: str, name: str, value: object) -> tuple[str, ...]:
    return f"attribution=[{method}]", f"attribution.{method}.arguments.{name}={value}"


LINES = {
    "1 option": (("model=mpl",), "model=mpl: no such option. Did you mean mlp? Options: "),
    "2 group": (("modle=mlp",), "modle=mlp: no such key or group. Did you mean model?"),
    "3 key": (("training.epohcs=3",), "training.epohcs=3: training has no epohcs. Did you mean epochs?"),
    "4 added key": (("+training.epoch=3",), "training.epoch: no such key. Did you mean epochs?"),
    "5 type": (("training.epochs=abc",), "training.epochs=abc: must be an integer >= 0"),
    "6 empty": (("training.epochs=",), "training.epochs=: must be an integer >= 0"),
    "6 null": (("training.epochs=null",), "training.epochs=null: must be an integer >= 0"),
    "7 range": (("training.learning_rate=-1",), "training.learning_rate=-1: must be a number > 0"),
    "7 nan": (("training.learning_rate=nan",), "training.learning_rate=nan: must be a number > 0, finite"),
    "7 dropout": (("model.mlp.dropout=1.5",), "model.mlp.dropout=1.5: must be from 0 to below 1"),
    "8 no": (("split=no",), "split=no: must be one of train, validation, test"),
    "8 octal": (("seed=0123",), "seed=0123: must be an integer >= 0"),
    "8 sexagesimal": (("seed=12:30:45",), "seed=12:30:45: must be an integer >= 0"),
    "9 equals": (("split=a=b",), "split=a=b: cannot be read; put the value in quotes: 'split=\"a=b\"'"),
    "10 path": (("model=../../evil",), "model=../../evil: not the name of an option. Options: "),
    "11 twice": (("+model=cnn",), '+model=cnn: write model=cnn without "+"'),
    "12 file": (table("x.csv"), "data.path=x.csv: no such file. Files there: a.csv, cell.csv, lack.csv"),
    "13 column": (
        ("data=csv", "data.path=a.csv", "data.target=lable"),
        'data.target: no column "lable" in a.csv. Did you mean label? Columns: age, sex, label',
    ),
    "14 cell": (table("cell.csv"), 'cell.csv row 17 column age: "n/k" is not a number; set data.na_values='),
    "15 missing": (table("lack.csv"), "data: 1 rows lack a value or hold an infinite one (first: row 17, column age)"),
    "16 class": (table("one.csv"), 'data: target "label" has one class (0) in 30 rows; 2 or more are needed'),
    "17 rare": (table("rare.csv"), 'data: class "7" has 1 row; 3 splits need 3 or more of each class'),
    "18 split": (table("a.csv", "data.test=0"), "data.validation=0.15, data.test=0: shares of the rows, above 0"),
    "22 shape": (("model=cnn",), "model=cnn: reads one image (channels, height, width), but the input is (30,)"),
    "23 target": (("target=7",), "target=7: no such class; classes: 0 malignant, 1 benign."),
    "24 negative": (("target=-1",), "target=-1: no such class; classes: 0 malignant, 1 benign."),
    "24 name": (("target=benig",), "target=benig: no such class; classes: 0 malignant, 1 benign. Did you mean benign"),
    "25 layer": (("attribution=[layer_grad_cam]",), "attribution=layer_grad_cam: needs a layer with a place in the"),
    "28 relu": (
        ("attribution=[guided_backprop]", "model.mlp.activation=tanh"),
        "attribution=guided_backprop: the network has no nn.ReLU module, so the result would be the plain gradient",
    ),
    "29 layer": (
        ("attribution=[layer_grad_cam]", "attribution.layer_grad_cam.layer=conv9"),
        "attribution.layer_grad_cam.layer=conv9: no such layer. Layers: ",
    ),
    "32 samples": (argument("kernel_shap", "n_samples", 0), "attribution=kernel_shap: n_samples=0: must be 3 or more"),
    "33 steps": (argument("integrated_gradients", "n_steps", 0), "attribution=integrated_gradients: n_steps=0: must"),
    "34 window": (
        argument("occlusion", "sliding_window_shapes", "[99]"),
        "attribution=occlusion: window (99,) with strides (1,) does not fit inputs of shape (30,)",
    ),
    "38 outputs": (("outputs=a.csv/x",), "outputs=a.csv/x: not writable (Not a directory); set outputs=FOLDER"),
    "40 metric": (
        ("metric=[auprc]",),
        "metric=auprc: needs known relevant features, and breast_cancer has none; use others, such as deletion",
    ),
    "44 weights": (
        ("training=none", "model.weights=bad.safetensors"),
        "model.weights=bad.safetensors: cannot be read: bad.safetensors is damaged",
    ),
}  # fmt: skip


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A folder with tables, each wrong in its way."""
    rows = range(30)
    tables = {
        "a": ["age,sex,label", *(f"{i % 25 + 0.5},{'mf'[i % 2]},{'ab'[i // 2 % 2]}" for i in range(60))],
        "cell": [
            "age,label",
            *(f"{i},{i % 2}" for i in range(15)),
            "n/k,1",
            *(f"{i},{i % 2}" for i in range(15)),
        ],
        "lack": [
            "age,b,label",
            *(f"{i * 0.5},{i},{i % 2}" for i in range(15)),
            ",3,1",
            *(f"1.5,{i},0" for i in range(9)),
        ],
        "one": ["age,label", *(f"{i * 0.5},0" for i in rows)],
        "rare": ["age,label", *(f"{i * 0.5},{i % 2}" for i in rows), "1.5,7"],
    }
    for name, lines in tables.items():
        (tmp_path / f"{name}.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "bad.safetensors").write_bytes(b"garbage")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def small(*typed: str) -> list[str]:
    keys = {t.split("=")[0].lstrip("+") for t in typed}
    if "training=none" in typed:
        keys.add("training.epochs")
    return [f"{k}={v}" for k, v in SMALL.items() if k not in keys] + list(typed)


@pytest.mark.parametrize("case", LINES)
def test_one_line_exit_code_2_and_nothing_trained(case, here, capsys):
    typed, line = LINES[case]
    assert command("salience.experiment.run", small(*typed)) == 2
    err = capsys.readouterr().err
    said = [row for row in err.splitlines() if row.startswith("error: ")]
    assert len(said) == 1 and said[0].startswith(f"error: {line}")
    assert "Traceback" not in err and "tensor(" not in err
    assert len(said[0].split(METHODS)[0]) <= 240
    assert not (here / "outputs" / "networks").exists()


def test_several_mistakes_are_told_together(here, capsys):
    typed = small("model=mpl", "training.epochs=abc", "target=7", "seed=-1", "modle=1")
    assert command("salience.experiment.run", typed) == 2
    said = capsys.readouterr().err
    for start in ("model=mpl:", "training.epochs=abc:", "seed=-1:", "modle=1:"):
        assert said.count(f"error: {start}") == 1


def test_19_columns_that_say_nothing_or_name_the_row_are_warned_of(tmp_path):
    from salience.data.own import csv

    path = tmp_path / "ids.csv"
    path.write_text("id,same,x,label\n" + "".join(f"{i},1,{i * 7 % 11}.5,{i % 2}\n" for i in range(40)))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        csv(str(path), "label")
    said = " ".join(str(w.message) for w in caught)
    assert "column id differs in every row; a row number? data.drop=[id]" in said
    assert "column same is the same in every row" in said


def test_20_21_long_and_empty_texts(tmp_path):
    from salience.data.text import encode, tokeniser, tokens

    words = [tokeniser()(t) for t in ("good film good film", "good film")]
    modality = tokens(words, 4, 100)
    ids, _ = encode([words[0] * 99, []], modality)
    assert ids.shape == (2, 4), "longer ones are cut, empty ones are filled"
    with pytest.raises(WrongInput, match="length=0: a whole number of 2 or more"):
        tokens(words, 0, 100)


@pytest.mark.parametrize("method", ["deep_lift", "lrp"])
def test_26_27_rules_that_captum_lacks_are_right_or_refused(here, method):
    """What Captum does silently wrong or not at all is complete, or a line that names the layer."""
    try:
        result = salience.run(
            small(f"attribution=[{method}]", "model.mlp.activation=gelu", "metric=[completeness_gap]")
        )
    except WrongInput as refused:
        assert "GELU" in str(refused)
        return
    gap = result.summary["methods"][method]["metrics"]["completeness_gap"]["mean"]
    assert gap < 0.1


def test_30_a_baseline_of_the_wrong_shape():
    with pytest.raises(WrongInput) as caught:
        salience.explain(
            torch.nn.Linear(4, 2),
            torch.ones(5, 4),
            "integrated_gradients",
            target=0,
            baselines=torch.ones(5, 3),
        )
    assert (
        "baselines" in str(caught.value)
        and "tensor(" not in str(caught.value)
        and len(str(caught.value)) < 200
    )


def test_31_gradient_shap_has_a_background_of_its_own(here):
    result = salience.run(small("attribution=[gradient_shap]"))
    assert len(result.explanations["gradient_shap"].shard(0).background[0]) > 1


def test_35_gradients_of_tokens_are_those_of_their_embeddings():
    from small_data import make

    from salience.models.transformer import Transformer

    data = make("tokens")
    model, x = Transformer(data.modalities, 2).eval(), data.test[:2]

    class Rest(torch.nn.Module):
        def forward(self, *embedded):
            return model(*embedded, *x.context)

    embedded = tuple(e.detach() for e in model.embed(*x.inputs))
    found = salience.explain(Rest(), embedded, "saliency", target=0)
    assert found.attributions[0].shape[:2] == x.inputs[0].shape


def test_36_no_cuda(here, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert command("salience.experiment.run", small("device=cuda")) == 2
    assert "error: device=cuda: no CUDA device (torch" in capsys.readouterr().err


def test_37_memory_is_bounded_by_passes():
    from salience.attribution.planner import rows_per_pass

    assert rows_per_pass(torch.nn.Linear(4096, 4096), (torch.ones(2, 4096),), ()) < 1 << 20


def test_39_a_folder_that_holds_a_run_is_not_written_into(tmp_path):
    from salience.artifacts import RunFolder

    folder, *_ = runs.write(tmp_path)
    with pytest.raises(FileExistsError, match="already holds a run"):
        RunFolder.create_at(folder.path)


def test_41_undefined_scores_are_counted():
    from salience.statistics import interval

    found = interval(np.array([0.5, np.nan, 0.7, np.inf]))
    assert (found.n, found.undefined) == (2, 2) and found.mean == pytest.approx(0.6)


def test_42_nothing_to_compare(tmp_path, capsys):
    from salience.comparisons.command import command as compare

    (tmp_path / "outputs").mkdir()
    assert compare([str(tmp_path / "outputs")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and len(said.splitlines()) == 1


@pytest.mark.slow
def test_43_a_sweep_of_ten_thousand_asks_first(here, capsys):
    assert command("salience.experiment.run", small("-m", "seed=range(10000)")) == 2
    assert "error: 10000 runs: about" in capsys.readouterr().err
    assert not (here / "outputs").exists()


def test_44_a_damaged_run_is_named(tmp_path):
    folder, *_ = runs.write(tmp_path)
    path = folder.path / "network.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(
        WrongInput, match="network.safetensors is damaged: its sha256 differs from the manifest"
    ):
        salience.load_run(folder.path)


def test_45_what_a_newer_version_wrote(tmp_path):
    folder, *_ = runs.write(tmp_path)
    text = (folder.path / "status.json").read_text().replace('"schema_version": 1', '"schema_version": 2')
    (folder.path / "status.json").write_text(text)
    with pytest.raises(
        WrongInput, match="was written with schema 2, this salience reads up to 1: upgrade it"
    ):
        salience.load_run(folder.path)


def test_46_a_tracker_that_is_not_installed(here, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    code = command("salience.experiment.run", small("tracker=[mlflow]"))
    said = capsys.readouterr()
    assert "pip install 'salience[mlflow]'" in said.err + said.out and "Traceback" not in said.err
    assert code in (0, 2), "refused before training, or told and left out"
