"""Changes under noise against Captum and closed forms."""

from dataclasses import replace

import pytest
import torch
from captum.metrics import sensitivity_max
from metric_cases import Curved, Linear, Method, explained, gradient_times_input, uniform, with_map, zeros

from salience.errors import WrongInput
from salience.metrics import robustness
from salience.randomness import Streams

STREAMS = Streams(0)
ALL = [
    robustness.Sensitivity(STREAMS),
    robustness.AverageSensitivity(STREAMS),
    robustness.LocalLipschitz(STREAMS),
    robustness.RelativeInputStability(STREAMS),
    robustness.RelativeOutputStability(STREAMS),
]


def curved_case(count: int = 7, features: int = 6):
    model = Curved(features)
    method = Method(model, gradient_times_input(model))
    return method, explained(method, uniform(count, features))


def noises(explanation, key: str, radius: float, samples: int) -> torch.Tensor:
    """The noise of every draw [samples, examples, features]."""
    copies = robustness.neighbours(explanation, STREAMS, key, radius, samples)
    return torch.stack([noisy[0] - explanation.inputs[0] for noisy in copies])


def test_sensitivity_equals_captum_for_the_same_noise():
    method, explanation = curved_case()
    noise = noises(explanation, "sensitivity", 0.1, 10)

    def perturb(inputs):
        return inputs + noise.transpose(0, 1).reshape(inputs.shape)

    def again(inputs, target):
        with torch.enable_grad():
            return method.formula(
                inputs if isinstance(inputs, tuple) else (inputs,), target, explanation.index
            )

    expected = sensitivity_max(
        again, explanation.inputs[0], perturb, n_perturb_samples=10, target=explanation.target
    )
    ours = robustness.Sensitivity(STREAMS, radius=0.1)(method, explanation, zeros(explanation)).scores
    assert torch.allclose(ours, expected.double(), rtol=1e-4)
    mean = robustness.AverageSensitivity(STREAMS, radius=0.1)(method, explanation, zeros(explanation)).scores
    assert (mean < ours).all() and (mean > 0).all()


def test_closed_forms_of_a_linear_model():
    w = torch.tensor([[3.0, 1.0, -2.0]])
    model = Linear(w)
    method = Method(model, lambda xs, target, index: (xs[0] * w,))
    explanation = explained(method, uniform(5, 3) + 2)
    x, a = explanation.inputs[0], explanation.per_feature()
    changes = (noises(explanation, "local_lipschitz", 0.1, 10) * w).norm(dim=2)
    lengths = noises(explanation, "local_lipschitz", 0.1, 10).norm(dim=2)
    expected = (changes / lengths / a.norm(dim=1)).amax(0)
    ours = robustness.LocalLipschitz(STREAMS)(method, explanation, zeros(explanation)).scores
    assert torch.allclose(ours, expected.double(), rtol=1e-4)
    # (w d) / (w x) is d / x: relative changes of input and map are the same
    ratio = robustness.RelativeInputStability(STREAMS)(method, explanation, zeros(explanation)).scores
    assert torch.allclose(ratio, torch.ones(5, dtype=torch.float64), rtol=1e-3)
    noise = noises(explanation, "relative_output_stability", 0.02, 10)
    expected = ((noise / x).norm(dim=2) / (noise * w).sum(2).abs()).amax(0)
    ratio = robustness.RelativeOutputStability(STREAMS)(method, explanation, zeros(explanation)).scores
    assert torch.allclose(ratio, expected.double(), rtol=1e-2)


@pytest.mark.parametrize("metric", ALL, ids=lambda m: m.key)
def test_a_map_that_never_changes_is_perfectly_stable(metric):
    model = Curved(6)
    method = Method(model, lambda xs, target, index: (torch.ones_like(xs[0]),))
    explanation = explained(method, uniform(4, 6))
    assert metric(method, explanation, zeros(explanation)).scores.tolist() == [0.0] * 4


@pytest.mark.parametrize("metric", ALL, ids=lambda m: m.key)
def test_undefined_where_all_attributions_are_zero(metric):
    method, explanation = curved_case()
    nothing = with_map(explanation, torch.zeros(7, 6))
    assert metric(method, nothing, zeros(nothing)).scores.isnan().all()


def test_noise_is_bounded_and_spares_what_is_absent():
    _, explanation = curved_case()
    present = explanation.present.clone()
    present[2, 3:] = False
    padded = replace(explanation, present=present)
    noise = noises(padded, "sensitivity", 0.05, 20)
    assert noise.abs().max() <= 0.05 + 1e-6 and noise.abs().max() > 0.04
    assert (noise[:, 2, 3:] == 0).all() and (noise[:, 2, :3] != 0).all()
    assert not torch.equal(noise[0], noise[1])


def test_a_copy_keeps_the_index_the_target_and_the_baselines_of_its_original():
    seen = []

    class Recording(Method):
        def attribute(self, inputs, baselines, target, index, context, feature_mask):
            seen.append((baselines, target, index, len(inputs[0])))
            return self.formula(inputs, target, index), None

    model = Curved(6)
    method = Recording(model, gradient_times_input(model))
    explanation = explained(method, uniform(3, 6), index=torch.tensor([5, 8, 2]))
    own, rows = (torch.ones(1, 6),), (torch.ones(4, 6),)
    metric = robustness.Sensitivity(STREAMS, samples=2)
    metric(method, replace(explanation, baselines=own), zeros(explanation))
    metric(method, replace(explanation, background=rows), zeros(explanation))
    assert [s[0] for s in seen] == [own, own, rows, rows]
    assert all(
        torch.equal(s[1], explanation.target) and s[2].tolist() == [5, 8, 2] and s[3] == 3 for s in seen
    )


def test_wrong_options_are_named():
    with pytest.raises(WrongInput, match=r"metric\.sensitivity\.radius=0"):
        robustness.Sensitivity(STREAMS, radius=0)
    with pytest.raises(WrongInput, match=r"metric\.local_lipschitz\.samples=0"):
        robustness.LocalLipschitz(STREAMS, samples=0)
