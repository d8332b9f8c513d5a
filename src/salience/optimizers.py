"""AdamW, Adam and SGD on one flat vector: the parameters of torch.optim bit for bit, in a fraction of the time.

Constructing an optimiser of torch.optim imports torch's compiler, which takes as long as torch itself; these do not.
"""

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from .errors import WrongInput, nearest
from .settings import Training

ALIGNMENT = 16
"""Elements between which parameters start, so that matrix kernels find them as aligned as in tensors of their own."""


class Optimizer(Protocol):
    """What `fit` asks of an optimiser; torch.optim's satisfy it."""

    param_groups: list[dict[str, Any]]

    def step(self) -> Any:
        """Change the parameters by their gradients, at the learning rate in `param_groups`."""

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on from here: `state`, by parameter and name, and `param_groups`."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """Go on from there."""


def state_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """What an optimiser remembers from step to step, as tensors by name."""
    state = optimizer.state_dict()["state"]
    return {
        f"{i}.{k}": torch.as_tensor(v) for i, own in state.items() for k, v in own.items() if v is not None
    }


def restore(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give an optimiser back what `state_tensors` said."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        number, _, key = name.partition(".")
        state.setdefault(int(number), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


@contextmanager
def flattened(model: nn.Module) -> Iterator[Tensor]:
    """The trainable parameters as one vector, of which they and their gradients are views inside the block.

    Afterwards they are tensors of their own again, without gradients. WrongInput as `trainable`.
    """
    parameters = trainable(model)
    starts, size = layout(parameters)
    flat = parameters[0].new_zeros(size).detach()
    flat.grad = torch.zeros_like(flat)
    for p, start in zip(parameters, starts, strict=True):
        view = flat[start : start + p.numel()].view(p.shape)
        view.copy_(p.detach())
        p.data = view
        p.grad = flat.grad[start : start + p.numel()].view(p.shape)
    try:
        yield flat
    finally:
        detach(parameters)


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that are trained; WrongInput where there are none, or where they differ in type or device."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise WrongInput(
            "training: this network has no trainable parameter; training=none explains it as it is"
        )
    kinds = {(p.dtype, p.device) for p in parameters}
    if len(kinds) > 1:
        raise WrongInput(
            f"training: parameters of several kinds cannot be trained together: {sorted(map(str, kinds))}"
        )
    return parameters


def layout(parameters: Sequence[Tensor], copies: int = 1) -> tuple[list[int], int]:
    """Where each parameter (or that many copies of it in a row) starts in one vector, and how long that is."""
    starts, size = [], 0
    for p in parameters:
        starts.append(size)
        size += -(-p.numel() * copies // ALIGNMENT) * ALIGNMENT
    return starts, size


def detach(parameters: list[nn.Parameter]) -> None:
    """Make parameters tensors of their own again, without gradients."""
    for p in parameters:
        p.data, p.grad = p.data.clone(), None
        with torch.no_grad():
            p.mul_(
                1
            )  # counts as a change: who keeps a copy of the network asks for the version of its weights


def optimizer(training: Training, flat: Tensor, model: nn.Module) -> Optimizer:
    """The optimiser that `training` names: ours on `flat`, or a class by `_target_` on the parameters."""
    if isinstance(training.optimizer, dict):
        return foreign(training.optimizer, training.learning_rate, model)
    builders: dict[str, Callable[[], Optimizer]] = {
        "adamw": lambda: Adam(flat, training.learning_rate, training.weight_decay),
        "adam": lambda: Adam(flat, training.learning_rate, training.weight_decay, decoupled=False),
        "sgd": lambda: SGD(flat, training.learning_rate, training.weight_decay, training.momentum),
    }
    return builders[training.optimizer]()


class Adam:
    """AdamW (`decoupled`: weights shrink by themselves) or Adam (L2 penalty in the gradient) on one vector.

    Kingma and Ba 2015; Loshchilov and Hutter 2019.
    """

    def __init__(
        self,
        flat: Tensor,
        lr: float,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        decoupled: bool = True,
    ):
        self.param_groups: list[dict[str, Any]] = [{"params": [flat], "lr": lr}]
        self.weight_decay, self.betas, self.eps, self.decoupled = weight_decay, betas, eps, decoupled
        self.mean, self.square = torch.zeros_like(flat), torch.zeros_like(flat)
        self.work = torch.empty_like(flat)
        self.steps = 0

    @torch.no_grad()
    def step(self) -> None:
        # The operations and their order are those of torch.optim.Adam: that keeps the last bit.
        lr, flat = self.param_groups[0]["lr"], self.param_groups[0]["params"][0]
        gradient, (beta1, beta2) = flat.grad, self.betas
        self.steps += 1
        if self.weight_decay and self.decoupled:
            flat.mul_(1 - lr * self.weight_decay)
        elif self.weight_decay:
            gradient = gradient.add(flat, alpha=self.weight_decay)
        self.mean.lerp_(gradient, 1 - beta1)
        self.square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        root = (1 - beta2**self.steps) ** 0.5
        torch.sqrt(self.square, out=self.work).div_(root).add_(self.eps)
        flat.addcdiv_(self.mean, self.work, value=-(lr / (1 - beta1**self.steps)))

    def state_dict(self) -> dict[str, Any]:
        own = {"mean": self.mean, "square": self.square, "steps": torch.tensor(self.steps)}
        return {"state": {0: own}, "param_groups": []}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        own = state_dict["state"][0]
        self.mean.copy_(own["mean"])
        self.square.copy_(own["square"])
        self.steps = int(own["steps"])


class SGD:
    """Stochastic gradient descent with momentum and an L2 penalty on one vector."""

    def __init__(self, flat: Tensor, lr: float, weight_decay: float = 0.0, momentum: float = 0.0):
        self.param_groups: list[dict[str, Any]] = [{"params": [flat], "lr": lr}]
        self.weight_decay, self.momentum = weight_decay, momentum
        self.velocity = torch.zeros_like(flat)

    @torch.no_grad()
    def step(self) -> None:
        lr, flat = self.param_groups[0]["lr"], self.param_groups[0]["params"][0]
        gradient = flat.grad
        if self.weight_decay:
            gradient = gradient.add(flat, alpha=self.weight_decay)
        if self.momentum:
            gradient = self.velocity.mul_(self.momentum).add_(gradient)
        flat.add_(gradient, alpha=-lr)

    def state_dict(self) -> dict[str, Any]:
        return {"state": {0: {"velocity": self.velocity}}, "param_groups": []}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.velocity.copy_(state_dict["state"][0]["velocity"])


def foreign(node: dict[str, Any], lr: float, model: nn.Module) -> Optimizer:
    """An optimiser class by its `_target_`, with the node's arguments, and `lr` where it names none.

    WrongInput where there is no such class, it does not take the arguments, or its step needs a closure.
    """
    name, arguments = str(node.get("_target_", "")), {k: v for k, v in node.items() if k != "_target_"}
    found = _find(name)
    parameters = [p for p in model.parameters() if p.requires_grad]
    try:
        inspect.signature(found).bind(parameters, **{"lr": lr, **arguments})
        inspect.signature(found.step).bind(None)
        return found(parameters, **{"lr": lr, **arguments})
    except (TypeError, ValueError) as error:
        raise WrongInput(f"training.optimizer={name}: {error}") from error


def _find(name: str) -> Any:
    module_name, _, attribute = name.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except (ImportError, ValueError) as error:
        raise WrongInput(f"training.optimizer={name}: no such class ({error})") from error
    found = getattr(module, attribute, None)
    if not (inspect.isclass(found) and callable(getattr(found, "step", None))):
        known = [n for n, v in vars(module).items() if inspect.isclass(v) and hasattr(v, "step")]
        raise WrongInput(f"training.optimizer={name}: no such optimiser.{nearest(attribute, known)}")
    return found
