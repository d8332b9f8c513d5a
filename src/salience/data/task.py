"""What is to be predicted: the only place that knows whether it is a class or a number."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import WrongInput, nearest


class Task(ABC):
    """What is predicted. The only place that knows whether it is a class or a number."""

    names: tuple[str, ...]
    main_score: ClassVar[str]
    """The key of `scores` that early stopping, tables and gates look at; higher is better."""

    @property
    def num_outputs(self) -> int:
        """How many outputs a network needs by default."""
        return len(self.names)

    @abstractmethod
    def loss(self, outputs: Tensor, labels: Tensor, weight: Tensor | None = None) -> Tensor:
        """The mean training loss; `weight` [classes] or None."""

    def class_weights(self, labels: Tensor) -> Tensor | None:
        """Weights [classes] that make every class count the same; None where there are no classes."""
        return None

    @abstractmethod
    def scores(self, outputs: Tensor, labels: Tensor) -> dict[str, float]:
        """How good the outputs are, as named numbers."""

    def probabilities(self, outputs: Tensor) -> Tensor | None:
        """Probability per class [examples, classes]; None where there are no classes."""
        return None

    @abstractmethod
    def predictions(self, outputs: Tensor) -> Tensor:
        """What the outputs say, in the form of `labels`."""

    def original(self, values: Tensor) -> Tensor:
        """Labels or predictions in the units a person knows (undoes standardisation)."""
        return values

    def explained(self, outputs: Tensor, space: str) -> Tensor:
        """The outputs in the space that is explained and measured: `logit` (as they are) or `probability`."""
        return outputs

    @abstractmethod
    def target(self, outputs: Tensor, labels: Tensor, choice: str | int) -> Tensor:
        """Which output is explained for each example [examples]; WrongInput where `choice` names none."""

    def right(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Which predictions are correct, bool [examples]; WrongInput where that is no yes or no."""
        raise WrongInput("only: these outputs are numbers, which are not right or wrong; use only=all")

    def class_number(self, choice: str | int) -> int:
        """The number of the class given by number or name; WrongInput where there is none."""
        raise WrongInput(f"only={choice}: these outputs are numbers and have no classes; use only=all")

    def stratify(self, labels: Tensor) -> np.ndarray | None:
        """Groups that every split should hold in equal shares; None where there are none."""
        return None

    @abstractmethod
    def display(self, label: Tensor) -> str:
        """One label or prediction as a person would write it."""

    def describe_target(self, target: int, num_outputs: int) -> str:
        """The explained output as a person would name it."""
        return self.names[target]


@dataclass(frozen=True)
class Classification(Task):
    """Exactly one of `names`. A network with one output is a sigmoid unit for the second of two classes."""

    names: tuple[str, ...]
    main_score: ClassVar[str] = "accuracy"

    def loss(self, outputs: Tensor, labels: Tensor, weight: Tensor | None = None) -> Tensor:
        if outputs.shape[1] == 1:
            each = None if weight is None else weight[labels]
            return F.binary_cross_entropy_with_logits(outputs[:, 0], labels.to(outputs.dtype), each)
        return F.cross_entropy(outputs, labels, weight)

    def class_weights(self, labels: Tensor) -> Tensor | None:
        counts = torch.bincount(labels, minlength=len(self.names)).clamp(min=1)
        return len(labels) / (len(self.names) * counts.float())

    def scores(self, outputs: Tensor, labels: Tensor) -> dict[str, float]:
        right = self.predictions(outputs) == labels
        recalls = [right[labels == c].float().mean() for c in labels.unique()]
        return {
            "accuracy": right.float().mean().item(),
            "balanced_accuracy": torch.stack(recalls).mean().item(),
            "log_loss": self.loss(outputs.double(), labels).item(),
        }

    def probabilities(self, outputs: Tensor) -> Tensor | None:
        if outputs.shape[1] == 1:
            on = outputs.sigmoid()
            return torch.cat([1 - on, on], 1)
        return outputs.softmax(1)

    def predictions(self, outputs: Tensor) -> Tensor:
        return (outputs[:, 0] > 0).long() if outputs.shape[1] == 1 else outputs.argmax(1)

    def explained(self, outputs: Tensor, space: str) -> Tensor:
        if space == "logit":
            return outputs
        return outputs.sigmoid() if outputs.shape[1] == 1 else outputs.softmax(1)

    def target(self, outputs: Tensor, labels: Tensor, choice: str | int) -> Tensor:
        if outputs.shape[1] == 1:
            if choice not in ("predicted", "label", 0, "0", self.names[-1]):
                only = f"0 ({self.names[-1]})"
                raise WrongInput(f"target={choice}: a network with one output has only target {only}")
            return torch.zeros_like(labels)
        order = outputs.argsort(dim=1, descending=True, stable=True)
        if choice == "predicted":
            return order[:, 0]
        if choice == "runner_up":
            return order[:, 1]
        if choice == "label":
            return labels
        return torch.full_like(labels, self.class_number(choice))

    def right(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return self.predictions(outputs) == labels

    def class_number(self, choice: str | int) -> int:
        if choice in self.names:
            return self.names.index(str(choice))
        if str(choice).isdigit() and int(choice) < len(self.names):
            return int(choice)
        known = ", ".join(f"{i} {n}" for i, n in enumerate(self.names[:12]))
        hint = nearest(str(choice), self.names)
        raise WrongInput(f"target={choice}: no such class; classes: {known}.{hint}")

    def stratify(self, labels: Tensor) -> np.ndarray | None:
        return labels.numpy()

    def display(self, label: Tensor) -> str:
        return self.names[int(label)]

    def describe_target(self, target: int, num_outputs: int) -> str:
        return self.names[-1 if num_outputs == 1 else target]  # a sigmoid unit speaks for the second class


@dataclass(frozen=True)
class Regression(Task):
    """Numbers, one output per name, standardised: `original = label * scale + mean`."""

    names: tuple[str, ...]
    units: tuple[str, ...] = ()
    mean: tuple[float, ...] = (0.0,)
    scale: tuple[float, ...] = (1.0,)
    main_score: ClassVar[str] = "r2"

    def loss(self, outputs: Tensor, labels: Tensor, weight: Tensor | None = None) -> Tensor:
        return F.mse_loss(outputs, labels)

    def scores(self, outputs: Tensor, labels: Tensor) -> dict[str, float]:
        error, spread = outputs - labels, labels - labels.mean(0)
        scale = outputs.new_tensor(self.scale)
        return {
            "r2": (1 - error.square().sum(0) / spread.square().sum(0)).mean().item(),
            "mean_absolute_error": (error.abs() * scale).mean().item(),
        }

    def predictions(self, outputs: Tensor) -> Tensor:
        return outputs

    def original(self, values: Tensor) -> Tensor:
        return values * values.new_tensor(self.scale) + values.new_tensor(self.mean)

    def target(self, outputs: Tensor, labels: Tensor, choice: str | int) -> Tensor:
        number = 0 if choice in ("predicted", "label") else self._output_number(choice)
        return torch.full((len(outputs),), number, device=outputs.device)

    def _output_number(self, choice: str | int) -> int:
        if choice in self.names:
            return self.names.index(str(choice))
        if str(choice).isdigit() and int(choice) < len(self.names):
            return int(choice)
        raise WrongInput(f"target={choice}: no such output; outputs: {', '.join(self.names)}")

    def display(self, label: Tensor) -> str:
        values = self.original(label.reshape(-1))
        units = self.units or ("",) * len(self.names)
        return ", ".join(f"{v:.4g} {u}".strip() for v, u in zip(values.tolist(), units, strict=True))
