"""Published tables: the protocols against independent computations, and the program that prints them."""

import captum.attr
import numpy as np
import pytest
import torch

from salience.errors import WrongInput
from salience.randomness import Streams
from salience.reproduction import functional, moons, rare, state, tables, white_box
from salience.reproduction.tables import Outcome, Value, printed, published, repeated, reproduce, rows

# -- the table ------------------------------------------------------------


def test_every_table_has_a_csv_with_numbers_of_the_paper():
    for table in tables.TABLES:
        known = published(table)
        assert known and any(v.source == "paper" for v in known), table
        assert len({(v.method, v.quantity, v.source) for v in known}) == len(known), table


def test_ours_stands_beside_the_papers_and_third_parties_with_z():
    ours = [Value("m", "q", 0.5, 0.03), Value("m", "other", 1.0)]
    known = [Value("m", "q", 0.4, 0.04, "paper"), Value("m", "q", 0.45, None, "somebody")]
    lines = rows(Outcome(ours, "it learned", True), known)
    assert lines[0].z == pytest.approx(0.1 / 0.05) and lines[1].z is None
    text = printed("t", Outcome(ours, "it learned", False, ["less"]), lines)
    assert "0.500 ±0.030" in text and "somebody 0.450" in text and "+2.0" in text
    assert "NOT passed" in text and "note: less" in text


def test_numbers_that_are_printed_alike_do_not_differ():
    assert tables.z(Value("m", "q", 0.9999, 1e-6), Value("m", "q", 1.0, 0.0)) == 0.0


