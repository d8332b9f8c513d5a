"""Our values against Quantus and POT, where those are right, and where Quantus is known to be wrong: ours is not.

They are the extra `oracles`: `pytest -m oracles`. Inputs have Quantus' shape [examples, 1, height, width].
"""

import importlib.util
from dataclasses import replace

import numpy as np
import pytest
import torch
from metric_cases import Curved, Linear, Method, explained, gradient_times_input, uniform, with_map, zeros

from salience.metrics.axioms import CompletenessGap
from salience.metrics.complexity import Complexity, EffectiveComplexity, Sparseness
from salience.metrics.curves import descending
from salience.metrics.faithfulness import Deletion
from salience.metrics.localisation import PointingGame, RelevanceMass, RelevanceRank, TopKIntersection
from salience.metrics.randomisation import histogram_entropy
from salience.metrics.subsets import FaithfulnessCorrelation, FaithfulnessEstimate, Infidelity, random_sets
from salience.metrics.transport import EarthMovers, work
from salience.modality import Image
from salience.randomness import Streams

pytestmark = pytest.mark.oracles
STREAMS = Streams(7)
QUIET = {"disable_warnings": True, "display_progressbar": False, "normalise": False}


@pytest.fixture(scope="module")
def quantus():
    """Quantus without zennit, which it imports where it finds it, and which wants torchvision."""
    with pytest.MonkeyPatch.context() as patch:
        found = importlib.util.find_spec
        patch.setattr(importlib.util, "find_spec", lambda n, *a: None if n == "zennit" else found(n, *a))
        import quantus
    return quantus


@pytest.fixture
def case():
    """A small image network, its gradient x input, and a reference of zeros."""
    model = Curved(16)
    method = Method(model, gradient_times_input(model))
    relevant = uniform(6, 16, seed=5) > 0.3
    explanation = explained(method, uniform(6, 1, 4, 4), relevant=relevant)
    return method, explanation, zeros(explanation)


def ours(metric, case) -> list[float]:
    return metric(*case).scores.tolist()


def theirs(metric, case, **options) -> list[float]:
    method, explanation, _ = case
    called = metric(
        model=method.model.model,
        x_batch=explanation.inputs[0].numpy(),
        y_batch=explanation.target.numpy(),
        a_batch=explanation.attributions[0].numpy(),
        s_batch=explanation.relevant.reshape(6, 1, 4, 4).numpy(),
        **options,
    )
    return np.asarray(called, dtype=np.float64)


def test_shape_of_a_map(quantus, case):
    assert ours(Sparseness(), case) == pytest.approx(
        theirs(quantus.Sparseness(abs=True, **QUIET), case), abs=1e-6
    )
    assert ours(Complexity(), case) == pytest.approx(
        theirs(quantus.Complexity(abs=True, **QUIET), case), abs=1e-6
    )


def test_localisation(quantus, case):
    pairs = [
        (RelevanceRank(), quantus.RelevanceRankAccuracy(abs=True, **QUIET)),
        (RelevanceMass(), quantus.RelevanceMassAccuracy(abs=True, **QUIET)),
        (PointingGame(), quantus.PointingGame(abs=True, **QUIET)),
        (TopKIntersection(k=5), quantus.TopKIntersection(k=5, abs=True, **QUIET)),
    ]
    for metric, other in pairs:
        assert ours(metric, case) == pytest.approx(theirs(other, case), abs=1e-6), type(metric).__name__


def test_faithfulness_correlation_over_the_same_sets(quantus, case, monkeypatch):
    _, explanation, _ = case
    sets = random_sets(explanation, STREAMS, "faithfulness_correlation", 30, 0.25)
    drawn = iter([sets[e, s].nonzero()[:, 0].numpy() for s in range(30) for e in range(6)])
    monkeypatch.setattr(np.random, "choice", lambda *_, **__: next(drawn))
    other = quantus.FaithfulnessCorrelation(
        nr_runs=30, subset_size=4, perturb_baseline=0.0, abs=False, return_aggregate=False, **QUIET
    )
    expected = theirs(other, case, softmax=False)
    found = ours(FaithfulnessCorrelation(STREAMS, share=0.25, samples=30), case)
    assert found == pytest.approx(expected, abs=1e-6)


def test_faithfulness_estimate(quantus, case):
    other = quantus.FaithfulnessEstimate(features_in_step=1, perturb_baseline=0.0, abs=False, **QUIET)
    assert ours(FaithfulnessEstimate(), case) == pytest.approx(theirs(other, case, softmax=False), abs=1e-6)


@pytest.mark.parametrize("softmax", [False, True])
def test_pixel_flipping(quantus, case, softmax):
    method, explanation, reference = case
    if softmax:
        method.model.link = lambda outputs: outputs.softmax(1)
        explanation = explained(method, *explanation.inputs, relevant=explanation.relevant)
    other = quantus.PixelFlipping(features_in_step=1, perturb_baseline=0.0, abs=False, **QUIET)
    curve = theirs(other, (method, explanation, reference), softmax=softmax)
    found = Deletion(STREAMS, steps=16)(method, explanation, reference)
    assert found.curve[:, 1:].numpy() == pytest.approx(curve, abs=1e-6)  # theirs leaves f(x) out


