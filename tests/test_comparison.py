"""Many runs: found, filtered, pooled and judged; a verdict says what tests allow, and nothing more."""

import csv
import io
import json
import shutil
import time

import numpy as np
import pytest
import runs
import yaml

import salience
from salience import files
from salience.comparison import compare
from salience.comparisons import command as comparing
from salience.comparisons.leaderboard import Column
from salience.comparisons.records import find, read_scores
from salience.comparisons.verdict import ordered, verdict
from salience.errors import WrongInput
from salience.storage import formats

MODULES = {
    "auroc": "salience.metrics.localisation.Auroc",
    "deletion": "salience.metrics.faithfulness.Deletion",
    "sparseness": "salience.metrics.complexity.Sparseness",
}
HIGHER = {"auroc": True, "deletion": False, "sparseness": True}


def write(
    root, name, methods, data="xor", model="mlp", seed=0, controls=("random",), state="completed", **more
):
    """A run folder with the scores [examples] of `methods` by metric, and nothing that a comparison does not read."""
    folder = root / name
    folder.mkdir(parents=True)
    metrics = list(dict.fromkeys(metric for found in methods.values() for metric in found))
    config = {
        "data": {"_target_": f"salience.data.{data}"},
        "model": {model: {"_target_": f"salience.models.{model}", "hidden": more.get("hidden", 8)}},
        "attribution": {
            m: {"method": {}, "arguments": more.get("arguments", {})} for m in methods if m not in controls
        },
        "controls": {
            m: {"method": {"_target_": more.get("control", "x.Random")}} for m in methods if m in controls
        },
        "metric": {m: {"_target_": MODULES[m], "steps": more.get("steps", 20)} for m in metrics},
        "seed": seed,
        "target": "predicted",
        "split": "test",
        "only": "all",
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    files.write_json(
        folder / "choices.json", {"data": data, "model": model, "baseline": more.get("reference", "blank")}
    )
    files.write_json(
        folder / "status.json", {"schema_version": 1, "state": state, "error": more.get("error")}
    )
    if state != "completed":
        return folder
    ruler = {"reference": more.get("reference", "blank"), "output": "logit", "features": f"3 of {data}"}
    found = {}
    for method, by_metric in methods.items():
        cells = {
            metric: {
                "mean": float(np.mean(values)),
                "low": float(np.mean(values)) - 0.1,
                "high": float(np.mean(values)) + 0.1,
                "n": len(values),
                "undefined": 0,
                "higher_is_better": HIGHER[metric],
            }
            for metric, values in by_metric.items()
        }
        cost = {"forward_rows": 10, "backward_rows": 5, "seconds": 0.5}
        found[method] = {"metrics": cells, "cost": cost, "warnings": []}
    network = {
        "accuracy": 0.9,
        "recipe": more.get("recipe", f"{data}-{model}-{seed}-{more.get('hidden', 8)}"),
    }
    files.write_json(folder / "summary.json", {"network": network, "ruler": ruler, "methods": found})
    rows = [
        [method, metric, i, float(value)]
        for method, by_metric in methods.items()
        for metric, values in by_metric.items()
        for i, value in enumerate(values)
    ]
    formats.write_csv(folder / "scores.csv", ["method", "metric", "example", "score"], rows)
    files.write_json(folder / "manifest.json", {"files": {}})
    return folder


def noise(seed, size=60, shift=0.0):
    return np.random.default_rng(seed).normal(size=size) + shift


# -- verdicts: planted cases -------------------------------------------------------------------------------------------


def auroc_of(values, truth):
    """The share of pairs of a relevant and an irrelevant feature that `values` [examples, features] put in order."""
    gaps = values[:, truth][:, :, None] - values[:, ~truth][:, None, :]
    return (gaps > 0).mean((1, 2))


def test_the_truth_plus_noise_is_ranked_by_its_noise():
    generator = np.random.default_rng(0)
    truth = np.arange(10) < 3
    names = {"lime": 0.4, "occlusion": 3.0, "deep_lift": 1.2}  # in no alphabetical or given order
    scores = {
        name: auroc_of(truth + size * generator.normal(size=(100, 10)), truth) for name, size in names.items()
    }
    scores["random"] = auroc_of(generator.normal(size=(100, 10)), truth)
    found = verdict(scores, Column("auroc", True), {"random"})
    assert found.order == ("lime", "deep_lift", "occlusion", "random")
    assert ordered(found) == "lime > deep_lift > occlusion > random"
    assert found.winners == ("lime",)
    assert found.sentence.startswith("lime is best on auroc (higher is better) with 0.9")
    assert "it beats deep_lift, the next, by" in found.sentence and found.sentence.endswith(
        "lime beats random."
    )
    assert found.letters == {"lime": "a", "deep_lift": "b", "occlusion": "c", "random": "d"}


def test_copies_of_random_under_other_names_cannot_be_told_apart():
    wrong = 0
    for seed in range(40):
        generator = np.random.default_rng(seed)
        scores = {name: generator.uniform(size=80) for name in ("lime", "shap", "rise")}
        found = verdict(scores, Column("auroc", True))
        wrong += any(pair.apart for pair in found.pairs)
        assert "best" not in found.sentence or wrong
    assert wrong <= 5  # one in twenty is what the level allows
    assert found.sentence.endswith("80 examples.") and "cannot be told apart on auroc" in found.sentence
    assert set(" ".join(found.order).split()) == {"lime", "shap", "rise"} and found.winners == ()
    assert all(pair.needed is None or pair.needed > 80 for pair in found.pairs)


def test_what_does_not_beat_the_control_wins_nothing():
    base = noise(0)
    scores = {"a": base + 0.5, "b": base + 1.5 + 0.1 * noise(1), "input": base + 0.49 + 0.01 * noise(2)}
    found = verdict(scores, Column("deletion", False), {"input"})
    assert found.winners == ()
    assert found.sentence.startswith(
        "No method beats the control input on deletion (lower is better): a, the best of 2"
    )
    worse = verdict(scores | {"input": base}, Column("deletion", False), {"input"})
    assert "scores worse than input" in worse.sentence


def test_a_shared_first_place_names_all_of_them():
    base = noise(0)
    scores = {"a": base, "b": base + 0.2 * noise(1) + 0.001, "c": base + 1, "random": base + 2}
    found = verdict(scores, Column("deletion", False), {"random"})
    assert set(found.winners) == {"a", "b"}
    assert "share the first place" in found.sentence and "beats c" in found.sentence
    assert found.groups[0] in {("a", "b"), ("b", "a")}


def test_the_truth_as_a_control_need_not_be_beaten():
    base = noise(0)
    scores = {"a": base + 1, "b": base, "random": base - 1, "oracle": base + 2}
    found = verdict(scores, Column("auroc", True), {"random", "oracle"}, above=("oracle",))
    assert found.winners == ("a",) and found.order[0] == "oracle" and "a is best" in found.sentence
    assert "No method beats" in verdict(scores, Column("auroc", True), {"random", "oracle"}).sentence


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ({}, "No method has a score on auroc"),
        ({"a": np.full(5, np.nan)}, "No method has a score on auroc"),
        ({"a": np.arange(5.0)}, "Only a has scores on auroc"),
        ({"a": np.array([1.0]), "b": np.array([2.0])}, "they share fewer than two examples"),
        (
            {"a": np.arange(20.0), "b": np.arange(20.0) - 1},
            "no control says whether that beats random numbers",
        ),
    ],
)
def test_little_is_said_of_little(scores, said):
    assert said in verdict(scores, Column("auroc", True)).sentence


