"""Orders and curves against numbers worked out by hand."""

import math

import pytest
import torch
from metric_cases import (
    Curved,
    Method,
    explained,
    gradient_times_input,
    linear_case,
    uniform,
    with_map,
    zeros,
)

from salience.data.base import Regression
from salience.errors import WrongInput
from salience.metrics import faithfulness, moves
from salience.metrics.curves import Steps, descending, reverse
from salience.randomness import Streams

STREAMS = Streams(0)
HAND = linear_case([3.0, 1.0, -2.0], [[1.0, 1.0, 1.0]])  # f(x) = 2; by attribution: 3, 1, -2


@pytest.mark.parametrize(
    "metric, score, curve, at",
    [
        (faithfulness.Deletion(STREAMS), -0.25, [2, -1, -2, 0], [0, 1 / 3, 2 / 3, 1]),
        (faithfulness.Insertion(STREAMS), 2.25, [0, 3, 4, 2], [0, 1 / 3, 2 / 3, 1]),
        (faithfulness.Abpc(STREAMS), 2.5, [0, 5, 5, 0], [0, 1 / 3, 2 / 3, 1]),
        (faithfulness.Aopc(STREAMS, share=1.0), 2.25, [0, 3, 4, 2], [0, 1 / 3, 2 / 3, 1]),
        (faithfulness.Comprehensiveness(STREAMS, shares=[0.1, 0.5]), 3.5, [3, 4], [0.1, 0.5]),
        (faithfulness.Sufficiency(STREAMS, shares=[0.1, 0.5]), -1.5, [-1, -2], [0.1, 0.5]),
        (moves.Cpd(STREAMS, share=1.0), 6.0, [2, -1, 1, 0], [0, 1 / 3, 2 / 3, 1]),  # by size: 3, -2, 1
        (moves.Cpp(STREAMS, share=0.5), 3.0, [2, 1, 3], [0, 0.25, 0.5]),
        (moves.Monotonicity(STREAMS), 0.0, [0, 1, -1, 2], [0, 1 / 3, 2 / 3, 1]),
    ],
    ids=lambda value: getattr(value, "key", None),
)
def test_by_hand(metric, score, curve, at):
    method, explanation = HAND
    measured = metric(method, explanation, zeros(explanation))
    assert measured.scores.tolist() == pytest.approx([score], abs=1e-6)
    assert measured.curve[0].tolist() == pytest.approx(curve, abs=1e-6)
    assert measured.at.tolist() == pytest.approx(at, abs=1e-6)


def test_monotonicity_of_a_rising_function():
    method, explanation = linear_case([3.0, 1.0, 2.0], [[1.0, 1.0, 1.0], [1.0, -1.0, 1.0]])
    assert moves.Monotonicity(STREAMS)(method, explanation, zeros(explanation)).scores.tolist() == [1.0, 0.0]


def test_log_odds_by_hand_whatever_the_output_space():
    model = Curved(4)
    method = Method(model, gradient_times_input(model))
    explanation = explained(method, uniform(5, 4))
    first = explanation.per_feature().argmax(1)
    hidden = explanation.inputs[0].scatter(1, first[:, None], 0.0)
    with torch.no_grad():
        logs = [
            model(x).log_softmax(1).gather(1, explanation.target[:, None])[:, 0]
            for x in (hidden, *explanation.inputs)
        ]
    metric = faithfulness.LogOdds(STREAMS, share=0.25)
    expected = (logs[0] - logs[1]).tolist()
    assert metric(method, explanation, zeros(explanation)).scores.tolist() == pytest.approx(
        expected, abs=1e-5
    )
    method.model.link = torch.sigmoid
    assert metric(method, explanation, zeros(explanation)).scores.tolist() == pytest.approx(
        expected, abs=1e-5
    )


