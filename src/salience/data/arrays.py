"""Your own arrays, without code: an .npz file."""

import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import WrongInput, listed, nearest
from ..modality import Image, Modality, Series, Tabular
from .base import Classification, Data, Regression, Task, split_rows, splits
from .own import require_choice
from .scaling import Numbers, standardised

PARTS = (("train", "val", "test"), ("train", "validation", "test"))
"""Prefixes of arrays in files that bring their own splits (MedMNIST: train_images, train_labels, val_images, ...)."""


def npz(
    path: str,
    inputs: str = "x",
    target: str = "y",
    seed: int = 0,
    kind: str = "auto",
    relevant: str | None = None,
    names: Sequence[str] = (),
    size: int = 1,
    validation: float = 0.15,
    test: float = 0.25,
) -> Data:
    """Your own arrays: an .npz file with inputs and targets.

    `inputs` has one example a row: [examples, columns] a table, [examples, channels, time] series, or
    [examples, channels, height, width], [examples, height, width, channels] or (kind=image) [examples, height, width]
    images. `target`: whole numbers from 0 are classes, other numbers are predicted as numbers. `relevant`: an array of
    the inputs' shape that is not 0 where the truth lies. Where the file holds train_<inputs>, val_<inputs> and
    test_<inputs> and no <inputs>, these are its splits (MedMNIST: data.inputs=images data.target=labels). `size`: the
    side of a patch or the length of a segment that is one feature.
    """
    require_choice("kind", kind, ("auto", *LAYOUTS))
    arrays, name = _read(Path(path)), Path(path).name
    x, counts = _one(arrays, inputs, "inputs", name)
    y, same = _one(arrays, target, "target", name)
    if len(x) != len(y) or counts != same:
        raise WrongInput(f"data: {inputs} has {len(x)} rows and {target} has {len(y)}; they must agree")
    values = _numbers(x, inputs)
    bad = ~np.isfinite(values.reshape(len(values), -1)).all(1)
    if bad.any():
        first = int(bad.argmax())
        raise WrongInput(
            f"data: {int(bad.sum())} rows of {inputs} hold NaN or Inf (first: row {first}, from 0)"
        )
    layout, values = _layout(values, kind, inputs)
    labels, task, scaled = _labels(_numbers(y, target), target, tuple(map(str, names)))
    rows = _rows(counts, labels, task, seed, validation, test)
    if scaled:
        labels, mean, scale = standardised(labels, rows[0])
        task = Regression(task.names, (), mean, scale)
    tensor, mean, scale = standardised(torch.as_tensor(values), rows[0])
    modality = layout.modality(tuple(tensor.shape[1:]), size, mean, scale)
    truth = None
    if relevant is not None:
        marked, _ = _one(arrays, relevant, "relevant", name)
        truth = _truth(_layout(_numbers(marked, relevant), kind, relevant)[1], modality, tensor, relevant)
    return Data(
        (modality,),
        task,
        **splits(rows, (tensor,), labels, relevant=truth),
        title=name,
        source="your own file",
    )


def _read(path: Path) -> Mapping[str, np.ndarray]:
    if not path.is_file():
        there = listed(sorted(p.name for p in path.parent.glob("*.npz"))) if path.parent.is_dir() else "none"
        raise WrongInput(f"data.path={path}: no such file. Files there: {there}")
    try:
        with np.load(path, allow_pickle=False) as opened:
            return {key: opened[key] for key in opened.files}
    except (zipfile.BadZipFile, EOFError, AttributeError, OSError):
        raise WrongInput(f"data.path={path}: not an .npz file") from None
    except ValueError as error:
        why = "holds Python objects, which are not loaded" if "pickle" in str(error) else "is damaged"
        raise WrongInput(f"data.path={path}: {why}; save arrays of numbers") from None


def _one(
    arrays: Mapping[str, np.ndarray], key: str, argument: str, name: str
) -> tuple[np.ndarray, tuple[int, ...]]:
    """An array, and the sizes of its splits where the file brings them (else none)."""
    if key in arrays:
        return arrays[key], ()
    for parts in PARTS:
        found = [arrays.get(f"{part}_{key}") for part in parts]
        if all(f is not None for f in found):
            return np.concatenate([f for f in found if f is not None]), tuple(
                len(f) for f in found if f is not None
            )
    raise WrongInput(
        f"data.{argument}={key}: no such array in {name}.{nearest(key, arrays)} It has {listed(arrays)}"
    )


