"""What a data set is: examples in three splits, what their inputs mean, and what is to be predicted."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor

from ..errors import WrongInput
from ..modality import Modality
from ..randomness import Streams
from .arguments import require_number
from .task import Classification, Regression, Task


@dataclass(frozen=True)
class Examples:
    """Rows of one split. Slicing with a slice, indices or a bool tensor keeps everything aligned."""

    inputs: tuple[Tensor, ...]
    """One tensor [examples, *modality.shape] per modality."""
    labels: Tensor
    """Classes as integers [examples], or standardised targets [examples, outputs]."""
    index: Tensor
    """The row of each example in its split [examples]."""
    relevant: Tensor | None = None
    """Ground truth where known: bool [examples, features], in the order of `Explanation.per_feature()`."""
    ratings: Tensor | None = None
    """Human ratings per feature [examples, features] where people gave them; nan where they did not."""
    context: tuple[Tensor, ...] = ()
    """What the network also reads but nobody explains, hides or differentiates, such as padding masks."""

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, rows: slice | Tensor) -> "Examples":
        return self._each(lambda value: value[rows])

    def to(self, device: torch.device | str) -> "Examples":
        """The same examples on another device."""
        return self._each(lambda value: value.to(device))

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Examples":
        def changed(value: Any) -> Any:
            if isinstance(value, tuple):
                return tuple(change(v) for v in value)
            return None if value is None else change(value)

        return replace(self, **{f.name: changed(getattr(self, f.name)) for f in fields(self)})


@dataclass(frozen=True)
class Data:
    """A data set that describes itself: nobody else hard-codes a shape, a name or a unit."""

    modalities: tuple[Modality, ...]
    task: Task
    train: Examples
    validation: Examples
    test: Examples
    title: str = ""
    source: str = ""
    """Where it comes from: citation and licence, for the page."""
    weights: Tensor | None = None
    """The known weights [outputs, features] where the labels come from a known function."""

    def split(self, name: str) -> Examples:
        """`train`, `validation` or `test`."""
        return {"train": self.train, "validation": self.validation, "test": self.test}[name]

    def with_train(self, train: Examples) -> "Data":
        """The same data set with other training rows (for metrics that retrain)."""
        return replace(self, train=train)


def split_rows(
    labels: Tensor, task: Task, seed: int, validation: float = 0.15, test: float = 0.25
) -> tuple[Tensor, Tensor, Tensor]:
    """Row numbers of the training, validation and test split: disjoint, seeded, each in random order.

    `validation` and `test` are shares of all rows. Every class has its share of each split (one row or more).
    WrongInput where a class has fewer than 3 rows or the shares leave nothing to train on.
    """
    train, validated, tested = cut_rows(labels, task, seed, {"validation": validation, "test": test})
    return train, validated, tested


def cut_rows(labels: Tensor, task: Task, seed: int, shares: dict[str, float]) -> list[Tensor]:
    """Row numbers of what remains and of each share that is cut off; see `split_rows`."""
    for name, share in shares.items():
        require_number(name, share, 0, 1)
    if not all(0 < share < 1 for share in shares.values()) or sum(shares.values()) >= 1:
        given = ", ".join(f"data.{name}={share}" for name, share in shares.items())
        raise WrongInput(f"{given}: shares of the rows, above 0 and together below 1")
    if not len(labels):
        raise WrongInput("data: there are no rows")
    groups = task.stratify(labels)
    generator = Streams(seed).generator("split")
    order = torch.randperm(len(labels), generator=generator)
    grouped = torch.zeros(len(labels), dtype=torch.long) if groups is None else torch.as_tensor(groups)
    parts: list[list[Tensor]] = [[] for _ in range(len(shares) + 1)]
    for group, count in zip(*np.unique(grouped.numpy(), return_counts=True), strict=True):
        if count <= len(shares):
            what = "the table" if groups is None else f'class "{task.names[int(group)]}"'
            few = "has 1 row" if count == 1 else f"has {count} rows"
            raise WrongInput(
                f"data: {what} {few}; {len(parts)} splits need {len(parts)} or more of each class"
            )
        rows = order[grouped[order] == int(group)]
        for part, piece in zip(parts, rows.split(_sizes(int(count), list(shares.values()))), strict=True):
            part.append(piece)
    joined = [torch.cat(part) for part in parts]
    return [rows[torch.randperm(len(rows), generator=generator)] for rows in joined]


def _sizes(count: int, shares: list[float]) -> list[int]:
    """`count` rows as what remains and one size per share, none of them 0."""
    sizes: list[int] = []
    for at, share in enumerate(shares):
        most = count - sum(sizes) - (len(shares) - at)  # the later shares and the rest need a row each
        sizes.append(min(max(1, round(share * count)), most))
    return [count - sum(sizes), *sizes]


class Splits(TypedDict):
    """The three splits as `Data` takes them."""

    train: Examples
    validation: Examples
    test: Examples


def splits(
    rows: tuple[Tensor, Tensor, Tensor], inputs: tuple[Tensor, ...], labels: Tensor, **aligned: Any
) -> Splits:
    """The examples of three splits; `aligned` (relevant, ratings, context) follows the rows."""
    train, validation, test = (take(r, inputs, labels, **aligned) for r in rows)
    return {"train": train, "validation": validation, "test": test}


def take(
    rows: Tensor,
    inputs: tuple[Tensor, ...],
    labels: Tensor,
    relevant: Tensor | None = None,
    ratings: Tensor | None = None,
    context: tuple[Tensor, ...] = (),
) -> Examples:
    """The examples of one split, numbered within it."""
    return Examples(
        inputs=tuple(i[rows] for i in inputs),
        labels=labels[rows],
        index=torch.arange(len(rows)),
        relevant=None if relevant is None else relevant[rows],
        ratings=None if ratings is None else ratings[rows],
        context=tuple(c[rows] for c in context),
    )


__all__ = [
    "Classification",
    "Data",
    "Examples",
    "Regression",
    "Splits",
    "Task",
    "cut_rows",
    "split_rows",
    "splits",
    "take",
]
