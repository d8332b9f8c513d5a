"""From elements to features: groups count as often as they should, and padding never does."""

import pytest
import torch
from known_networks import Fixed, linear, make_explainer, make_explicand, random_rows
from small_worlds import rows
from torch import nn

import salience
from salience.attribution.explanation import feature_totals
from salience.data.base import Examples
from salience.modality import Tabular, Tokens
from salience.models.mlp import MLP
from salience.models.transformer import Transformer

GROUPS = (0, 0, 0, 1, 1, 2)
COMPLETE = {
    "integrated_gradients": {}, "deep_lift": {}, "shapley_values": {}, "input_x_gradient": {}, "feature_ablation": {},
    "shapley_value_sampling": {"exact": False}, "kernel_shap": {"exact": False}, "lime": {"alpha": 0.0}, "lrp": {},
    "gradient_shap": {}, "deep_lift_shap": {}, "expected_gradients": {}, "feature_permutation": {}, "smooth_grad": {},
}  # fmt: skip
"""Gradients and perturbations alike: on a network of ones whose inputs are ones, a feature is worth its size."""


@pytest.mark.parametrize("method", COMPLETE)
def test_groups_of_three_two_and_one(method):
    network, ones = nn.Sequential(linear(torch.ones(2, 6))), torch.ones(3, 6)
    data = Examples((ones,), torch.zeros(3, dtype=torch.long), torch.arange(3))
    zeros = (
        Fixed(torch.zeros(2, 6), is_distribution=True) if "shap" in method or "expected" in method else None
    )
    zeros = Fixed(torch.zeros(2, 6), is_distribution=True) if method == "feature_permutation" else zeros
    if method == "kernel_shap":
        zeros = None
    explainer = make_explainer(
        method,
        network,
        data,
        (Tabular((6,), groups=GROUPS),),
        baseline=zeros,
        arguments=COMPLETE[method],
        outputs=2,
    )
    explanation = explainer.explain(make_explicand(explainer, data))
    wanted = torch.tensor([3.0, 2.0, 1.0]).expand(3, 3)
    torch.testing.assert_close(explanation.per_feature(), wanted, atol=1e-3, rtol=0)
    assert explanation.attributions[0].shape == (3, 6)


def test_groups_are_refused_where_a_window_would_cut_them():
    data = Examples((torch.ones(2, 6),), torch.zeros(2, dtype=torch.long), torch.arange(2))
    explainer = make_explainer(
        "occlusion", linear(torch.ones(2, 6)), data, (Tabular((6,), groups=GROUPS),), outputs=2
    )
    with pytest.raises(salience.WrongInput, match="no window is one feature here; use feature_ablation"):
        explainer.explain(make_explicand(explainer, data))


def test_masks_given_by_hand_are_the_features():
    mask, x = torch.tensor([GROUPS]), torch.ones(2, 6)
    for method in ("integrated_gradients", "feature_ablation", "kernel_shap", "lrp"):
        got = salience.explain(linear(torch.ones(1, 6)), x, method, feature_mask=mask)
        torch.testing.assert_close(got.per_feature(), torch.tensor([[3.0, 2.0, 1.0]] * 2), atol=1e-4, rtol=0)


def test_a_feature_in_two_inputs():
    """Numbered through both: the second feature lies in either."""
    masks = torch.tensor([[0, 1]]), torch.tensor([[1, 1, 2]])

    class Sum(nn.Module):
        def forward(self, a, b):
            return a.sum(1) + b.sum(1)

    for method in ("integrated_gradients", "feature_ablation", "shapley_values"):
        got = salience.explain(Sum(), (torch.ones(2, 2), torch.ones(2, 3)), method, feature_mask=masks)
        torch.testing.assert_close(got.per_feature(), torch.tensor([[1.0, 3.0, 1.0]] * 2), atol=1e-4, rtol=0)


def test_totals_and_means():
    masks = (torch.tensor([[0, 1, 1]]), torch.tensor([[1], [2]]))
    values = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), torch.tensor([[10.0], [20.0]])
    assert feature_totals(values, masks, 3).tolist() == [[1.0, 15.0, 0.0], [4.0, 11.0, 20.0]]


# -- padding -----------------------------------------------------------------------------------------------------------

METHODS = (
    "saliency", "integrated_gradients", "deep_lift", "feature_ablation", "occlusion", "lrp", "input_x_gradient",
    "guided_backprop", "shapley_values", "kernel_shap", "feature_permutation", "gradient_shap", "deep_lift_shap",
)  # fmt: skip
"""Without draws of their own shape (these are averaged over the same training rows, or enumerate coalitions)."""
NEEDS_RULES = ("deep_lift", "deep_lift_shap", "lrp", "guided_backprop")
"""Refused for a transformer."""
WORDS = tuple(f"w{i}" for i in range(12))


