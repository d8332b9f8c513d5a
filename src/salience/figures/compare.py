"""One example per row, one method per column, one scale wherever the units agree."""

import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from ..attribution.explanation import Explanation
from .canvas import MUTED, Sheet, number, plain, wrapped
from .panels import Cell, Panel, cells, flaw, modalities, panel_for, scale

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAD = 0.2


@dataclass(frozen=True)
class Grid:
    """What is drawn: cells[example][method][modality], and the sizes that follow."""

    methods: list[str]
    explanations: list[Explanation]
    rows: list[int]
    cells: list[list[list[Cell]]]
    panels: list[Panel]
    limits: list[list[float]]
    """The scale of each method for each modality."""
    controls: Collection[str]

    @property
    def width(self) -> float:
        """Width of one column."""
        return max(
            p.size(r[0][i], len(self.methods))[0] for r in self.cells for i, p in enumerate(self.panels)
        )

    @property
    def margin(self) -> float:
        """Room for labels on the left of the first method."""
        return max(p.margin(r[0][i]) for r in self.cells for i, p in enumerate(self.panels))

    @property
    def inputs(self) -> float:
        """Width of the column that shows the inputs."""
        shown = [i for i, p in enumerate(self.panels) if p.shows_input]
        widths = (self.panels[i].size(r[0][i], len(self.methods))[0] for r in self.cells for i in shown)
        return max(widths, default=0.0)

    def height(self, row: int, i: int) -> float:
        """Height of one modality of one example."""
        return self.panels[i].size(self.cells[row][0][i], len(self.methods))[1]

    def order(self, row: int, i: int) -> list[int]:
        """The features drawn: those that the methods, each scaled to its own maximum, find largest on average."""
        names = [k for k, m in enumerate(self.methods) if m not in self.controls] or range(len(self.methods))
        sizes = [self.cells[row][k][i].values.nan_to_num().abs() for k in names]
        weight = torch.stack([s / s.max().clamp(min=1e-30) for s in sizes]).mean(0)
        return self.panels[i].order(weight, self.cells[row][0][i])


def own_units(explanation: Explanation) -> bool:
    """Whether values are in units of the method's own: neither differences of output that it promises to add up to,
    nor the effect of hiding a feature."""
    return explanation.convergence_delta is None and explanation.reduce == "sum"


def compare(
    explanations: Mapping[str, Explanation],
    rows: Sequence[int] = (0,),
    outcomes: Mapping[int, str] | None = None,
    controls: Collection[str] = (),
    baseline: str | None = None,
) -> "Figure":
    """Methods side by side for some examples (positions in the explanations).

    `outcomes` says by row of the split what the data and the network say; `controls` are drawn muted and do not
    decide which features are shown; `baseline` names it in the caption.
    """
    grid = grid_of(explanations, rows, controls)
    own = [own_units(e) and len(grid.methods) > 1 for e in grid.explanations]
    span = grid.width + 0.15
    width = max(PAD * 2 + grid.inputs + grid.margin + span * len(grid.methods), 5.0)
    footer = wrapped(_footer(grid, own, baseline), width - 2 * PAD, 8)
    captions = [wrapped(caption(grid.explanations[0], r, outcomes), width - 2 * PAD) for r in grid.rows]
    bar = 0.62 if any(p.coloured for p in grid.panels) and not all(own) else 0.0
    heights = [sum(grid.height(r, i) + 0.1 for i in range(len(grid.panels))) for r in range(len(grid.rows))]
    lines = sum(0.17 * len(c) + 0.22 for c in captions)
    head = 0.2 + 0.15 * max(len(n) for n in _names(grid, own))
    sheet = Sheet(width, 0.2 + head + lines + sum(heights) + bar + 0.15 * len(footer) + PAD)
    left = PAD + grid.inputs + grid.margin
    _headers(sheet, grid, own, left, span, 0.14)
    top = 0.14 + head
    for r, lines_of in enumerate(captions):
        sheet.text(PAD, top, "\n".join(lines_of))
        top += 0.17 * len(lines_of) + 0.12
        for i in range(len(grid.panels)):
            _row(sheet, grid, r, i, left, span, top)
            top += grid.height(r, i) + 0.1
        top += 0.1
    if bar:
        k, i = own.index(False), next(i for i, p in enumerate(grid.panels) if p.coloured)
        box = (PAD + 0.3, top + 0.2, min(3.0, width - 1), 0.12)
        sheet.colour_bar(
            box, grid.limits[k][i], "attribution: blue speaks against, red for the explained output"
        )
    sheet.text(PAD, top + bar, "\n".join(footer), 8, color=MUTED)
    return sheet.figure


