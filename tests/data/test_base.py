"""Splits and standardisation, by closed forms."""

import pytest
import torch

from salience.data.base import Classification, Regression, cut_rows, split_rows, splits
from salience.data.scaling import standardised
from salience.errors import WrongInput

TASK = Classification(("a", "b", "c"))
LABELS = torch.tensor([0] * 200 + [1] * 100 + [2] * 20)


def test_splits_are_disjoint_and_leave_nothing_out():
    rows = split_rows(LABELS, TASK, seed=0)
    assert torch.equal(torch.cat(rows).sort()[0], torch.arange(len(LABELS)))


def test_classes_keep_their_shares():
    train, validation, test = (LABELS[r].bincount().tolist() for r in split_rows(LABELS, TASK, 0, 0.15, 0.25))
    assert (train, validation, test) == ([120, 60, 12], [30, 15, 3], [50, 25, 5])


def test_rows_come_in_random_order():
    for rows in split_rows(LABELS, TASK, seed=0):
        assert not torch.equal(rows, rows.sort()[0])
        assert len(LABELS[rows].unique_consecutive()) > 3


def test_the_seed_decides_the_split():
    first, again, other = (split_rows(LABELS, TASK, seed) for seed in (0, 0, 1))
    assert all(map(torch.equal, first, again))
    assert not any(map(torch.equal, first, other))


def test_numbers_are_split_by_their_count():
    sizes = [len(r) for r in split_rows(torch.randn(100, 1), Regression(("y",)), 0, 0.1, 0.2)]
    assert sizes == [70, 10, 20]


def test_every_class_is_in_every_split_however_rare():
    labels = torch.tensor([0] * 1000 + [1] * 3)
    for rows in split_rows(labels, TASK, 0, 0.01, 0.01):
        assert set(labels[rows].tolist()) == {0, 1}


def test_a_large_share_leaves_a_row_to_each_other_split():
    sizes = [len(r) for r in split_rows(torch.tensor([0] * 3), TASK, 0, 0.45, 0.5)]
    assert sizes == [1, 1, 1]


@pytest.mark.parametrize(
    ("labels", "shares", "line"),
    [
        (
            torch.tensor([0] * 10 + [2]),
            {},
            'data: class "c" has 1 row; 3 splits need 3 or more of each class',
        ),
        (torch.tensor([], dtype=torch.long), {}, "data: there are no rows"),
        (LABELS, {"test": 0}, "data.validation=0.15, data.test=0: shares of the rows, above 0"),
        (LABELS, {"test": 0.9}, "data.validation=0.15, data.test=0.9: shares of the rows"),
        (LABELS, {"validation": -0.1}, "data.validation=-0.1: a number from 0 to 1"),
    ],
)
def test_impossible_splits_are_refused(labels, shares, line):
    with pytest.raises(WrongInput, match=line):
        split_rows(labels, TASK, 0, **shares)


def test_too_few_numbers_are_refused():
    with pytest.raises(WrongInput, match="data: the table has 2 rows; 3 splits need 3"):
        split_rows(torch.zeros(2, 1), Regression(("y",)), 0)


def test_what_is_cut_off_is_the_same_size_whatever_the_seed():
    sizes = {tuple(len(r) for r in cut_rows(LABELS, TASK, seed, {"validation": 0.2})) for seed in range(5)}
    assert sizes == {(256, 64)}


def test_all_that_belongs_to_a_row_follows_it():
    rows = split_rows(LABELS, TASK, 0)
    number = torch.arange(len(LABELS))
    parts = splits(
        rows, (number,), LABELS, relevant=number[:, None] > 5, ratings=number[:, None], context=(number,)
    )
    for name, at in zip(("train", "validation", "test"), rows, strict=True):
        examples = parts[name]
        assert torch.equal(examples.inputs[0], at) and torch.equal(examples.context[0], at)
        assert torch.equal(examples.ratings[:, 0], at) and torch.equal(examples.relevant[:, 0], at > 5)
        assert torch.equal(examples.labels, LABELS[at])


def test_examples_are_sliced_and_moved_as_one():
    parts = splits(split_rows(LABELS, TASK, 0), (torch.randn(320, 2),), LABELS, context=(LABELS > 0,))
    some = parts["train"][torch.tensor([5, 3])]
    assert some.index.tolist() == [5, 3] and some.relevant is None
    assert torch.equal(some.inputs[0], parts["train"].inputs[0][[5, 3]])
    assert torch.equal(some.context[0], parts["train"].context[0][[5, 3]])
    assert some.to("meta").context[0].device.type == "meta"


def test_statistics_come_from_the_training_rows_alone():
    values = torch.tensor([[1.0, 5], [3, 5], [100, 7], [-50, 5]])
    inputs, mean, scale = standardised(values, torch.tensor([0, 1]))
    assert mean == (2, 5) and scale == (1, 1)  # the second is constant in training
    assert inputs.tolist() == [[-1, 0], [1, 0], [98, 2], [-52, 0]]


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e9 + 0.1, -1e-30])
def test_a_constant_column_has_scale_1(constant):
    values = torch.full((7, 1), constant, dtype=torch.float64)
    inputs, _, scale = standardised(values, torch.arange(7))
    assert scale == (1,) and inputs.abs().max() < 1e-6


def test_a_small_column_is_not_a_constant():
    _, _, scale = standardised(torch.tensor([[1e-7], [2e-7]]), torch.arange(2))
    assert scale[0] == pytest.approx(5e-8)


def test_missing_values_become_the_mean():
    values = torch.tensor([[1.0], [torch.nan], [3], [torch.nan]])
    inputs, mean, scale = standardised(values, torch.tensor([0, 1, 2]))
    assert mean == (2,) and scale == (1,) and inputs[:, 0].tolist() == [-1, 0, 1, 0]


def test_images_have_one_mean_per_channel():
    pixels = torch.rand(6, 3, 4, 5)
    inputs, mean, _ = standardised(pixels, torch.arange(4))
    assert torch.tensor(mean) == pytest.approx(pixels[:4].mean((0, 2, 3)), abs=1e-6)
    assert inputs[:4].std((0, 2, 3), correction=0) == pytest.approx(torch.ones(3), abs=1e-5)
