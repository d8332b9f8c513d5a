"""Baselines that depend on classes, groups, vocabularies and neighbours; and what explanations owe to them."""

import pytest
import torch
from known_networks import Fixed, linear, make_explainer, make_explicand, random_mlp, random_rows

from salience.attribution.baselines import (
    Blank,
    Blur,
    Frequency,
    Interpolation,
    MaskToken,
    Mean,
    Samples,
)
from salience.attribution.class_baselines import ClassSamples, NearestOtherClass
from salience.config import build, options, shipped
from salience.data.base import Examples
from salience.errors import WrongInput
from salience.metrics.base import Reference
from salience.metrics.baseline import BaselineSensitivity
from salience.modality import Image, Series, Tabular, Tokens
from salience.randomness import Streams

STREAMS = Streams(0)


def rows(inputs: torch.Tensor, labels: list[int] | torch.Tensor) -> Examples:
    return Examples((inputs,), torch.as_tensor(labels), torch.arange(len(inputs)))


def two_classes(count: int = 40) -> Examples:
    """Class 1 lies around 10, class 0 around 0."""
    labels = torch.arange(count) % 2
    return rows(random_rows(count, 3) + 10 * labels[:, None], labels)


@pytest.mark.parametrize("other", [False, True])
def test_samples_of_the_explained_class_or_of_others(other):
    train = two_classes()
    explainer = make_explainer("gradient_shap", linear(torch.eye(3)[:2]), train, outputs=2)
    explainer.baseline = ClassSamples(n=7, other=other)
    x = make_explicand(explainer, train[:6], "label")
    (pool,) = explainer.baseline.of(explainer.modalities, train, x, STREAMS)
    assert pool.shape == (14, 3)
    for target in range(2):
        from_one = pool[explainer.baseline.rows_for(target)].mean() > 5
        assert bool(from_one) == ((target == 1) != other)
    found = explainer.explain(x)
    assert found.background[0].shape == (14, 3)
    far = (x.inputs[0].mean(1) > 5) != ((x.target == 1) != other)  # compared with the other cloud
    assert torch.equal(found.per_feature().abs().sum(1) > 6, far)
    assert found.convergence_delta.abs().max() < 1e-3


def test_methods_with_one_baseline_are_averaged_over_the_rows_for_their_target():
    train, net = two_classes(), random_mlp(3, 2)
    explainer = make_explainer("integrated_gradients", net, train, baseline=ClassSamples(n=4), outputs=2)
    x = make_explicand(explainer, train[:5], "label")
    found = explainer.explain(x)
    (pool,) = found.background
    for row in range(5):
        own = pool[explainer.baseline.rows_for(int(x.target[row]))]
        single = make_explainer(
            "integrated_gradients", net, train, baseline=Fixed(own, is_distribution=True), outputs=2
        )
        alone = single.explain(x.rows(slice(row, row + 1)))
        assert torch.allclose(found.attributions[0][row], alone.attributions[0][0], atol=1e-5)


def test_a_class_with_few_rows_repeats_them_and_one_output_stands_for_the_second_class():
    train = rows(torch.tensor([[0.0], [0.0], [5.0]]), [0, 0, 1])
    explainer = make_explainer("gradient_shap", linear([[1.0]]), train, outputs=2)
    x = make_explicand(explainer, train, 0)
    assert x.num_outputs == 1
    (pool,) = ClassSamples(n=4).of(explainer.modalities, train, x, STREAMS)
    assert pool.tolist() == [[5.0]] * 4


def test_the_nearest_training_row_of_another_class():
    train = rows(torch.tensor([[0.0, 0.0], [1.0, 0.0], [9.0, 9.0], [0.0, 2.0]]), [0, 0, 1, 1])
    explainer = make_explainer("integrated_gradients", linear([[1.0, 1.0], [0.0, 1.0]]), train, outputs=2)
    examples = rows(torch.tensor([[0.1, 0.1], [8.0, 8.0]]), [0, 1])
    x = make_explicand(explainer, examples, "label")
    (found,) = NearestOtherClass().of(explainer.modalities, train, x, STREAMS)
    assert found.tolist() == [[0.0, 2.0], [1.0, 0.0]]
    many = make_explicand(explainer, rows(random_rows(150, 2), torch.arange(150) % 2), "label")
    (nearest,) = NearestOtherClass().of(explainer.modalities, train, many, STREAMS)
    assert nearest.shape == (150, 2)


