"""A run in one file, opened elsewhere; new rows; the network for other programs; the model card."""

import json
import stat
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import salience
from salience import WrongInput
from salience.data.task import Classification, Regression
from salience.data.text import encode, tokeniser
from salience.modality import Image, Tabular, Tokens
from salience.models.base import predict
from salience.report.model_card import model_card, of_folder
from salience.sharing import serving
from salience.sharing.export import RATIO, command, export

SMALL = ["explained=6", "training.epochs=3", "metric=[deletion]", "controls=[random]"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    outputs = tmp_path_factory.mktemp("outputs")
    return salience.run([f"outputs={outputs}", "attribution=[integrated_gradients,gradient_shap]", *SMALL])


@pytest.fixture(scope="module")
def archive(run, tmp_path_factory) -> Path:
    return export(run.path, tmp_path_factory.mktemp("given") / "run.zip")


def test_one_file_is_opened_elsewhere(run, archive):
    opened = salience.load_run(archive)
    assert opened.summary == run.summary and opened.path != run.path
    assert torch.equal(
        opened.explanations["integrated_gradients"].load().attributions[0],
        run.explanations["integrated_gradients"].load().attributions[0],
    )
    assert {"network.pt2", "MODEL_CARD.md", "manifest.json", "report.html"} <= {
        p.name for p in opened.path.iterdir()
    }


def test_equal_files_pack_equal(run, archive, tmp_path):
    again = zipfile.ZipFile(export(run.path, tmp_path / "again.zip"))
    first = zipfile.ZipFile(archive)
    own = [n for n in first.namelist() if not n.endswith(("network.pt2", "exported.json"))]
    assert [again.read(n) for n in own] == [first.read(n) for n in own]


def test_the_program_gives_the_networks_outputs_for_any_number_of_rows(run, archive, tmp_path):
    path = tmp_path / "network.pt2"
    path.write_bytes(zipfile.ZipFile(archive).read("run/network.pt2"))
    program = torch.export.load(path).module()
    rows = run.data.test.inputs[0]
    with torch.no_grad():
        assert torch.allclose(program(rows[:17]), run.model(rows[:17]), atol=1e-5)


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "run/../../evil",
        "/tmp/evil",
        "run/a\\..\\evil",
        "C:/evil",
        "run/.hidden",
        "evil",
        "run/%2e%2e/x",
        "run//x",
    ],
)
def test_names_that_leave_the_folder_are_refused(archive, tmp_path, name):
    bad = tmp_path / "in" / "bad.zip"
    bad.parent.mkdir()
    bad.write_bytes(archive.read_bytes())
    with zipfile.ZipFile(bad, "a") as packed:
        packed.writestr(zipfile.ZipInfo(name), "evil")
    with pytest.raises(WrongInput, match="is no file of a run"):
        salience.load_run(bad)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["bad.zip", "in"]


def test_links_bombs_and_damage_are_refused(archive, tmp_path):
    link, bomb, twice = (tmp_path / f"{n}.zip" for n in ("link", "bomb", "twice"))
    with zipfile.ZipFile(link, "w") as packed:
        entry = zipfile.ZipInfo("run/status.json")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        packed.writestr(entry, "/etc/passwd")
    with pytest.raises(WrongInput, match="is no file of a run"):
        salience.load_run(link)
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("run/x", b"\0" * ((RATIO + 9) << 20))
    with pytest.raises(WrongInput, match="unpacks to 209 MB"):
        salience.load_run(bomb)
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    twice.write_bytes(bytes(content))
    with pytest.raises(WrongInput, match="damaged"):
        salience.load_run(twice)
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(WrongInput, match="no zip of a run"):
        salience.load_run(tmp_path / "text.zip")


def test_new_rows_in_original_units_are_predicted(run):
    from sklearn.datasets import load_breast_cancer

    table = load_breast_cancer(as_frame=True).data
    modality = run.preprocessing[0][0]
    rows = table.iloc[:5].set_axis(list(modality.columns), axis=1)
    found = run.predict(rows)
    assert (
        list(found.columns) == ["prediction", "probability_malignant", "probability_benign"]
        and len(found) == 5
    )
    with torch.no_grad():
        outputs = run.model(modality.model_space(torch.tensor(rows.to_numpy())).float())
    expected = run.preprocessing[1].probabilities(outputs)
    assert np.allclose(found.iloc[:, 1:], expected, atol=1e-6)
    for same in (rows.to_dict("records"), rows.to_numpy(), torch.tensor(rows.to_numpy())):
        assert run.predict(same).equals(found)
    shuffled = rows[list(reversed(rows.columns))]
    assert run.predict(shuffled).equals(found), "columns are known by name"


