"""A run keeps what its methods compared with: one row, a row for each example, or the rows of a distribution."""

import pytest
import torch
from safetensors.torch import load_file

import salience

RUN = ("explained=4", "training.epochs=1", "metric=[completeness_gap,baseline_sensitivity]", "controls=[]")
STEPS = "attribution.integrated_gradients.arguments.n_steps=20"
METHODS = "attribution=[integrated_gradients,gradient_shap,feature_ablation,saliency]"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The same network with baselines of three kinds."""
    outputs = tmp_path_factory.mktemp("outputs")
    return {
        name: salience.run([f"outputs={outputs}", f"baseline={name}", *RUN, METHODS, STEPS])
        for name in ("samples", "mean", "nearest_other_class")
        if name != "nearest_other_class"
    } | {
        "nearest_other_class": salience.run(
            [f"outputs={outputs}", "baseline=nearest_other_class", *RUN,
             "attribution=[integrated_gradients,feature_ablation]", STEPS]
        )
    }  # fmt: skip


def stored(result, method: str) -> dict[str, torch.Tensor]:
    return load_file(result.path / "attributions" / method / "00000.safetensors")


def test_the_rows_of_a_distribution_are_stored_and_read_back(runs):
    result = runs["samples"]
    train = result.data.train.inputs[0]
    for method in ("integrated_gradients", "gradient_shap", "feature_ablation"):
        rows = stored(result, method)["background.0"]
        assert len(rows) > 1 and all(bool((row == train).all(1).any()) for row in rows), method
        read = result.explanations[method].load()
        assert read.baselines is None and torch.equal(read.background[0], rows), method
    assert "background.0" not in stored(result, "saliency")


def test_a_method_of_one_baseline_is_the_mean_over_them(runs):
    """Sums to f(x) - mean f(baseline), and equals the mean of single explanations."""
    result = runs["samples"]
    read = result.explanations["integrated_gradients"].load()
    single = [
        salience.explain(
            result.model,
            read.inputs[0],
            "integrated_gradients",
            target=read.target,
            baselines=row,
            n_steps=20,
        ).attributions[0]
        for row in read.background[0]
    ]
    torch.testing.assert_close(read.attributions[0], sum(single) / len(single), atol=1e-5, rtol=1e-4)
    outputs = result.model(read.background[0]).detach()[:, read.target].mean(0)
    change = read.score - outputs
    torch.testing.assert_close(
        read.attributions[0].sum(1) - read.convergence_delta, change, atol=1e-4, rtol=1e-4
    )
    assert read.details["steps"].tolist() == [20.0] * 4


def test_single_rows_and_rows_for_each_example_are_read_back(runs):
    mean = runs["mean"].explanations["integrated_gradients"].load()
    train = runs["mean"].data.train.inputs[0]
    torch.testing.assert_close(mean.baselines[0], train.mean(0, keepdim=True), atol=1e-5, rtol=1e-5)
    nearest = runs["nearest_other_class"].explanations["feature_ablation"].load()
    assert len(nearest.baselines[0]) == 4 and nearest.background is None
    assert all(bool((row == train).all(1).any()) for row in nearest.baselines[0])


def test_baseline_sensitivity_is_a_score_where_there_is_a_baseline(runs):
    methods = runs["mean"].summary["methods"]
    moved = {name: found["metrics"]["baseline_sensitivity"] for name, found in methods.items()}
    assert moved["integrated_gradients"]["mean"] > 0 and moved["feature_ablation"]["n"] == 4
    assert moved["saliency"]["undefined"] == 4, "it compares with nothing"
