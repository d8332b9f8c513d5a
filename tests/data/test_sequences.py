"""Series made by known processes: their formulas, and what published numbers say of them."""

import torch

import salience
from salience.data.sequences import autoregressive, markov_chain, rare, state

ONE = ("attribution=[integrated_gradients]", "controls=[]")


def test_rare_series_follow_their_recursion():
    x = autoregressive(400, torch.Generator().manual_seed(0))[:, :5].double()
    past = 0.5 * x[..., 2:-1] + 0.2 * x[..., 1:-2] + 0.1 * x[..., :-3]
    noise = x[..., 3:] + past / 2
    assert abs(noise.std() - 1) < 0.02 and abs((noise[..., 1:] * noise[..., :-1]).mean()) < 0.02


def test_rare_elements_are_where_they_should_be():
    feature = rare(kind="feature").train.relevant.reshape(-1, 50, 50)
    assert (feature.any(2).sum(1) == 5).all() and (feature.sum((1, 2)) == 125).all()
    assert feature.any(1).any(0).nonzero()[:, 0].tolist() == list(range(12, 37))
    time = rare(kind="time").train.relevant.reshape(-1, 50, 50)
    assert (time.any(1).sum(1) == 5).all() and time.any(2).any(0).nonzero()[:, 0].tolist() == list(
        range(12, 37)
    )
    steps = time.any(1).float().argmax(1)
    assert torch.equal(
        time.any(1), (torch.arange(50) >= steps[:, None]) & (torch.arange(50) < steps[:, None] + 5)
    )


def test_the_white_box_reproduces_published_numbers(tmp_path):
    """Integrated gradients are x squared; AUP 1, AUR 0.132, information 460 and entropy 480 over 1250 elements."""
    result = salience.run(
        [f"outputs={tmp_path}", "experiment=white_box", "data.examples=40", "explained=40", *ONE]
    )
    explanation = result.explanations["integrated_gradients"][0]
    data = result.data
    squares = data.test.inputs[0][0] ** 2 * data.test.context[0][0]
    torch.testing.assert_close(explanation.attributions[0].reshape(50, 50), squares, atol=1e-4, rtol=1e-4)
    scores = {k: v["mean"] for k, v in result.summary["methods"]["integrated_gradients"]["metrics"].items()}
    assert scores["aup"] > 0.999 and abs(scores["aur"] - 0.132) < 0.03
    assert abs(scores["mask_information"] - 460 / 1250) < 0.06
    assert abs(scores["mask_entropy"] - 480 / 1250) < 0.05


def test_the_chain_stays_and_leaves_as_it_should():
    states = markov_chain(4000, 60, torch.Generator().manual_seed(0))
    before, after = states[:, :-1], states[:, 1:]
    assert abs(after[before == 0].float().mean() - 0.05) < 0.003
    fresh = (states[:, 1:-1] == 1) & (states[:, :-2] == 0)
    assert abs(states[:, 2:][fresh].float().mean() - 0.95) < 0.01
    stayed = after[before == 1].float().mean()
    assert 0.9 < stayed < 0.949  # ever less than at first


def test_the_state_decides_which_series_tells():
    data = state(examples=4000, steps=10)
    x, label = data.train.inputs[0][..., -1], data.train.labels
    telling = data.train.relevant.reshape(-1, 3, 10)
    assert (telling.sum((1, 2)) == 1).all() and telling[..., -1].any(1).all() and not telling[:, 0].any()
    channel = telling[..., -1].float().argmax(1)
    chance = torch.sigmoid(2 * x[torch.arange(len(x)), channel])
    assert abs((label - chance).mean()) < 0.02
    surer = state(examples=4000, steps=10, drawn=False).train
    value = surer.inputs[0][surer.relevant.reshape(-1, 3, 10)]
    assert torch.equal(surer.labels, (value > 0).long())
