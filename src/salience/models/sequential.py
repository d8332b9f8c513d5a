"""What networks that read one input step by step have in common."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import WrongInput
from ..modality import Modality
from .base import Network


class StepByStep(Network):
    """Reads one modality as a sequence [batch, length, width], in order; WrongInput where there are several.

    Steps are those of `Modality.steps`: of time, tokens, columns of a table, patches of an image.
    """

    def __init__(self, modalities: Sequence[Modality], embedding: int = 32):
        super().__init__(modalities, embedding)
        if len(modalities) != 1:
            raise WrongInput(
                f"model={self.option}: reads one input, but there are {len(modalities)}; models that fit: "
                "logistic, mlp, transformer"
            )
        self.modality = modalities[0]
        self.step_width = self.modality.steps(torch.zeros(1, *self.embedded_shapes[0])).shape[2]

    def steps(self, tensors: tuple[Tensor, ...]) -> tuple[Tensor, Tensor | None]:
        """What `forward` was given as steps [batch, length, width], padded ones 0, and which are padded (or None)."""
        (embedded,), (padded,) = self.split(tensors)
        steps = self.modality.steps(embedded)
        return (steps if padded is None else steps.masked_fill(padded[..., None], 0.0)), padded


def mean_over_steps(steps: Tensor, padded: Tensor | None) -> Tensor:
    """The mean over steps that are not padded [batch, width]; zeros where all are."""
    if padded is None:
        return steps.mean(1)
    shown = (~padded).to(steps.dtype)[..., None]
    return (steps * shown).sum(1) / shown.sum(1).clamp(min=1)


def last_step(steps: Tensor, padded: Tensor | None) -> Tensor:
    """The last step that is not padded [batch, width]; zeros where all are."""
    if padded is None:
        return steps[:, -1]
    place = torch.arange(1, steps.shape[1] + 1, device=steps.device)
    last = (place * ~padded).amax(1)
    rows = torch.arange(
        steps.shape[0], device=steps.device
    )  # len() would be a fixed number in an exported network
    chosen = steps[rows, (last - 1).clamp(min=0)]
    return chosen * (last > 0)[:, None]