def _numbers(values: np.ndarray, key: str) -> np.ndarray:
    if values.dtype.kind not in "buif":
        raise WrongInput(f"data: {key} holds {values.dtype}, not numbers")
    if not len(values):
        raise WrongInput(f"data: {key} is empty")
    return values.astype(np.float64 if values.dtype.kind == "f" else np.float32)


@dataclass(frozen=True)
class Layout:
    """What the axes of an array mean."""

    axes: int
    """How many an example has, channels included."""
    modality: Callable[[tuple[int, ...], int, Numbers, Numbers], Modality]
    """From the shape of an example, the size of a feature, mean and scale."""
    arranged: Callable[[np.ndarray], np.ndarray] = lambda values: values
    """The values with channels first, and pixels in [0, 1]."""


def _pixels(values: np.ndarray) -> np.ndarray:
    """Channels before height and width, and pixels of 0 to 255 in [0, 1]."""
    if values.shape[-1] in (1, 3) and values.shape[1] not in (1, 3):
        values = np.moveaxis(values, -1, 1)
    return values / 255 if values.min() >= 0 and 1 < values.max() <= 255 else values


LAYOUTS = {
    "table": Layout(1, lambda shape, size, mean, scale: Tabular(shape, "table", mean=mean, scale=scale)),
    "series": Layout(
        2, lambda shape, size, mean, scale: Series(shape, "series", segment=size, mean=mean, scale=scale)
    ),
    "image": Layout(
        3, lambda shape, size, mean, scale: Image(shape, "image", patch=size, mean=mean, scale=scale), _pixels
    ),
}
"""By the word of the config; `auto` takes the one that has as many axes."""


def _layout(values: np.ndarray, kind: str, key: str) -> tuple[Layout, np.ndarray]:
    """What the axes mean, and the values as their layout has them; a single channel may be left out of a named one."""
    asked = LAYOUTS.get(kind)
    if asked is not None and 1 < asked.axes == values.ndim:
        values = values[:, None]
    for layout in LAYOUTS.values() if asked is None else (asked,):
        if layout.axes == values.ndim - 1:
            return layout, layout.arranged(values)
    raise WrongInput(
        f"data.kind={kind}: {key} has shape {tuple(values.shape)}; see the axes that each kind has"
    )


def _labels(values: np.ndarray, key: str, names: tuple[str, ...]) -> tuple[Tensor, Task, bool]:
    """Labels, the task, and whether they are numbers that are still to be standardised."""
    flat = values.reshape(len(values), -1)
    if flat.shape[1] != 1:
        raise WrongInput(f"data.target={key}: one number per row is needed, not {flat.shape[1]}")
    if not np.isfinite(flat).all():
        raise WrongInput(
            f"data.target={key}: row {int((~np.isfinite(flat)).argmax())} (from 0) is NaN or Inf"
        )
    if (flat % 1 != 0).any() or flat.min() < 0:
        return torch.as_tensor(flat).double(), Regression((key,)), True
    labels = torch.as_tensor(flat[:, 0]).long()
    classes = names or tuple(str(i) for i in range(int(labels.max()) + 1))
    if len(classes) <= int(labels.max()):
        raise WrongInput(f"data.names: {len(classes)} names for classes 0 to {int(labels.max())}")
    if len(labels.unique()) < 2:
        raise WrongInput(f'data: target "{key}" has one class ({int(labels[0])}); 2 or more are needed')
    return labels, Classification(classes), False


def _rows(
    counts: tuple[int, ...], labels: Tensor, task: Task, seed: int, validation: float, test: float
) -> tuple[Tensor, Tensor, Tensor]:
    if not counts:
        return split_rows(labels, task, seed, validation, test)
    train, validated, tested = torch.arange(sum(counts)).split(list(counts))
    return train, validated, tested


def _truth(values: np.ndarray, modality: Modality, inputs: Tensor, key: str) -> Tensor:
    """Which features hold an element that is marked [examples, features]."""
    if values.shape != tuple(inputs.shape):
        raise WrongInput(
            f"data.relevant={key}: has shape {values.shape}, the inputs have {tuple(inputs.shape)}"
        )
    mask = modality.feature_mask(inputs).flatten(1).expand(len(inputs), -1)
    found = torch.zeros(len(inputs), modality.num_features, dtype=torch.bool)
    return found.scatter_reduce(1, mask, torch.as_tensor(values).flatten(1) != 0, "amax")
