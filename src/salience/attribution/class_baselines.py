"""Baselines that depend on the class that is explained: rows of that class, of the others, the nearest of another."""

from collections.abc import Iterable

import torch
from torch import Tensor

from ..data.base import Examples
from ..errors import WrongInput
from ..randomness import Streams
from .baselines import Baseline, at_least_one
from .explanation import Explicand


class ClassSamples(Baseline):
    """`n` training rows of the explained class, or (`other`) of the other classes: a distribution per target.

    Where a class has fewer rows they repeat. WrongInput where there are no classes. The target of a network with one
    output stands for the second of two classes.
    """

    name = "class_samples"
    is_distribution = True
    by_target = True

    def __init__(self, n: int = 20, other: bool = False):
        self.n, self.other = at_least_one(n), other

    def __call__(self, modalities, train, inputs, streams):
        """The rows of all classes, one class after the other."""
        return self._of_classes(train, range(num_classes(train)), streams)

    def of(self, modalities, train, x, streams):
        return self._of_classes(train, [explained_class(t, x) for t in range(x.num_outputs)], streams)

    def rows_for(self, target):
        return slice(target * self.n, (target + 1) * self.n)

    def _of_classes(self, train: Examples, classes: Iterable[int], streams: Streams) -> tuple[Tensor, ...]:
        rows = torch.cat([self._rows(train, c, streams) for c in classes])
        return tuple(t[rows.to(t.device)] for t in train.inputs)

    def _rows(self, train: Examples, number: int, streams: Streams) -> Tensor:
        own = class_labels(train, self.name) == number
        rows = (~own if self.other else own).nonzero()[:, 0].cpu()
        if not len(rows):
            raise WrongInput(
                f"baseline={self.name}: no training row of {'any other class than ' * self.other}{number}"
            )
        order = torch.randperm(len(rows), generator=streams.generator(f"baseline/{self.name}", number))
        return rows[order[torch.arange(self.n) % len(rows)]]


class NearestOtherClass(Baseline):
    """For each example the nearest training row whose label is another class than the explained one.

    Nearest by Euclidean distance in the network's space; for token ids by how many differ. WrongInput where there are
    no classes, or no explained class is known.
    """

    name = "nearest_other_class"
    per_example = True

    def __call__(self, modalities, train, inputs, streams):
        raise WrongInput(f"baseline={self.name}: needs the explained class of each example")

    def of(self, modalities, train, x, streams):
        labels = class_labels(train, self.name)
        classes = torch.tensor([explained_class(int(t), x) for t in x.target], device=labels.device)
        if bool((labels == labels[0]).all()):
            raise WrongInput(f"baseline={self.name}: the training rows have one class")
        nearest = []
        for start in range(0, len(x), 64):
            at = slice(start, start + 64)
            distance = sum(self._distances(r[at], t) for r, t in zip(x.raw, train.inputs, strict=True))
            same = labels[None] == classes[at, None]
            nearest.append(distance.masked_fill(same.to(distance.device), torch.inf).argmin(1))
        rows = torch.cat(nearest)
        return tuple(t[rows.to(t.device)] for t in train.inputs)

    @staticmethod
    def _distances(inputs: Tensor, train: Tensor) -> Tensor:
        """Squared distances [rows, training rows]."""
        if not train.is_floating_point():
            return (inputs.flatten(1)[:, None] != train.to(inputs.device).flatten(1)).sum(2).double()
        return torch.cdist(inputs.flatten(1).double(), train.to(inputs.device).flatten(1).double()) ** 2


def class_labels(train: Examples, name: str) -> Tensor:
    """The classes of the training rows [rows]; WrongInput where there are none."""
    if train.labels.is_floating_point() or not len(train):
        raise WrongInput(f"baseline={name}: needs training rows with classes; use baseline=samples or mean")
    return train.labels


def num_classes(train: Examples) -> int:
    """How many classes the training rows have."""
    return int(class_labels(train, "class_samples").max()) + 1


def explained_class(target: int, x: Explicand) -> int:
    """The class that a target stands for."""
    return 1 if x.num_outputs == 1 else target