def test_nearest_by_the_number_of_tokens_that_differ():
    modality = Tokens((3,), vocabulary=tuple("pabcd"))
    train = rows(torch.tensor([[1, 2, 3], [1, 4, 4]]), [1, 0])
    found = NearestOtherClass._distances(torch.tensor([[1, 2, 4]]), train.inputs[0])
    assert found.tolist() == [[1.0, 1.0]] and modality.vocabulary_size == 5


def test_classes_are_needed():
    train = rows(random_rows(4, 2), torch.zeros(4, 1))
    for baseline in (ClassSamples(), NearestOtherClass()):
        with pytest.raises(WrongInput, match=f"baseline={baseline.name}"):
            baseline((Tabular((2,)),), train, train.inputs, STREAMS)
    alone = rows(random_rows(4, 3), [1, 1, 1, 1])
    explainer = make_explainer("saliency", random_mlp(3), alone)
    with pytest.raises(WrongInput, match="one class"):
        NearestOtherClass().of(explainer.modalities, alone, make_explicand(explainer, alone), STREAMS)
    with pytest.raises(WrongInput, match="any other class than 1"):
        ClassSamples(other=True)._rows(alone, 1, STREAMS)
    with pytest.raises(WrongInput, match=r"baseline\.n=0"):
        ClassSamples(n=0)


def test_frequencies_of_groups_and_medians_of_columns():
    table = Tabular((4,), columns=("age", "red", "green", "blue"), groups=(0, 1, 1, 1))
    inputs = torch.tensor([[1.0, 1, 0, 0], [2.0, 1, 0, 0], [9.0, 0, 1, 0], [3.0, 0, 0, 1], [2.5, 1, 0, 0]])
    found = Frequency()((table,), rows(inputs, [0] * 5), (inputs,), STREAMS)[0]
    assert torch.allclose(found, torch.tensor([[2.5, 0.6, 0.2, 0.2]]))
    plain = Frequency()((Tabular((4,)),), rows(inputs, [0] * 5), (inputs,), STREAMS)[0]
    assert torch.equal(plain, inputs.median(0, keepdim=True).values)


def test_a_mask_token_keeps_what_is_special():
    words = ("<padding>", "<unknown>", "<start>", "good", "bad")
    text = Tokens((4,), vocabulary=words, special_ids=(2,))
    ids = torch.tensor([[2, 3, 4, 0]])
    train = rows(ids, [0])
    assert MaskToken()((text,), train, (ids,), STREAMS)[0].tolist() == [[2, 1, 1, 0]]
    assert MaskToken("bad")((text,), train, (ids,), STREAMS)[0].tolist() == [[2, 4, 4, 0]]
    bare = Tokens((4,), vocabulary=("<padding>", "a", "<start>", "good", "bad"), special_ids=(2,))
    assert MaskToken()((bare,), train, (ids,), STREAMS)[0].tolist() == [[2, 0, 0, 0]]
    with pytest.raises(WrongInput, match=r"baseline\.token=\[M\]: not in the vocabulary; it has <unknown>"):
        MaskToken("[M]")((text,), train, (ids,), STREAMS)
    numbers = random_rows(2, 3)
    assert (MaskToken()((Tabular((3,)),), rows(numbers, [0, 0]), (numbers,), STREAMS)[0] == 0).all()


def test_a_segment_lies_on_the_line_between_its_neighbours():
    series = Series((1, 7), segment=3)
    x = torch.tensor([[[1.0, 2, 3, 50, 60, 70, 7.0]]])
    found = Interpolation()((series,), rows(x, [0]), (x,), STREAMS)[0]
    assert torch.allclose(found, torch.tensor([[[50.0, 50, 50, 4, 5, 6, 70.0]]]))
    whole = Interpolation()((Series((1, 7), segment=7),), rows(x, [0]), (x,), STREAMS)[0]
    assert torch.allclose(whole, x.mean().expand_as(x))
    straight = torch.arange(12.0).reshape(1, 2, 6)
    inner = Interpolation()((Series((2, 6), segment=2),), rows(straight, [0]), (straight,), STREAMS)[0]
    assert torch.allclose(inner[..., 2:4], straight[..., 2:4])  # a line is what it seems


