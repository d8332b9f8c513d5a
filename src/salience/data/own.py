"""Your own table, without code: a CSV file, its target column, and a stated policy for what is missing."""

import gzip
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..errors import WrongInput, nearest
from .base import Classification, Data, Regression, Task, split_rows, splits
from .scaling import category_levels, mixed_table, standardised

if TYPE_CHECKING:
    import pandas as pd

DATE = r"\s*(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4})([ T].*)?"
FEW_VALUES = 20
"""Numbers in the target that are whole and have at most so many values are taken for classes."""
MISSING = ("error", "drop", "mean")
TASKS = ("auto", "classification", "regression")


def csv(
    path: str,
    target: str,
    seed: int = 0,
    drop: str | Sequence[str] = (),
    categorical: str | Sequence[str] = (),
    units: Mapping[str, str] | None = None,
    missing: str = "error",
    na_values: str | Sequence[str] = (),
    task: str = "auto",
    validation: float = 0.15,
    test: float = 0.25,
) -> Data:
    """Your own CSV file: a target column, numbers and categories (text columns, and those in `categorical`).

    `missing`: what to do with rows that lack a value: error, drop (the rows) or mean (of the training rows; a
    category gets a level "missing"). Rows are numbered as a spreadsheet shows them: the header is row 1. The
    separator (comma, semicolon, tab, bar) is the one that the header uses most; .gz files are read too.
    """
    require_choice("missing", missing, MISSING)
    require_choice("task", task, TASKS)
    drop, categorical, na_values = (several(v) for v in (drop, categorical, na_values))
    target, units = str(target), dict(units or {})  # YAML reads a column called 0 as a number
    frame, name = read_table(Path(path), na_values), Path(path).name
    named = {"target": [target], "drop": drop, "categorical": categorical, "units": list(units)}
    for key, columns in named.items():
        for column in columns:
            require_column(key, column, frame, name)
    frame = frame.drop(columns=[c for c in drop if c != target])
    if frame.shape[1] < 2:
        raise WrongInput(f"data: {name} has no column beside the target {target}")
    _numbers(frame, [c for c in frame if c not in (*categorical, target)], name)
    frame = _complete(frame, target, missing)
    labels, kind, scaled = labels_of(frame.pop(target), task)
    rows = split_rows(labels, kind, seed, validation, test)
    if scaled:
        labels, mean, scale = standardised(labels, rows[0])
        kind = Regression(kind.names, (units.get(target, ""),), mean, scale)
    modality, inputs = mixed_table(frame, category_levels(frame, categorical), rows[0], units, "table")
    return Data((modality,), kind, **splits(rows, (inputs,), labels), title=name, source="your own file")


