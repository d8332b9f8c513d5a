"""LRP rule by rule: against the rules written out by hand, against zennit, and for networks that read ids."""

import importlib.util
import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from known_networks import random_rows
from torch import Tensor, nn

import salience
from salience.attribution.batched import LRP
from salience.attribution.guards import Refused

pytestmark = pytest.mark.filterwarnings("ignore")  # Captum narrates its hooks
RULES = ("epsilon", "gamma", "alpha1_beta0")


def mlp(bias: bool = False) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(6, 8, bias), nn.ReLU(), nn.Linear(8, 7, bias), nn.ReLU(), nn.Linear(7, 3, bias)
    ).eval()


def cnn(bias: bool = False) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, bias=bias), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(4, 5, 3, bias=bias),
        nn.ReLU(), nn.Flatten(), nn.Linear(20, 3, bias),
    ).eval()  # fmt: skip


NETWORKS = {"mlp": (mlp, random_rows(5, 6).abs()), "cnn": (cnn, random_rows(4, 1, 8, 8).abs())}


def close(got: Tensor, wanted: Tensor) -> None:
    """To 1e-5 of the largest."""
    assert (got - wanted).abs().max() <= 1e-5 * wanted.abs().max()


def weights(name: str, layer: Tensor) -> Tensor:
    """A weight as a rule changes it."""
    changed = {
        "epsilon": layer,
        "gamma": layer + 0.25 * layer.clamp(min=0),
        "alpha1_beta0": layer.clamp(min=0),
    }
    return changed[name]


@pytest.mark.parametrize("name", RULES)
def test_rules_written_out(name):
    """R_j = a_j sum_k w_jk R_k / z_k, layer by layer, for a network without biases."""
    model, x = mlp(), NETWORKS["mlp"][1]
    hidden = [x]
    for layer in model[:4]:
        hidden.append(layer(hidden[-1]))
    relevance = torch.zeros(5, 3).index_fill(1, torch.tensor([1]), 1.0) * model(x)
    for a, layer, rule in ((hidden[4], 4, "epsilon"), (hidden[2], 2, name), (hidden[0], 0, name)):
        w = weights(rule, model[layer].weight)
        z = a @ w.T
        relevance = a * ((relevance / torch.where(z == 0, 1e-9, z)) @ w)
    for layer in (0, 2):
        model[layer].rule = rule_of(name)
    close(LRP(model).attribute(x, target=1), relevance.detach())


def rule_of(name: str) -> Any:
    """A fresh rule of that name, as a module carries it."""
    from salience.attribution.batched.lrp import NAMED

    return NAMED[name]()


def test_rules_are_named_for_each_kind_of_layer():
    model, x = cnn(), NETWORKS["cnn"][1]
    named = salience.explain(model, x, "lrp", target=1, rules={"conv": "gamma", "linear": "epsilon"})
    for layer in (0, 3):
        model[layer].rule = rule_of("gamma")
    carried = LRP(model).attribute(x, target=1)
    assert torch.equal(named.attributions[0], carried)
    assert not torch.equal(carried, LRP(cnn()).attribute(x, target=1))
    for wrong in ("gama", {"conv": "zbox"}, {"pool": "gamma"}):
        with pytest.raises((ValueError, Refused), match="one of epsilon, gamma, alpha1_beta0"):
            salience.explain(cnn(), x, "lrp", rules=wrong)


class Reader(nn.Module):
    """Embeds ids itself, and adds positions that are a table too."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.words, self.places = nn.Embedding(9, 4), nn.Embedding(5, 4)
        self.hidden, self.relu, self.out = nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)

    def embed(self, ids):
        return (self.words(ids),)

    def forward(self, embedded):
        embedded = embedded + self.places(torch.arange(embedded.shape[1]))
        return self.out(self.relu(self.hidden(embedded)).mean(1))


def test_tables_of_ids_need_no_rule():
    model, ids = Reader().eval(), torch.randint(9, (3, 5), generator=torch.Generator().manual_seed(0))
    got = salience.explain(model, ids, "lrp", target=1)
    assert got.attributions[0].shape == (3, 5, 4) and got.attributions[0].isfinite().all()
    assert got.per_feature().shape == (3, 5) and got.per_feature().abs().max() > 0


# -- zennit ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def zennit(monkeypatch) -> Any:
    """zennit, also where there is no torchvision: it wants that for its canonizers, which no rule needs."""
    if importlib.util.find_spec("torchvision") is None:
        for name in ("torchvision", "torchvision.models"):
            monkeypatch.setitem(sys.modules, name, ModuleType(name))
        for name, classes in (("resnet", ("Bottleneck", "BasicBlock", "ResNet")), ("vgg", ("VGG",))):
            module = ModuleType(f"torchvision.models.{name}")
            vars(module).update({c: type(c, (nn.Module,), {}) for c in classes})
            monkeypatch.setitem(sys.modules, module.__name__, module)
    import zennit.attribution
    import zennit.composites
    import zennit.rules

    return zennit


@pytest.mark.oracles
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("name", RULES)
def test_rules_are_those_of_zennit(zennit, name, bias, network):
    """On rows that are not negative, as those rules ask; biases keep their share under the epsilon rule only."""
    make, x = NETWORKS[network]
    model = make(bias)
    last = len(model) - 1
    zero = [] if name == "epsilon" else ["bias"]
    rules, tiny = zennit.rules, {"stabilizer": 1e-9}
    hooks = {
        "epsilon": lambda: rules.Epsilon(1e-9),
        "gamma": lambda: rules.Gamma(0.25, **tiny, zero_params=zero),
        "alpha1_beta0": lambda: rules.ZPlus(**tiny, zero_params=zero),
    }
    named = [
        ([str(i)], rules.Epsilon(1e-9) if i == last or isinstance(m, nn.AvgPool2d) else hooks[name]())
        for i, m in enumerate(model)
        if isinstance(m, nn.Linear | nn.Conv2d | nn.AvgPool2d)
    ]
    composite = zennit.composites.NameMapComposite(named)
    one = torch.eye(3)[[1]].expand(len(x), -1)
    with zennit.attribution.Gradient(model, composite) as attributor:
        _, wanted = attributor(x, lambda outputs: outputs * one)
    for i, layer in enumerate(model):
        if isinstance(layer, nn.Linear | nn.Conv2d) and i != last:
            layer.rule = rule_of(name)
            layer.rule.set_bias_to_zero = bool(zero)
    close(LRP(model).attribute(x, target=1), wanted.detach())
