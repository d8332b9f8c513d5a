"""RISE against sums over its own masks, conditional means against the textbook formula, expected gradients."""

import pytest
import torch
from known_networks import examples, linear, make_explainer, make_explicand, random_mlp, random_rows
from torch import nn

import salience
from salience.attribution import planner
from salience.attribution.baselines import Samples
from salience.attribution.batched import FeatureAblation
from salience.attribution.masking import ConditionalOcclusion, Rise, conditional_means, enlarged, grids
from salience.errors import WrongInput


def generators(rows: int, seed: int = 0) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed + i) for i in range(rows)]


def test_coins_give_the_papers_sum_over_masks():
    net, x, b = random_mlp(), random_rows(2, 6), 0.5 * random_rows(1, 6, seed=1)
    found = Rise(net).attribute(
        x, b, 1, n_samples=40, probability=0.3, centred=False, generators=generators(2)
    )
    for row, generator in enumerate(generators(2)):
        shown = torch.rand(40, 6, generator=generator) < 0.3
        scores = net(torch.where(shown, x[row], b))[:, 1].detach()
        assert torch.allclose(found[row], (scores[:, None] * shown).sum(0) / (0.3 * 40), atol=1e-5)


def test_centred_coins_estimate_the_difference_that_showing_makes():
    weight, x, b = torch.tensor([[1.0, -2.0, 0.0, 3.0]]), torch.ones(1, 4), torch.zeros(1, 4)
    found = Rise(linear(weight, [50.0])).attribute(x, b, n_samples=4000, generators=generators(1))
    assert torch.allclose(found, weight, atol=0.4)
    uneven = Rise(linear(weight)).attribute(x, b, n_samples=4000, probability=0.2, generators=generators(1))
    assert torch.allclose(uneven, weight, atol=0.6)


def test_features_are_shown_as_a_whole_and_those_at_the_baseline_get_nothing():
    net, x = random_mlp(), random_rows(3, 6)
    x[:, 5] = 0
    mask = torch.tensor([[0, 0, 1, 1, 1, 2]])
    found = Rise(net).attribute(x, target=0, feature_mask=mask, n_samples=30, generators=generators(3))
    assert torch.equal(found[:, 0], found[:, 1]) and torch.equal(found[:, 2], found[:, 4])
    assert (found[:, 5] == 0).all() and (found[:, :5] != 0).all()


def test_masks_of_images_are_soft_shifted_and_show_the_right_share():
    like = torch.zeros(1, 3, 9, 13)
    drawn = grids((9, 13), 3000, 0.3, 4, torch.Generator().manual_seed(0))
    masks = enlarged(drawn, slice(0, 3000), like)
    assert masks.shape == (3000, 1, 9, 13) and masks.min() >= 0 and masks.max() <= 1
    assert abs(masks.mean().item() - 0.3) < 0.01
    assert torch.allclose(masks.mean(0), torch.full((1, 9, 13), 0.3), atol=0.05)
    assert ((masks > 0.01) & (masks < 0.99)).any()


def test_images_give_the_papers_sum_over_masks():
    net = nn.Sequential(nn.Flatten(), nn.Linear(2 * 6 * 6, 2))
    x, b = random_rows(1, 2, 6, 6), torch.full((1, 2, 6, 6), 0.2)
    found = Rise(net).attribute(x, b, 1, n_samples=25, cells=3, centred=False, generators=generators(1))
    masks = enlarged(grids((6, 6), 25, 0.5, 3, generators(1)[0]), slice(0, 25), x)
    scores = net(b + masks * (x - b))[:, 1].detach()
    expected = (scores[:, None, None, None] * masks).sum(0) / (0.5 * 25)
    assert torch.allclose(found[0], expected.expand(2, 6, 6), atol=1e-5)


def test_the_map_peaks_where_the_score_is_read():
    class Corner(nn.Module):
        def forward(self, image):
            return image[:, :, 1:3, 5:7].mean((1, 2, 3))[:, None]

    found = Rise(Corner()).attribute(torch.ones(1, 1, 8, 8), n_samples=2000, generators=generators(1))[0, 0]
    row, column = divmod(int(found.argmax()), 8)
    assert 1 <= row <= 2 and 5 <= column <= 6
    assert found[6:, :2].abs().max() < 0.3 * found.max()