def test_histogram_entropy_is_that_of_scipy(case):
    from scipy import stats

    values = case[1].per_feature()
    found = histogram_entropy(values, case[1].present, 20)
    counts = [np.histogram(row, bins=20)[0] for row in values.double().numpy()]
    assert found.tolist() == pytest.approx([stats.entropy(c) for c in counts])


# -- what Quantus gets wrong -------------------------------------------------------------------------------------------


@pytest.fixture
def linear():
    """A linear network with its exact attributions."""
    weights = uniform(3, 16, seed=2)
    model = Linear(weights)
    method = Method(model, gradient_times_input(model))
    explanation = explained(method, uniform(6, 1, 4, 4), relevant=uniform(6, 16, seed=5) > 0.3)
    return method, explanation, zeros(explanation)


def test_their_black_baseline_is_the_darkest_pixel_and_ours_is_the_methods(quantus, linear):
    other = quantus.FaithfulnessEstimate(perturb_baseline="black", abs=False, **QUIET)
    assert np.mean(theirs(other, linear, softmax=False)) < 0.95
    assert ours(FaithfulnessEstimate(), linear) == pytest.approx([1.0] * 6)


def test_their_softmax_bends_what_is_linear_and_ours_stays_in_the_explained_space(quantus, linear):
    other = quantus.FaithfulnessEstimate(perturb_baseline=0.0, abs=False, **QUIET)
    assert np.mean(theirs(other, linear, softmax=True)) < 0.999
    assert ours(FaithfulnessCorrelation(STREAMS), linear) == pytest.approx([1.0] * 6)


def test_their_completeness_never_holds_and_our_gap_is_zero(quantus, linear):
    assert not theirs(quantus.Completeness(abs=False, disable_warnings=True), linear, softmax=False).any()
    assert ours(CompletenessGap(), linear) == pytest.approx([0.0] * 6, abs=1e-5)


def test_their_infidelity_of_an_exact_map_is_not_zero_and_ours_is(quantus, linear):
    other = quantus.Infidelity(
        perturb_baseline=0.0, perturb_patch_sizes=[2], n_perturb_samples=3, abs=False, **QUIET
    )
    assert np.mean(theirs(other, linear, softmax=False)) > 1e-3
    assert ours(Infidelity(STREAMS), linear) == pytest.approx([0.0] * 6, abs=1e-9)


def test_their_effective_complexity_counts_everything_and_ours_what_matters(quantus, case):
    method, explanation, reference = case
    values = torch.full((6, 1, 4, 4), 1e-3)
    values[:, 0, 0, 0] = 1.0
    one = (method, with_map(explanation, values.reshape(6, 16)), reference)
    assert theirs(quantus.EffectiveComplexity(abs=True, **QUIET), one).tolist() == [16.0] * 6
    assert ours(EffectiveComplexity(), one) == [1.0] * 6


def test_their_sorting_depends_on_the_place_where_ours_is_random(quantus):
    """Of a constant map, theirs hides the features in some fixed order, whatever they are worth."""
    model = Linear(torch.eye(16)[:3])
    method = Method(model, lambda xs, target, index: (torch.ones_like(xs[0]),))
    explanation = explained(method, torch.ones(40, 1, 4, 4), target=torch.zeros(40, dtype=torch.long))
    order = descending(explanation.per_feature(), explanation, STREAMS, "deletion")
    assert len({tuple(row.tolist()) for row in order}) == 40


# -- POT ---------------------------------------------------------------------------------------------------------------


def test_earth_movers_equals_pot():
    import ot

    generator = np.random.default_rng(0)
    places = np.stack(np.meshgrid(range(4), range(5), indexing="ij"), -1).reshape(-1, 2)
    far = np.linalg.norm(places[:, None] - places[None], axis=-1)
    far = far / far.max()
    for _ in range(20):
        have, want = generator.random(20), generator.random(20) * (generator.random(20) > 0.6)
        have, want = have / have.sum(), want / want.sum()
        assert work(have, want, far) == pytest.approx(ot.emd2(have, want, far), abs=1e-6)


def test_earth_movers_metric_equals_pot_on_an_image(case):
    import ot

    method, explanation, reference = case
    explanation = replace(explanation, modalities=(Image((1, 4, 4)),))
    places = np.stack(np.meshgrid(range(4), range(4), indexing="ij"), -1).reshape(-1, 2)
    far = np.linalg.norm(places[:, None] - places[None], axis=-1) / np.hypot(3, 3)
    size, relevant = explanation.per_feature().double().abs().numpy(), explanation.relevant.double().numpy()
    expected = [1 - ot.emd2(a / a.sum(), r / r.sum(), far) for a, r in zip(size, relevant, strict=True)]
    assert ours(EarthMovers(), (method, explanation, reference)) == pytest.approx(expected, abs=1e-6)
