"""What every metric must do, over every config: the product of metrics and kinds of input."""

import inspect
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from metric_cases import (
    Bag,
    Curved,
    Linear,
    Method,
    Retrain,
    explained,
    gradient_times_input,
    uniform,
    with_map,
    zeros,
)
from omegaconf import OmegaConf

from salience.attribution.explanation import Explanation
from salience.edge.targets import build
from salience.metrics.base import Measurement, Metric, Reference
from salience.modality import Image
from salience.randomness import Streams

CONFIGS = Path(__file__).parents[2] / "configs" / "metric"
ALL = sorted(path.stem for path in CONFIGS.glob("*.yaml"))
STREAMS = Streams(7)


def metric(name: str, features: int = 8, model: torch.nn.Module | None = None, **options) -> Metric:
    """As a run builds it for so many features and this network, with some options changed."""
    node = OmegaConf.to_container(OmegaConf.load(CONFIGS / f"{name}.yaml"))[name]
    weights = uniform(3, 64, seed=6)[:, :features]
    known = {"streams": STREAMS, "weights": weights, "retrain": Retrain(model or torch.nn.Linear(3, 2))}
    return build({**node, **options}, **{**known, **{k: v for k, v in options.items() if k in known}})


NAMES = [name for name in ALL if metric(name).per_example]
NO_TRUTH = {
    "complexity", "sparseness", "effective_complexity", "mask_entropy", "mask_information", "rating_correlation",
    "aur", "monotonicity", "earth_movers",
}  # fmt: skip
"""These ask what a map looks like, what people think, how saturated or even it is, or what the function is like."""
ABOUT_CHANGE = ("robustness", "baseline", "randomisation", "retraining")
STABLE = {n for n in NAMES if type(metric(n)).__module__.endswith(ABOUT_CHANGE)} | {"input_shift"}
"""These ask how much a map changes: a map that is wrong everywhere alike is stable."""
SOMETIMES = {"dummy": {"flat"}, "symmetry": set(), "road": {"image"}}
"""These are undefined elsewhere: without a dummy, twins or an image."""


@dataclass
class Case:
    """An explanation with everything that any metric asks for."""

    method: Method
    explanation: Explanation
    reference: Reference

    def scores(self, name: str, **options) -> torch.Tensor:
        return self.measure(name, **options).scores

    def measure(self, name: str, **options) -> Measurement:
        known = {"features": self.explanation.num_features, "model": self.method.model.model}
        return metric(name, **known, **options)(self.method, self.explanation, self.reference)

    def rows(self, at) -> "Case":
        part = replace(self, explanation=self.explanation.rows(at), reference=self.reference.rows(at))
        return replace(part, method=Method(self.method.model.model, self.method.formula, self.method.of))


def judged_by_people(explanation: Explanation, seed: int = 4) -> Explanation:
    """With relevant features and ratings, the latter for most features."""
    shape = explanation.present.shape
    ratings = uniform(*shape, seed=seed)
    ratings[:, 0] = torch.nan
    return replace(explanation, relevant=uniform(*shape, seed=seed + 1) > 0.3, ratings=ratings)


def flat() -> Case:
    """A table whose last column changes nothing."""
    model = Curved(8)
    model.first.data[:, 7] = 0
    method = Method(model, gradient_times_input(model))
    explanation = judged_by_people(explained(method, uniform(6, 8)))
    return Case(method, explanation, zeros(explanation))


def image() -> Case:
    """Patches of pixels over two channels, and a reference per example."""
    model = Curved(2 * 4 * 4)
    method = Method(model, gradient_times_input(model))
    rows = torch.arange(4) // 2
    mask = (rows[:, None] * 2 + rows).expand(1, 2, 4, 4)
    explanation = judged_by_people(explained(method, uniform(6, 2, 4, 4), mask=(mask,)))
    explanation = replace(explanation, modalities=(Image((2, 4, 4), "image", patch=2),))
    return Case(method, explanation, Reference((uniform(6, 2, 4, 4, seed=9) / 5,)))


def two_inputs() -> Case:
    """A table and a series, features numbered through."""
    model = Curved(3 + 2 * 4)
    method = Method(model, gradient_times_input(model))
    explanation = judged_by_people(explained(method, uniform(6, 3), uniform(6, 2, 4, seed=1)))
    return Case(method, explanation, zeros(explanation))


