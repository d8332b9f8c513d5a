"""What a network must be: any nn.Module with `__init__(modalities, num_outputs, **own)` and
`forward(*embedded, *context) -> logits [batch, outputs]`; one that reads ids adds `embed(*inputs) -> tuple`.

So that every method can explain it: each activation is a module of its own, used once; recurrent layers return one
tensor; logits, never softmax; inputs are flattened by a function, not by nn.Flatten (LRP has no rule for it).
One that CAM methods fit names its layer in `explained_layer`.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ..modality import Modality


class Network(nn.Module):
    """A network over one or several modalities, which embeds those that are ids."""

    explained_layer: str | None = None
    """Name of the layer [batch, channels, *spatial] that Grad-CAM reads; None where no layer has a place in the input."""

    def __init__(self, modalities: Sequence[Modality], embedding: int = 32):
        super().__init__()
        self.embeddings = nn.ModuleDict(
            {
                str(i): nn.Embedding(m.vocabulary_size, embedding, padding_idx=getattr(m, "padding_id", None))
                for i, m in enumerate(modalities)
                if m.vocabulary_size
            }
        )
        self.embedded_shapes = tuple(m.embedded_shape(embedding) for m in modalities)

    def embed(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The differentiable form of the inputs: vectors for ids, the tensor itself for numbers."""
        return tuple(
            self.embeddings[str(i)](x) if str(i) in self.embeddings else x for i, x in enumerate(inputs)
        )


def embed(model: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """`model.embed(*inputs)`, or the inputs where the model reads them as they are."""
    method: Callable[..., tuple[Tensor, ...]] | None = getattr(model, "embed", None)
    return tuple(method(*inputs)) if callable(method) else inputs


def predict(
    model: nn.Module, inputs: tuple[Tensor, ...], context: tuple[Tensor, ...] = (), rows: int = 1024
) -> Tensor:
    """Outputs for raw inputs [examples, outputs], in eval mode, without gradients, `rows` at a time."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            pieces = [
                model(*embed(model, tuple(x[at : at + rows] for x in inputs)), *(c[at : at + rows] for c in context))
                for at in range(0, len(inputs[0]), rows)
            ]
    finally:
        model.train(training)
    return torch.cat(pieces)