def require_choice(key: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise WrongInput(f"data.{key}={value}: one of {', '.join(allowed)}.{nearest(value, allowed)}")


def several(value: str | Sequence[str]) -> list[str]:
    """A list, also where one value was given without brackets."""
    return [str(v) for v in ([value] if isinstance(value, str | int) else value)]


def require_column(key: str, column: str, frame: "pd.DataFrame", name: str) -> None:
    if column not in frame:
        known = ", ".join(map(str, frame.columns[:8])) + (", ..." if frame.shape[1] > 8 else "")
        hint = nearest(column, map(str, frame.columns))
        raise WrongInput(f'data.{key}: no column "{column}" in {name}.{hint} Columns: {known}')


def read_table(path: Path, na_values: Sequence[str]) -> "pd.DataFrame":
    import pandas as pd

    if path.is_dir() or not path.exists():
        folder = path if path.is_dir() else path.parent
        there = sorted(p.name for p in folder.glob("*.csv*"))[:5] if folder.is_dir() else []
        what = "is a folder" if path.is_dir() else "no such file"
        listed = f". Files there: {', '.join(there)}" if there else ""
        raise WrongInput(f"data.path={path}: {what}{listed}")
    try:
        opened: Any = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", encoding="utf-8-sig") as lines:
            separator = max(",;\t|", key=lines.readline().count)
        header = pd.read_csv(path, sep=separator, header=None, nrows=1, dtype=str, keep_default_na=False)
        frame = pd.read_csv(path, sep=separator, na_values=list(na_values), low_memory=False)
    except pd.errors.EmptyDataError:
        raise WrongInput(f"data.path={path}: the file is empty") from None
    except pd.errors.ParserError as error:
        cause = str(error).rpartition("error: ")[2].strip()
        raise WrongInput(f"data.path={path}: not a table: {cause}") from None
    except UnicodeDecodeError as error:
        raise WrongInput(f"data.path={path}: not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    except OSError as error:
        raise WrongInput(f"data.path={path}: cannot be read ({error.strerror or error})") from None
    titles = header.iloc[0]
    if titles.duplicated().any():
        raise WrongInput(f'data.path={path}: two columns are called "{titles[titles.duplicated()].iloc[0]}"')
    if frame.empty:
        raise WrongInput(f"data.path={path}: the file has a header and no rows")
    frame.columns = frame.columns.map(str)
    return frame


def _numbers(frame: "pd.DataFrame", columns: Sequence[Any], name: str) -> None:
    """Refuse dates, and text in columns of numbers; warn of columns that say nothing or name the row."""
    import pandas as pd

    for column in columns:
        values = frame[column]
        present = values.dropna()
        if pd.api.types.is_numeric_dtype(values):
            if len(present) > FEW_VALUES and pd.api.types.is_integer_dtype(values) and values.is_unique:
                hint = f"differs in every row; a row number? data.drop=[{column}]"
                warnings.warn(f"data: column {column} {hint}", stacklevel=3)
            elif not len(present) or present.min() == present.max():
                warnings.warn(f"data: column {column} is the same in every row", stacklevel=3)
            continue
        text = present.drop_duplicates().astype(str)
        if len(text) and text.str.fullmatch(DATE).mean() > 0.5:
            raise WrongInput(
                f'data: column {column} holds dates ("{text.iloc[0]}"), which are neither numbers nor categories; '
                f"make it a number (days since ...) or data.drop=[{column}]"
            )
        bad = pd.to_numeric(text, errors="coerce").isna()
        if len(text) and bad.mean() < 0.5:
            row, value = int(bad[bad].index[0]) + 2, " ".join(text[bad].iloc[0].split())
            raise WrongInput(
                f'{name} row {row} column {column}: "{value[:40]}" is not a number; '
                f'set data.na_values=["{value[:40]}"] or data.categorical=[{column}]'
            )


def _complete(frame: "pd.DataFrame", target: str, missing: str) -> "pd.DataFrame":
    """The table after the policy for missing and infinite values; nan stays only where the mean goes."""
    numbers = frame.select_dtypes("number")
    infinite = np.isinf(numbers.to_numpy(dtype=np.float64, na_value=np.nan)).any(0)
    for column in numbers.columns[infinite]:
        frame[column] = frame[column].replace([np.inf, -np.inf], np.nan)
    lacking = frame.isna()
    incomplete = lacking.any(axis=1)
    if missing == "drop":
        return frame[~incomplete].reset_index(drop=True)
    if missing == "error" and incomplete.any():
        first = int(incomplete.to_numpy().argmax())
        column = frame.columns[int(lacking.iloc[first].to_numpy().argmax())]
        raise WrongInput(
            f"data: {int(incomplete.sum())} rows lack a value or hold an infinite one (first: row {first + 2}, "
            f"column {column}); set data.missing=drop or mean"
        )
    if lacking[target].any():
        raise WrongInput(
            f"data: the target {target} is missing in {int(lacking[target].sum())} rows; set data.missing=drop"
        )
    return frame


def labels_of(values: "pd.Series", task: str) -> tuple[Tensor, Task, bool]:
    """Labels, the task, and whether they are numbers that are still to be standardised."""
    import pandas as pd

    name = str(values.name)
    numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    few = numeric and values.nunique() <= FEW_VALUES and bool((values % 1 == 0).all())
    if task == "regression" or (task == "auto" and numeric and not few):
        if not numeric:
            raise WrongInput(f"data.task=regression: the target {name} holds text; use classification")
        return torch.tensor(values.to_numpy(dtype=np.float64))[:, None], Regression((name,)), True
    if few:
        values = values.astype(np.int64)
    levels = sorted(values.unique())
    if len(levels) < 2:
        found = f"one class ({levels[0]})" if levels else "no class"
        raise WrongInput(f'data: target "{name}" has {found} in {len(values)} rows; 2 or more are needed')
    codes = pd.Categorical(values, categories=levels).codes
    return torch.tensor(codes, dtype=torch.long), Classification(tuple(map(str, levels))), False
