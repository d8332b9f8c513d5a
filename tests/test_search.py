"""Searches: ranges and objectives as typed, what is refused, and a whole search that is cut short and goes on."""

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from salience.errors import WrongInput
from salience.sweeps.search import parsed
from salience.sweeps.space import Dimension, Objective, named

SCRIPTS = Path(__file__).parents[1] / "scripts"
CONFIG = {
    "attribution": {"lime": {}, "saliency": {}},
    "controls": {"random": {}},
    "metric": {"deletion": {}, "insertion": {}},
}


@pytest.mark.parametrize(
    ("text", "kind", "values"),
    [
        ("log(1e-4, 1e-1)", "log", (1e-4, 0.1)),
        ("uniform(-1,1)", "uniform", (-1.0, 1.0)),
        ("int(1,5)", "int", (1, 5)),
        ("log_int(10, 1000)", "log_int", (10, 1000)),
        ("choice([32],[64,64],[8])", "choice", ("[32]", "[64,64]", "[8]")),
        ("choice(a, b, a)", "choice", ("a", "b")),
    ],
)
def test_ranges_as_they_are_typed(text, kind, values):
    assert Dimension.parsed("key", text) == Dimension("key", kind, values)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("3", "key=3: not a range. Ranges: log"),
        ("log(0,1)", "give two numbers above 0, the lower one first"),
        ("int(5,1)", "give two numbers, the lower one first"),
        ("int(1,2,3)", "give two numbers"),
        ("int(1.5,2)", "give two numbers"),
        ("uniform(a,b)", "give two numbers"),
        ("uniform(nan,1)", "give two numbers"),
        ("choice(a,a)", "give two or more different choices"),
    ],
)
def test_what_is_no_range(text, line):
    with pytest.raises(WrongInput) as refused:
        Dimension.parsed("key", text)
    assert line in str(refused.value)


def test_a_methods_own_baseline_is_an_option_of_the_group():
    own = Dimension.parsed("attribution.lime.baseline", "choice(mean,samples)")
    assert own.override("mean") == "attribution.lime.baseline={_target_:salience.attribution.baselines.Mean}"
    assert own.override("samples").endswith(".Samples,n:20}")
    assert own.override("{_target_: x.Y}") == "attribution.lime.baseline={_target_: x.Y}"
    with pytest.raises(WrongInput, match="baseline=maen: no such option. Did you mean mean"):
        own.override("maen")
    assert Dimension("seed", "int", (0, 3)).override(2) == "seed=2"


@pytest.mark.parametrize(
    ("names", "keys", "line"),
    [
        (["acuracy"], [], "objectives=acuracy: give accuracy"),
        (["lme.deletion"], [], "no such method in this run. Did you mean lime?"),
        (["lime.deltion"], [], "not measured in this run. Did you mean deletion?"),
        (["lime.deletion"], ["baseline"], "baseline: changes what deletion measures"),
        (
            ["lime.deletion"],
            ["metric.deletion.steps"],
            "metric.deletion.steps: changes what deletion measures",
        ),
        ([], [], "give one or more"),
    ],
)
def test_objectives_that_a_run_does_not_have_or_that_cannot_be_compared(names, keys, line):
    with pytest.raises(WrongInput) as refused:
        named(names, CONFIG, keys)
    assert line in str(refused.value)


def test_objectives_that_a_run_has():
    named(
        ["accuracy", "lime.deletion", "random.insertion", "lime.cost"], CONFIG, ["attribution.lime.baseline"]
    )
    named(["accuracy"], CONFIG, ["baseline"])


def test_what_a_run_reached(tmp_path):
    with open(tmp_path / "predictions.csv", "w", newline="") as opened:
        csv.writer(opened).writerows(
            [["example", "label", "prediction"], [0, 1, 1], [1, 2, 2], [2, 3, 4], [3, 4, 4]]
        )
    cost = {"forward_rows": 5, "backward_rows": 3, "seconds": 0.5}
    methods = {"lime": {"metrics": {"deletion": {"mean": 0.25}, "insertion": {"mean": None}}, "cost": cost}}
    (tmp_path / "summary.json").write_text(json.dumps({"methods": methods}))
    wanted = {"accuracy": 0.75, "r2": 1 - 1 / 5, "lime.deletion": 0.25, "lime.cost": 8, "lime.seconds": 0.5}
    assert {name: Objective(name, True).value(tmp_path) for name in wanted} == pytest.approx(wanted)
    for name in ("lime.insertion", "saliency.deletion"):
        with pytest.raises(WrongInput, match=name):
            Objective(name, True).value(tmp_path)


def test_who_types_a_range_starts_from_an_empty_search():
    example = parsed(["trials=3", "data=digits"])
    assert example.trials == 3 and example.objectives == ["lime.deletion"] and len(example.space) == 3
    assert example.overrides[-1] == "data=digits" and "explained=50" in example.overrides
    own = parsed(["training.learning_rate=log(1e-4,1e-1)", "model=cnn", "seed=3"])
    assert own.space == {"training.learning_rate": "log(1e-4,1e-1)"}
    assert own.objectives == ["accuracy"] and own.overrides == ["model=cnn", "seed=3"]
    two = parsed(["objectives=[accuracy,lime.cost]", "seed=int(0,3)"])
    assert two.objectives == ["accuracy", "lime.cost"]


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        (["trials=0"], "trials=0: "),
        (["sampler=grid"], "sampler=grid: "),
        (["--confg", "x"], "--confg: no such option"),
        (["--config", "missing.yaml"], "--config missing.yaml: cannot be read"),
        (["model"], "model: a key and a value are needed"),
    ],
)
def test_wrong_words(typed, line):
    with pytest.raises(WrongInput) as refused:
        parsed(typed)
    assert str(refused.value).startswith(line)


