"""Metrics in a run: what they cost, scores of the whole data set, networks trained anew, skill, controls, refusals."""

import json

import pytest
import torch

import salience
from salience import WrongInput
from salience.attribution.methods import Oracle, PositionPrior

SMALL = [
    "data=synthetic", "data.examples=200", "model=logistic", "training.epochs=3", "explained=10",
    "attribution=[input_x_gradient]",
]  # fmt: skip


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    metrics = (
        "metric=[deletion,infidelity,roar,shuffled_labels,rank_correlation,cascading_randomisation,auroc]"
    )
    folder = tmp_path_factory.mktemp("outputs")
    return salience.run([*SMALL, f"outputs={folder}", "controls=[random,oracle]", metrics])


def entry(result, method, metric):
    return result.summary["methods"][method]["metrics"][metric]


def test_a_metric_of_the_whole_data_set_has_one_score_and_a_curve(result):
    roar = result.scores[result.scores.metric == "roar"]
    assert len(roar) == 3 and roar.example.isna().all()
    assert entry(result, "random", "roar")["n"] == 1
    assert result.curves["random"]["roar"].shape == (1, 5)
    assert len(result.scores[result.scores.metric == "deletion"]) == 30


def test_networks_trained_anew_are_kept_in_the_store(result):
    networks = [p for p in (result.path.parents[1] / "networks").iterdir() if not p.name.startswith(".")]
    # the run's own, one on shuffled labels, and one for each of 5 shares and 3 methods; a ranking may coincide
    assert 12 <= len(networks) <= 17


def test_the_cost_of_a_metric_is_what_its_definition_requires(result):
    features = result.data.modalities[0].num_features
    for method in result.summary["methods"]:
        assert entry(result, method, "deletion")["cost"]["forward_rows"] == 10 * features
        assert entry(result, method, "infidelity")["cost"]["forward_rows"] == 10 * 50
        assert entry(result, method, "auroc")["cost"]["forward_rows"] == 0
    one = entry(result, "input_x_gradient", "cascading_randomisation")["cost"]
    assert (one["forward_rows"], one["backward_rows"]) == (10, 10)  # one layer, one explanation each


def test_skill_runs_from_random_to_the_best(result):
    assert entry(result, "random", "auroc")["skill"] == 0
    assert entry(result, "oracle", "rank_correlation")["skill"] == pytest.approx(1.0, abs=0.02)
    assert entry(result, "oracle", "deletion")["skill"] is None  # without a best value
    found = entry(result, "input_x_gradient", "auroc")
    floor = entry(result, "random", "auroc")["mean"]
    assert found["skill"] == pytest.approx((found["mean"] - floor) / (1 - floor))


def test_controls_that_ignore_the_network_show_it(result):
    assert entry(result, "oracle", "cascading_randomisation")["mean"] == pytest.approx(1.0)
    assert entry(result, "random", "shuffled_labels")["mean"] == pytest.approx(1.0)


def test_the_gate_is_told_and_kept(tmp_path):
    run = salience.run([*SMALL, f"outputs={tmp_path}", "gate=1.0", "metric=[sparseness]"])
    summary = json.loads((run.path / "summary.json").read_text())
    assert "below the gate of 1.0" in summary["network"]["warning"]


@pytest.mark.parametrize(
    "typed, said",
    [
        (["data=breast_cancer", "metric=rank_correlation"], "needs known weights"),
        (["data=breast_cancer", "controls=[oracle]"], "needs known weights"),
        (["data=breast_cancer", "metric=road"], "needs images"),
        (["metric=roar", "training.epochs=0"], "metric=roar: trains networks anew"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_training(typed, said, tmp_path):
    chosen = [o for o in SMALL if o.split("=")[0] not in {t.split("=")[0] for t in typed}]
    if "data=breast_cancer" in typed:
        chosen.remove("data.examples=200")
    with pytest.raises(WrongInput, match=said):
        salience.run([*chosen, *typed, f"outputs={tmp_path}", "dry=true"])


def test_the_position_prior_knows_only_the_place_and_the_oracle_only_the_weights():
    words, weights = torch.randn(2, 4, 3), torch.tensor([[0.0, 0.0], [3.0, -1.0]])
    prior = PositionPrior(lambda x: x.sum((1, 2))).attribute(words)
    assert torch.allclose(prior.sum(2), torch.tensor([[1, 1 / 2, 1 / 3, 1 / 4]] * 2))
    inputs, baselines = torch.tensor([[2.0, 5.0]]), torch.tensor([[1.0, 1.0]])
    oracle = Oracle(torch.nn.Linear(2, 2), weights)
    assert oracle.attribute(inputs, baselines, torch.tensor([1])).tolist() == [[3.0, -4.0]]
    assert oracle.attribute(inputs, baselines, torch.tensor([0])).tolist() == [[0.0, 0.0]]
    single = Oracle(torch.nn.Linear(2, 1), weights)  # speaks for the last class
    assert single.attribute(inputs, None, torch.tensor([0])).tolist() == [[6.0, -5.0]]
    with pytest.raises(WrongInput, match="needs known weights"):
        Oracle(torch.nn.Linear(2, 2))
