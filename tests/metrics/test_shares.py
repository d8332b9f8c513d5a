"""Shares of attribution per modality."""

import pytest
import torch
from metric_cases import Linear

from salience import explain
from salience.metrics.shares import modality_shares


@pytest.fixture
def explained():
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(6, 3, generator=generator), torch.randn(6, 2, generator=generator)
    model = Linear(torch.tensor([[1.0, 2, 3]]), torch.tensor([[4.0, -5]]))
    return model, first, second, explain(model, (first, second), "input_x_gradient", target=0)


def test_shares_are_those_of_the_terms_and_sum_to_one(explained):
    _, first, second, explanation = explained
    shares = modality_shares(explanation)
    one = (first * torch.tensor([1.0, 2, 3])).abs().sum(1)
    other = (second * torch.tensor([4.0, -5])).abs().sum(1)
    torch.testing.assert_close(shares, torch.stack([one, other], 1) / (one + other)[:, None])
    torch.testing.assert_close(shares.sum(1), torch.ones(6))


def test_shuffling_one_modality_moves_the_shares(explained):
    model, first, second, explanation = explained
    shuffled = explain(model, (first, second.roll(1, 0)), "input_x_gradient", target=0)
    moved = modality_shares(shuffled) - modality_shares(explanation)
    assert (moved.abs() > 1e-3).all()


def test_without_attribution_there_is_no_share():
    model = Linear(torch.zeros(1, 3), torch.zeros(1, 2))
    explanation = explain(model, (torch.ones(2, 3), torch.ones(2, 2)), "saliency", target=0)
    assert modality_shares(explanation).isnan().all()