@pytest.mark.parametrize("shape", [(5,), (1, 8, 8)])
def test_a_rows_draws_are_its_own(shape, monkeypatch):
    net = nn.Sequential(nn.Flatten(), nn.Linear(torch.Size(shape).numel(), 3)).eval()
    x, before = random_rows(4, *shape), torch.get_rng_state()
    whole = Rise(net).attribute(x, target=0, n_samples=50, generators=generators(4))
    alone = Rise(net).attribute(x[2:3], target=0, n_samples=50, generators=generators(4)[2:3])
    monkeypatch.setattr(planner, "rows_per_pass", lambda *_, **__: 8)
    parts = Rise(net).attribute(x, target=0, n_samples=50, generators=generators(4))
    scale = whole.abs().max()
    assert (whole[2] - alone[0]).abs().max() < 1e-5 * scale and (whole - parts).abs().max() < 1e-5 * scale
    assert torch.equal(before, torch.get_rng_state())


def test_impossible_settings_of_rise():
    for wrong in ({"n_samples": 1}, {"probability": 1.0}, {"cells": 0}):
        with pytest.raises(ValueError, match="must be"):
            Rise(random_mlp()).attribute(random_rows(1, 6), target=0, **wrong)


def test_conditional_means_are_those_of_a_gaussian():
    train, x = random_rows(500, 4) @ random_rows(4, 4, seed=1), random_rows(3, 4, seed=2)
    groups = torch.tensor([0, 1, 1, 2])
    found = conditional_means(x, train, groups, 1e-9)
    mean, covariance = train.double().mean(0), torch.cov(train.T.double())
    for group in range(3):
        own, rest = (groups == group).nonzero()[:, 0], (groups != group).nonzero()[:, 0]
        slope = covariance[own][:, rest] @ torch.linalg.inv(covariance[rest][:, rest])
        expected = mean[own] + (x[:, rest].double() - mean[rest]) @ slope.T
        assert torch.allclose(found[:, own].double(), expected, atol=1e-4)


def test_a_column_that_others_determine_changes_nothing():
    base = random_rows(400, 2)
    train = torch.cat(
        [base, base[:, :1] + 1e-3 * random_rows(400, 1, seed=3)], 1
    )  # the third copies the first
    net, x = linear([[2.0, 1.0, 3.0]]), train[:5]
    found = ConditionalOcclusion(net).attribute(x, train, target=0, shrinkage=1e-6)
    assert (found[:, [0, 2]].abs() < 0.02).all()
    ablated = FeatureAblation(net).attribute(x, train.mean(0, keepdim=True), target=0)
    assert ablated[:, [0, 2]].abs().max() > 1
    assert torch.allclose(found[:, 1], ablated[:, 1], atol=0.2)  # independent of the others


def test_independent_and_constant_columns_keep_their_mean():
    train = torch.cat([random_rows(2000, 2) + 3, torch.ones(2000, 1)], 1)
    found = ConditionalOcclusion(linear([[1.0, -2.0, 5.0]])).attribute(
        train[:4], train, target=0, shrinkage=1.0
    )
    expected = (train[:4] - train.mean(0)) * torch.tensor([1.0, -2.0, 5.0])
    assert torch.allclose(found, expected, atol=1e-4)


def test_conditional_occlusion_is_for_tables():
    for x in (random_rows(2, 1, 4, 4), torch.zeros(2, 4, dtype=torch.long)):
        with pytest.raises(ValueError, match="tables"):
            ConditionalOcclusion(lambda z: z.flatten(1).float().sum(1)).attribute(x, x)
    with pytest.raises(ValueError, match="shrinkage"):
        ConditionalOcclusion(linear([[1.0, 1.0]])).attribute(
            random_rows(2, 2), random_rows(9, 2), shrinkage=0
        )
    with pytest.raises(WrongInput, match="2 or more rows"):
        salience.explain(random_mlp(), random_rows(3, 6), "conditional_occlusion")
    train = random_rows(40, 6, seed=4)
    found = salience.explain(random_mlp(), random_rows(3, 6), "conditional_occlusion", baselines=train)
    assert found.reduce == "mean" and found.background is not None


def test_expected_gradients_of_a_linear_network():
    weight, train = torch.tensor([[1.0, -2.0, 0.5], [0.0, 1.0, 1.0]]), random_rows(30, 3, seed=5)
    explainer = make_explainer(
        "expected_gradients", linear(weight), examples(train), baseline=Samples(30), outputs=2
    )
    assert explainer.arguments["n_samples"] == 100
    explainer.arguments["n_samples"] = 2000
    x = make_explicand(explainer, examples(random_rows(2, 3)), 0)
    found = explainer.explain(x)
    expected = weight[x.target] * (x.inputs[0] - train.mean(0))
    assert torch.allclose(found.attributions[0], expected, atol=0.15)
    assert found.convergence_delta.abs().max() < 1e-4
