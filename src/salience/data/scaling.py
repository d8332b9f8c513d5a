"""Standardisation and one-hot columns, fitted on training rows only and kept in the modality."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..errors import WrongInput
from ..modality import Tabular

if TYPE_CHECKING:
    import pandas as pd

Numbers = tuple[float, ...]
MOST_LEVELS = 100
"""A category with more texts than this is a name, a sentence or a number that went wrong."""


def standardised(values: Tensor, train: Tensor, axis: int = 1) -> tuple[Tensor, Numbers, Numbers]:
    """Values [examples, ...] with mean 0 and deviation 1 for each index of `axis`, the means and the scales.

    Statistics come from the rows `train` alone, in float64. What is constant there keeps scale 1. Missing
    values (nan) become the mean, which is 0.
    """
    fitted = values[train].double().transpose(0, axis).flatten(1)
    known = ~fitted.isnan()
    count = known.sum(1).clamp(min=1)
    mean = fitted.nan_to_num(0).sum(1) / count
    spread = (torch.where(known, fitted - mean[:, None], 0).square().sum(1) / count).sqrt()
    # a constant such as 0.1 has a rounding error for a deviation
    scale = torch.where(spread > 1e-9 * mean.abs(), spread, torch.ones_like(spread))
    shape = [-1 if a == axis else 1 for a in range(values.dim())]
    inputs = ((values.double() - mean.reshape(shape)) / scale.reshape(shape)).nan_to_num(0).float()
    return inputs, tuple(mean.tolist()), tuple(scale.tolist())


def numeric_table(
    values: np.ndarray, columns: Sequence[str], train: Tensor, units: Sequence[str] = (), name: str = "table"
) -> tuple[Tabular, Tensor]:
    """A table of numbers [rows, columns] as a modality and its standardised inputs."""
    inputs, mean, scale = standardised(torch.as_tensor(values), train)
    shape = (len(columns),)
    return Tabular(shape, name, columns=tuple(columns), units=tuple(units), mean=mean, scale=scale), inputs


def mixed_table(
    frame: "pd.DataFrame",
    levels: Mapping[str, Sequence[str]],
    train: Tensor,
    units: Mapping[str, str],
    name: str,
) -> tuple[Tabular, Tensor]:
    """A table whose columns in `levels` are categories: one-hot, a group of columns that is one feature.

    A one-hot column is centred but not scaled: 0 is the average row, and a rare level stays a small number.
    """
    blocks: list[Tensor] = []
    columns: list[str] = []
    of_columns: list[str] = []
    mean: list[float] = []
    scale: list[float] = []
    groups: list[int] = []
    for number, column in enumerate(frame.columns):
        if column in levels:
            block = _one_hot(frame[column], levels[column])
            centre = tuple(block[train].double().mean(0).tolist())
            block, spread = block - torch.tensor(centre), (1.0,) * len(centre)
            columns += [f"{column}={level}" for level in levels[column]]
        else:
            numbers = torch.as_tensor(frame[column].to_numpy(dtype=np.float64, copy=True))
            if numbers[train].isnan().all():
                raise WrongInput(
                    f"data: column {column} has no value in the training rows; data.drop=[{column}]"
                )
            block, centre, spread = standardised(numbers[:, None], train)
            columns.append(str(column))
        blocks.append(block)
        mean += centre
        scale += spread
        groups += [number] * len(centre)
        of_columns += [units.get(column, "")] * len(centre)
    modality = Tabular(
        (len(columns),),
        name,
        columns=tuple(columns),
        units=tuple(of_columns) if any(of_columns) else (),
        mean=tuple(mean),
        scale=tuple(scale),
        groups=tuple(groups) if levels else (),
        group_names=tuple(map(str, frame.columns)) if levels else (),
    )
    return modality, torch.cat(blocks, 1)


def _one_hot(column: "pd.Series", levels: Sequence[str]) -> Tensor:
    import pandas as pd

    codes = pd.Categorical(column.astype(str), categories=list(levels)).codes
    assert (codes >= 0).all(), f"{column.name} has a level that is not listed"
    return torch.nn.functional.one_hot(torch.tensor(codes, dtype=torch.long), len(levels)).float()


def category_levels(frame: "pd.DataFrame", categorical: Sequence[str]) -> dict[str, list[str]]:
    """The levels of each category, missing ones made a level of their own (in `frame`)."""
    import pandas as pd

    found: dict[str, list[str]] = {}
    for column in frame:
        values = frame[column]
        if pd.api.types.is_numeric_dtype(values) and column not in categorical:
            continue
        levels = list(values.dropna().unique())
        if len(levels) > MOST_LEVELS:
            raise WrongInput(
                f"data: column {column} has {len(levels)} different texts; a category may have {MOST_LEVELS}: "
                f"data.drop=[{column}]"
            )
        # numbers in their own order, and all of them as text from here on
        ordered = [str(v) for v in sorted(levels, key=lambda v: (isinstance(v, str), v))]
        lacking = values.isna()
        frame[column] = values.astype(str).mask(lacking, "missing")
        found[str(column)] = list(dict.fromkeys(ordered + ["missing"] * bool(lacking.any())))
    return found
