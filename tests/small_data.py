"""Small data sets that can be learnt, one per kind of input, for tests of networks and training."""

from collections.abc import Callable

import torch
from torch import Tensor

from salience.data.base import Classification, Data, Examples, Regression
from salience.modality import Image, Modality, Series, Tabular, Tokens

LENGTH = 7


def table(rows: int) -> tuple[tuple[Modality, ...], tuple[Tensor, ...], tuple[Tensor, ...], Tensor]:
    x = torch.randn(rows, 5)
    return (Tabular((5,), "table"),), (x,), (), x[:, 0] - x[:, 1]


def image(rows: int) -> tuple[tuple[Modality, ...], tuple[Tensor, ...], tuple[Tensor, ...], Tensor]:
    x, score = torch.randn(rows, 2, 9, 8), torch.randint(0, 2, (rows,)) * 2.0 - 1.0
    x[:, 0, :4] += score[:, None, None]
    return (Image((2, 9, 8), "image", patch=4),), (x,), (), score


def series(rows: int) -> tuple[tuple[Modality, ...], tuple[Tensor, ...], tuple[Tensor, ...], Tensor]:
    x, score = torch.randn(rows, 3, 10), torch.randn(rows)
    x[:, 0] += score[:, None]
    return (Series((3, 10), "series", segment=4),), (x,), (), score


def tokens(rows: int) -> tuple[tuple[Modality, ...], tuple[Tensor, ...], tuple[Tensor, ...], Tensor]:
    lengths = torch.randint(2, LENGTH + 1, (rows,))
    padded = torch.arange(LENGTH) >= lengths[:, None]
    ids = torch.randint(3, 12, (rows, LENGTH)).masked_fill(padded, 0)
    ids[:, 0] = 2
    modality = Tokens((LENGTH,), "text", vocabulary=tuple(f"w{i}" for i in range(12)), special_ids=(2,))
    return (modality,), (ids,), (padded,), ((ids > 7).sum(1) - ((ids > 2) & (ids <= 7)).sum(1)).float()


def several(rows: int) -> tuple[tuple[Modality, ...], tuple[Tensor, ...], tuple[Tensor, ...], Tensor]:
    parts = [kind(rows) for kind in (table, tokens, series)]
    modalities, inputs, context = (sum((p[i] for p in parts), ()) for i in range(3))
    return modalities, inputs, context, parts[0][3] + parts[2][3]  # type: ignore[return-value]


KINDS: dict[str, Callable] = {f.__name__: f for f in (table, image, series, tokens, several)}


def make(kind: str = "table", rows: int = 200, seed: int = 0, numbers: bool = False) -> Data:
    """`rows` training rows of one kind, and half as many for validation and test; two classes, or numbers."""
    torch.manual_seed(seed)
    modalities, inputs, context, score = KINDS[kind](2 * rows)
    labels = score[:, None] if numbers else (score > 0).long()
    task = Regression(("score",)) if numbers else Classification(("low", "high"))
    parts = []
    for start, end in ((0, rows), (rows, rows * 3 // 2), (rows * 3 // 2, 2 * rows)):
        cut = slice(start, end)
        examples = Examples(
            tuple(x[cut] for x in inputs),
            labels[cut],
            torch.arange(end - start),
            context=tuple(c[cut] for c in context),
        )
        parts.append(examples)
    return Data(modalities, task, *parts)
