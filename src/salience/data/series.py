"""Time series of the UCR archive, with its own split into training and test."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..errors import WrongInput, nearest
from ..modality import Series
from .arguments import require_whole
from .base import Classification, Data, cut_rows, splits
from .packaged import DOWNLOADS, Package
from .scaling import standardised

SKTIME = Package("sktime", "1.2.0", "dbffc6731d2d683b668dceb5e2bbc5804bebc8446b4c580803a281684d90e4ae")


@dataclass(frozen=True)
class Problem:
    """One problem of the archive: the sha256 of its two files, and what its classes are where the file has numbers."""

    train: str
    test: str
    classes: tuple[str, ...] = ()
    step: str = "step"


PROBLEMS = {
    "GunPoint": Problem(
        "f842401779fd9800d247d8b33121a1a4643710a19b24917dbdd9a060ca8630d5",
        "79332750788a6227b325b96bd0d70130c8eb707b9731f8d7dec62b7a7d36017e",
        ("draws a gun", "points a finger"),
    ),
    "BasicMotions": Problem(
        "8dc43cc6306cb679c888c01e26f91772ac4441a916da43bac8b79734a538b9d6",
        "79213102bc6fca1a398ad98ce1185dff0208fa3d1465e687f48288946b0ff8dc",
        step="tenth of a second",
    ),
    "ItalyPowerDemand": Problem(
        "341269cb7e6cef96846b30e774580beec79addb93848ba360145219115a74b7c",
        "26122451f87dd0387ef90b18bc8a86c041371b8a1c068004922b939971247144",
        step="hour",
    ),
    "ArrowHead": Problem(
        "a83c470aaf611a5f5284377cce27a5fc9f6292bc3d110257b0fd4905ced5ee72",
        "5417dab42626d41df5e435bb22458c2df40dfad4bcd3b59559bbe72e20e84904",
    ),
    "OSULeaf": Problem(
        "86b9d6e860414ffd26cebc62fff84ffb37fa588ef3e5bf79e4094a437c36ddfc",
        "6c549dd354f9e42d5985fa5fab75321ca9acefc7873457e71467fc8a31f107ce",
    ),
}


def ucr(
    seed: int = 0,
    name: str = "GunPoint",
    segment: int = 5,
    validation: float = 0.2,
    downloads: Path | str = DOWNLOADS,
) -> Data:
    """UCR time series: one problem of the archive, with its published test split.

    The seed decides which share of the published training split is the validation split.
    """
    if name not in PROBLEMS:
        raise WrongInput(f"data.name={name}: one of {', '.join(PROBLEMS)}.{nearest(name, PROBLEMS)}")
    problem = PROBLEMS[name]
    files = [
        SKTIME.member(f"sktime/datasets/data/{name}/{name}_{part}.ts", digest, downloads).decode()
        for part, digest in (("TRAIN", problem.train), ("TEST", problem.test))
    ]
    classes = files[0].split("@classLabel true", 1)[1].split("\n", 1)[0].split()
    (train, train_labels), (test, test_labels) = (_parsed(file, classes) for file in files)
    require_whole("segment", segment, 1, train.shape[2])
    task = Classification(problem.classes or tuple(classes))
    kept, validated = cut_rows(train_labels, task, seed, {"validation": validation})
    rows = (kept, validated, torch.arange(len(test)) + len(train))
    inputs, mean, scale = standardised(torch.cat([train, test]), kept)
    modality = Series(
        tuple(train.shape[1:]), "series", segment=segment, step=problem.step, mean=mean, scale=scale
    )
    return Data(
        (modality,),
        task,
        **splits(rows, (inputs,), torch.cat([train_labels, test_labels])),
        title=f"UCR time series, {name}",
        source="Dau et al. (2019), The UCR Time Series Archive; the copy in sktime (BSD-3-Clause)",
    )


def _parsed(file: str, classes: list[str]) -> tuple[Tensor, Tensor]:
    """Series of equal length [examples, channels, time] and labels, from the text of a .ts file."""
    lines = file.split("@data\n", 1)[1].split()
    rows = [line.split(":") for line in lines]
    values = [[[float(v) for v in channel.split(",")] for channel in row[:-1]] for row in rows]
    return torch.tensor(values), torch.tensor([classes.index(row[-1]) for row in rows])
