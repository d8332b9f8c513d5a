"""Columns of a table: signed bars, the longest first, with the value of each column in its label."""

from functools import singledispatch

from torch import Tensor

from ..modality import Modality, Tabular
from .canvas import AGAINST, FOR, LINE, MUTED, Box, Sheet, number, plain
from .panels import Cell, Panel, panel_for

MEANS = 10
BARS = 15
"""The longest bars are drawn; a line says how many features are left."""


@singledispatch
def feature_labels(modality: Modality, cell: Cell) -> list[str]:
    """`name = value` per feature; the name alone where a feature has many elements."""
    count = len(cell.values)
    named = (
        modality.feature_names if modality.num_features == count else [f"feature {i}" for i in range(count)]
    )
    flat, mask = modality.original(cell.raw).flatten().tolist(), cell.mask.flatten().tolist()
    if len(flat) == len(mask) == count:
        of = dict(zip(mask, flat, strict=True))
        return [f"{plain(name)} = {number(of[i])}" for i, name in enumerate(named)]
    return [plain(name) for name in named]


@feature_labels.register
def _(modality: Tabular, cell: Cell) -> list[str]:
    columns = modality.columns or Modality.feature_names.fget(modality)  # type: ignore[attr-defined]
    names = modality.feature_names if modality.num_features == len(cell.values) else ()
    values, labels = modality.original(cell.raw)[0].tolist(), []
    for feature in range(len(cell.values)):
        own = (cell.mask == feature).nonzero().flatten().tolist()
        if len(own) == 1:
            unit = modality.units[own[0]] if modality.units else ""
            labels.append(f"{plain(columns[own[0]])} = {number(values[own[0]])} {unit}".strip())
            continue
        name = plain(names[feature] if names else f"feature {feature}")
        chosen = plain(columns[max(own, key=lambda i: values[i])]) if own else ""
        labels.append(f"{name} = {chosen.removeprefix(name).strip(' =_:') or chosen}")
    return labels


class Bars(Panel):
    """Signed horizontal bars."""

    coloured = False

    def size(self, cell: Cell, columns: int) -> tuple[float, float]:
        return (3.6 if columns == 1 else 1.9), 0.21 * min(BARS, int(cell.present.sum())) + 0.35

    def margin(self, cell: Cell) -> float:
        return 0.15 + 0.066 * max(len(label) for label in feature_labels(self.modality, cell))

    def order(self, weight: Tensor, cell: Cell) -> list[int]:
        ranked = weight.masked_fill(~cell.present, -1.0).argsort(descending=True, stable=True).tolist()
        return ranked[: min(BARS, int(cell.present.sum()))]

    def draw(self, sheet: Sheet, box: Box, cell: Cell, limit: float, order: list[int], labels: bool) -> None:
        left, top, width, height = box
        axes = sheet.axes((left, top, width, height - 0.35))
        values = cell.values[order].tolist()
        axes.barh(range(len(order)), values, color=[FOR if v > 0 else AGAINST for v in values], height=0.72)
        axes.axvline(0, color=MUTED, linewidth=0.8)
        axes.set_xlim(-1.05 * limit, 1.05 * limit)
        axes.set_ylim(len(order) - 0.4, -0.6)
        axes.xaxis.set_major_locator(_ticks(3 if width < 3 else 7))
        axes.grid(axis="x", color=LINE, linewidth=0.5)
        axes.set_axisbelow(True)
        axes.spines["left"].set_visible(False)
        if labels:
            text = feature_labels(self.modality, cell)
            axes.set_yticks(range(len(order)), [text[i] for i in order], parse_math=False)
        else:
            axes.set_yticks([])  # ticks without length and label would take most of the time
        axes.tick_params(axis="y", length=0, labelcolor="#202124")
        rest = int(cell.present.sum()) - len(order)
        if labels and rest > 0:
            sheet.text(left - 0.1, top + height - 0.27, f"and {rest} more", 7.5, color=MUTED, ha="right")

    def has_means(self, mean: Tensor) -> bool:
        return True

    def draw_mean(self, sheet: Sheet, box: Box, mean: Tensor) -> None:
        left, top, width, height = box
        names = self.modality.feature_names
        if len(names) != len(mean):
            names = tuple(f"feature {i}" for i in range(len(mean)))
        order = mean.argsort(descending=True, stable=True)[: min(MEANS, len(mean))].tolist()
        axes = sheet.axes((left + 1.7, top, width - 1.8, (height - 0.3) * len(order) / MEANS))
        axes.barh(range(len(order)), mean[order].tolist(), color=MUTED, height=0.72)
        axes.set_ylim(len(order) - 0.4, -0.6)
        axes.set_yticks(range(len(order)), [plain(names[i], 26) for i in order], parse_math=False)
        axes.xaxis.set_major_locator(_ticks(4))
        axes.tick_params(axis="y", length=0, labelcolor="#202124")


def _ticks(most: int):
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(most, steps=[1, 2, 5, 10], symmetric=True)


@panel_for.register
def _(modality: Modality) -> Panel:
    return Bars(modality)
