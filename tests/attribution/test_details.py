"""What methods say of each example beside its attributions: steps, gaps, verdicts, how well a surrogate fits."""

import captum.attr
import pytest
import torch
from known_networks import random_mlp, random_rows
from safetensors.torch import load_file
from torch import nn

import salience
from salience.attribution.neurons import NeuronConductance
from salience.shards import joined

X = random_rows(5, 6)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return random_mlp()


def test_integrated_gradients_take_steps_until_complete(model):
    got = salience.explain(model, X, "integrated_gradients")
    details = got.details
    assert set(details) == {"steps", "gap", "complete"} and bool(details["complete"].all())
    assert set(details["steps"].tolist()) <= {50, 100, 200, 400, 800, 1600}
    torch.testing.assert_close(details["gap"], got.convergence_delta)
    change = (got.attributions[0].sum(1) - details["gap"]).abs()
    assert bool((details["gap"].abs() <= 1e-3 * change + 1e-4).all())
    for row in range(len(X)):  # fewer would not have done
        steps = int(details["steps"][row])
        if steps > 50:
            fewer = salience.explain(model, X[row : row + 1], "integrated_gradients", n_steps=steps // 2)
            assert not fewer.details["complete"].item()


def test_a_number_of_steps_stays_a_number(model):
    got = salience.explain(model, X, "integrated_gradients", n_steps=50)
    assert got.details["steps"].tolist() == [50] * 5
    wanted = captum.attr.IntegratedGradients(model).attribute(X, target=model(X).argmax(1), n_steps=50)
    assert (got.attributions[0] - wanted).abs().max() <= 1e-6


def test_a_spent_budget_is_said():
    """A step of height 1 at a place that no quadrature finds soon."""

    class Steep(nn.Module):
        def forward(self, x):
            return torch.sigmoid(20_000 * (x - 0.4321)).sum(1)

    got = salience.explain(Steep(), torch.ones(2, 1), "integrated_gradients")
    assert got.details["steps"].tolist() == [1600] * 2 and not bool(got.details["complete"].any())
    assert any("incomplete for 2 of 2" in w and "1600" in w for w in got.warnings)


def test_deep_lift_is_judged_and_lime_says_how_it_fits(model):
    assert bool(salience.explain(model, X, "deep_lift").details["complete"].all())
    lime = salience.explain(model, X, "lime").details
    assert bool(((lime["surrogate_r2"] > 0) & (lime["surrogate_r2"] <= 1)).all())
    assert lime["zero_fraction"].tolist() == [0.0] * 5
    assert dict(salience.explain(model, X, "saliency").details) == {}


def test_methods_of_layers_say_their_steps(model):
    for name in ("layer_conductance", "layer_integrated_gradients", "neuron_integrated_gradients"):
        details = salience.explain(model, X, name, layer="0").details
        assert set(details) == {"steps", "gap", "complete"} and bool(details["complete"].all()), name


def test_neuron_conductance_doubles_until_it_settles(model):
    target = model(X).argmax(1)
    fine = captum.attr.NeuronConductance(model, model[0]).attribute(
        X, (1,), target=target, n_steps=3200, method="gausslegendre"
    )
    method = NeuronConductance(model, model[0])
    auto = method.attribute(X, 1, target=target, n_steps="auto", method="gausslegendre")
    assert bool(method.details["complete"].all()) and method.details["steps"].min() >= 100
    allowed = 4e-3 * fine.sum(1).abs() + 1e-3
    assert bool(((auto - fine).sum(1).abs() <= allowed).all())
    few = method.attribute(X, 1, target=target, n_steps=7)
    wanted = captum.attr.NeuronConductance(model, model[0]).attribute(X, (1,), target=target, n_steps=7)
    torch.testing.assert_close(few, wanted)
    with pytest.raises(ValueError, match="n_steps=0"):
        method.attribute(X, 1, target=target, n_steps=0)


def test_details_are_cut_and_joined_with_their_examples(model):
    whole = salience.explain(model, X, "integrated_gradients")
    again = joined([whole.rows(slice(0, 2)), whole.rows(slice(2, 5))])
    for name, values in whole.details.items():
        assert torch.equal(again.details[name], values), name


def test_a_run_keeps_and_shows_them(tmp_path):
    result = salience.run(
        [
            f"outputs={tmp_path}", "explained=7", "training.epochs=1", "metric=[completeness_gap]", "controls=[]",
            "attribution=[integrated_gradients,lime]",
        ]
    )  # fmt: skip
    stored = load_file(result.path / "attributions" / "integrated_gradients" / "00000.safetensors")
    read = result.explanations["integrated_gradients"].load().details
    assert set(read) == {"steps", "gap", "complete"}
    assert all(torch.equal(read[name], stored[f"details.{name}"]) and len(read[name]) == 7 for name in read)
    found = result.summary["methods"]["integrated_gradients"]["details"]
    assert found["steps"]["least"] >= 50 and 0 <= found["complete"]["mean"] <= 1
    page = (result.path / "report.html").read_text(encoding="utf-8")
    assert "complete" in page and "surrogate r2" in page and "steps " in page
