"""What becomes of a guard's objection: an error, a warning, nothing; in a run as in memory."""

import captum.attr
import pytest
import torch
from known_networks import Fixed, examples, linear, make_explainer, make_explicand, random_mlp
from test_guards import IMAGES, B, X, cnn, refused
from torch import nn

import salience
from salience.attribution.guards import NotFinite, Refused
from salience.attribution.preflight import preflight
from salience.errors import WrongInput

pytestmark = pytest.mark.filterwarnings("ignore")  # Captum narrates its hooks


@pytest.mark.parametrize(
    ("method", "model", "rows", "reason"),
    [
        ("guided_backprop", random_mlp(activation=nn.Tanh), X, "no nn.ReLU"),
        ("deep_lift", cnn(nn.Softmax(1)), IMAGES, "softmax"),
        ("captum_feature_permutation", random_mlp(), X[:1], "one row"),
    ],
)
def test_guards_refuse_warn_or_are_silent(method, model, rows, reason):
    data = examples(rows)
    with pytest.raises(Refused, match=reason):
        explainer = make_explainer(method, model, data)
        explainer.explain(make_explicand(explainer, data))
    warned = make_explainer(method, model, data, guarded="warn")
    explanation = warned.explain(make_explicand(warned, data))
    assert any(reason in w for w in explanation.warnings)
    silent = make_explainer(method, model, data, guarded="off")
    quiet = silent.explain(make_explicand(silent, data))
    assert quiet.warnings == () and torch.equal(quiet.attributions[0], explanation.attributions[0])
    preflight(warned, make_explicand(warned, data))


def test_attributions_that_are_not_finite():
    model = nn.Sequential(linear(torch.ones(2, 6)))
    x = X.clone()
    x[2, 0] = float("nan")
    with pytest.raises(NotFinite, match="attributions of example 2 are not finite"):
        salience.explain(model, x, "input_x_gradient")
    data = examples(x)
    warned = make_explainer("input_x_gradient", model, data, guarded="warn")
    assert any("not finite" in w for w in warned.explain(make_explicand(warned, data)).warnings)


def test_the_message_names_the_method_and_the_remedy():
    assert refused("deep_lift", cnn(nn.Softmax(1)), (IMAGES,)).startswith(
        "attribution=deep_lift: a softmax inside"
    )
    fixed = Fixed(B[:3])
    with pytest.raises(
        WrongInput, match="attribution=deep_lift: 3 baselines for 4 examples; give one, or one per"
    ):
        explainer = make_explainer("deep_lift", random_mlp(), examples(X), baseline=fixed)
        explainer.explain(make_explicand(explainer, examples(X)))


def test_explain_takes_the_level():
    model = random_mlp(activation=nn.Tanh)
    with pytest.raises(Refused, match="no nn.ReLU"):
        salience.explain(model, X, "guided_backprop", target=0)
    warned = salience.explain(model, X, "guided_backprop", target=0, guards="warn")
    assert any("no nn.ReLU" in w for w in warned.warnings)
    silent = salience.explain(model, X, captum.attr.GuidedBackprop, target=0, guards="off")
    assert silent.warnings == () and torch.equal(silent.attributions[0], warned.attributions[0])
    with pytest.raises(WrongInput, match="guards=loud: one of error, warn, off"):
        salience.explain(model, X, "saliency", guards="loud")


def test_runs_take_the_level(tmp_path):
    asked = [
        f"outputs={tmp_path}", "explained=3", "training=none", "metric=[sparseness]", "controls=[]",
        "model=logistic", "attribution=[guided_backprop]",
    ]  # fmt: skip
    with pytest.raises(WrongInput, match="no nn.ReLU"):
        salience.run(asked)
    for level, said in (("warn", True), ("off", False)):
        summary = salience.run([*asked, f"guards={level}"]).summary
        warnings = summary["methods"]["guided_backprop"]["warnings"]
        assert any("no nn.ReLU" in w for w in warnings) == said, level