def tokens(padding: int = 3) -> Case:
    """Sentences of 4 to 6 embedded tokens, filled up with `padding` more positions than the longest needs."""
    lengths, longest = torch.tensor([6, 4, 5, 6, 4, 5]), 6
    present = torch.arange(longest + padding) < lengths[:, None]
    real = uniform(6, longest, 3) * present[:, :longest, None]
    noise = torch.full((6, padding, 3), 5.0)  # what lies there must not matter
    values = torch.cat([real, noise], 1)
    mask = torch.arange(longest + padding)[None, :, None].expand(1, -1, 3)
    model, padded = Bag(3), ~present
    method = Method(model, lambda xs, target, index: (xs[0] * torch.tensor([1.0, -2.0, 0.5]),))
    explanation = explained(method, values, mask=(mask,), present=present, context=(padded,))
    ratings, relevant = uniform(6, longest, seed=4), uniform(6, longest, seed=5) > 0.3
    fill = uniform(6, padding, seed=padding)
    explanation = replace(
        explanation,
        ratings=torch.cat([ratings, fill], 1),
        relevant=torch.cat([relevant, fill > 0], 1),
    )
    return Case(method, explanation, zeros(explanation))


CASES = {"flat": flat, "image": image, "two_inputs": two_inputs, "tokens": tokens}


def same(a: torch.Tensor, b: torch.Tensor, tolerance: float = 1e-5) -> bool:
    return torch.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", CASES)
def test_scores_lie_in_the_range_for_every_kind_of_input(name, kind):
    case = CASES[kind]()
    measured, made = case.measure(name), metric(name)
    scores = measured.scores
    assert scores.shape == (6,) and scores.dtype == torch.float64 and not scores.requires_grad
    assert scores.isfinite().any() == (kind in SOMETIMES.get(name, {kind}))
    low, high = made.range
    known = scores[scores.isfinite()]
    assert ((known >= low) & (known <= high)).all()
    assert (
        made.best is None
        or (known <= made.best + 1e-9 if made.higher_is_better else known >= made.best - 1e-9).all()
    )
    if measured.curve is not None:
        assert measured.curve.shape == (6, len(measured.at)) and measured.at.diff().gt(0).all()


@pytest.mark.parametrize("name", NAMES)
def test_padding_changes_no_score(name):
    assert same(tokens(padding=0).scores(name), tokens(padding=5).scores(name))


@pytest.mark.parametrize(
    "name", [n for n in NAMES if "rows" in inspect.signature(type(metric(n))).parameters]
)
@pytest.mark.parametrize("kind", CASES)
def test_the_size_of_a_pass_changes_no_score(name, kind):
    case = CASES[kind]()
    assert same(case.scores(name, rows=3), case.scores(name, rows=10_000))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", CASES)
def test_batch_mates_change_no_score(name, kind):
    case = CASES[kind]()
    whole = case.scores(name)
    order = torch.tensor([4, 1, 5])
    tolerance = (
        1e-3 if name in STABLE else 1e-5
    )  # small differences of float32 gradients, relative to small values
    assert same(case.rows(order).scores(name), whole[order], tolerance)
    assert same(case.rows(slice(2, 3)).scores(name), whole[2:3], tolerance)


@pytest.mark.parametrize("name", NAMES)
def test_blocks_of_examples_change_no_score(name, monkeypatch):
    from salience.metrics import subsets
    from salience.metrics.base import in_blocks

    case = tokens()
    whole = case.measure(name)
    monkeypatch.setattr(
        subsets, "in_blocks", lambda judge, x, r, n: in_blocks(judge, x, r, n, elements=2 * n)
    )
    parts = case.measure(name)
    assert same(parts.scores, whole.scores)
    assert whole.curve is None or same(parts.curve, whole.curve)


UNSCALED = {"completeness_gap", "infidelity_plain"}
"""These judge the size of attributions."""


@pytest.mark.parametrize("name", NAMES)
def test_scaling_attributions_changes_no_score(name):
    case, times = flat(), 1000.0
    formula = case.method.formula

    def louder_of(formula):
        return lambda *given: tuple(a * times for a in formula(*given))

    louder = Method(case.method.model.model, louder_of(formula), lambda model: louder_of(formula.of(model)))
    scaled = replace(case.explanation, attributions=tuple(a * times for a in case.explanation.attributions))
    scores = replace(case, method=louder, explanation=scaled).scores(name)
    assert same(scores, case.scores(name)) != (name in UNSCALED)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_call_gives_the_same_bits_and_leaves_global_streams_alone(name):
    case, before = flat(), torch.get_rng_state()
    first, second = case.scores(name), case.scores(name)
    assert torch.equal(first.nan_to_num(-1e9), second.nan_to_num(-1e9))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", NAMES)
