"""Data made by known functions, against their closed forms."""

import math

import pytest
import torch

from salience.data.synthetic import additive, linear, orange_skin, sigmoid_unit, switch, xor
from salience.data.tetromino import STRENGTH, L, _everywhere, tetromino
from salience.errors import WrongInput


def all_of(data, what="inputs"):
    found = [getattr(s, what) for s in (data.train, data.validation, data.test)]
    return torch.cat([f[0] if isinstance(f, tuple) else f for f in found])


@pytest.fixture(scope="module")
def many():
    return linear(seed=0, examples=40000)


def test_labels_are_the_sign_of_the_weighted_sum_but_for_the_noise(many):
    total = all_of(many) @ many.weights[1]
    wrong = ((total > 0).long() != all_of(many, "labels")).float().mean().item()
    assert wrong == pytest.approx(math.atan(0.1) / math.pi, abs=0.003)
    quiet = linear(seed=0, examples=500, noise=0)
    assert torch.equal((all_of(quiet) @ quiet.weights[1] > 0).long(), all_of(quiet, "labels"))


def test_columns_have_mean_0_and_deviation_1(many):
    assert all_of(many).mean(0).abs().max() < 0.03
    assert (all_of(many).std(0) - 1).abs().max() < 0.03


def test_a_suppressor_weighs_and_alone_tells_nothing(many):
    columns = many.modalities[0].columns
    suppressor, informative = columns.index("suppressor of 0"), columns.index("informative 0")
    x, y = all_of(many), all_of(many, "labels").float()
    assert many.weights[1, suppressor] == -1 and many.weights[1, informative] == pytest.approx(math.sqrt(2))
    assert torch.corrcoef(torch.stack([x[:, suppressor], y]))[0, 1].abs() < 0.02
    assert torch.corrcoef(torch.stack([x[:, informative], y]))[0, 1] > 0.3
    assert torch.corrcoef(x[:, [suppressor, informative]].T)[0, 1] == pytest.approx(math.sqrt(0.5), abs=0.02)


def test_a_correlated_column_tells_and_weighs_nothing(many):
    columns = many.modalities[0].columns
    at = columns.index("correlated with 0")
    x, y = all_of(many), all_of(many, "labels").float()
    assert many.weights[1, at] == 0 and not many.test.relevant[:, at].any()
    assert torch.corrcoef(x[:, [at, 0]].T)[0, 1] == pytest.approx(0.9, abs=0.01)
    assert torch.corrcoef(torch.stack([x[:, at], y]))[0, 1] > 0.3


def test_a_linear_model_finds_the_known_weights(many):
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=100).fit(many.train.inputs[0].numpy(), many.train.labels.numpy())
    found = torch.tensor(model.coef_[0], dtype=torch.float32)
    found = found / found.norm() * many.weights[1].norm()
    assert (found - many.weights[1]).abs().max() < 0.05
    assert torch.equal(many.weights[0], -many.weights[1])
    assert torch.equal(many.test.relevant, (many.weights[1] != 0).expand(len(many.test), -1))


def test_any_number_of_examples_and_columns():
    data = linear(seed=3, examples=31, informative=1, correlated=0, suppressors=0, irrelevant=0)
    assert data.modalities[0].shape == (1,) and len(all_of(data)) == 31


@pytest.mark.parametrize(
    ("own", "line"),
    [
        ({"examples": 0}, "data.examples=0: a whole number of 1 or more"),
        ({"examples": 2.5}, "data.examples=2.5: a whole number"),
        ({"examples": True}, "data.examples=True: a whole number"),
        ({"suppressors": 6}, "data.informative=5: a whole number of 6 or more"),
        ({"irrelevant": -1}, "data.irrelevant=-1: a whole number of 0 or more"),
        ({"correlation": 1.5}, "data.correlation=1.5: a number from -1 to 1"),
        ({"noise": math.nan}, "data.noise=nan: a number of 0 or more"),
        ({"examples": 4}, "data: class "),
    ],
)
def test_arguments_out_of_range_are_one_line(own, line):
    with pytest.raises(WrongInput, match=line):
        linear(**own)


def test_the_four_points_have_the_known_probabilities():
    data = sigmoid_unit()
    points, weights = data.test.inputs[0], data.weights[-1]
    assert weights.tolist() == [1, 1]
    rounded = [f"{p:.4f}" for p in torch.sigmoid(points @ weights).tolist()]
    assert rounded == ["0.7311", "0.7311", "0.8808", "0.5000"]
    assert torch.equal(data.train.inputs[0], points) and torch.equal(data.validation.inputs[0], points)


