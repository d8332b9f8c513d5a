"""Anything at all: configs, tables and the bytes of a run folder. Each ends well or in one line; nothing is run."""

import contextlib
import io
import os
import shutil
import warnings
from pathlib import Path

import pytest
import runs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

import salience
from salience import WrongInput, report
from salience.config import options
from salience.edge.commandline import command

FEW = settings(
    max_examples=12, deadline=None, database=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
MANY = settings(FEW, max_examples=25)
LINES = ["data=breast_cancer", "explained=2", "training.epochs=1", "metric=[sparseness]", "controls=[]"]


@FEW
@given(
    model=some.sampled_from(options("model")),
    method=some.sampled_from(options("attribution")),
    baseline=some.sampled_from(options("baseline")),
    output=some.sampled_from(["logit", "probability"]),
    target=some.sampled_from(["predicted", "label", "runner_up", "0", "5", "malignant"]),
)
@pytest.mark.slow
def test_any_combination_of_options_runs_or_is_refused(model, method, baseline, output, target, tmp_path):
    typed = [
        f"model={model}",
        f"attribution=[{method}]",
        f"baseline={baseline}",
        f"output={output}",
        f"target={target}",
    ]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = command("salience.experiment.run", [f"outputs={tmp_path}", *LINES, *typed])
    assert code in (0, 2), (typed, err.getvalue())
    assert "Traceback" not in err.getvalue()
    assert code == 0 or "error: " in err.getvalue()


WORDS = some.text(some.characters(codec="utf-8"), max_size=6)
CELLS = some.one_of(
    some.integers(-9, 9).map(str),
    some.floats().map(str),
    WORDS,
    some.just(""),
    some.sampled_from(["nan", "=1+1", "inf", '"']),
)


@MANY
@given(
    rows=some.lists(some.lists(CELLS, min_size=1, max_size=4), max_size=14),
    header=some.lists(WORDS, max_size=4),
)
def test_any_table_is_read_or_refused(rows, header, tmp_path):
    from salience.data.own import csv

    path = tmp_path / "table.csv"
    path.write_text(
        "\n".join(",".join(row) for row in [["label", *header], *rows]), encoding="utf-8", newline=""
    )
    with warnings.catch_warnings(), contextlib.suppress(WrongInput):
        warnings.simplefilter("ignore")
        data = csv(str(path), "label")
        assert bool(data.train.inputs[0].isfinite().all())


@MANY
@given(content=some.binary(max_size=400))
def test_any_bytes_are_a_table_or_refused(content, tmp_path):
    from salience.data.own import csv

    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with warnings.catch_warnings(), contextlib.suppress(WrongInput):
        warnings.simplefilter("ignore")
        csv(str(path), "label")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return runs.write(tmp_path_factory.mktemp("whole"), draw=True)[0].path


@settings(FEW, max_examples=15)
@given(data=some.data())
def test_any_bytes_in_a_run_folder_are_named_as_damage(data, whole, tmp_path):
    """Each file damaged anyhow: loading says which it is, the page is made, and nobody's code runs."""
    folder = tmp_path / "copy"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder)
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    name = data.draw(some.sampled_from(names))
    path = folder / name
    content = path.read_bytes()
    how = data.draw(some.sampled_from(["bytes", "flip", "cut", "folder", "evil"]))
    evil = b"!!python/object/apply:os.system ['touch canary']\n", b"cos\nsystem\n(S'touch canary'\ntR."
    at = data.draw(some.integers(0, max(0, len(content) - 1)))
    changed = {
        "bytes": lambda: data.draw(some.binary(max_size=300)),
        "flip": lambda: content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :] if content else b"x",
        "cut": lambda: content[:at],
        "folder": lambda: None,
        "evil": lambda: data.draw(some.sampled_from(evil)),
    }[how]()
    path.unlink()
    path.mkdir() if changed is None else path.write_bytes(changed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = salience.load_run(folder)
            assert found.status and found.summary["methods"], (
                "the log, the page and the status are not vouched for"
            )
            assert name in ("run.log", "report.html", "status.json") or changed == content
        except WrongInput as refused:
            assert str(folder) in str(refused)
        if path.suffix in (".json", ".yaml", ".csv", ".png"):
            report.page(folder)
    assert not os.path.exists("canary") and not list(tmp_path.rglob("canary"))
