"""Data sets of the Hugging Face `datasets` library: a local folder, or a name of its hub."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..errors import WrongInput, listed, nearest
from .base import Data
from .folders import from_images, square
from .own import labels_of
from .own_text import from_texts

if TYPE_CHECKING:
    import datasets


def hugging_face(
    path: str,
    inputs: str,
    target: str,
    seed: int = 0,
    revision: str | None = None,
    length: int = 64,
    vocabulary: int = 8000,
    size: int = 32,
    patch: int = 4,
    validation: float = 0.15,
    test: float = 0.25,
) -> Data:
    """Hugging Face datasets: a folder (of save_to_disk, or of files that load_dataset reads) or a name of the hub.

    `inputs`: a column of text or of images; `target`: a column of classes (or numbers, with text). The splits that the
    set brings are put together and cut anew, so that all three exist. Needs the extra salience[datasets].
    """
    table = _table(path, revision)
    for key, column in (("inputs", inputs), ("target", target)):
        if column not in table.column_names:
            hint = nearest(column, table.column_names)
            raise WrongInput(
                f"data.{key}={column}: no such column.{hint} Columns: {listed(table.column_names)}"
            )
    first = table[0][inputs]
    read = _texts if isinstance(first, str) else _pictures if hasattr(first, "convert") else None
    if read is None:
        raise WrongInput(
            f"data.inputs={inputs}: holds {type(first).__name__}; a column of text or images is needed"
        )
    options = {"length": length, "vocabulary": vocabulary, "size": size, "patch": patch}
    return read(table, inputs, target, seed, (validation, test), Path(path).name, **options)


def _table(path: str, revision: str | None) -> "datasets.Dataset":
    """All rows of all splits."""
    try:
        import datasets
    except ImportError:
        raise WrongInput('data=hugging_face needs: pip install "salience[datasets]"') from None
    try:
        if (Path(path) / "dataset_dict.json").exists() or (Path(path) / "state.json").exists():
            loaded: Any = datasets.load_from_disk(path)
        elif Path(path).exists():
            loaded = datasets.load_dataset(path)
        else:
            loaded = datasets.load_dataset(path, revision=revision)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        where = "cannot be read" if Path(path).exists() else "no such folder, and the hub did not give it"
        raise WrongInput(f"data.path={path}: {where} ({str(error).splitlines()[0][:80]})") from None
    if not isinstance(loaded, dict):
        return loaded
    return datasets.concatenate_datasets(list(loaded.values()))


def _named(table: "datasets.Dataset", target: str) -> list[Any]:
    """The target of each row, class numbers by their names."""
    names = getattr(table.features[target], "names", None)
    values = table[target]
    return [names[v] if names else v for v in values]


def _texts(
    table: "datasets.Dataset",
    inputs: str,
    target: str,
    seed: int,
    shares: tuple[float, float],
    title: str,
    **own: Any,
) -> Data:
    import pandas as pd

    labels, task, scaled = labels_of(pd.Series(_named(table, target), name=target), "auto")
    texts = list(table[inputs])
    return from_texts(texts, labels, task, scaled, seed, own["length"], own["vocabulary"], shares, title)


def _pictures(
    table: "datasets.Dataset",
    inputs: str,
    target: str,
    seed: int,
    shares: tuple[float, float],
    title: str,
    **own: Any,
) -> Data:
    pixels = torch.stack([square(row[inputs].convert("RGB"), own["size"]) for row in table])
    return from_images(pixels, [str(v) for v in _named(table, target)], seed, own["patch"], shares, title)
