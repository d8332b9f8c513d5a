"""How methods compare: quality against cost, agreement, ranks over data sets, and scores along a setting."""

import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .canvas import COLOURS, LINE, MUTED, Sheet, plain
from .curves import HEIGHT, INKS, WIDTH, _styles

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def front(points: Mapping[str, tuple[float, float]], higher_is_better: bool) -> list[str]:
    """The methods (cost, score) that no other beats on both, cheapest first."""
    sign = 1 if higher_is_better else -1
    kept, best = [], -np.inf
    for name, (_, score) in sorted(points.items(), key=lambda item: (item[1][0], -sign * item[1][1])):
        if sign * score > best:
            kept.append(name)
            best = sign * score
    return kept


def front_figure(
    points: Mapping[str, tuple[float, float]],
    metric: str,
    higher_is_better: bool,
    controls: Collection[str] = (),
    bars: Mapping[str, float] | None = None,
) -> "Figure":
    """Score against rows through the network; a line joins the methods that nothing beats on both."""
    names = list(points)
    sheet = Sheet(6.6, 3.4)
    axes = sheet.axes((0.75, 0.35, 4.0, 2.5))
    styles = dict(zip(names, _styles(names, controls), strict=True))
    best = front(points, higher_is_better)  # controls too: what costs nothing and is no worse beats a method
    marks = dict(zip([n for n in names if n in controls], itertools.cycle("x+1"), strict=False))
    axes.plot(
        [points[n][0] for n in best], [points[n][1] for n in best], color=MUTED, lw=1, ls="--", zorder=1
    )
    handles = [
        axes.errorbar(
            *points[n],
            yerr=(bars or {}).get(n) or 0,
            fmt=marks.get(n, "o"),
            color=styles[n]["color"],
            ms=5,
            lw=1,
            zorder=2,
        )
        for n in names
    ]
    axes.set_xscale("symlog", linthresh=1)
    axes.set_xlabel("rows through the network, forward and backward", fontsize=8, color=MUTED)
    axes.set_ylabel(plain(metric), fontsize=8, color=MUTED, parse_math=False)
    axes.set_title(f"{plain(metric)} {'↑' if higher_is_better else '↓'} against cost", fontsize=9, loc="left")
    axes.title.set_parse_math(False)
    axes.grid(color=LINE, linewidth=0.5)
    legend = axes.legend(
        handles,
        [plain(n, 26) + (" (control)" if n in controls else "") for n in names],
        loc="upper left",
        bbox_to_anchor=(1.02, 1.02),
        fontsize=8,
        frameon=False,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
    return sheet.figure


def agreement_figure(names: Sequence[str], matrix: np.ndarray, label: str) -> "Figure":
    """A square of correlations in diverging colours, each with its number."""
    side = 0.52 * len(names)
    margin = 0.3 + 0.066 * max(len(plain(n, 26)) for n in names)
    sheet = Sheet(max(margin + side + 0.4, 0.3 + 0.065 * len(label)), 0.45 + side + margin)
    axes = sheet.axes((margin, 0.4, side, side), frame=False)
    axes.imshow(matrix, cmap=COLOURS, vmin=-1, vmax=1)
    for i, row in enumerate(matrix):
        for j, value in enumerate(row):
            ink = "white" if abs(value) > 0.63 else "#202124"
            text = "–" if np.isnan(value) else f"{value:.2f}"
            axes.text(j, i, text, ha="center", va="center", fontsize=7.5, color=ink)
    shown = [plain(n, 26) for n in names]
    axes.set_xticks(range(len(names)), shown, rotation=90, fontsize=8, parse_math=False)
    axes.set_yticks(range(len(names)), shown, fontsize=8, parse_math=False)
    axes.tick_params(length=0, labelcolor="#202124")
    sheet.text(0.12, 0.1, label, 9)
    return sheet.figure


def difference_figure(
    ranks: Mapping[str, float], difference: float, groups: Sequence[Sequence[str]], controls: Collection[str]
) -> "Figure":
    """A critical-difference diagram (Demsar 2006): mean ranks, bars join methods that do not differ."""
    names = list(ranks)
    left, right = names[: -(-len(names) // 2)], names[-(-len(names) // 2) :]
    lines = max(len(left), len(right))
    bars = 0.12 * len(groups)
    sheet = Sheet(7.4, 0.95 + bars + 0.24 * lines)
    axes = sheet.axes((2.2, 0.55, 3.0, 0.4 + bars + 0.24 * lines), frame=False)
    low, high = 1.0, float(max(len(names), 2))
    height = 0.4 + bars + 0.24 * lines
    axes.set_xlim(low, high)
    axes.set_ylim(height, 0)
    axes.spines["top"].set_visible(True)
    axes.xaxis.tick_top()
    axes.set_xticks(np.arange(1, len(names) + 1))
    for number, group in enumerate(groups):
        y = 0.14 + 0.12 * number
        axes.plot(
            [ranks[group[0]] - 0.03, ranks[group[-1]] + 0.03], [y, y], color="#202124", lw=3, clip_on=False
        )
    for side, (group, edge, align) in enumerate(((left, low, "right"), (right[::-1], high, "left"))):
        for i, name in enumerate(group):
            y = 0.34 + bars + 0.24 * i
            axes.plot([ranks[name], ranks[name], edge], [0, y, y], color=MUTED, lw=0.9, clip_on=False)
            label = (
                f"{plain(name, 24)}  {ranks[name]:.2f}"
                if not side
                else f"{ranks[name]:.2f}  {plain(name, 24)}"
            )
            style: dict[str, Any] = {"style": "italic", "color": MUTED} if name in controls else {}
            x = edge + (0.04 if side else -0.04) * (high - low)
            axes.text(x, y, label, ha=align, va="center", fontsize=8.5, parse_math=False, **style)
    sheet.text(0.12, 0.1, f"Mean rank, 1 is best; critical difference {difference:.2f}", 9)
    return sheet.figure


def setting_figure(
    setting: str,
    values: Sequence[Any],
    means: Mapping[str, Sequence[float]],
    metric: str,
    higher_is_better: bool,
    controls: Collection[str] = (),
) -> "Figure":
    """Scores [values] of each method along one setting of a sweep; words are set out evenly."""
    sheet = Sheet(6.4, HEIGHT + 1.0)
    axes = sheet.axes((0.75, 0.4, WIDTH + 0.8, HEIGHT))
    numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    at = list(values) if numeric else list(range(len(values)))
    for name, style in zip(means, _styles(list(means), controls), strict=True):
        label = plain(name, 26) + (" (control)" if name in controls else "")
        axes.plot(at, means[name], marker="o", ms=4, label=label, **style)
    if not numeric:
        axes.set_xticks(at, [plain(v, 18) for v in values], parse_math=False)
    elif min(at) > 0 and max(at) >= 20 * min(at):
        axes.set_xscale("log")
    axes.set_title(
        f"{plain(metric)} {'↑' if higher_is_better else '↓'}", fontsize=9, loc="left", parse_math=False
    )
    axes.set_xlabel(plain(setting, 60), fontsize=8, color=MUTED, parse_math=False)
    axes.grid(color=LINE, linewidth=0.5)
    legend = axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.02), fontsize=8, frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return sheet.figure


def predictions_figure(
    names: Sequence[str], confusion: np.ndarray, bins: Sequence[tuple[float, float, int]]
) -> "Figure":
    """Labels by predictions (counts), and how often a confidence is right: (mean confidence, share right, count)."""
    side = min(3.2, max(1.6, 0.42 * len(names)))
    margin = 0.45 + 0.066 * max(len(plain(n, 18)) for n in names)
    sheet = Sheet(margin + side + 1.0 + 2.6, 0.5 + max(side, 2.2) + margin)
    axes = sheet.axes((margin, 0.45, side, side), frame=False)
    axes.imshow(confusion, cmap="Greys", vmin=0, vmax=max(1, confusion.max()) * 1.3)
    if len(names) <= 12:
        for i, j in np.ndindex(*confusion.shape):
            ink = "white" if confusion[i, j] > 0.8 * confusion.max() else "#202124"
            axes.text(j, i, f"{confusion[i, j]:d}", ha="center", va="center", fontsize=8, color=ink)
    if len(names) <= 26:  # beyond, names would lie on each other
        shown, size = [plain(n, 18) for n in names], 8 if len(names) <= 16 else 6.5
        turned = 90 if max(map(len, shown)) > 3 or len(names) > 16 else 0
        axes.set_xticks(range(len(names)), shown, rotation=turned, fontsize=size, parse_math=False)
        axes.set_yticks(range(len(names)), shown, fontsize=size, parse_math=False)
        axes.tick_params(length=0, labelcolor="#202124")
    axes.set_title("label (rows) and prediction", fontsize=9, loc="left")
    sure = sheet.axes((margin + side + 0.85, 0.45, 2.2, 2.2))
    sure.plot([0, 1], [0, 1], color=LINE, lw=1)
    sure.plot([b[0] for b in bins], [b[1] for b in bins], marker="o", ms=4, color=INKS[0], lw=1.2)
    sure.set_xlim(0, 1.02)
    sure.set_ylim(0, 1.02)
    sure.set_xlabel("confidence", fontsize=8, color=MUTED)
    sure.set_ylabel("share that is right", fontsize=8, color=MUTED)
    sure.set_title("calibration", fontsize=9, loc="left")
    sure.grid(color=LINE, linewidth=0.5)
    return sheet.figure


def swarm_figure(names: Sequence[str], values: np.ndarray, inputs: np.ndarray, method: str) -> "Figure":
    """A beeswarm: a dot per example and feature at its attribution, coloured by how large the input is.

    `values` and `inputs` are [examples, features], the features that are largest on average first.
    """
    shown = min(len(names), 10)
    margin = 0.3 + 0.068 * max(len(plain(n, 26)) for n in names[:shown])
    sheet = Sheet(margin + 4.2 + 0.2, 0.75 + 0.26 * shown + 0.35)
    axes = sheet.axes((margin, 0.4, 4.2, 0.26 * shown + 0.1))
    for row in range(shown):
        found, colour = values[:, row], inputs[:, row]
        ranks = np.argsort(np.argsort(colour, kind="stable"), kind="stable") / max(1, len(colour) - 1)
        axes.scatter(found, row + _spread(found), c=ranks, cmap="cividis", s=7, lw=0, rasterized=True)
    axes.axvline(0, color=MUTED, lw=0.8)
    axes.set_ylim(shown - 0.4, -0.6)
    axes.set_yticks(range(shown), [plain(n, 26) for n in names[:shown]], parse_math=False)
    axes.tick_params(axis="y", length=0, labelcolor="#202124")
    axes.set_xlabel(
        "attribution; yellow: the largest values of the feature, blue: the smallest", fontsize=8, color=MUTED
    )
    sheet.text(0.12, 0.1, plain(method), 9, weight="bold")
    return sheet.figure


def _spread(values: np.ndarray) -> np.ndarray:
    """Heights that keep dots of like value apart, the same every time."""
    bins = np.digitize(values, np.linspace(values.min(), values.max() + 1e-12, 40))
    heights = np.zeros(len(values))
    for one in np.unique(bins):
        at = np.flatnonzero(bins == one)
        step = min(0.09, 0.72 / len(at))
        heights[at] = step * (np.arange(len(at)) - (len(at) - 1) / 2)
    return heights