def padded(ids: torch.Tensor, length: int) -> Examples:
    """The same tokens with padding (id 0) up to `length`."""
    filled = torch.zeros(len(ids), length, dtype=torch.long)
    filled[:, : ids.shape[1]] = ids
    return Examples(
        (filled,), torch.zeros(len(ids), dtype=torch.long), torch.arange(len(ids)), context=(filled == 0,)
    )


class Pooled(nn.Module):
    """A sum over positions that are not padded, through a ReLU."""

    def __init__(self):
        super().__init__()
        self.embedding, self.first, self.relu, self.out = (
            nn.Embedding(12, 4),
            nn.Linear(4, 8),
            nn.ReLU(),
            nn.Linear(8, 3),
        )

    def embed(self, ids):
        return (self.embedding(ids),)

    def forward(self, embedded, is_padding):
        return self.out(self.relu(self.first(embedded.masked_fill(is_padding[..., None], 0.0).sum(1))))


@pytest.mark.parametrize(
    ("method", "network"),
    [*((m, "pooled") for m in METHODS), *((m, "transformer") for m in METHODS if m not in NEEDS_RULES)],
)
def test_more_padding_changes_no_attribution(method, network):
    torch.manual_seed(0)
    if network == "transformer":
        short, long = _transformer(4), _transformer(7)
        with torch.no_grad():
            own, other = dict(short.named_parameters()), dict(long.named_parameters())
            for name, value in own.items():
                other[name][: len(value)] = value
    else:
        short = long = Pooled().eval()
    few, many = explained(method, short, 4), explained(method, long, 7)
    assert few.shape == (3, 4) and many.shape == (3, 7)
    assert (many[:, 4:] == 0).all()
    assert few.abs().max() > 1e-4
    torch.testing.assert_close(many[:, :4], few, atol=2e-5 * max(1.0, few.abs().max().item()), rtol=0)


def _transformer(length: int) -> nn.Module:
    modality = (Tokens((length,), vocabulary=WORDS),)
    return Transformer(modality, 3, depth=1, width=8, heads=2, ff=8, dropout=0.0, embedding=4).eval()


def explained(method: str, model: nn.Module, length: int) -> torch.Tensor:
    """Attributions per token of three sentences of 3 or 4 words among `length` positions."""
    ids = torch.tensor([[3, 5, 1, 2], [4, 4, 9, 0], [7, 1, 11, 6]])
    data = padded(ids, length)
    modality = (Tokens((length,), vocabulary=WORDS),)
    pool = padded(torch.tensor([[8, 10, 2, 5], [1, 6, 3, 3]]), length).inputs[0]
    averaged = method in ("feature_permutation", "gradient_shap", "deep_lift_shap")
    baseline = (
        Fixed(pool, is_distribution=True) if averaged else Fixed(torch.zeros(1, length, dtype=torch.long))
    )
    given = {"exact": True} if method == "kernel_shap" else {}
    explainer = make_explainer(method, model, data, modality, baseline=baseline, arguments=given)
    return explainer.explain(make_explicand(explainer, data, 1)).per_feature()


@pytest.mark.parametrize(
    "method", ["kernel_shap", "lime", "shapley_value_sampling", "random", "smooth_grad", "rise"]
)
def test_padding_and_special_tokens_get_nothing(method):
    data = rows("tokens")
    modality = (Tokens((7,), vocabulary=WORDS, special_ids=(1,)),)
    torch.manual_seed(0)
    model = MLP(modality, 3, hidden=[8], embedding=4).eval()
    explainer = make_explainer(
        method, model, data, modality, baseline=Fixed(torch.zeros(1, 7, dtype=torch.long))
    )
    explanation = explainer.explain(make_explicand(explainer, data))
    features = explanation.per_feature()
    ids = data.inputs[0]
    assert (features[(ids == 0) | (ids == 1)] == 0).all() and ((ids == 0).any() and (ids == 1).any())
    assert (features[ids > 1] != 0).all()


def test_rows_of_an_explanation_stay_aligned():
    x = random_rows(5, 4)
    explanation = salience.explain(
        linear(torch.ones(2, 4)), x, "integrated_gradients", target=[0, 1, 0, 1, 1]
    )
    part = explanation.rows(torch.tensor([4, 1]))
    assert part.index.tolist() == [4, 1] and part.target.tolist() == [1, 1] and len(part) == 2
    torch.testing.assert_close(part.per_feature(), explanation.per_feature()[[4, 1]])
    assert part.baselines[0].shape == (1, 4), "one baseline for all stays one"