def test_interpolation_is_for_series():
    for modality, x in ((Image((1, 4, 4)), random_rows(1, 1, 4, 4)), (Tabular((4,)), random_rows(1, 4))):
        with pytest.raises(WrongInput, match="is no series"):
            Interpolation()((modality,), rows(x, [0]), (x,), STREAMS)


def test_a_row_of_each_example_is_no_distribution():
    train = two_classes()
    for method in ("gradient_shap", "deep_lift_shap", "conditional_occlusion"):
        explainer = make_explainer(method, random_mlp(3, 2), train, baseline=NearestOtherClass(), outputs=2)
        with pytest.raises(WrongInput, match="baseline=nearest_other_class gives each its own"):
            explainer.explain(make_explicand(explainer, train[:4]))


@pytest.mark.parametrize("name", options("baseline"))
def test_every_config_gives_rows_or_says_why_not(name):
    baseline, train = build(shipped("baseline", name)), two_classes()
    explainer = make_explainer("integrated_gradients", random_mlp(3, 2), train, baseline=baseline, outputs=2)
    x = make_explicand(explainer, train[:4])
    try:
        (found,) = baseline.of((Tabular((3,)),), train, x, STREAMS)
    except WrongInput as mistake:
        assert str(mistake).startswith(f"baseline={name}: ") and len(str(mistake)) <= 160
        assert name in ("blur", "interpolation")
        return
    assert found.shape[1:] == (3,) and found.isfinite().all() and len(baseline.name) > 3
    assert baseline.is_distribution or len(found) in (1, 4)


def sensitivity(method: str, baselines: list, net: torch.nn.Module, own=None) -> torch.Tensor:
    train = two_classes()
    explainer = make_explainer(method, net, train, (Tabular((3,)),), baseline=own or Blank(), outputs=2)
    explanation = explainer.explain(make_explicand(explainer, train[:5]))
    measured = BaselineSensitivity(baselines)(explainer, explanation, Reference(()))
    again = explainer.explain(make_explicand(explainer, train[:5]))
    assert torch.equal(again.attributions[0], explanation.attributions[0])  # its own baseline is as it was
    return measured.scores


def test_baseline_sensitivity_of_a_linear_network():
    """weight x (input - baseline) moves by weight x baseline."""
    net, train = linear([[1.0, 2.0, 3.0], [-1.0, 0.0, 1.0]]), two_classes()
    found = sensitivity("integrated_gradients", [Mean(), Fixed(torch.tensor([[0.1, 0.0, 0.0]]))], net)
    weight = net.weight[net(train.inputs[0][:5]).argmax(1)].detach()
    moved = (weight * train.inputs[0].mean(0)).norm(dim=1) / (weight * train.inputs[0][:5]).norm(dim=1)
    assert torch.allclose(found.float(), moved, atol=1e-4)
    assert (sensitivity("integrated_gradients", [Blank()], net) == 0).all()


def test_baseline_sensitivity_where_there_is_nothing_to_choose():
    net = random_mlp(3, 2)
    assert sensitivity("saliency", [Mean()], net).isnan().all()
    assert (
        sensitivity("integrated_gradients", [Blur()], net).isnan().all()
    )  # there is no such baseline for a table
    assert torch.equal(
        sensitivity("integrated_gradients", [Blur(), Mean()], net),
        sensitivity("integrated_gradients", [Mean()], net),
    )
    assert sensitivity("gradient_shap", [Mean()], net, Samples(10)).isnan().all()
    assert (sensitivity("gradient_shap", [Mean(), Samples(5)], net, Samples(10)) > 0).all()
    with pytest.raises(WrongInput, match="at least one"):
        BaselineSensitivity([])