def test_repetitions_give_mean_and_deviation():
    found = repeated([{("m", "q"): 1.0}, {("m", "q"): 2.0}, {("m", "q"): 3.0}])
    assert (found[0].value, found[0].spread) == (2.0, 1.0)
    assert repeated([{("m", "q"): 1.0}])[0].spread is None


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["table=rare"], "Did you mean rare_"),
        ([], "table=NAME is missing"),
        (["rare_feature"], "write key=value"),
        (["table=functional", "seeds=2"], "Did you mean seed"),
        (["table=rare_time", "rare=2"], "no such option"),
        (["table=functional", "seed=x"], "must be a whole number"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_two(arguments, said, capsys):
    assert tables.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and said in error and error.count("\n") == 1


def test_the_program_prints_a_table_and_its_gate(capsys):
    assert tables.main(["table=functional"]) == 0
    out = capsys.readouterr().out
    assert "| kernel_shap" in out and "gate: attributions sum to f(x) - mean f" in out and "passed" in out


# -- Compare-xAI ------------------------------------------------------------


def test_exact_rows_of_the_functional_tests_match_the_published_ones():
    """Kernel SHAP there enumerates everything too; up to 4 digits where no sampling of references is involved."""
    _, lines = reproduce("functional")
    kernel = [line for line in lines if line.ours.method == "kernel_shap" and line.paper is not None]
    assert len(kernel) == 12
    for line in kernel:
        sampled = "(i)" in line.ours.quantity or "(ii)" in line.ours.quantity
        assert line.ours.value == pytest.approx(line.paper.value, abs=3e-3 if sampled else 5e-5)


def test_exact_shapley_values_under_a_skewed_distribution_are_the_closed_form():
    case = next(c for c in functional.cases() if c.name == "x0 + x1 (i)")
    found = functional.explained("shapley_values", case, Streams(0))
    mean = torch.tensor([550 / 1650, 1150 / 1650], dtype=torch.float64)
    assert torch.allclose(found, case.points.double() - mean, atol=1e-6)


# -- rare feature and rare time ------------------------------------------------------------


def test_the_noise_is_the_published_recursion():
    streams = Streams(3)
    x = rare.series(streams)
    noise = torch.randn(x.shape, generator=streams.generator("rare/noise"))
    left = 2 * x[:, 3:] + 0.5 * x[:, 2:-1] + 0.2 * x[:, 1:-2] + 0.1 * x[:, :-3]
    assert torch.allclose(left, 2 * noise[:, 3:], atol=1e-5)


def test_salient_cells_are_as_many_and_where_they_should_be():
    feature, time = (rare.cells(Streams(0), kind) for kind in ("feature", "time"))
    assert feature.sum((1, 2)).tolist() == time.sum((1, 2)).tolist() == [125] * 10
    assert not feature[:, :12].any() and not feature[:, 37:].any() and feature.any(1).sum(1).eq(5).all()
    assert not time[:, :, :12].any() and not time[:, :, 37:].any() and time.any(2).sum(1).eq(5).all()


@pytest.mark.parametrize("kind", ["feature", "time"])
def test_closed_forms_of_the_white_box(kind):
    streams = Streams(1)
    x, salient = rare.series(streams)[0], rare.cells(streams, kind)[0]
    square = (x * salient).square()
    away = ((x.square() - x.mean(0).square()) * salient).numpy()
    assert rare.explained("integrated_gradients", x, salient, streams) == pytest.approx(
        square.numpy(), abs=1e-4
    )
    assert rare.explained("occlusion", x, salient, streams) == pytest.approx(away, abs=1e-4)


def test_a_smaller_rare_table_lies_within_the_published_spread(monkeypatch):
    monkeypatch.setattr(rare, "METHODS", ("integrated_gradients", "occlusion", "captum_feature_permutation"))
    monkeypatch.setattr(
        rare, "explained",
        lambda method, *rest, f=rare.explained: f("occlusion" if method == "shapley_value_sampling" else method, *rest),
    )  # fmt: skip
    monkeypatch.setattr(rare, "METHODS", (*rare.METHODS, "shapley_value_sampling"))
    outcome, lines = reproduce("rare_feature", repetitions=3)
    assert outcome.passed and len(lines) == 16
    for line in lines:
        joint = ((line.paper.spread or 0) ** 2 + (line.ours.spread or 0) ** 2) ** 0.5
        assert abs(line.ours.value - line.paper.value) < 3 * joint + 1e-3, line


def test_white_box_scores_of_a_known_map():
    values = np.array([[0.0, 1.0, 0.5, 0.25]])
    salient = np.array([[False, True, True, False]])
    found = white_box.scores(values, salient)
    assert found["AUROC"] == found["AUPRC"] == 1.0
    assert found["information"] == pytest.approx(-np.log2(1e-5) - np.log2(0.5 + 1e-5))
    assert found["entropy"] == pytest.approx(1.0)  # 1 is sure, 0.5 is not


# -- state ------------------------------------------------------------


@pytest.fixture
def small_state():
    """A small network and short series."""
    x, states, y = state.generated(6, Streams(0), "test")
    torch.manual_seed(0)
    network = state.Classifier().eval()
    return network, x[:, :7], states[:, :7], y[:, :7]


def last_step(network, attribute, x, target):
    """The plain protocol: explain every prefix by itself and keep the attribution of its last step."""
    found = torch.zeros_like(x)
    for t in range(x.shape[1]):
        prefix = x[:, : t + 1]
        found[:, t] = attribute(lambda rows: network(rows)[:, -1], prefix, target[:, t])[:, -1]
    return found


def test_one_pass_gives_integrated_gradients_of_every_prefix(small_state):
    network, x, _, _ = small_state
    target = network(x).argmax(-1)

    def attribute(function, prefix, at):
        return captum.attr.IntegratedGradients(function).attribute(prefix, target=at, n_steps=8)

    found = state.along(network, x, target, state._line(x, 8))
    assert torch.allclose(found, last_step(network, attribute, x, target), atol=1e-5)


def test_one_pass_gives_occlusion_of_every_prefix(small_state):
    network, x, _, _ = small_state
    target, mean = network(x).argmax(-1), x.mean(0)

    def attribute(function, prefix, at):
        found = torch.zeros_like(prefix)
        with torch.no_grad():
            full = function(prefix).gather(1, at[:, None])[:, 0]
            for feature in range(3):
                hidden = prefix.clone()
                hidden[:, -1, feature] = mean[prefix.shape[1] - 1, feature]
                found[:, -1, feature] = (full - function(hidden).gather(1, at[:, None])[:, 0]).abs()
        return found

    found = state.occluded(network, x, target, iter([mean.expand_as(x)]))
    assert torch.allclose(found, last_step(network, attribute, x, target), atol=1e-5)


def test_states_and_labels_follow_the_published_chain():
    x, states, y = state.generated(400, Streams(1), "train")
    again = (states[:, 1:] == 1)[states[:, :-1] == 1].float().mean().item()
    start = (states[:, 1:] == 1)[states[:, :-1] == 0].float().mean().item()
    assert 0.90 < again < 0.95 and start == pytest.approx(0.05, abs=0.005)
    for value in (0, 1):
        assert torch.allclose(x[states == value].mean(0), state.STATES[value], atol=0.02)
    chosen = x.gather(2, 1 + states[..., None])[..., 0]
    near = (chosen - 0.5).abs() < 0.1
    assert y[near].float().mean().item() == pytest.approx(torch.sigmoid(torch.tensor(1.0)).item(), abs=0.05)


# -- moons ------------------------------------------------------------


def test_moons_trains_explains_and_leaves_bad_networks_out(monkeypatch):
    monkeypatch.setattr(moons, "NOISES", (0.05,))
    monkeypatch.setattr(moons, "LEAST", 0.5)
    outcome = moons.run(epochs=2, seeds=1)
    found = {v.method: v.value for v in outcome.found}
    assert set(found) == {"integrated_gradients", "integrated_gradients from 0", "gradient_shap"}
    assert all(0 <= value <= 1 for value in found.values()) and outcome.passed and "1 of 1" in outcome.gate
    monkeypatch.setattr(moons, "LEAST", 1.1)
    outcome = moons.run(epochs=1, seeds=1)
    assert not outcome.found and not outcome.passed and "0 of 1" in outcome.gate


def test_networks_trained_side_by_side_do_not_touch_each_other():
    (first, _), (second, _) = moons.points(0.05, 12), moons.points(0.1, 24)
    small = [(x[:320], y[:320]) for x, y in (first, second)]
    together = moons.trained(small, Streams(1), 2)
    with_other = moons.trained([small[0], (-small[1][0], small[1][1])], Streams(1), 2)
    assert torch.equal(together[0][0].weight, with_other[0][0].weight)
    assert not torch.equal(together[1][0].weight, with_other[1][0].weight)


def test_a_protocol_refuses_what_it_does_not_know():
    with pytest.raises(WrongInput, match="epoch=3: no such option. Did you mean epochs"):
        reproduce("moons", epoch=3)