def test_new_rows_are_explained_with_the_runs_own_settings(run):
    stored = run.explanations["integrated_gradients"].load()
    modality = run.preprocessing[0][0]
    rows = modality.original(stored.raw[0].double())
    again = run.explain(rows, "integrated_gradients")
    assert torch.allclose(again.attributions[0], stored.attributions[0], atol=1e-5)
    assert torch.equal(again.target, stored.target)
    assert run.explain(rows, "saliency", target="benign").target.unique().tolist() == [1]
    assert len(run.explain(rows, "gradient_shap")) == 6
    with pytest.raises(WrongInput, match="target=label"):
        run.explain(rows, "saliency", target="label")
    with pytest.raises(WrongInput, match="Did you mean saliency"):
        run.explain(rows, "salency")


def test_predicting_needs_no_data_set(archive, monkeypatch):
    from salience.data import tables

    def gone(*_, **__):
        raise WrongInput("data: not here")

    monkeypatch.setattr(tables, "breast_cancer", gone)
    opened = salience.load_run(archive)
    rows = np.zeros((2, 30))
    assert len(opened.predict(rows)) == 2
    assert opened.explain(rows, "saliency").attributions[0].shape == (2, 30)


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ([{"mean radius": 1.0}], "rows: row 0 has no"),
        (np.zeros((2, 29)), r"rows: shape \(2, 29\); the network reads \[rows, 30\]"),
        (np.full((1, 30), np.nan), "rows: row 0 of .* nan or infinite"),
        (np.zeros((0, 30)), "rows: 0 rows"),
        ("text", "rows: not an array of numbers"),
        ([[1, 2], [3]], "rows: not an array of numbers"),
    ],
)
def test_rows_that_cannot_be_read_are_one_line(run, rows, line):
    with pytest.raises(WrongInput, match=line) as caught:
        run.predict(rows)
    assert len(str(caught.value)) < 260


def test_categories_are_read_by_name():
    table = Tabular(
        (3,), "table", columns=("age", "sex=f", "sex=m"), mean=(30.0, 0.5, 0.5), scale=(10.0, 1.0, 1.0),
        groups=(0, 1, 1), group_names=("age", "sex"),
    )  # fmt: skip
    values, _ = serving.read(table, pd.DataFrame({"sex": ["m", "f"], "age": [40, 30]}))
    assert values.tolist() == [[1.0, -0.5, 0.5], [0.0, 0.5, -0.5]]
    with pytest.raises(WrongInput, match='sex="x": no such level. Levels: f, m'):
        serving.read(table, {"sex": "x", "age": 1})
    with pytest.raises(WrongInput, match='column age: "old" is not a number'):
        serving.read(table, {"sex": "m", "age": "old"})


def test_sentences_are_read_as_in_training():
    modality = Tokens(
        (5,), "text", vocabulary=("<padding>", "<unknown>", "<start>", "good", "film"), special_ids=(2,)
    )
    ids, (padded,) = serving.read(modality, ["Good film", "bad"])
    expected = encode([tokeniser()(t) for t in ("Good film", "bad")], modality)
    assert torch.equal(ids, expected[0]) and torch.equal(padded, expected[1])
    assert torch.equal(serving.read(modality, ids)[0], ids)
    with pytest.raises(WrongInput, match="ids from 0 to 4"):
        serving.read(modality, [[9, 0, 0, 0, 0]])


@pytest.mark.parametrize(
    "thing",
    [
        Tabular((2,), "t", columns=("a", "b")),
        Image((1, 2, 2), "i"),
        Classification(("a", "b")),
        Regression(("y",)),
    ],
)
def test_what_the_network_reads_is_rebuilt_from_json(thing):
    from salience import modality as kinds
    from salience.data import task

    where, base = (task, task.Task) if isinstance(thing, task.Task) else (kinds, kinds.Modality)
    assert serving.rebuilt(json.loads(json.dumps(serving.described(thing))), where, base) == thing


@pytest.mark.parametrize("kind", ["os", "torch", "Sequence", "prod", "__builtins__", "Tensor", None, 3])
def test_only_our_own_kinds_are_rebuilt(kind):
    from salience import modality as kinds

    with pytest.raises(WrongInput):
        serving.rebuilt({"kind": kind, "shape": [1]}, kinds, kinds.Modality)


def test_the_model_card_says_what_matters(run):
    card = model_card(run)
    for part in (
        "## Model",
        "## Data",
        "## Scores",
        "## Explanations examined",
        "## Hardware and time",
        "## Limits",
    ):
        assert part in card
    assert (
        "accuracy" in card and "integrated\\_gradients" in card and run.summary["network"]["weights"] in card
    )
    assert of_folder(run.folder)["Scores on the test split"][0][0] == "accuracy"