def grid_of(explanations: Mapping[str, Explanation], rows: Sequence[int], controls: Collection[str]) -> Grid:
    methods, given = list(explanations), list(explanations.values())
    panels = [panel_for(m) for m in modalities(given[0])]
    found = [[cells(e, row) for e in given] for row in rows]
    own = [own_units(e) and len(given) > 1 for e in given]

    def limit(k: int, i: int) -> float:
        shared = [k] if own[k] else [j for j in range(len(given)) if not own[j]]
        values = [found[r][j][i].values[found[r][j][i].present] for r in range(len(rows)) for j in shared]
        return scale(values, panels[i].percentile)

    limits = [[limit(k, i) for i in range(len(panels))] for k in range(len(given))]
    return Grid(methods, given, list(rows), found, panels, limits, controls)


def _headers(sheet: Sheet, grid: Grid, own: list[bool], left: float, span: float, top: float) -> None:
    if grid.inputs:
        sheet.text(PAD, top, "input", 9, weight="bold")
    for k, lines in enumerate(_names(grid, own)):
        muted = {"style": "italic", "color": MUTED}
        style = muted if grid.methods[k] in grid.controls else {"weight": "bold"}
        sheet.text(left + k * span, top, "\n".join(lines), 9, **style)


def _names(grid: Grid, own: list[bool]) -> list[list[str]]:
    """The name of each method as lines that fit its column, broken at underscores."""
    found, letters = [], max(10, int(grid.width / 0.088))
    for method, alone in zip(grid.methods, own, strict=True):
        marked = plain(method, 60) + " *" * alone + " (control)" * (method in grid.controls)
        lines = textwrap.wrap(marked.replace("_", "_\u200b").replace("\u200b", " "), letters)
        found.append([line.replace("_ ", "_") for line in lines])
    return found


def _row(sheet: Sheet, grid: Grid, r: int, i: int, left: float, span: float, top: float) -> None:
    """One modality of one example."""
    panel, height = grid.panels[i], grid.height(r, i)
    order = grid.order(r, i)
    if panel.shows_input:
        size = panel.size(grid.cells[r][0][i], len(grid.methods))
        panel.draw_input(sheet, (PAD, top, *size), grid.cells[r][0][i])
    for k, explanation in enumerate(grid.explanations):
        cell, problem = grid.cells[r][k][i], flaw(explanation, grid.rows[r])
        width = panel.size(cell, len(grid.methods))[0]
        if problem:  # the input and its labels stay, without colours that would amplify rounding errors
            cell = replace(cell, values=torch.zeros_like(cell.values))
        panel.draw(
            sheet, (left + k * span, top, width, height), cell, grid.limits[k][i], order, labels=k == 0
        )
        if problem:
            sheet.note(left + k * span + width / 2, top + height * panel.middle, problem)


def caption(explanation: Explanation, row: int, outcomes: Mapping[int, str] | None = None) -> str:
    """What is explained: the example, its target by name, the score, what the data and the network say."""
    index, target = int(explanation.index[row]), int(explanation.target[row])
    name, task = f"output {target}", explanation.task
    if task is not None:
        name = task.describe_target(target, explanation.num_outputs or len(task.names))
    said = (outcomes or {}).get(index, "")
    if not said and task is not None and explanation.labels is not None:
        said = f"Label {task.display(explanation.labels[row])}."
    parts = [f"Example {index}: why {name}?", f"Score {number(float(explanation.score[row]))}.", said]
    return " ".join(plain(p, 160) for p in parts if p)


def baseline_text(explanation: Explanation) -> str:
    """The baseline as far as its values tell it."""
    if explanation.background is not None:
        return f"{len(explanation.background[0])} rows, averaged over"
    if explanation.baselines is None:
        return "none"
    if all(not b.any() for b in explanation.baselines):
        return "zeros"
    return "the same for all" if all(len(b) == 1 for b in explanation.baselines) else "one per example"


def _footer(grid: Grid, own: list[bool], baseline: str | None) -> str:
    shared = [k for k, is_own in enumerate(own) if not is_own]
    texts = [f"Baseline: {plain(baseline)}." if baseline else ""]
    if not baseline:
        used = {baseline_text(e) for e in grid.explanations}
        texts = [f"Baseline: {', '.join(sorted(used))}."]
    for i, panel in enumerate(grid.panels):
        named = f" of {plain(panel.modality.name)}" if len(grid.panels) > 1 else ""
        covers = "the largest" if panel.percentile == 100 else f"percentile {panel.percentile:.0f} of"
        if shared:
            limit = number(grid.limits[shared[0]][i])
            who = (
                "one scale for all methods" if len(shared) == len(own) else "one scale for methods without *"
            )
            texts.append(
                f"Scale{named}: ±{limit}, {covers} |attribution|{f', {who}' if len(own) > 1 else ''}."
            )
    if any(own):
        ends = "; ".join(
            f"{plain(m, 24)} ±{number(grid.limits[k][0])}"
            for k, m in enumerate(grid.methods)
            if own[k] and not all(flaw(grid.explanations[k], r) for r in grid.rows)
        )
        texts.append(f"* units of its own, so a scale of its own: {ends or 'no signal'}.")
    return " ".join(t for t in texts if t)
