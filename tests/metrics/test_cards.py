"""The cards say what the metrics do: computed again, on their floors and ceilings, and told by `scripts/list.py`."""

import subprocess
import sys
from pathlib import Path

import pytest

from salience.config import options
from salience.metrics import exact
from salience.metrics.cards import NETWORKS, cards, row

ROOT = Path(__file__).parents[2]
CARDS = {card.name: card for card in cards()}
CHEAP = [
    "deletion", "infidelity", "faithfulness_estimate", "auroc", "sensitivity", "cascading_randomisation", "kar",
    "road", "rank_correlation", "dummy",
]  # fmt: skip
FLOORS = {
    "auroc": 0.5, "pairwise_rank_agreement": 0.5, "relevance_rank": 0.75, "relevance_mass": 0.75, "pointing_game": 0.75,
    "aup": 0.75, "top_k_intersection": 0.75, "precision_at_n": 0.75, "median_rank": 4.5, "feature_agreement": 0.25,
    "sign_agreement": 0.125, "rank_agreement": 0.125, "signed_rank_agreement": 0.0625, "faithfulness_correlation": 0.0,
    "faithfulness_estimate": 0.0, "sensitivity_n": 0.0, "monotonicity_correlation": 0.0, "rating_correlation": 0.0,
    "rank_correlation": 0.0, "dummy": 0.25, "cascading_randomisation": 1.0, "independent_randomisation": 1.0,
    "smooth_randomisation": 1.0, "random_logit": 1.0, "shuffled_labels": 1.0, "efficient_randomisation": 0.0,
}  # fmt: skip
"""What the docstrings say of random maps, for 6 of 8 features relevant and the leading 2."""
ABOUT_CHANGE = {
    "sensitivity", "average_sensitivity", "local_lipschitz", "relative_input_stability", "relative_output_stability",
    "input_shift", "baseline_sensitivity",
}  # fmt: skip
"""A random map that is drawn again the same is perfectly stable."""
NOT_ABOUT_TRUTH = {"monotonicity", "mask_entropy"}
"""These depend on the function, and on how clearly a map speaks."""


@pytest.fixture(scope="module")
def worlds():
    return exact.all_worlds()


def test_every_metric_has_a_card_with_its_direction_and_range():
    assert list(CARDS) == options("metric")
    for name, card in CARDS.items():
        metric = exact.shown(name)
        assert (card.higher_is_better, card.best) == (metric.higher_is_better, metric.best)
        assert (card.low, card.high) == metric.range
        for value in [*card.random.values(), *card.true.values()]:
            assert value is None or card.low - 1e-6 <= value <= card.high + 1e-6, name


def check(name, worlds):
    """The stored row is what running the metric gives; the last digits depend on the machine."""
    computed, stored = row(exact.compute(name, worlds)), row(CARDS[name])
    assert computed.keys() == stored.keys()
    for key, value in stored.items():
        if key in ("name", "higher_is_better") or not value:
            assert computed[key] == value, (name, key)
        else:
            assert float(computed[key]) == pytest.approx(float(value), rel=2e-3, abs=1e-3), (name, key)


@pytest.mark.parametrize("name", CHEAP)
def test_cards_are_what_running_gives(name, worlds):
    check(name, worlds)


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in CARDS if n not in CHEAP])
def test_all_other_cards_are_what_running_gives(name, worlds):
    check(name, worlds)


@pytest.mark.parametrize("name", FLOORS)
def test_random_maps_sit_on_their_stated_floor(name):
    """Within three standard errors of 64 examples, whose scores spread by at most 0.5 (ranks: 1)."""
    error = 0.375 if name == "median_rank" else 0.19 if "correlation" in name or "estimate" in name else 0.13
    assert CARDS[name].random["linear"] == pytest.approx(FLOORS[name], abs=error / 1.5)


@pytest.mark.parametrize("name", [n for n, c in CARDS.items() if n in FLOORS and c.best is not None])
def test_true_maps_reach_the_ceiling(name):
    """All but rank correlations, since the two features without a weight are equal but for rounding."""
    assert CARDS[name].true["linear"] == pytest.approx(CARDS[name].best, abs=0.006)


@pytest.mark.parametrize("name", [n for n in CARDS if n not in ABOUT_CHANGE | NOT_ABOUT_TRUTH])
def test_true_maps_score_better_than_random_ones(name):
    card = CARDS[name]
    pairs = [(card.random[n], card.true[n]) for n in NETWORKS]
    known = [(r, t) for r, t in pairs if r is not None and t is not None]
    assert known
    assert all((t > r) == card.higher_is_better for r, t in known), known


def test_stability_says_nothing_of_truth_and_the_cards_show_it():
    for name in ABOUT_CHANGE - {"baseline_sensitivity"}:
        assert CARDS[name].random["linear"] == 0 < CARDS[name].true["linear"]


@pytest.mark.parametrize(
    "name, rows",
    [
        ("deletion", 8),  # 9 steps for 8 features; f(x) itself is known
        ("abpc", 16),  # both ways
        ("comprehensiveness", 5),  # one row per share
        ("sufficiency", 5),
        ("infidelity", 50),  # one row per random set
        ("faithfulness_estimate", 8),  # one row per feature
        ("sensitivity_n", 250),  # 5 sizes of 50 sets
        ("dummy", 17),  # hidden and alone, and once nothing
        ("sensitivity", 10),  # one explanation per noisy copy
        ("auroc", 0),
        ("sparseness", 0),
    ],
)
def test_the_cost_is_what_the_definition_requires(name, rows):
    assert CARDS[name].forward_rows == rows
    assert CARDS[name].backward_rows == (10 if name == "sensitivity" else 0)


def test_the_page_is_the_one_that_the_cards_give():
    assert (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8") == exact.text(list(cards()))


def test_list_prints_the_cards():
    listed = subprocess.run(
        [sys.executable, ROOT / "scripts" / "list.py", "metrics"], capture_output=True, text=True, check=True
    ).stdout
    assert "random 0.5, true 1" in listed and listed.count("rows forward") == len(CARDS)
