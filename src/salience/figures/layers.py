"""Hidden layers: the mean attribution of each unit or channel as bars, and where in a map it lies."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..attribution.layer_explanation import LayerExplanation
from .canvas import AGAINST, COLOURS, FOR, LINE, MUTED, Sheet, number, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BARS = 15
"""The units with the largest means are drawn; a line says how many are left."""
WIDTH, ROW = 6.4, 0.19
KINDS = {2: "unit", 3: "position"}
"""What the first axis of a layer's output [examples, ...] counts, by how many axes there are; else channels."""


@dataclass(frozen=True)
class LayerMeans:
    """What one pass over the explanations of a layer leaves."""

    layer: str
    kind: str
    """What a bar stands for: a unit, a position or a channel."""
    mean: Tensor
    """Mean attribution of each, added up over its places [units]."""
    places: Tensor | None
    """Mean attribution of each place, added up over channels [height, width]; None where the layer has none."""
    examples: int


def layer_means(shards: Iterable[Any]) -> LayerMeans:
    """One pass over the shards (`LayerExplanation`) of one method, one in memory at a time; ValueError for none."""
    total = places = None
    layer, kind, examples = "", "unit", 0
    for explanation in shards:
        values = explanation.attributions[0].detach().double().cpu()
        units = explanation.per_unit().detach().double().cpu().sum(0)
        total = units if total is None else total + units
        if values.dim() == 4:
            here = values.sum((0, 1))
            places = here if places is None else places + here
        layer, kind = explanation.layer, KINDS.get(values.dim(), "channel")
        examples += len(explanation)
    if total is None:
        raise ValueError("nothing was explained")
    return LayerMeans(layer, kind, total / examples, None if places is None else places / examples, examples)


def layers_figure(found: Mapping[str, LayerMeans]) -> "Figure":
    """Mean attribution of the units of a layer, one method below the other, each on a scale of its own."""
    heights = [0.75 + ROW * min(BARS, len(one.mean)) for one in found.values()]
    sheet = Sheet(WIDTH, 0.1 + sum(heights))
    top = 0.1
    for (method, one), height in zip(found.items(), heights, strict=True):
        what = (
            f"{one.kind}s of {plain(one.layer)}, mean over {one.examples} example{'s' * (one.examples != 1)}"
        )
        sheet.text(0.15, top, plain(method), 9, weight="bold")
        sheet.text(0.15 + 0.085 * len(plain(method)) + 0.15, top, what, 8.5, color=MUTED)
        _bars(sheet, top + 0.25, height - 0.75, one)
        if one.places is not None:
            _map(sheet, top + 0.25, one.places)
        top += height
    return sheet.figure


def layer_figure(explanation: LayerExplanation) -> "Figure":
    """One explanation of a layer, the mean over its examples."""
    return layers_figure({explanation.method or "attribution": layer_means([explanation])})


def _bars(sheet: Sheet, top: float, height: float, one: LayerMeans) -> None:
    order = one.mean.abs().argsort(descending=True, stable=True)[:BARS].tolist()
    values = one.mean[order].tolist()
    limit = max(abs(v) for v in values) or 1.0
    axes = sheet.axes((1.1, top, 3.0, height))
    axes.barh(range(len(order)), values, color=[FOR if v > 0 else AGAINST for v in values], height=0.72)
    axes.axvline(0, color=MUTED, linewidth=0.8)
    axes.set_xlim(-1.05 * limit, 1.05 * limit)
    axes.set_ylim(len(order) - 0.4, -0.6)
    axes.set_yticks(range(len(order)), [f"{one.kind} {i}" for i in order])
    axes.set_xticks([-limit, 0, limit], [number(-limit), "0", number(limit)])
    axes.tick_params(axis="y", length=0, labelcolor="#202124")
    axes.grid(axis="x", color=LINE, linewidth=0.5)
    axes.set_axisbelow(True)
    left = len(one.mean) - len(order)
    if left:
        sheet.text(1.05, top + height + 0.22, f"and {left} more", 7.5, color=MUTED, ha="right")


def _map(sheet: Sheet, top: float, places: Tensor) -> None:
    limit = float(places.abs().max()) or 1.0
    axes = sheet.axes((4.5, top, 1.6, 1.6 * places.shape[0] / places.shape[1]), frame=False)
    axes.imshow(places.numpy(), cmap=COLOURS, vmin=-limit, vmax=limit)


__all__ = ["LayerMeans", "layer_figure", "layer_means", "layers_figure"]
