"""Figures that the page of a run and that of a comparison draw alike, each with its words and its numbers."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from ..artifacts import RunFolder
from ..comparisons.leaderboard import Column, Leaderboard
from ..figures import judged
from . import tables
from .explained import Explained
from .pictures import Album, Picture


def front_picture(
    album: Album, board: Leaderboard, column: Column | None, controls: Collection[str], name: str = ""
) -> list[Picture]:
    """Quality against cost on one metric; nothing with fewer than two methods."""
    points, bars = tables.points(board, column.name) if column else ({}, {})
    if column is None or len(points) < 2:
        return []
    best = judged.front(points, column.higher_is_better)
    return album.draw(
        lambda: judged.front_figure(points, column.name, column.higher_is_better, controls, bars),
        "Quality against cost: the line joins what nothing beats on both",
        f"{column.name} against rows through the network. Nothing beats on both: {', '.join(best)}.",
        f"front-{name}" if name else "front",
        (
            ["method", "rows through the network", column.name, "on the front"],
            [[method, cost, score, method in best] for method, (cost, score) in points.items()],
        ),
    )


def mean_curves(folder: RunFolder) -> dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]:
    """Steps and mean curve by method and metric."""
    return {key: (band.at, band.mean) for key, band in bands(folder).items()}


def bands(folder: RunFolder) -> dict[tuple[str, str], Any]:
    """Mean curves with bands by method and metric, from the files of a run."""
    from ..figures.curves import Moments

    found = {}
    for method, metric, path in folder.curves():
        with open(path, encoding="utf-8") as opened:
            at = np.array([float(x) for x in opened.readline().strip().split(",")[1:]])
            table = np.loadtxt(opened, delimiter=",", ndmin=2)
        moments = Moments(at)
        moments.add(at, table[:, 1:])
        found[method, metric] = moments.band()
    return found


def agreement_picture(album: Album, explained: Explained) -> list[Picture]:
    """How alike methods rank the features, as a matrix; nothing with fewer than two."""
    found = explained.agreement
    if found is None:
        return []
    names, matrix = list(found.methods), found.rank.numpy()
    own = [i for i, name in enumerate(names) if name not in explained.controls]
    pairs = [
        (matrix[i, j], names[i], names[j]) for i in own for j in own if i < j and np.isfinite(matrix[i, j])
    ]
    alt = f"Mean rank correlation of |attributions| between {', '.join(names)}."
    if pairs:
        low, high = min(pairs), max(pairs)
        alt += f" Most alike: {high[1]} and {high[2]}, {high[0]:.2f}; least: {low[1]} and {low[2]}, {low[0]:.2f}."
    label = f"Mean rank correlation of |attributions| over {len(explained)} examples"
    parts = (found.rank, found.sign, found.top_k)
    rows = [
        [a, b, *(float(m[i, j]) for m in parts)]
        for i, a in enumerate(names)
        for j, b in enumerate(names)
        if i < j
    ]
    header = ["method", "and", "rank correlation", "same sign", f"shared among the {found.k} largest"]
    return album.draw(
        lambda: judged.agreement_figure(names, matrix, label),
        "Agreement between methods",
        alt,
        "agreement",
        (header, rows),
    )


def swarm_picture(
    album: Album, explained: Explained, feature_names: Callable[[int], Sequence[str]]
) -> list[Picture]:
    """A dot per example and feature of the first method; nothing where inputs are more than a table of numbers."""
    own = [name for name in explained.values if name not in explained.controls]
    if not own or len(explained) < 2:
        return []
    one, values = explained.methods[own[0]], explained.values[own[0]]
    inputs = one.raw[0].detach().double().numpy() if len(one.raw) == 1 else np.zeros((0, 0))
    if (
        inputs.ndim != 2
        or inputs.shape != values.shape
        or not np.isfinite(values).all()
        or one.raw[0].dtype.is_complex
    ):
        return []
    order = np.argsort(-np.abs(values).mean(0), kind="stable")
    names = [feature_names(values.shape[1])[i] for i in order]
    rows = [
        [
            name,
            float(np.abs(values[:, i]).mean()),
            float(values[:, i].mean()),
            float(values[:, i].min()),
            float(values[:, i].max()),
        ]
        for name, i in zip(names, order, strict=True)
    ]
    return album.draw(
        lambda: judged.swarm_figure(names, values[:, order], inputs[:, order], own[0]),
        "Attributions of every example",
        f"Attributions by {own[0]}: a dot per example for each of {min(10, len(names))} features, the largest first: "
        f"{', '.join(names[:3])}.",
        "swarm",
        (["feature", "mean |attribution|", "mean", "lowest", "highest"], rows[:50]),
    )
