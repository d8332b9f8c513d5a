"""Mean |attribution| per feature over all explained examples, one panel per method."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from ..attribution.explanation import Explanation
from ..modality import Modality
from .canvas import MUTED, Sheet, plain
from .panels import cells, modalities, panel_for

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ACROSS = 3
WIDTH, HEIGHT = 4.0, 2.6


@dataclass(frozen=True)
class Means:
    """What one pass over an explanation leaves."""

    modalities: tuple[Modality, ...]
    sizes: list[Tensor]
    """Mean |attribution| [features] per modality, over the examples that have the feature."""
    examples: int


def means(shards: Iterable[Explanation]) -> Means:
    """One pass over the shards of one method, one in memory at a time. ValueError where there is none."""
    total = count = None
    first: Explanation | None = None
    examples = 0
    for explanation in shards:
        values, present = explanation.per_feature().detach().double().abs(), explanation.present
        if total is None or count is None:
            total, count = torch.zeros(values.shape[1]).double(), torch.zeros(values.shape[1]).double()
        total += values.nan_to_num().sum(0).cpu()
        count += present.sum(0).cpu()
        examples += len(explanation)
        first = first or cast(Explanation, explanation.rows(slice(0, 1)))
    if total is None or count is None or first is None:
        raise ValueError("nothing was explained")
    mean = (total / count.clamp(min=1)).float()
    lengths = [len(cell.values) for cell in cells(first, 0)]
    return Means(modalities(first), list(mean.split(lengths)), examples)


def summary_figure(found: Mapping[str, Means], controls: Collection[str] = ()) -> "Figure":
    """Mean |attribution| per feature, each method on a scale of its own: the longest ten, or a map.

    ValueError where no modality has features that keep their meaning from one example to the next.
    """
    drawn = drawable(found)
    if not drawn:
        raise ValueError("features keep no meaning from one example to the next, so there is no mean to draw")
    across, down = min(ACROSS, len(drawn)), -(-len(drawn) // ACROSS)
    sheet = Sheet(0.2 + WIDTH * across, 0.5 + (HEIGHT + 0.35) * down)
    examples = next(iter(found.values())).examples
    text = f"Mean |attribution| over {examples} examples, each on a scale of its own"
    sheet.text(0.15, 0.12, text, 8.5, color=MUTED)
    for i, (method, at) in enumerate(drawn):
        left, top = 0.15 + WIDTH * (i % across), 0.5 + (HEIGHT + 0.35) * (i // across)
        named = f" · {plain(found[method].modalities[at].name)}" if len(found[method].modalities) > 1 else ""
        control = method in controls
        style = {"style": "italic", "color": MUTED} if control else {"weight": "bold"}
        sheet.text(left, top, plain(method) + named + (" (control)" if control else ""), 9, **style)
        panel = panel_for(found[method].modalities[at])
        panel.draw_mean(sheet, (left, top + 0.25, WIDTH - 0.2, HEIGHT - 0.25), found[method].sizes[at])
    return sheet.figure


def drawable(found: Mapping[str, Means]) -> Sequence[tuple[str, int]]:
    """Method and number of the modality of every panel that a summary has."""
    return [
        (method, at)
        for at in range(max((len(one.sizes) for one in found.values()), default=0))
        for method, one in found.items()
        if panel_for(one.modalities[at]).has_means(one.sizes[at])
    ]
