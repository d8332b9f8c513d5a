"""The layers of a network, in the order in which they run: kind, output shape, parameters."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


def layers(model: nn.Module, inputs: Sequence[Tensor]) -> list[tuple[str, str, str, int]]:
    """Name, kind, shape of the output for one example, and parameters of every innermost module that runs.

    `inputs` are what the network's forward takes, embedded inputs first.
    """
    found: dict[str, tuple[str, str, str, int]] = {}
    handles = []
    for name, module in model.named_modules():
        if not list(module.children()):

            def note(module: nn.Module, _: Any, output: Any, name: str = name) -> None:
                own = sum(p.numel() for p in module.parameters(recurse=False))
                found.setdefault(name, (name, type(module).__name__, _shape(output), own))

            handles.append(module.register_forward_hook(note))
    try:
        with torch.no_grad():
            model(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    return list(found.values())


def _shape(output: Any) -> str:
    tensor = output[0] if isinstance(output, tuple) and output else output
    return " × ".join(map(str, tensor.shape[1:])) if isinstance(tensor, Tensor) else "–"


def weights(tensors: dict[str, Tensor]) -> list[tuple[str, str, str, int]]:
    """The same of what the file with the weights tells: one line per tensor."""
    return [(name, "weights", " × ".join(map(str, t.shape)), t.numel()) for name, t in tensors.items()]