# -- finding and filtering ---------------------------------------------------------------------------------------------


@pytest.fixture
def sweep(tmp_path):
    """Two seeds of two methods, each method in a run of its own, one failed, one that left nothing."""
    base, folder = noise(0), tmp_path / "2026-01-01" / "10-00-00-sweep-abc"
    jobs = []
    for number, (method, seed) in enumerate([("lime", 0), ("lime", 1), ("shap", 0), ("shap", 1)]):
        shift = {"lime": 1.0, "shap": 0.0}[method] + 0.1 * seed
        scores = {"auroc": base + shift, "sparseness": base}
        name = f"{number}-attribution={method}-seed={seed}"
        write(folder, name, {method: scores, "random": {"auroc": base - 1, "sparseness": base}}, seed=seed)
        jobs.append(
            {"folder": name, "state": "completed", "changed": [f"attribution={method}", f"seed={seed}"]}
        )
    write(folder, "4-bad", {}, state="failed", error="ValueError: it broke")
    jobs += [{"folder": "4-bad", "state": "failed", "cause": "ValueError: it broke", "changed": []}]
    jobs += [{"folder": "5-gone", "state": "failed", "cause": "killed by SIGKILL", "changed": []}]
    files.write_json(folder / "sweep.json", {"schema_version": 1, "state": "failed", "jobs": jobs})
    return folder


