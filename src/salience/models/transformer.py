"""A transformer encoder that reads every modality, several at once.

In shapes: B batch, L positions of all modalities together, W width, H heads. `padded` is bool [B, L], or None where
nothing is padded.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..modality import Modality
from .base import Network


class Transformer(Network):
    """Pre-norm encoder blocks over the sequences that the modalities make of themselves.

    Each modality has a stem (a linear map per position for sequences of scalars, such as the columns of a table, one
    shared linear map otherwise) and learned positions. Padded positions are not attended to and not pooled.
    `pooling`: `mean` of the positions, or `cls`, a learned position of its own.
    Hook points (nn.Identity): `embed_out`, `blocks.<i>.out`, `blocks.<i>.attention.probabilities` [B, H, L, L].
    """

    def __init__(
        self,
        modalities: Sequence[Modality],
        num_outputs: int,
        depth: int = 2,
        width: int = 64,
        heads: int = 4,
        ff: int = 128,
        dropout: float = 0.1,
        activation: str = "gelu",
        pooling: str = "mean",
        embedding: int = 32,
    ):
        super().__init__(modalities, embedding)
        self.require_whole(num_outputs=num_outputs, depth=depth, width=width, heads=heads, ff=ff)
        self.require(width % heads == 0, "heads", heads, f"must divide the width {width}")
        self.require(pooling in ("mean", "cls"), "pooling", pooling, "unknown; choose from mean, cls")
        self.modalities = tuple(modalities)
        lengths, widths = zip(*self.sequence_shapes(), strict=True)
        self.stems = nn.ModuleList(stem(n, w, width) for n, w in zip(lengths, widths, strict=True))
        self.positions = nn.Parameter(0.02 * torch.randn(sum(lengths), width))
        self.cls = nn.Parameter(0.02 * torch.randn(width)) if pooling == "cls" else None
        self.embed_dropout = self.dropout_module(dropout)
        self.embed_out = nn.Identity()
        self.blocks = nn.ModuleList(
            Block(width, heads, ff, dropout, self.activation_module(activation)) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_outputs)
        self.hidden_layer = f"blocks.{depth - 1}.out" if depth else "embed_out"

    def sequence_shapes(self) -> list[tuple[int, int]]:
        """Length and width of the sequence that each modality makes."""
        empty = zip(self.modalities, self.embedded_shapes, strict=True)
        shapes = (m.sequence(torch.zeros(1, *shape)).shape for m, shape in empty)
        return [(length, width) for _, length, width in shapes]

    def forward(self, *tensors: Tensor) -> Tensor:
        x, padded = self.sequence(*self.split(tensors))
        x = self.embed_out(self.embed_dropout(x))
        for block in self.blocks:
            x = block(x, padded)
        return self.head(self.pool(self.norm(x), padded))

    def sequence(
        self, embedded: tuple[Tensor, ...], padding: tuple[Tensor | None, ...]
    ) -> tuple[Tensor, Tensor | None]:
        """All modalities as one sequence [B, L, W], and which of its positions are padded [B, L] (None: none is)."""
        inputs = zip(self.modalities, self.stems, embedded, strict=True)
        parts = [stem(modality.sequence(x)) for modality, stem, x in inputs]
        masks = [
            p.new_zeros(p.shape[:2], dtype=torch.bool) if m is None else m
            for p, m in zip(parts, padding, strict=True)
        ]
        x = torch.cat(parts, 1) + self.positions
        if self.cls is not None:
            rows = x.shape[0]  # len() would be a fixed number in an exported network
            x = torch.cat([self.cls.expand(rows, 1, -1), x], 1)
            masks.insert(0, masks[0].new_zeros(rows, 1))
        return x, None if all(m is None for m in padding) else torch.cat(masks, 1)

    def pool(self, x: Tensor, padded: Tensor | None) -> Tensor:
        """One vector per example [B, W]; zeros where every position is padded."""
        if self.cls is not None:
            return x[:, 0]
        if padded is None:
            return x.mean(1)
        shown = (~padded).to(x.dtype)[..., None]
        return (x * shown).sum(1) / shown.sum(1).clamp(min=1)

    # -- what methods that read attention ask (attribution.transformers) ---------------------------------------------

    @property
    def attention_layers(self) -> list[nn.Module]:
        """The modules with a hook point `probabilities`, in the order in which they are passed."""
        return [getattr(block, "attention") for block in self.blocks]  # noqa: B009

    def laid_over_inputs(self, rollout: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The rows of a matrix [B, L, L] pooled like the outputs are, and laid over the embedded inputs.

        Entry [i, j]: what position j means to position i. The elements of a position get equal shares.
        """
        embedded, padding = self.split(tensors)
        pooled = self.pool(rollout, self.sequence(embedded, padding)[1])
        parts = pooled[:, self.cls is not None :].split([length for length, _ in self.sequence_shapes()], 1)
        return tuple(laid_over(m, p, x) for m, p, x in zip(self.modalities, parts, embedded, strict=True))


def laid_over(modality: Modality, values: Tensor, embedded: Tensor) -> Tensor:
    """Numbers of positions [B, L] in equal shares on the elements that each position is made of."""
    shares = values / modality.sequence(torch.ones_like(embedded)).sum(-1)
    with torch.enable_grad():  # the way back through a rearrangement undoes it
        elements = torch.zeros_like(embedded).requires_grad_()
        return torch.autograd.grad(
            (modality.sequence(elements) * shares[..., None].detach()).sum(), elements
        )[0]


class PositionwiseScale(nn.Module):
    """A linear map per position for sequences of scalars: [B, L, 1] -> [B, L, W]. Its bias is the learned position."""

    def __init__(self, length: int, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(length, width).uniform_(-1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


class Attention(nn.Module):
    """Multi-head self-attention, written out so that each step can be hooked."""

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.heads = heads
        self.query_key_value = nn.Linear(width, 3 * width)
        self.softmax = nn.Softmax(-1)
        self.probabilities = nn.Identity()
        self.project = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, padded: Tensor | None) -> Tensor:
        batch, length, width = x.shape
        heads = self.query_key_value(x).reshape(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = heads.unbind(0)
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
        if padded is not None:
            # Not -inf: a row that is padded throughout stays finite, and exp() is exactly 0 in all others.
            scores = scores.masked_fill(padded[:, None, None], torch.finfo(scores.dtype).min)
        mixed = self.probabilities(self.softmax(scores)) @ value
        return self.dropout(self.project(mixed.transpose(1, 2).reshape(batch, length, width)))


class Block(nn.Module):
    """Attention and a feed-forward layer, each normalised before and added to what it read."""

    def __init__(self, width: int, heads: int, ff: int, dropout: float, activation: nn.Module):
        super().__init__()
        self.norm_attention = nn.LayerNorm(width)
        self.attention = Attention(width, heads, dropout)
        self.norm_ff = nn.LayerNorm(width)
        self.ff = nn.Sequential(nn.Linear(width, ff), activation, nn.Linear(ff, width), nn.Dropout(dropout))
        self.out = nn.Identity()

    def forward(self, x: Tensor, padded: Tensor | None) -> Tensor:
        x = x + self.attention(self.norm_attention(x), padded)
        return self.out(x + self.ff(self.norm_ff(x)))


def stem(length: int, own_width: int, width: int) -> nn.Module:
    """The map to the network's width: each scalar is something of its own, vectors share a map."""
    return PositionwiseScale(length, width) if own_width == 1 else nn.Linear(own_width, width)