def test_attributions_that_are_not_finite_are_undefined_and_harm_no_other(name):
    case = flat()
    broken = case.explanation.attributions[0].clone()
    broken[1, 2] = torch.nan
    scores = replace(case, explanation=replace(case.explanation, attributions=(broken,))).scores(name)
    expected = case.scores(name)
    assert scores[1].isnan()
    assert same(scores[[0, 2, 3, 4, 5]], expected[[0, 2, 3, 4, 5]])


@pytest.mark.parametrize("name", NAMES)
def test_without_a_present_feature_a_score_is_undefined(name):
    case = tokens()
    present = case.explanation.present.clone()
    present[0] = False
    scores = replace(case, explanation=replace(case.explanation, present=present)).scores(name)
    assert scores[0].isnan()
    assert same(scores[1:], case.scores(name)[1:])


@pytest.mark.parametrize("name", ALL)
def test_a_config_lists_every_option_and_its_docstring_says_what_counts(name):
    made = metric(name)
    assert made.key == name
    listed = set(OmegaConf.load(CONFIGS / f"{name}.yaml")[name]) - {"_target_"}
    assert listed == set(inspect.signature(type(made)).parameters) - {"streams", "rows", "weights", "retrain"}
    text = " ".join(inspect.getdoc(type(made)).split())
    assert ("igher is better" in text) == made.higher_is_better and (
        "ower is better" in text
    ) != made.higher_is_better
    assert any(str(year) in text for year in range(2006, 2026))  # the paper
    assert len(inspect.getdoc(type(made)).splitlines()[0]) <= 110


# -- direction: the true map of a linear model against worse ones -----------------------------------------------------

WEIGHTS = torch.tensor([4.0, -3.0, 2.0, 1.5, -1.0, 0.7, 0.0, 0.0])
DIRECTED = [n for n in NAMES if n not in NO_TRUTH | STABLE | set(SOMETIMES) - {"dummy"}]


def linear(share: float, count: int = 300) -> Case:
    """Exact attributions of a linear model, of which `share` has been replaced by noise of the same size.

    Relevant are the features with a weight. Inputs are positive, so that a weight's sign is the attribution's.
    """
    model = Linear(torch.stack([WEIGHTS, torch.zeros(8)]))
    inputs = uniform(count, 8) / 2 + 1
    method = Method(model, lambda xs, target, index: (xs[0] * WEIGHTS,))
    true = explained(method, inputs, target=torch.zeros(count, dtype=torch.long))
    noise = uniform(count, 8, seed=3) * 4
    known = replace(
        with_map(true, (1 - share) * inputs * WEIGHTS + share * noise),
        relevant=(WEIGHTS != 0).expand(count, 8),
    )
    return Case(method, known, zeros(known))


def known_scores(name: str, share: float) -> torch.Tensor:
    """Scores on the linear model, whose weights are told to metrics that ask for them."""
    wants = "weights" in inspect.signature(type(metric(name))).parameters
    known = {"weights": torch.stack([WEIGHTS, torch.zeros(8)])} if wants else {}
    return linear(share).scores(name, **known)


@pytest.mark.parametrize("name", DIRECTED)
def test_worsening_the_true_map_never_improves_the_mean_score(name):
    means = torch.stack([known_scores(name, share).nanmean() for share in (0.0, 0.1, 0.3, 0.6, 1.0)])
    better = means if metric(name).higher_is_better else -means
    assert (better.diff() <= 0.03 * (better.max() - better.min()) + 1e-9).all(), means.tolist()
    assert better[0] > better[-1], means.tolist()  # the random map is told from the true one


@pytest.mark.parametrize("name", [n for n in DIRECTED if metric(n).best is not None])
def test_the_true_map_reaches_the_best_value_where_there_is_one(name):
    made, score = metric(name), known_scores(name, 0.0).nanmean().item()
    reachable = name not in {"cpp", "gap_on_unimportant"}  # these depend on the function
    assert not reachable or score == pytest.approx(made.best, abs=1e-4)


def test_draws_are_the_same_for_all_methods():
    class Watching(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.seen = []

        def forward(self, x):
            self.seen.append(x.clone())
            return x.sum(1, keepdim=True)

    for name in ("infidelity", "faithfulness_correlation", "sensitivity_n"):
        rows = []
        for values in (uniform(4, 6), -uniform(4, 6, seed=8)):
            model = Watching()
            method = Method(model, lambda xs, target, index: (xs[0],))
            explanation = with_map(explained(method, uniform(4, 6)), values)
            model.seen.clear()
            metric(name)(method, explanation, zeros(explanation))
            rows.append(torch.cat(model.seen))
        assert torch.equal(*rows)