def test_a_sweep_is_joined_by_network_and_pooled_over_seeds(sweep):
    found = compare(sweep)
    assert [b.label for b in found.boards] == ["xor · mlp"]
    (board,) = found.boards
    assert list(board.sources) == ["lime", "random", "shap"] and len(board.networks) == 2
    assert found.primary == "auroc" and found.verdict.startswith("lime is best on auroc")
    cell = {row.method: row for row in board.table.rows}["lime"].entries["auroc"]
    assert cell.mean == pytest.approx(noise(0).mean() + 1.05) and cell.half > 0
    assert board.spread("auroc")["lime"] == pytest.approx((noise(0).mean() + 1.0, noise(0).mean() + 1.1))
    assert [row.control for row in board.table.rows] == [False, False, True]


def test_failed_and_missing_runs_are_listed_with_their_cause(sweep):
    found = compare(sweep)
    assert [(r.path.name, r.state, r.cause) for r in found.failed] == [
        ("4-bad", "failed", "ValueError: it broke"),
        ("5-gone", "failed", "killed by SIGKILL"),
    ]
    assert "2 of 6 runs have no scores" in found.warnings


def test_the_table_is_tidy(sweep, tmp_path):
    found = compare(sweep)
    frame = found.table
    assert len(frame) == 4 * 2 * 2
    assert {"run", "data", "model", "seed", "method", "control", "metric", "mean", "low", "high"} <= set(
        frame.columns
    )
    assert set(frame[frame.method == "random"].control) == {True}
    with open(found.save_csv(tmp_path / "table.csv"), newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert len(rows) == len(frame) and float(rows[0]["mean"]) == pytest.approx(frame["mean"][0])
    assert rows[0]["network_accuracy"] == "0.9"


def test_paths_may_be_runs_sweeps_days_and_globs(sweep):
    assert len(find([sweep])) == len(find([sweep.parent])) == len(find([sweep.parent.parent])) == 6
    assert len(find([sweep / "0-attribution=lime-seed=0"])) == 1
    assert len(find([str(sweep / "*lime*"), sweep])) == 6  # each once
    for wrong in ("nowhere", str(sweep / "*none*"), sweep.parent.parent / "empty"):
        (sweep.parent.parent / "empty").mkdir(exist_ok=True)
        with pytest.raises(WrongInput, match="no such folder|holds no run"):
            find([wrong])


def test_filters_keep_runs(sweep):
    assert len(compare(sweep, seed=0).complete) == 2
    assert len(compare(sweep, where={"seed": ["0", "1"], "state": "completed"}).complete) == 4
    only = compare(sweep, method="lime", metric=["sparseness"])
    assert set(only.table.method) == {"lime"} and set(only.table.metric) == {"sparseness"}
    for filters, said in (
        ({"sed": 1}, "sed: no run has this key. Did you mean seed?"),
        ({"seed": 7}, "seed=7: no run has it; there are: 0, 1"),
        ({"method": "lame"}, "method=lame: no run has it. Did you mean lime?"),
        ({"primary": "auroq"}, "primary=auroq: no run has this metric. Did you mean auroc?"),
    ):
        with pytest.raises(WrongInput) as wrong:
            compare(sweep, **filters)
        assert str(wrong.value).startswith(said)


def test_a_network_that_not_every_method_explained_is_left_out_and_said(sweep):
    shutil.rmtree(sweep / "3-attribution=shap-seed=1")
    (board,) = compare(sweep).boards
    assert len(board.networks) == 1
    assert board.notes == [
        "1 of 2 networks are left out: not every method explained them (missing somewhere: shap)"
    ]


def test_settings_make_boards_and_labels_of_their_own(tmp_path):
    base = noise(0)
    for steps in (5, 50):
        scores = {"lime": {"auroc": base + steps / 50}, "random": {"auroc": base - 2}}
        write(tmp_path, f"a{steps}", scores, arguments={"n_samples": steps})
    write(tmp_path, "b", {"lime": {"auroc": base}}, hidden=16, arguments={"n_samples": 5})
    found = compare(tmp_path)
    assert sorted(b.label for b in found.boards) == [
        "xor · mlp · model.mlp.hidden=16",
        "xor · mlp · model.mlp.hidden=8",
    ]
    first = next(b for b in found.boards if b.label.endswith("=8"))
    assert list(first.sources) == ["lime (n_samples=5)", "random", "lime (n_samples=50)"]
    assert set(found.settings) == {"model.mlp.hidden", "attribution.lime.arguments.n_samples"}


def test_the_page_says_who_is_first_on_each_board_and_orders_lists_by_their_numbers(tmp_path):
    for size in (8, 16, 128):
        scores = {"lime": {"auroc": noise(0) + size}, "random": {"auroc": noise(1) - 2}}
        write(tmp_path, f"h{size}", scores, hidden=[size])
    html = compare(tmp_path).save_page(tmp_path / "page.html").read_text(encoding="utf-8")
    assert "first on auroc" in html and "3 of 3 leaderboards" in html
    for number in range(3):
        assert f'href="#board-{number}-name"' in html and f'id="board-{number}-name"' in html
    assert "model.mlp.hidden = 8, 16, 128." in html


# -- one ruler ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ({"reference": "blank"}, {"reference": "mean"}, "reference: blank (1 runs), mean (1 runs)"),
        ({"steps": 10}, {"steps": 20}, "metric.auroc.steps: 10, 20"),
    ],
)
def test_mixed_rulers_are_refused_and_the_difference_is_named(tmp_path, first, second, said):
    for number, more in enumerate((first, second)):
        write(tmp_path, f"r{number}", {"lime": {"auroc": noise(0)}}, seed=number, **more)
    with pytest.raises(WrongInput) as wrong:
        compare(tmp_path)
    assert str(wrong.value).startswith(said) and "not compared" in str(wrong.value)
    key = str(wrong.value).rpartition("one at a time: ")[2].removesuffix("=...")
    value = {"baseline": "blank", "metric.auroc.steps": 10}[key]
    assert len(compare(tmp_path, where={key: value}).complete) == 1  # the remedy works


