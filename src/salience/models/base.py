"""What a network must be: any nn.Module with `__init__(modalities, num_outputs, **own)` and
`forward(*embedded, *context) -> logits [batch, outputs]`; one that reads ids adds `embed(*inputs) -> tuple`.

So that every method can explain it: each activation is a module of its own, used once; recurrent layers return one
tensor; logits, never softmax; inputs are flattened by a function, not by nn.Flatten (LRP has no rule for it).
One that CAM methods fit names its layer in `explained_layer`.
"""

import re
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from .. import memory
from ..errors import WrongInput, nearest
from ..modality import Modality

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "elu": nn.ELU,
    "leaky_relu": nn.LeakyReLU,
    "softplus": nn.Softplus,
    "gelu": nn.GELU,
}


class Network(nn.Module):
    """A network over one or several modalities, which embeds those that are ids.

    `embedding` is the width of the vectors that ids get. A data set of ids may bring one padding mask per modality
    of ids as context: bool [batch, length], True where padded, in the order of the modalities.
    """

    explained_layer: str | None = None
    """Name of the layer [batch, channels, *spatial] that Grad-CAM reads; None where there is none."""
    hidden_layer: str | None = None
    """Name of the layer that layer and neuron methods read where no other is named; None where there is none."""

    def __init__(self, modalities: Sequence[Modality], embedding: int = 32):
        super().__init__()
        self.require_whole(embedding=embedding)
        embeddings = {
            str(i): embedding_table(m.vocabulary_size, embedding, getattr(m, "padding_id", None))
            for i, m in enumerate(modalities)
            if m.vocabulary_size
        }
        # An empty nn.ModuleDict would be a layer that Captum's LRP has no rule for.
        self.embeddings: nn.ModuleDict | dict[str, nn.Module] = (
            nn.ModuleDict(embeddings) if embeddings else {}
        )
        self.embedded_shapes = tuple(m.embedded_shape(embedding) for m in modalities)

    def embed(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The differentiable form of the inputs: vectors for ids, the tensor itself for numbers."""
        return tuple(
            self.embeddings[str(i)](x) if str(i) in self.embeddings else x for i, x in enumerate(inputs)
        )

    def require(self, right: bool, key: str, value: object, allowed: str) -> None:
        """WrongInput for the argument `key` unless it is `right`; `allowed` says what it must be."""
        if not right:
            raise WrongInput(f"model.{self.option}.{key}={value}: {allowed}")

    @property
    def option(self) -> str:
        """What the config calls this kind of network: the class in snake case."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(self).__name__).lower()

    def require_one_image(self) -> None:
        """WrongInput where the inputs are anything else."""
        shapes = self.embedded_shapes
        if len(shapes) != 1 or len(shapes[0]) != 3:
            what = ("inputs are " if len(shapes) > 1 else "input is ") + " and ".join(map(str, shapes))
            raise WrongInput(
                f"model={self.option}: reads one image (channels, height, width), but the {what}; models that fit: "
                "logistic, mlp, transformer"
            )

    def require_whole(self, **arguments: object) -> None:
        """WrongInput unless every argument is a whole number from 1, or a sequence of such numbers."""
        for key, value in arguments.items():
            numbers = value if isinstance(value, Sequence) else (value,)
            right = all(isinstance(n, int) and not isinstance(n, bool) and n >= 1 for n in numbers)
            several = "whole numbers" if isinstance(value, Sequence) else "a whole number"
            self.require(right, key, value, f"must be {several} from 1")

    def dropout_module(self, share: float) -> nn.Dropout:
        """A new dropout layer; WrongInput where `share` is none."""
        right = isinstance(share, int | float) and 0 <= share < 1
        self.require(right, "dropout", share, "must be from 0 to below 1")
        return nn.Dropout(share)

    def activation_module(self, name: str) -> nn.Module:
        """A new activation layer by name; WrongInput where there is none of that name."""
        allowed = f"unknown; choose from {', '.join(ACTIVATIONS)}.{nearest(name, ACTIVATIONS)}"
        self.require(name in ACTIVATIONS, "activation", name, allowed)
        return ACTIVATIONS[name]()

    def split(self, tensors: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], tuple[Tensor | None, ...]]:
        """What `forward` was given as (embedded, padding): one of each per modality, None where nothing is padded."""
        count = len(self.embedded_shapes)
        masks = iter(tensors[count:])
        padding = (next(masks, None) if str(i) in self.embeddings else None for i in range(count))
        return tensors[:count], tuple(padding)

    def flattened(self, tensors: tuple[Tensor, ...]) -> Tensor:
        """What `forward` was given as one row of numbers per example, padded positions 0 [batch, elements]."""
        embedded, padding = self.split(tensors)
        shown = [
            (x if p is None else x.masked_fill(p[..., None], 0.0)).flatten(1)
            for x, p in zip(embedded, padding, strict=True)
        ]
        return shown[0] if len(shown) == 1 else torch.cat(shown, 1)  # a copy of a single one would be wasted


def embedding_table(ids: int, width: int, padding_id: int | None) -> nn.Embedding:
    """Vectors for ids, the padding's all zeros, the others small at first.

    (With torch's default, of standard deviation 1, rare words keep their random vectors: 4 to 6 points of accuracy.)
    """
    table = nn.Embedding(ids, width, padding_idx=padding_id)
    with torch.no_grad():
        table.weight.mul_(0.02)
    return table


def embed(model: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """`model.embed(*inputs)`, or the inputs where the model reads them as they are."""
    method: Callable[..., tuple[Tensor, ...]] | None = getattr(model, "embed", None)
    return tuple(method(*inputs)) if callable(method) else inputs


def outputs_of(model: nn.Module, inputs: tuple[Tensor, ...], context: tuple[Tensor, ...] = ()) -> Tensor:
    """Outputs for raw inputs [examples, outputs]; a network that returns a bare [examples] has one output."""
    outputs = model(*embed(model, inputs), *context)
    return outputs[:, None] if outputs.dim() == 1 else outputs


def _outputs(model: nn.Module, inputs: int, *tensors: Tensor) -> Tensor:
    return outputs_of(model, tensors[:inputs], tensors[inputs:])


def predict(
    model: nn.Module, inputs: tuple[Tensor, ...], context: tuple[Tensor, ...] = (), rows: int = 256
) -> Tensor:
    """Outputs for raw inputs [examples, outputs], in eval mode, without gradients, `rows` at a time."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            pieces = []
            for at in range(0, len(inputs[0]), rows):
                some = tuple(x[at : at + rows] for x in inputs)
                beside = tuple(c[at : at + rows] for c in context)
                pieces.append(memory.scores(model, partial(_outputs, model, len(inputs)), some, beside))
    finally:
        model.train(training)
    return torch.cat(pieces)