def test_log_odds_of_a_sigmoid_unit_and_of_a_regression():
    method, explanation = HAND
    metric = faithfulness.LogOdds(STREAMS, share=0.2)
    score = metric(method, explanation, zeros(explanation)).scores
    assert score.tolist() == pytest.approx(
        [math.log(torch.sigmoid(torch.tensor(-1.0)) / torch.sigmoid(torch.tensor(2.0)))]
    )
    number = with_map(explanation, explanation.per_feature())
    number = type(number)(**{**vars(number), "task": Regression(("y",))})
    assert metric(method, number, zeros(number)).scores.isnan().all()


def test_counts_of_equal_steps():
    _, explanation = linear_case([1.0] * 10, [[1.0] * 10])
    assert Steps.equal(explanation, 4).counts.tolist() == [[0, 3, 5, 8, 10]]
    assert Steps.equal(explanation, 20).counts.tolist() == [list(range(11))]
    assert Steps.equal(explanation, 20, 0.3).counts[0, :4].tolist() == [0, 1, 2, 3]


def test_an_example_with_fewer_features_has_a_step_for_each_and_its_curve_is_stretched():
    method, explanation = linear_case([4.0, 2.0, 1.0, 1.0], [[1.0] * 4])
    short = type(explanation)(**{**vars(explanation), "present": torch.tensor([[True, True, False, False]])})
    measured = faithfulness.Deletion(STREAMS)(method, short, zeros(short))
    assert measured.scores.tolist() == pytest.approx([(8 + 4 + 2) / 3])  # what is absent stays in place
    assert measured.curve[0].tolist() == pytest.approx([8, 6, 4, 3, 2])


def test_equal_attributions_are_ordered_at_random_and_alike_for_every_method():
    count, features = 400, 5
    method, explanation = linear_case([1.0] * features, [[0.0] * features] * count)
    flat = with_map(explanation, torch.zeros(count, features))
    ranks = descending(flat.per_feature(), flat, STREAMS, "deletion")
    assert (ranks.float().mean(0) - 2).abs().max() < 0.25  # 2 +- 3.5 standard errors: no place is favoured
    assert torch.equal(ranks.sort(1).values, torch.arange(features).expand(count, -1))
    assert torch.equal(ranks, descending(flat.per_feature() + 7, flat, STREAMS, "deletion"))
    assert not torch.equal(ranks, descending(flat.per_feature(), flat, STREAMS, "insertion"))
    assert not torch.equal(ranks, descending(flat.per_feature(), flat, Streams(1), "deletion"))


def test_ties_do_not_disturb_what_differs():
    _, explanation = linear_case([1.0] * 5, [[1.0] * 5])
    values = torch.tensor([[0.0, 3.0, 0.0, -1.0, 0.0]])
    ranks = descending(values, explanation, STREAMS, "deletion")
    assert ranks[0, 1] == 0 and ranks[0, 3] == 4 and sorted(ranks[0, [0, 2, 4]].tolist()) == [1, 2, 3]
    assert torch.equal(reverse(ranks, explanation), 4 - ranks)


@pytest.mark.parametrize(
    "make, named",
    [
        (lambda: faithfulness.Deletion(STREAMS, steps=0), "metric.deletion.steps=0"),
        (lambda: faithfulness.Abpc(STREAMS, steps=None), "metric.abpc.steps=None"),
        (lambda: faithfulness.Insertion(STREAMS, steps=2.5), "metric.insertion.steps=2.5"),
        (
            lambda: faithfulness.Comprehensiveness(STREAMS, shares=[0.1, 1.5]),
            "metric.comprehensiveness.shares=",
        ),
        (lambda: faithfulness.Sufficiency(STREAMS, shares=[]), "metric.sufficiency.shares="),
        (lambda: faithfulness.LogOdds(STREAMS, share="big"), "metric.log_odds.share=big"),
    ],
)
def test_wrong_options_are_named(make, named):
    with pytest.raises(WrongInput, match=named.replace(".", r"\.").replace("[", r"\[")):
        make()
