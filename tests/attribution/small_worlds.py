"""A table, an image and tokens with a few rows each, and the real networks, tiny: the axes of the product."""

import torch
from torch import Tensor

from salience.data.base import Examples
from salience.modality import Image, Modality, Tabular, Tokens
from salience.models.cnn import CNN
from salience.models.mlp import MLP
from salience.models.transformer import Transformer

WORDS = ("[pad]", "[start]", *(f"word{i}" for i in range(10)))
MODALITIES: dict[str, Modality] = {
    "table": Tabular((6,), columns=tuple("abcdef")),
    "image": Image((1, 8, 8), patch=3),
    "tokens": Tokens((7,), vocabulary=WORDS, special_ids=(1,)),
}
NETWORKS = {
    "mlp": lambda modalities: MLP(modalities, 3, hidden=[10, 8], embedding=6),
    "cnn": lambda modalities: CNN(modalities, 3, channels=[3, 4]),
    "transformer": lambda modalities: Transformer(
        modalities, 3, depth=2, width=8, heads=2, ff=12, embedding=6
    ),
}


def rows(kind: str, count: int = 12, seed: int = 0) -> Examples:
    """Random examples; tokens have lengths from 4 to 7 and a padding mask."""
    generator = torch.Generator().manual_seed(seed)
    labels, index = torch.randint(3, (count,), generator=generator), torch.arange(count)
    if kind != "tokens":
        return Examples((torch.randn(count, *MODALITIES[kind].shape, generator=generator),), labels, index)
    ids = torch.randint(2, len(WORDS), (count, 7), generator=generator)
    ids[:, 0] = 1
    ids[torch.arange(7) >= 4 + torch.arange(count)[:, None] % 4] = 0
    return Examples((ids,), labels, index, context=(ids == 0,))


def network(model: str, kind: str) -> torch.nn.Module:
    """A network with random weights, large enough that outputs differ, in eval mode; WrongInput where it fits not."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        built = NETWORKS[model]((MODALITIES[kind],))
    return built.eval()


def largest(attributions: tuple[Tensor, ...]) -> float:
    """The size of the largest attribution, which tolerances are shares of."""
    return max(a.abs().max().item() for a in attributions)
