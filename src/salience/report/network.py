"""The layers of a network, in the order in which they run: kind, output shape, parameters."""

import itertools
import re
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

Layer = tuple[str, str, str, int]
"""Name, kind, shape of the output for one example, parameters."""
SILENT = re.compile(r"Identity|\w*Dropout\w*")
"""Kinds of layers that change nothing once a network is trained."""
BLOCK = re.compile(r"(.*?\.\d+)\.(.+)")


def layers(model: nn.Module, inputs: Sequence[Tensor]) -> list[Layer]:
    """Name, kind, shape of the output for one example, and parameters of every innermost module that runs.

    `inputs` are what the network's forward takes, embedded inputs first.
    """
    found: dict[str, Layer] = {}
    handles = []
    for name, module in model.named_modules():
        if not list(module.children()):

            def note(module: nn.Module, _: Any, output: Any, name: str = name) -> None:
                own = sum(p.numel() for p in module.parameters(recurse=False))
                found.setdefault(name, (name, type(module).__name__, shape(output), own))

            handles.append(module.register_forward_hook(note))
    try:
        with torch.no_grad():
            model(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    return list(found.values())


def flow(found: Iterable[Layer]) -> list[tuple[str, list[Layer]]]:
    """The layers that do something, for a drawing: those of one block (`blocks.0.norm`, ...) together, by its name."""
    kept = [layer for layer in found if not SILENT.fullmatch(layer[1])]
    parts = [(BLOCK.fullmatch(layer[0]), layer) for layer in kept]
    named = [(part[1], (part[2], *layer[1:])) if part else ("", layer) for part, layer in parts]
    return [
        (block, [layer for _, layer in group]) for block, group in itertools.groupby(named, lambda n: n[0])
    ]


def shape(output: Any) -> str:
    """The shape of what a layer gives for one example."""
    tensor = output[0] if isinstance(output, tuple) and output else output
    return " × ".join(map(str, tensor.shape[1:])) if isinstance(tensor, Tensor) else "–"


def weights(tensors: dict[str, Tensor]) -> list[Layer]:
    """The same of what the file with the weights tells: one line per tensor."""
    return [(name, "weights", " × ".join(map(str, t.shape)), t.numel()) for name, t in tensors.items()]
