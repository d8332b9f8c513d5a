"""Inside a network: what a layer gives, its gradient, what happens when it gives something else, and single units."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import WrongInput, nearest
from .planner import Call, chunks, select

Selector = int | tuple | Callable[[Tensor], Tensor]
"""A unit of a layer: its number, counted row by row; its place along each axis; or a function of the layer's output."""


def named_layer(network: nn.Module, name: str, said: str) -> nn.Module:
    """The module of `network` called `name`; WrongInput begins with `said` where there is none."""
    named = {n: m for n, m in network.named_modules() if n}
    if name not in named:
        raise WrongInput(
            f"{said}: no such layer.{nearest(name, named)} Layers: {', '.join(list(named)[:20])}"
        )
    return named[name]


@contextmanager
def read(layer: nn.Module, of_input: bool = False) -> Iterator[list[Tensor]]:
    """Collect what `layer` gives (or is given) while the block runs, one tensor per use.

    The network goes on with a copy, so that an operation in place cannot change what was read.
    """
    kept: list[Tensor] = []

    def keep(value: Any) -> Any:
        tensor = the_tensor(layer, value)
        kept.append(tensor)
        return (tensor.clone(), *value[1:]) if isinstance(value, tuple) else tensor.clone()

    if of_input:
        hook = layer.register_forward_pre_hook(lambda _, inputs: keep(inputs))
    else:
        hook = layer.register_forward_hook(lambda _, __, output: keep(output))
    try:
        yield kept
    finally:
        hook.remove()


@contextmanager
def replaced(layer: nn.Module, value: Tensor) -> Iterator[None]:
    """Let `layer` give `value` [rows, ...] while the block runs."""

    def give(_: nn.Module, __: Any, output: Any) -> Any:
        return (value, *output[1:]) if isinstance(output, tuple) else value

    hook = layer.register_forward_hook(give)
    try:
        yield
    finally:
        hook.remove()


def the_tensor(layer: nn.Module, value: Any) -> Tensor:
    """The one tensor that a layer gives; ValueError where it gives several or none."""
    values = value if isinstance(value, tuple) else (value,)
    tensors = [v for v in values if isinstance(v, Tensor)]
    if len(tensors) != 1 or tensors[0] is not values[0]:
        raise ValueError(
            f"the layer ({type(layer).__name__}) gives {len(tensors)} tensors; choose one that gives one"
        )
    return tensors[0]


def once(kept: list[Tensor]) -> Tensor:
    """What a layer gave in one pass; ValueError where it was not used exactly once."""
    if len(kept) != 1:
        raise ValueError(f"the layer is used {len(kept)} times in a pass; choose one that is used once")
    return kept[0]


def activations(call: Call, layer: nn.Module) -> Tensor:
    """What the layer gives for each row of a call [rows, ...]."""
    pieces = []
    for rows in row_parts(call):
        inputs, _, context = call.at(rows)
        with torch.no_grad(), read(layer) as kept:
            call.forward(*inputs, *context)
        pieces.append(once(kept))
    return torch.cat(pieces)


def layer_gradient(call: Call, layer: nn.Module, rows: Tensor) -> tuple[Tensor, Tensor]:
    """What the layer gives for `rows`, and the gradient of the score with respect to it."""
    inputs, target, context = call.at(rows)
    leaves = (x.detach().requires_grad_(x.is_floating_point()) for x in inputs)
    with torch.enable_grad(), read(layer) as kept:
        scores = select(call.forward(*leaves, *context), target)
        given = once(kept)
        return given.detach(), torch.autograd.grad(scores.sum(), given)[0]


def row_parts(call: Call, rows: int | None = None) -> Iterator[Tensor]:
    """The row numbers of a call, as many at a time as share a pass."""
    for part in chunks(len(call), rows or call.rows):
        yield torch.arange(part.start, part.stop, device=call.inputs[0].device)


def selected(selector: Any) -> Callable[[Tensor], Tensor]:
    """A function that picks one unit of a layer's output [rows, ...] as [rows]; see `Selector`.

    Slices in a tuple select several units, whose sum is taken. ValueError where the layer has no such unit.
    """
    if callable(selector):
        return selector
    place = tuple(selector) if isinstance(selector, list | tuple) else None

    def pick(output: Tensor) -> Tensor:
        sizes = tuple(output.shape[1:])
        try:
            chosen = output.flatten(1)[:, selector] if place is None else output[(slice(None), *place)]
        except (IndexError, TypeError):
            raise ValueError(
                f"neuron_selector={selector}: no such unit in a layer of shape {sizes}"
            ) from None
        if place is not None and len(place) != len(sizes):
            raise ValueError(
                f"neuron_selector={selector}: needs {len(sizes)} numbers for a layer of shape {sizes}"
            )
        return chosen.reshape(len(chosen), -1).sum(1)

    return pick


class Unit(nn.Module):
    """A network whose output is one unit of a layer [rows]: what explains outputs then explains units."""

    def __init__(self, network: Callable, layer: nn.Module, selector: Any, of_input: bool = False):
        super().__init__()
        self.network, self.layer = network, layer
        self.pick, self.of_input = selected(selector), of_input

    def forward(self, *inputs: Tensor) -> Tensor:
        with read(self.layer, self.of_input) as kept:
            self.network(*inputs)
        return self.pick(once(kept))
