"""Every method x every network x every modality: each works, or is refused with a reason; nothing else happens."""

import pytest
import torch
from known_networks import make_explainer, make_explicand
from small_worlds import MODALITIES, NETWORKS, largest, network, rows

from salience.attribution.inner import InnerExplainer
from salience.attribution.preflight import preflight
from salience.config import options
from salience.errors import WrongInput

EVERYWHERE = {
    ("mlp", "table"), ("mlp", "image"), ("mlp", "tokens"), ("cnn", "image"),
    ("transformer", "table"), ("transformer", "image"), ("transformer", "tokens"),
}  # fmt: skip
WITH_ATTENTION = {cell for cell in EVERYWHERE if cell[0] == "transformer"}
WITH_RULES = EVERYWHERE - WITH_ATTENTION
WITH_MAPS = {("cnn", "image")}
ANYWHERE = (
    "saliency", "integrated_gradients", "gradient_shap", "kernel_shap", "feature_ablation", "occlusion", "random",
    "input", "input_x_gradient", "lime", "shapley_values", "shapley_value_sampling", "smooth_grad", "rise",
    "feature_permutation", "layer_conductance", "neuron_gradient",
)  # fmt: skip
MUST_WORK = {
    **dict.fromkeys(ANYWHERE, EVERYWHERE),
    **dict.fromkeys(("attention_rollout", "gradient_x_attention", "transformer_lrp"), WITH_ATTENTION),
    **dict.fromkeys(("deep_lift", "deep_lift_shap", "guided_backprop", "deconvolution", "lrp"), WITH_RULES),
    **dict.fromkeys(("layer_grad_cam", "guided_grad_cam", "score_cam", "grad_cam_plus_plus"), WITH_MAPS),
}
"""Cells that may not be refused. Refusals elsewhere are listed by nobody: they must only say why."""
FEWER = {"n_samples": 40, "n_steps": 12}


def judged(method: str, model: str, kind: str) -> tuple[str | None, object]:
    """The reason of a refusal and None, or None and the explainer."""
    data, modality = rows(kind), MODALITIES[kind]
    try:
        explainer = make_explainer(method, network(model, kind), data, (modality,), baseline=None)
        fewer = {name: n for name, n in FEWER.items() if name in explainer.arguments}
        explainer.arguments |= fewer
        preflight(explainer, make_explicand(explainer, data[:2]))
        return None, explainer
    except WrongInput as refusal:
        assert not isinstance(refusal.__cause__, (NameError, AttributeError, LookupError)), (
            "a fault, not a reason"
        )
        return str(refusal), None


@pytest.mark.parametrize("kind", MODALITIES)
@pytest.mark.parametrize("model", NETWORKS)
@pytest.mark.parametrize("method", options("attribution"))
def test_works_or_says_why_not(method, model, kind):
    reason, explainer = judged(method, model, kind)
    if reason is not None:
        assert "\n" not in reason and 20 < len(reason) < 400
        assert (model, kind) not in MUST_WORK.get(method, ())
        return
    explanation = explainer.explain(make_explicand(explainer, rows(kind)[:3]))
    assert explanation.cost.seconds > 0
    shapes = [a.shape for a in explanation.attributions]
    assert all(a.isfinite().all() for a in explanation.attributions)
    if explanation.of_inputs:
        assert shapes == [x.shape for x in explanation.inputs]
        features = explanation.per_feature()
        assert features.shape == (3, MODALITIES[kind].num_features)
        assert (features[~explanation.present] == 0).all()
    else:
        assert all(len(a) == 3 for a in explanation.attributions)
    if not isinstance(explainer, InnerExplainer):  # a unit may be dead
        assert largest(explanation.attributions) > 0


def test_every_network_fits_somewhere():
    """The reasons above are not all the same one."""
    for model in NETWORKS:
        worked = [k for k in MODALITIES if judged("saliency", model, k)[0] is None]
        assert worked == ["image"] if model == "cnn" else worked == list(MODALITIES)
    with pytest.raises(WrongInput, match="reads one image"):
        network("cnn", "table")
    assert torch.is_grad_enabled()