def test_xor_orange_skin_and_additive_are_their_formulas():
    x, y = all_of(xor()), all_of(xor(), "labels")
    assert torch.equal(y == 1, x[:, 0] * x[:, 1] < 0)
    x, y = all_of(orange_skin()), all_of(orange_skin(), "labels")
    assert torch.equal(y == 1, x[:, :4].square().sum(1) < 4)
    x, y = all_of(additive()), all_of(additive(), "labels")
    g = -100 * torch.sin(0.2 * x[:, 0]) + x[:, 1].abs() + x[:, 2] + torch.exp(-x[:, 3]) - 2.4
    assert torch.equal(y == 1, g < 0)
    for data, count in ((xor(), 2), (orange_skin(), 4), (additive(), 4)):
        assert torch.equal(data.test.relevant, (torch.arange(10) < count).expand(len(data.test), -1))


def test_noise_draws_labels_with_the_published_probability():
    data = xor(examples=60000, noise=1)
    x, y = all_of(data), all_of(data, "labels").float()
    probability = torch.sigmoid(-x[:, 0] * x[:, 1])
    for low, high in ((0.1, 0.3), (0.4, 0.6), (0.7, 0.9)):
        inside = (probability > low) & (probability < high)
        assert y[inside].mean().item() == pytest.approx(probability[inside].mean().item(), abs=0.03)


def test_switch_reads_the_columns_that_its_tenth_chooses():
    data = switch(examples=20000)
    x, y, relevant = all_of(data), all_of(data, "labels"), all_of(data, "relevant")
    up = x[:, 9] > 0
    assert up.float().mean().item() == pytest.approx(0.5, abs=0.02) and x[up, 9].mean() > 2.9
    assert torch.equal(y[up] == 1, x[up, :4].square().sum(1) < 4)
    assert (relevant[up] == torch.tensor([True] * 4 + [False] * 5 + [True])).all()
    assert (relevant[~up] == torch.tensor([False] * 4 + [True] * 4 + [False, True])).all()
    # the released code makes columns 1-4 and 5-8 the same in half of the rows
    assert torch.corrcoef(x[~up].T[[0, 4]])[0, 1].abs() < 0.03
    down = x[~up, 4:8]
    g = -100 * torch.sin(0.2 * down[:, 0]) + down[:, 1].abs() + down[:, 2] + torch.exp(-down[:, 3]) - 2.4
    assert torch.equal(y[~up] == 1, g < 0)


@pytest.mark.parametrize(("pattern", "noise"), STRENGTH)
def test_images_hold_their_relevant_pixels(pattern, noise):
    data = tetromino(seed=0, examples=600, pattern=pattern, noise=noise)
    pixels, relevant = data.train.inputs[0], data.train.relevant
    assert pixels.shape[1:] == (1, 8, 8)
    assert all_of(data).abs().max() == 1
    assert relevant.sum(1).unique().tolist() == [4 if pattern == "rigid" else 8]
    assert data.modalities[0].original(pixels).min() >= 0


def test_only_relevant_pixels_differ_between_the_classes():
    data = tetromino(seed=0, examples=20000, strength=0.5)
    pixels, labels = data.train.inputs[0].flatten(1), data.train.labels
    gap = (pixels[labels == 0].mean(0) - pixels[labels == 1].mean(0)).abs()
    assert torch.equal(gap > 0.05, data.train.relevant[0])


def test_multiplicative_patterns_damp_the_noise_where_they_are():
    data = tetromino(seed=0, examples=8000, pattern="multiplicative")
    spread = data.train.inputs[0].flatten(1)[data.train.labels == 0].std(0)
    damped = spread < 0.6 * spread.median()
    assert damped.sum() == 4 and data.train.relevant[0][damped].all()


def test_xor_patterns_show_in_no_pixel_alone():
    data = tetromino(seed=0, examples=20000, pattern="xor", strength=0.6)
    pixels, labels = data.train.inputs[0].flatten(1), data.train.labels
    gap = (pixels[labels == 0].mean(0) - pixels[labels == 1].mean(0)).abs()
    assert gap.max() < 0.02
    first, second = pixels[:, 1 * 8 + 1], pixels[:, 4 * 8 + 5]  # a pixel of each shape
    assert ((first * second > 0).long() == 1 - labels).float().mean() > 0.7


def test_a_turned_shape_fits_everywhere():
    places = _everywhere(L)
    assert len(places) == 4 * 6 * 7 == len(places.flatten(1).unique(dim=0))
    assert (places.sum((1, 2)) == 4).all()


@pytest.mark.parametrize(
    ("own", "line"),
    [
        ({"pattern": "lnear"}, "data.pattern=lnear: one of linear, .* Did you mean linear?"),
        ({"noise": "pink"}, "data.noise=pink: one of white, smooth"),
        ({"strength": 0}, "data.strength=0: above 0 and at most 1"),
        ({"examples": 0}, "data.examples=0: a whole number"),
    ],
)
def test_wrong_images_are_one_line(own, line):
    with pytest.raises(WrongInput, match=line):
        tetromino(**own)
