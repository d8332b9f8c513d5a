"""Your own sentences, without code: a CSV file with a column of text and a column to predict."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..errors import WrongInput
from .base import Data, Regression, Task, split_rows, splits
from .own import labels_of, read_table, require_choice, require_column, several
from .scaling import standardised
from .text import UNKNOWN, encode, tokeniser, tokens

EMPTY = ("error", "drop")


def text_csv(
    path: str,
    text: str,
    target: str,
    seed: int = 0,
    length: int = 64,
    vocabulary: int = 8000,
    on_empty: str = "error",
    na_values: str | Sequence[str] = (),
    task: str = "auto",
    validation: float = 0.15,
    test: float = 0.25,
) -> Data:
    """Your own sentences: a CSV file with a column of text and a target column.

    `on_empty`: what to do with rows that lack a text or a label: error or drop. Rows are numbered as a spreadsheet
    shows them: the header is row 1. Longer texts are cut after `length` tokens.
    """
    require_choice("on_empty", on_empty, EMPTY)
    text, target, name = str(text), str(target), Path(path).name
    frame = read_table(Path(path), several(na_values))
    for key, column in (("text", text), ("target", target)):
        require_column(key, column, frame, name)
    words = frame[text].fillna("").astype(str).str.strip()
    lacking = (words == "") | frame[target].isna()
    if lacking.any() and on_empty == "error":
        row = int(lacking.to_numpy().argmax())
        what = "text" if words[row] == "" else "label"
        raise WrongInput(
            f"data: {int(lacking.sum())} rows lack a text or a label (first: row {row + 2}, which has no {what}); "
            "set data.on_empty=drop"
        )
    labels, kind, scaled = labels_of(frame.loc[~lacking, target].reset_index(drop=True), task)
    texts = words[~lacking].tolist()
    return from_texts(texts, labels, kind, scaled, seed, length, vocabulary, (validation, test), name)


def from_texts(
    texts: Sequence[str],
    labels: Tensor,
    task: Task,
    scaled: bool,
    seed: int,
    length: int,
    vocabulary: int,
    shares: tuple[float, float],
    title: str,
) -> Data:
    """Data from texts; labels that are numbers (`scaled`) are standardised by the training rows."""
    rows = split_rows(labels, task, seed, *shares)
    if scaled:
        labels, mean, scale = standardised(labels, rows[0])
        task = Regression(task.names, (), mean, scale)
    split_into_words = tokeniser()
    words = [split_into_words(t) for t in texts]
    modality = tokens([words[i] for i in rows[0].tolist()], length, vocabulary)
    ids, padded = encode(words, modality)
    if not bool((ids[rows[0]] > max(UNKNOWN, *modality.special_ids)).any()):
        raise WrongInput(
            "data: no word occurs twice in the training texts, so there is nothing to learn from"
        )
    return Data(
        (modality,),
        task,
        **splits(rows, (ids,), labels, context=(padded,)),
        title=title,
        source="your own file",
    )


def numbered(names: Sequence[str]) -> tuple[Tensor, tuple[str, ...]]:
    """Names as class numbers, and the classes in alphabetical order; WrongInput where there is one class."""
    classes = tuple(sorted(set(names)))
    if len(classes) < 2:
        raise WrongInput(f"data: one class ({', '.join(classes)}) in {len(names)} rows; 2 or more are needed")
    place = {name: i for i, name in enumerate(classes)}
    return torch.tensor([place[n] for n in names]), classes
