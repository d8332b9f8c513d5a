"""Tetromino images of 8 x 8 pixels whose relevant pixels are known (XAI-TRIS)."""

from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import WrongInput, nearest
from ..modality import Image
from ..randomness import Streams
from .arguments import require_whole
from .base import Classification, Data, split_rows, splits

SIZE = 8
T = torch.tensor([[1.0, 0], [1, 1], [1, 0]])
L = torch.tensor([[1.0, 0], [1, 0], [1, 1]])
STRENGTH = {  # signal share of the paper's 8 x 8 images, where data.strength is null
    ("linear", "white"): 0.18,
    ("linear", "smooth"): 0.0125,
    ("multiplicative", "white"): 0.7,
    ("multiplicative", "smooth"): 0.1,
    ("rigid", "white"): 0.65,
    ("rigid", "smooth"): 0.2,
    ("xor", "white"): 0.35,
    ("xor", "smooth"): 0.15,
}
Draw = Callable[[Tensor, torch.Generator], tuple[Tensor, Tensor]]


def tetromino(
    seed: int = 0,
    examples: int = 10000,
    pattern: str = "linear",
    noise: str = "white",
    strength: float | None = None,
    validation: float = 0.1,
    test: float = 0.1,
) -> Data:
    """Tetromino images: which of two shapes is there, in noise; the pixels that tell are known (XAI-TRIS).

    `pattern`: linear (each shape at its place), multiplicative (it damps the noise there), rigid (anywhere,
    turned) or xor (both shapes; the class is whether their signs differ). `noise`: white, or smooth (so that
    other pixels correlate with the relevant ones). `strength`: share of the signal, above 0, at most 1.
    `relevant`: the pixels of both shapes; for rigid those of the one that is there. Clark et al. (2024).
    """
    require_whole("examples", examples, 1)
    for key, value, known in (("pattern", pattern, PATTERNS), ("noise", noise, NOISES)):
        if value not in known:
            choices = ", ".join(known)
            raise WrongInput(f"data.{key}={value}: one of {choices}.{nearest(value, known)}")
    share = STRENGTH[pattern, noise] if strength is None else strength
    if not 0 < share <= 1:
        raise WrongInput(f"data.strength={share}: above 0 and at most 1")
    generator = Streams(seed).generator("tetromino")
    labels = torch.arange(examples) % 2
    signal, relevant = PATTERNS[pattern](labels, generator)
    background = NOISES[noise](torch.randn(examples, SIZE, SIZE, generator=generator))
    mix = _damp if pattern == "multiplicative" else _add
    pixels = mix(signal, background, share)
    task = Classification(("two signs alike", "two signs unlike") if pattern == "xor" else ("T", "L"))
    modality = Image((1, SIZE, SIZE), "image", mean=(0.5,), scale=(0.5,))
    return Data(
        (modality,),
        task,
        **splits(
            split_rows(labels, task, seed, validation, test),
            ((pixels / pixels.abs().max())[:, None],),
            labels,
            relevant=relevant.flatten(1),
        ),
        title=f"Tetromino images, {pattern}, {noise} noise",
        source="Clark, Wilming and Haufe (2024), XAI-TRIS, Machine Learning; made by salience",
    )


def _add(signal: Tensor, background: Tensor, share: float) -> Tensor:
    """Signal and noise of equal energy over the whole data set, mixed."""
    return share * signal / signal.norm() + (1 - share) * background / background.norm()


def _damp(signal: Tensor, background: Tensor, share: float) -> Tensor:
    return (1 - share * signal) * background


def _placed(shape: Tensor, row: int, column: int) -> Tensor:
    image = torch.zeros(SIZE, SIZE)
    image[row : row + shape.shape[0], column : column + shape.shape[1]] = shape
    return image


def _fixed(labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    shapes = torch.stack([_placed(T, 1, 1), _placed(L, 4, 5)])
    return shapes[labels], (shapes.sum(0) > 0).expand(len(labels), SIZE, SIZE)


def _rigid(labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    places = torch.stack([_everywhere(T), _everywhere(L)])
    drawn = torch.randint(places.shape[1], labels.shape, generator=generator)
    signal = places[labels, drawn]
    return signal, signal > 0


def _everywhere(shape: Tensor) -> Tensor:
    """All turns and positions of a shape [places, height, width]."""
    turned = [torch.rot90(shape, turns) for turns in range(4)]
    return torch.stack(
        [
            _placed(s, row, column)
            for s in turned
            for row in range(SIZE - s.shape[0] + 1)
            for column in range(SIZE - s.shape[1] + 1)
        ]
    )


def _xor(labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Both shapes, each with a sign: alike in class 0, unlike in class 1."""
    shapes = torch.stack([_placed(T, 1, 1), _placed(L, 4, 5)])
    first = torch.randint(2, labels.shape, generator=generator) * 2 - 1
    second = torch.where(labels == 0, first, -first)
    signal = first[:, None, None] * shapes[0] + second[:, None, None] * shapes[1]
    return signal, (shapes.sum(0) > 0).expand(len(labels), SIZE, SIZE)


def _smooth(noise: Tensor) -> Tensor:
    from scipy.ndimage import gaussian_filter

    return torch.as_tensor(gaussian_filter(noise.numpy(), sigma=(0, 3, 3)))


PATTERNS: dict[str, Draw] = {"linear": _fixed, "multiplicative": _fixed, "rigid": _rigid, "xor": _xor}
NOISES: dict[str, Callable[[Tensor], Tensor]] = {"white": lambda noise: noise, "smooth": _smooth}