def test_features_may_differ_between_data_sets_only(tmp_path):
    for number, data in enumerate(("xor", "switch")):
        write(tmp_path, f"r{number}", {"lime": {"auroc": noise(0)}}, data=data)
    assert len(compare(tmp_path).boards) == 2


# -- several data sets -------------------------------------------------------------------------------------------------


def test_ranks_are_tested_from_three_data_sets_on(tmp_path):
    base = noise(0)
    for number in range(8):
        scores = {
            name: {"auroc": base + shift} for name, shift in (("lime", 2.0), ("shap", 1.0), ("random", 0.0))
        }
        write(tmp_path, f"r{number}", scores, data=f"data{number}")
    found = compare(tmp_path).ranking
    assert found.ranks == {"lime": 1.0, "shap": 2.0, "random": 3.0} and found.blocks == 8
    assert found.p < 0.001 and found.difference == pytest.approx(2.343 * (3 * 4 / (6 * 8)) ** 0.5, rel=1e-3)
    assert found.groups == (("lime", "shap"), ("shap", "random"))
    assert "is first in 8 of 8 data sets" in found.sentence and "cannot be told from shap" in found.sentence
    two = compare([tmp_path / "r0", tmp_path / "r1"]).ranking
    assert two.p is None and two.difference is None and "only tested over 3 or more" in two.sentence