def test_export_from_the_command_line(run, tmp_path, capsys):
    assert command([str(run.path), f"to={tmp_path / 'a.zip'}"]) == 0 and (tmp_path / "a.zip").is_file()
    for typed in (
        [],
        [str(run.path), "form=zip"],
        [str(tmp_path / "none")],
        [str(run.path), f"to={tmp_path}/no/a.zip"],
    ):
        assert command(typed) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_the_card_is_a_section_of_the_page(run):
    page = (run.path / "report.html").read_text()
    assert (
        'id="card"' in page and "Explanations examined" in page and run.summary["network"]["weights"] in page
    )


def short(outputs: Path, *typed: str):
    """A run that hardly learns and explains nine rows: enough of a network to be exported."""
    quick = (
        "attribution=[saliency]",
        "controls=[]",
        "metric=[]",
        "explained=9",
        "training.epochs=1",
        "figures=false",
    )
    return salience.run([f"outputs={outputs}", *quick, *typed])


def explained(result, rows: int) -> tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]]:
    """Raw inputs and context of so many rows that a run explained."""
    x, _ = result.folder.read_examples(0)
    which = torch.arange(rows) % len(x)
    return tuple(t[which] for t in x.raw), tuple(t[which] for t in x.context)


@pytest.fixture
def sentences(tmp_path) -> tuple[str, ...]:
    words = ("good", "bad", "film", "plot", "fine", "awful")
    lines = [f"{' '.join(words[(i * k) % 6] for k in range(1, 3 + i % 5))},{i % 2}" for i in range(60)]
    (tmp_path / "texts.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    return "data=text_csv", f"data.path={tmp_path / 'texts.csv'}", "data.text=text", "data.target=label"


@pytest.mark.parametrize("model", ["transformer", "lstm"])
def test_networks_that_read_sentences_are_programs_for_any_number_of_rows(tmp_path, sentences, model):
    result = short(tmp_path / "outputs", *sentences, f"model={model}")
    packed = zipfile.ZipFile(export(result.path, tmp_path / "run.zip"))
    (tmp_path / "network.pt2").write_bytes(packed.read("run/network.pt2"))
    program = torch.export.load(tmp_path / "network.pt2").module()
    with torch.no_grad():
        for rows in (1, 9):
            raw, context = explained(result, rows)
            assert torch.allclose(program(*raw, *context), predict(result.model, raw, context), atol=1e-4)


def test_a_network_that_no_program_can_be_made_of_is_packed_without_one(tmp_path, monkeypatch):
    from salience.models.mlp import MLP

    result, forward = short(tmp_path / "outputs", "data=breast_cancer"), MLP.forward
    monkeypatch.setattr(MLP, "forward", lambda self, *x: forward(self, *x) * float(x[0].sum() * 0 + 1))
    with pytest.warns(
        UserWarning, match="network.pt2: the network cannot be exported: .*; the run is packed with"
    ):
        packed = export(result.path, tmp_path / "run.zip")
    assert "run/network.pt2" not in zipfile.ZipFile(packed).namelist()
    assert salience.load_run(packed).summary == result.summary


@pytest.mark.extras
@pytest.mark.parametrize(
    "typed", ["mlp data=breast_cancer explained=1", "cnn data=digits", "transformer data=digits", "sentences"]
)
def test_onnx_gives_the_networks_outputs(tmp_path, sentences, typed, capsys):
    """For one row and for many, in another program; and the command says nothing else than where the file is."""
    onnxruntime = pytest.importorskip("onnxruntime")
    words = f"model={typed}".split() if "data" in typed else ["model=transformer", *sentences]
    result = short(tmp_path / "outputs", *words)
    capsys.readouterr()
    assert command([str(result.path), f"to={tmp_path / 'run.zip'}", "onnx=true"]) == 0
    said = capsys.readouterr()
    assert said.out == f"exported  {tmp_path / 'run.zip'}\n" and not said.err
    with zipfile.ZipFile(tmp_path / "run.zip") as packed:
        content = packed.read("run/network.onnx")
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    for rows in (1, 9):
        raw, context = explained(result, rows)
        given = zip((i.name for i in session.get_inputs()), (*raw, *context), strict=True)
        (found,) = session.run(None, {name: t.numpy() for name, t in given})
        assert np.allclose(found, predict(result.model, raw, context), atol=1e-4)
    assert salience.load_run(tmp_path / "run.zip").summary == result.summary


def test_onnx_without_its_packages_is_one_line(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert command([str(run.path), f"to={tmp_path / 'run.zip'}", "onnx=true"]) == 2
    assert capsys.readouterr().err == 'error: onnx=true needs: pip install "salience[onnx]"\n'
    assert not (tmp_path / "run.zip").exists()
