"""New rows for a network that a run has trained: from what a person has, units and names and all, to predictions."""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import singledispatch
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from .. import modality as modality_module
from ..data import task as task_module
from ..data.base import Examples, Task
from ..errors import WrongInput, listed, nearest
from ..finite import first_bad
from ..modality import Modality, Tabular, Tokens

if TYPE_CHECKING:
    import pandas as pd

MOST = 1 << 20
"""Rows that are read at once."""


def described(thing: Any) -> dict[str, Any]:
    """What rebuilds a modality or a task, ready for JSON."""
    return dataclasses.asdict(thing) | {"kind": type(thing).__name__}


def rebuilt(description: Mapping[str, Any], kinds: Any, base: type) -> Any:
    """The inverse of `described`: only a class of our own, by its name; WrongInput for anything else."""
    kind = vars(kinds).get(str(description.get("kind")))
    if not (isinstance(kind, type) and issubclass(kind, base)):
        raise WrongInput(f"kind={str(description.get('kind'))[:40]}: not one of ours")
    fields: Any = getattr(kind, "__dataclass_fields__", {})
    names = set(fields)
    try:
        return kind(**{k: _tuples(v) for k, v in description.items() if k in names})
    except (TypeError, ValueError) as error:
        raise WrongInput(f"preprocessing: cannot be rebuilt: {error}") from None


def rebuilt_all(network: Mapping[str, Any]) -> tuple[tuple[Modality, ...], Task]:
    """The modalities and the task that a run's network.json describes."""
    stored = network.get("preprocessing")
    if not isinstance(stored, list) or not isinstance(network.get("task"), Mapping):
        raise WrongInput("network.json says nothing of the preprocessing")
    modalities = tuple(rebuilt(d, modality_module, Modality) for d in stored if isinstance(d, Mapping))
    return modalities, rebuilt(network["task"], task_module, Task)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value


# -- reading rows ------------------------------------------------------------------------------------------------------


def examples_of(modalities: Sequence[Modality], task: Task, rows: Any) -> Examples:
    """Rows as a person has them, as the network reads them; for several modalities a tuple, one of rows each.

    WrongInput names the row and the column that cannot be read.
    """
    given = rows if len(modalities) > 1 else (rows,)
    if not isinstance(given, tuple | list) or len(given) != len(modalities):
        raise WrongInput(f"rows: give {len(modalities)} in a tuple: {listed(m.name for m in modalities)}")
    inputs, context = [], []
    for modality, own in zip(modalities, given, strict=True):
        values, more = read(modality, own)
        if (bad := first_bad(values)) is not None:
            raise WrongInput(f"rows: row {bad} of {modality.name} has a value that is nan or infinite")
        inputs.append(values)
        context += more
    count = len(inputs[0])
    if any(len(values) != count for values in inputs) or not 0 < count <= MOST:
        raise WrongInput(f"rows: {count} rows; give 1 to {MOST}, as many of each kind")
    labels = (
        torch.zeros(count, dtype=torch.long)
        if task.stratify(torch.zeros(1, dtype=torch.long)) is not None
        else None
    )
    labels = torch.zeros(count, len(task.names)) if labels is None else labels
    return Examples(tuple(inputs), labels, torch.arange(count), context=tuple(context))


@singledispatch
def read(modality: Modality, rows: Any) -> tuple[Tensor, list[Tensor]]:
    """Rows of one modality in original units [rows, ...] as inputs, and what else the network reads with them."""
    values = _numbers(rows)
    if values.dim() == len(modality.shape):
        values = values[None]  # one row
    if tuple(values.shape[1:]) != tuple(modality.shape):
        raise WrongInput(f"rows: shape {tuple(values.shape)}; the network reads [rows, {_shape(modality)}]")
    return modality.model_space(values).float(), []


@read.register
def _table(modality: Tabular, rows: Any) -> tuple[Tensor, list[Tensor]]:
    """A DataFrame, dicts by column name, or numbers in the order of the columns; a category by its level."""
    if hasattr(rows, "to_dict"):
        rows = rows.to_dict(orient="records")
    if isinstance(rows, Mapping):
        rows = [rows]
    if not (isinstance(rows, list) and rows and isinstance(rows[0], Mapping)):
        return read.dispatch(Modality)(modality, rows)
    table = [
        [_cell(modality, at, row, number) for at in range(modality.shape[0])]
        for number, row in enumerate(rows)
    ]
    return modality.model_space(torch.tensor(table, dtype=torch.float64)).float(), []


@read.register
def _text(modality: Tokens, rows: Any) -> tuple[Tensor, list[Tensor]]:
    """Sentences, or token ids [rows, length]."""
    texts = [rows] if isinstance(rows, str) else rows
    if isinstance(texts, list | tuple) and texts and all(isinstance(t, str) for t in texts):
        from ..data.text import encode, tokeniser

        split = tokeniser()
        ids, padded = encode([split(text) for text in texts], modality)
        return ids, [padded]
    ids = _numbers(rows).long()
    known = modality.vocabulary_size or 0
    if ids.dim() != 2 or ids.shape[1] != modality.shape[0] or int(ids.min()) < 0 or int(ids.max()) >= known:
        raise WrongInput(f"rows: give sentences, or ids from 0 to {known - 1} as [rows, {modality.shape[0]}]")
    return ids, [ids == modality.padding_id]


def _cell(modality: Tabular, at: int, row: Mapping, number: int) -> float:
    """One number of a row: its own column, or whether its category has the level of this one-hot column."""
    columns = modality.columns or modality.feature_names
    name, group = columns[at], modality.group_names[modality.groups[at]] if modality.groups else columns[at]
    if name not in row and name.startswith(f"{group}=") and group in row:
        alike = [c for c, g in zip(columns, modality.groups, strict=True) if g == modality.groups[at]]
        levels, level = [c[len(group) + 1 :] for c in alike], str(row[group])
        if level not in levels:
            hint = f"{nearest(level, levels)} Levels: {listed(levels)}"
            raise WrongInput(f'rows: row {number}: {group}="{level}": no such level.{hint}')
        return float(name == f"{group}={level}")
    if name not in row:
        hint = f"{nearest(group, map(str, row))} Columns: {listed(modality.feature_names)}"
        raise WrongInput(f'rows: row {number} has no "{group}".{hint}')
    try:
        return float(row[name])
    except (TypeError, ValueError):
        raise WrongInput(
            f'rows: row {number} column {name}: "{str(row[name])[:40]}" is not a number'
        ) from None


def _numbers(rows: Any) -> Tensor:
    try:
        return rows if isinstance(rows, Tensor) else torch.tensor(np.asarray(rows, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise WrongInput(f"rows: not an array of numbers: {str(error)[:80]}") from None


def _shape(modality: Modality) -> str:
    return ", ".join(map(str, modality.shape))


# -- answers -----------------------------------------------------------------------------------------------------------


def table_of(outputs: Tensor, task: Task) -> "pd.DataFrame":
    """Predictions [rows]: a class and a probability per class, or numbers in original units."""
    import pandas as pd

    predictions, probabilities = task.predictions(outputs), task.probabilities(outputs)
    if probabilities is None:
        values = task.original(predictions).reshape(len(outputs), -1)
        names = [f"prediction_{name}" for name in task.names] if len(task.names) > 1 else ["prediction"]
        return pd.DataFrame(values.numpy(), columns=names)
    table = {"prediction": [task.display(p) for p in predictions]}
    return pd.DataFrame(
        table | {f"probability_{n}": probabilities[:, i].numpy() for i, n in enumerate(task.names)}
    )
