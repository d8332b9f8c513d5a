"""Networks with hand-set weights whose true maps are known, and every metric on them.

`python -m salience.metrics.exact` writes cards.csv and docs/metrics.md. The true map is the exact Shapley value of each
feature against a reference of zeros; for the linear and the additive network that is what a feature adds by itself.
"""

import inspect
import io
from csv import DictWriter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .. import files
from ..attribution.baselines import Blank
from ..attribution.explainer import Explainer
from ..attribution.explanation import Explained, Explanation, Explicand, explicand
from ..config import build, options, shipped
from ..data.base import Classification, Data, Examples
from ..errors import WrongInput
from ..modality import Image, Modality, Tabular
from ..randomness import Streams
from .base import Metric, Reference
from .cards import FILE, NETWORKS, Card, cards, row

WEIGHTS = torch.tensor([4.0, -3.0, 2.0, 1.5, -1.0, 0.7, 0.0, 0.0])
ROWS = 64
STREAMS = Streams(0)


class Layers(nn.Sequential):
    """Layers over all elements of one input."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(1))


def network(name: str) -> nn.Module:
    """One of `NETWORKS`: outputs (-f, f) of eight features, of which the last two change nothing.

    linear: f = w x. additive: f = sum_i w_i (relu(x_i) - 0.3 relu(-x_i)). relu: three hidden units over two features
    each.
    """
    out = torch.tensor([[-1.0], [1.0]])
    if name == "linear":
        return Layers(_linear(out * WEIGHTS))
    if name == "additive":
        both = torch.cat([torch.eye(8), -torch.eye(8)])
        return Layers(_linear(both), nn.ReLU(), _linear(out * torch.cat([WEIGHTS, -0.3 * WEIGHTS])))
    first = torch.zeros(3, 8)
    first[0, :2], first[1, 2:4], first[2, 4:6] = (
        torch.tensor([2.0, -1.0]),
        torch.tensor([1.0, 1.0]),
        torch.tensor([1.0, 0.5]),
    )
    return Layers(
        _linear(first, torch.tensor([0.5, 0.5, 0.5])),
        nn.ReLU(),
        _linear(out * torch.tensor([3.0, 2.0, -1.5])),
    )


def _linear(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(torch.zeros(len(weight)) if bias is None else bias)
    return layer


@dataclass
class World:
    """One network with its examples; `random` and `true` explain it, `cheap` takes a row each way."""

    name: str
    modality: Modality
    model: Explained
    x: Explicand
    reference: Reference
    data: Data

    @staticmethod
    def of(name: str, modality: Modality | None = None) -> "World":
        """The network `name` over a table of eight columns, or over another modality of eight features."""
        modality = modality or Tabular((8,), "table")
        model = Explained(network(name))
        data = _data(model, modality)
        x = explicand(model, data.modalities, data.task, data.test[:ROWS], "on")
        with torch.no_grad():
            true = World._explainer(model, data, "shapley_values").explain(x).per_feature()
        relevant = (torch.arange(8) < 6).expand(len(x), 8)
        return World(
            name,
            modality,
            model,
            replace(x, relevant=relevant, ratings=true),
            Reference((torch.zeros(1, *modality.shape),)),
            data,
        )

    @staticmethod
    def _explainer(model: Explained, data: Data, method: str) -> Explainer:
        spec = shipped("attribution", method)[method]
        factory = build({**spec["method"], "_partial_": True})
        arguments = spec.get("arguments")
        return Explainer(
            method, factory, model, data.modalities, data.task, data.train, Blank(), STREAMS, arguments
        )

    def explainer(self, method: str) -> Explainer:
        """A method by the name of its config, on this network."""
        return self._explainer(self.model, self.data, method)

    def metric(self, name: str) -> Metric:
        """A metric as its config builds it for this world; the weights are known of the linear network only."""
        weights = torch.stack([-WEIGHTS, WEIGHTS]) if self.name == "linear" else None
        return build(
            shipped("metric", name)[name], streams=STREAMS, weights=weights, retrain=LeastSquares(self.data)
        )

    def score(self, name: str, explainer: Explainer, explanation: Explanation) -> float | None:
        """The mean score of an explanation; None where the metric does not apply or is undefined throughout."""
        try:
            metric = self.metric(name)
        except WrongInput:
            return None
        scores = metric(explainer, explanation, self.reference).scores.double()
        known = scores[scores.isfinite()]
        return float(known.mean()) if len(known) else None


@dataclass(frozen=True)
class LeastSquares:
    """Stands in for training: the linear network that fits the labels best."""

    data: Data

    def __call__(self, data: Data) -> nn.Module:
        x = data.train.inputs[0].flatten(1).double()
        design = torch.cat([x, torch.ones(len(x), 1, dtype=torch.float64)], 1)
        signs = 2.0 * data.train.labels.double()[:, None] - 1
        found = torch.linalg.lstsq(design, signs, driver="gelsd").solution[:, 0].float()
        out = torch.tensor([[-1.0], [1.0]])
        return Layers(_linear(out * found[:-1], (out * found[-1])[:, 0]))


def _data(model: Explained, modality: Modality) -> Data:
    """Inputs of size 0.5 to 1.5 and either sign, labels by the median of f; 300 rows to train and 200 to test."""
    generator = STREAMS.generator("exact")
    inputs = 2 * torch.rand(600, *modality.shape, generator=generator) - 1
    inputs = inputs + 0.5 * inputs.sign()
    with torch.no_grad():
        values = model(inputs)[:, 1]
    labels = (values > values.median()).long()

    def part(start: int, stop: int) -> Examples:
        return Examples((inputs[start:stop],), labels[start:stop], torch.arange(stop - start))

    task = Classification(("off", "on"))
    return Data((modality,), task, part(0, 300), part(300, 400), part(400, 600))


def compute(name: str, worlds: dict[str, World]) -> Card:
    """The card of one metric, by running it."""
    values: dict[str, dict[str, float | None]] = {"random": {}, "shapley_values": {}}
    for network_name in NETWORKS:
        world = worlds[network_name]
        if shown(name).needs_places:
            world = worlds[f"{network_name} image"]
        for method, found in values.items():
            explainer = world.explainer(method)
            found[network_name] = world.score(name, explainer, explainer.explain(world.x))
    world, metric = worlds["linear image" if shown(name).needs_places else "linear"], shown(name)
    explainer = world.explainer("input_x_gradient")
    explanation, counter = explainer.explain(world.x), world.model.counter
    before = counter.forward_rows, counter.backward_rows
    world.score(name, explainer, explanation)
    return Card(
        name,
        metric.higher_is_better,
        metric.best,
        metric.range[0],
        metric.range[1],
        values["random"],
        values["shapley_values"],
        (counter.forward_rows - before[0]) / ROWS,
        (counter.backward_rows - before[1]) / ROWS,
    )


def shown(name: str) -> Any:
    """The class of a metric."""
    from ..edge.targets import locate

    return locate(shipped("metric", name)[name]["_target_"])


def all_worlds() -> dict[str, World]:
    """Every network over a table, and over an image of the same eight features for metrics that need one."""
    tables = {name: World.of(name) for name in NETWORKS}
    return tables | {f"{name} image": World.of(name, Image((1, 2, 4), "image")) for name in NETWORKS}


def text(found: list[Card]) -> str:
    """docs/metrics.md: a table of all metrics, then what each is."""
    lines = [
        "# Metrics",
        "",
        "Written by `python -m salience.metrics.exact`; do not edit. Random and true are mean scores of random maps",
        "and of exact Shapley values on three networks with hand-set weights (linear, additive, and one with",
        "interacting ReLU units; eight features, two of which change nothing; logits; a reference of zeros). Where the",
        "two agree a metric cannot tell them apart there. Rows pass through the network for one example, beside the",
        "explanation's own, with a method that takes one row each way (`roar` and `kar` explain all splits: 600 rows",
        "for 64 examples). `–`: does not apply or is undefined there.",
        "",
        "| metric | better | best | random: linear, additive, relu | true: the same | rows forward | back |",
        "|---|---|---|---|---|---|---|",
    ]
    for card in found:
        best = "–" if card.best is None else f"{card.best:g}"
        way = "higher" if card.higher_is_better else "lower"
        random, true = (", ".join(_value(v[n]) for n in NETWORKS) for v in (card.random, card.true))
        rows = f"{card.forward_rows:.0f} | {card.backward_rows:.0f}"
        lines.append(f"| `{card.name}` | {way} | {best} | {random} | {true} | {rows} |")
    for card in found:
        lines += ["", f"## {card.name}", "", inspect.getdoc(shown(card.name)) or ""]
    return "\n".join(lines) + "\n"


def _value(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def main() -> None:
    """Compute all cards; write the file and the page."""
    torch.set_num_threads(1)
    worlds = all_worlds()
    found = [compute(name, worlds) for name in options("metric")]
    buffer = io.StringIO()
    writer = DictWriter(buffer, list(row(found[0])), lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(row, found))
    files.atomic_write(FILE, buffer.getvalue())
    cards.cache_clear()
    docs = Path(__file__).parents[3] / "docs"
    if docs.is_dir():
        files.atomic_write(docs / "metrics.md", text(list(cards())))


if __name__ == "__main__":
    main()