# -- speed, command line, objects --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_five_hundred_runs_take_less_than_ten_seconds(tmp_path):
    """With a config, a table of scores and a summary as large as those of a default run."""
    for number in range(500):
        scores = {
            name: {metric: noise(number + i, 100) for metric in MODULES}
            for i, name in enumerate(("lime", "shap", "rise", "random"))
        }
        write(tmp_path / "sweep", f"{number:03}", scores, data=f"data{number % 5}", seed=number // 5)
    started = time.process_time()  # others may be using the machine
    found = compare(tmp_path)
    assert len(found.table) == 500 * 12 and "mean rank" in found.verdict
    comparing.show(found, io.StringIO())
    assert time.process_time() - started < 10


def test_the_command_writes_a_folder_and_says_where(sweep, tmp_path):
    said = io.StringIO()
    assert comparing.command([str(sweep), "seed=0", f"outputs={tmp_path / 'out'}"], said) == 0
    (folder,) = (tmp_path / "out").glob("*/*-comparison-*")
    assert {p.name for p in folder.iterdir()} == {"comparison.csv", "comparison.json", "report.html"}
    result = json.loads((folder / "comparison.json").read_text())
    assert result["boards"][0]["winners"] == ["lime"] and result["verdict"].startswith("lime is best")
    for line in ("lime > shap > random", str(folder / "report.html"), "2 of 3 runs"):
        assert line in said.getvalue()


def test_a_folder_with_an_equals_sign_is_a_path(sweep):
    settings, filters = comparing.parsed(
        [f"{sweep}/0-attribution=lime-seed=0", "seed=0,1", "+training.epochs=5"]
    )
    assert settings.paths == [f"{sweep}/0-attribution=lime-seed=0"]
    assert filters == {"seed": ["0", "1"], "training.epochs": ["5"]}


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["nowhere"], "error: nowhere: no such folder"),
        (["--pag=false"], "error: --pag=false: no such option"),
        (["examples=-1"], "error: examples=-1: "),
        (["page=perhaps"], "error: page=perhaps: "),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(typed, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert comparing.command(typed) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith(said)
    assert not (tmp_path / "outputs").exists()


def test_objects_draw_themselves(sweep):
    found = salience.compare(sweep)
    html = found._repr_html_()
    assert "lime is best on auroc" in html and "<table" in html and "2 runs have no scores" in html
    assert repr(found) == "Comparison(4 of 6 runs completed, 1 leaderboards)"


def test_damage_is_said_and_the_rest_is_compared(sweep):
    (sweep / "0-attribution=lime-seed=0" / "config.yaml").write_text("{")
    (sweep / "1-attribution=lime-seed=1" / "manifest.json").unlink()
    found = compare(sweep)
    assert ("1-attribution=lime-seed=1", "damaged") in {(r.path.name, r.state) for r in found.failed}
    assert any("config.yaml" in line for line in found.warnings)
    with pytest.raises(WrongInput, match="cannot be read"):
        (sweep / "2-attribution=shap-seed=0" / "scores.csv").write_text(
            "method,metric,example,score\na,b,c,d\n"
        )
        read_scores(sweep / "2-attribution=shap-seed=0" / "scores.csv")


def test_real_runs_have_a_page_with_a_gallery(tmp_path):
    """Written by the same code as a run's."""
    config = runs.CONFIG | {"target": "predicted", "split": "test", "only": "all", "metric": {}}
    for number in range(2):
        runs.write(tmp_path / f"day{number}", methods=("saliency", "lrp", "random"), shard=64, config=config)
    found = compare(tmp_path)
    assert len(found.complete) == 2 and len(found.boards) == 1
    html = found.save_page(tmp_path / "page.html").read_text(encoding="utf-8")
    assert html.count("<article") == runs.ROWS and "Agreement between methods" in html
    assert "Quality against cost" in html and "Curves" in html


def test_latest_is_a_word_for_the_newest_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WrongInput, match="outputs/latest: no such folder"):
        find(["latest"])
    (tmp_path / "outputs" / "latest").mkdir(parents=True)
    with pytest.raises(WrongInput, match="holds no run"):
        find(["latest"])
