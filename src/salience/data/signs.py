"""Traffic signs on photographs: real designs, composited here, so that the pixels of the sign are known."""

import io
import json
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..modality import Image
from ..randomness import Streams
from .arguments import require_whole
from .base import Classification, Data, Splits, split_rows, take
from .packaged import DOWNLOADS, NpmPackage
from .scaling import standardised

SPRITES = NpmPackage(
    "mapillary_sprite_source", "1.8.0", "6266c97de1746319b9437355c853384e1c7dfc1f06973c8c37a3704a8ca763da"
)
PICTURE = ("sprites/sprites@2x.png", "0b36a7f751565f0b04d47a568ce12f196d65d3352f811eda82878287b608d222")
PLACES = ("sprites/sprites@2x.json", "24a46fdc40d7a04b3eb5d87812a6f43bba6b826f22811ffc385a799cfeee5b4c")
SIGNS = {
    "stop": "regulatory--stop--g1",
    "yield": "regulatory--yield--g1",
    "no entry": "regulatory--no-entry--g1",
    "priority road": "regulatory--priority-road--g1",
    "speed limit 30": "regulatory--maximum-speed-limit-30--g1",
    "speed limit 50": "regulatory--maximum-speed-limit-50--g1",
    "speed limit 80": "regulatory--maximum-speed-limit-80--g1",
    "no overtaking": "regulatory--no-overtaking--g1",
    "turn left ahead": "regulatory--turn-left-ahead--g1",
    "turn right ahead": "regulatory--turn-right-ahead--g1",
    "straight ahead": "regulatory--go-straight--g1",
    "roundabout": "regulatory--roundabout--g1",
    "pedestrians crossing": "warning--pedestrians-crossing--g1",
    "children": "warning--children--g1",
    "road works": "warning--roadworks--g1",
    "slippery road": "warning--slippery-road-surface--g1",
    "traffic signals": "warning--traffic-signals--g1",
}
SIZE = 40
COVERED = 0.2
"""Share of a patch that the sign must cover for the patch to count as relevant."""
PARTS = {"train": (0.0, 0.6), "validation": (0.6, 0.75), "test": (0.75, 1.0)}
"""Which part of each photograph's width the backgrounds of a split are cut from: no split sees another's."""


def traffic_signs(
    seed: int = 0,
    examples: int = 4000,
    patch: int = 5,
    noise: float = 0.04,
    downloads: Path | str = DOWNLOADS,
) -> Data:
    """Traffic signs: 17 real designs on photographs, 40 x 40 pixels; the patches of the sign are known.

    Each sign is 16 to 28 pixels wide, anywhere, turned by up to 15 degrees, lit between half and full, under noise of
    deviation `noise` (white is 1). `relevant`: patches of which the sign covers a fifth or more.
    """
    require_whole("examples", examples, 1)
    require_whole("patch", patch, 1, SIZE)
    designs = _designs(downloads)
    task = Classification(tuple(SIGNS))
    labels = torch.arange(examples) % len(SIGNS)
    rows = dict(zip(PARTS, split_rows(labels, task, seed), strict=True))
    pixels = torch.empty(examples, 3, SIZE, SIZE)
    covered = torch.empty(examples, SIZE, SIZE)
    for split, part in PARTS.items():
        generator = Streams(seed).generator(f"signs {split}")
        which = rows[split]
        backgrounds = _backgrounds(len(which), part, generator)
        pixels[which], covered[which] = _composed(designs[labels[which]], backgrounds, noise, generator)
    inputs, mean, scale = standardised(pixels, rows["train"])
    modality = Image((3, SIZE, SIZE), "picture", patch=patch, mean=mean, scale=scale)
    share = F.avg_pool2d(covered[:, None], patch, ceil_mode=True).flatten(1)
    cut: Splits = {
        "train": take(rows["train"], (inputs,), labels, relevant=share >= COVERED),
        "validation": take(rows["validation"], (inputs,), labels, relevant=share >= COVERED),
        "test": take(rows["test"], (inputs,), labels, relevant=share >= COVERED),
    }
    return Data(
        (modality,),
        task,
        **cut,
        title="Traffic signs on photographs",
        source="Designs: Mapillary sprite source 1.8.0 (MIT); photographs: scikit-learn's (CC BY); made by salience",
    )


def _designs(downloads: Path | str) -> Tensor:
    """The signs as colours and opacity in [0, 1], with a margin to turn in [signs, 4, 64, 64]."""
    from PIL import Image as Picture

    places = json.loads(SPRITES.member(*PLACES, downloads))
    sheet = np.asarray(Picture.open(io.BytesIO(SPRITES.member(*PICTURE, downloads))).convert("RGBA"))
    found = []
    for name in SIGNS.values():
        x, y, width, height = (places[name][key] for key in ("x", "y", "width", "height"))
        found.append(torch.tensor(sheet[y : y + height, x : x + width]).permute(2, 0, 1) / 255)
    return F.pad(torch.stack(found), (8, 8, 8, 8))


def _backgrounds(count: int, part: tuple[float, float], generator: torch.Generator) -> Tensor:
    """Random squares of the photographs, between their `part` of the width [count, 3, SIZE, SIZE]."""
    from sklearn.datasets import load_sample_images

    photographs = [torch.tensor(p).permute(2, 0, 1) / 255 for p in load_sample_images().images]
    cut = torch.empty(count, 3, SIZE, SIZE)
    for row in range(count):
        photograph = photographs[_whole(len(photographs), generator)]
        height, width = photograph.shape[1:]
        first, last = int(part[0] * width), int(part[1] * width)
        step = 1 + _whole(2, generator)  # near or far
        top = _whole(height - SIZE * step + 1, generator)
        left = first + _whole(last - first - SIZE * step + 1, generator)
        square = photograph[:, top : top + SIZE * step, left : left + SIZE * step]
        cut[row] = F.avg_pool2d(square, step)
        if torch.rand((), generator=generator) < 0.5:
            cut[row] = cut[row].flip(-1)
    return cut


def _whole(below: int, generator: torch.Generator) -> int:
    return int(torch.randint(below, (), generator=generator))


def _composed(
    designs: Tensor, backgrounds: Tensor, noise: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Signs put on backgrounds [examples, 3, SIZE, SIZE] and how much of each pixel is sign [examples, SIZE, SIZE]."""

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(len(designs), generator=generator)

    wide = uniform(16, 28)
    turn = uniform(-15, 15) * math.pi / 180
    room = 1 - wide / SIZE  # of the centre, in halves of the picture
    right, down = uniform(-1, 1) * room, uniform(-1, 1) * room
    scale = SIZE / wide * 48 / designs.shape[-1]  # from places in the picture to places in the design
    cosine, sine = turn.cos() * scale, turn.sin() * scale
    to_design = torch.stack(
        [
            torch.stack([cosine, sine, -(cosine * right + sine * down)], 1),
            torch.stack([-sine, cosine, sine * right - cosine * down], 1),
        ],
        1,
    )
    grid = F.affine_grid(to_design, [len(designs), 4, SIZE, SIZE], align_corners=False)
    # colours are weighted by opacity, or the transparent black around a sign would darken its edge
    weighted = torch.cat([designs[:, :3] * designs[:, 3:], designs[:, 3:]], 1)
    placed = F.grid_sample(weighted, grid, align_corners=False)
    light = uniform(0.5, 1)[:, None, None, None]
    pictures = placed[:, :3] * light + backgrounds * (1 - placed[:, 3:])
    pictures = pictures + noise * torch.randn(pictures.shape, generator=generator)
    return pictures.clamp(0, 1), placed[:, 3]