# -- whole searches ----------------------------------------------------------------------------------------------------


SMALL = ["model=logistic", "training.epochs=2", "explained=10", "attribution=[lime]", "controls=[]"]


def started(folder, script, *typed):
    return subprocess.Popen(
        [sys.executable, str(SCRIPTS / script), *typed],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(folder, script, *typed):
    process = started(folder, script, *typed)
    out, err = process.communicate(timeout=600)
    return subprocess.CompletedProcess(typed, process.returncode, out, err)


def found(folder):
    return json.loads((folder / "outputs" / "latest" / "search.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("typed", "line"),
    [
        (
            ["training.learning_rate=log(1e-4,1e-1)", "training.epohcs=3"],
            "error: training.epohcs=3: training has no",
        ),
        (["training.momentum=uniform(0.5,3)"], "error: training.momentum=3.0: must be"),
        (
            ["attribution.lime.arguments.kernel_with=log(1,2)", "attribution=[lime]"],
            "error: attribution.lime.arguments",
        ),
        (["model=choice(mlp,logistc)"], "error: model=logistc: no such option. Did you mean logistic?"),
    ],
)
def test_wrong_input_is_told_before_anything_is_tried(tmp_path, typed, line):
    done = run(tmp_path, "search.py", *typed)
    assert done.returncode == 2 and done.stderr.startswith(line), done.stderr
    assert not (tmp_path / "outputs").exists()


@pytest.mark.slow
def test_a_methods_settings_are_tuned_on_validation_and_judged_on_test(tmp_path):
    """One network for all trials; the interrupted search goes on where it was and touches no finished trial."""
    typed = [
        "attribution.lime.arguments.kernel_width=log(0.1,10)",
        "attribution.lime.arguments.n_samples=int(30,200)",
    ]
    typed += ["objectives=[lime.deletion,lime.cost]", "metric=[deletion]", "trials=6", *SMALL]
    process = started(tmp_path, "search.py", *typed)
    end = time.monotonic() + 300
    while not list(tmp_path.glob("outputs/*/*-search-*/0001/manifest.json")) and time.monotonic() < end:
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "to go on: python scripts/resume.py" in out, out + err
    before = found(tmp_path)
    place = (tmp_path / "outputs" / "latest").resolve()
    kept = [place / trial["folder"] for trial in before["trials"] if trial["state"] == "completed"]
    stamps = {
        path: path.stat().st_mtime_ns for folder in kept for path in folder.rglob("*") if path.is_file()
    }
    assert before["state"] == "interrupted" and 1 <= len(kept) < 6

    done = run(tmp_path, "resume.py", "latest")
    assert done.returncode == 0, done.stdout + done.stderr
    after = found(tmp_path)
    assert after["state"] == "completed" and after["better"] == {
        "lime.deletion": "lower",
        "lime.cost": "lower",
    }
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    completed = [trial for trial in after["trials"] if trial["state"] == "completed"]
    assert len(completed) == 6 and after["trials"][: len(kept)] == before["trials"][: len(kept)]
    for trial in completed:
        config = (place / trial["folder"] / "choices.json").is_file()
        summary = json.loads((place / trial["folder"] / "summary.json").read_text())
        assert config and summary["methods"]["lime"]["metrics"]["deletion"]["mean"] == trial["values"][0]
        assert "split: validation" in (place / trial["folder"] / "config.yaml").read_text()
    values = {trial["number"]: trial["values"] for trial in completed}
    for number in after["best"]:
        better = [
            o for o in values.values() if o != values[number] and all(map(float.__le__, o, values[number]))
        ]
        assert not better, "nothing is better in both"
    tested = sorted(place.glob("test-*/config.yaml"))
    assert len(tested) == 1 + len(after["best"][:5]) == len(after["test"])
    assert all("split: test" in path.read_text() for path in tested)
    runs = [json.loads(path.read_text())["network"]["trained"] for path in place.glob("*/summary.json")]
    assert sum(runs) == 1 and len(runs) >= 8


@pytest.mark.slow
def test_training_is_tuned_two_at_a_time_and_repeats(tmp_path):
    typed = [
        "training.learning_rate=log(1e-5,1e-1)",
        "training.epochs=int(1,4)",
        "model=choice(logistic,mlp)",
    ]
    typed += ["trials=5", "metric=[]", "controls=[]", "attribution=[saliency]", "explained=3"]
    results = []
    for n_jobs, where in ((1, tmp_path / "a"), (1, tmp_path / "b"), (2, tmp_path / "c")):
        where.mkdir()
        done = run(where, "search.py", *typed, f"n_jobs={n_jobs}")
        assert done.returncode == 0, done.stdout + done.stderr
        results.append(found(where))
    assert results[0]["trials"] == results[1]["trials"], "the same search twice"
    assert len(results[2]["trials"]) == 5
    best = max(results[0]["trials"], key=lambda trial: trial["values"][0])
    assert results[0]["trials"][results[0]["best"][0]]["values"] == best["values"]
    assert set(results[0]["test"]) == {"before", f"trial {results[0]['best'][0]}"}
