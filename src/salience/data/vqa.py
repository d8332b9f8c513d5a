"""Pictures with questions about them: two modalities, one answer."""

import io
import json
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..modality import Image, Tokens
from ..randomness import Streams
from .arguments import require_whole
from .base import Classification, Data, take
from .packaged import DOWNLOADS, Package
from .scaling import standardised
from .text import encode, tokeniser, tokens

EASY_VQA = Package("easy-vqa", "1.0", "fcb51b309b78c7b00f97b64cdbcbcf5c105f94da1b39c0796cee5a787c4f650f")
SIDE = 64
TELLING = {"what", "color", "not", "no", "circle", "rectangle", "triangle"} | {
    "black", "blue", "brown", "gray", "green", "red", "teal", "yellow",
}  # fmt: skip
"""The words in which questions with different answers differ; the others are grammar."""
APART = 0.06
"""How far a pixel must be from the background, in any colour, to belong to the shape (white is 1)."""


def easy_vqa(
    seed: int = 0,
    questions: int | None = 10000,
    size: int = 32,
    patch: int = 4,
    length: int = 10,
    validation: float = 0.1,
    downloads: Path | str = DOWNLOADS,
) -> Data:
    """easy-VQA: a picture of one coloured shape and a question about it; 13 answers, image and text together.

    `questions` are drawn from the published training split (null: all 38575) and a quarter as many from the
    published test split; a share `validation` of the training pictures, with all their questions, is the validation
    split. Pictures of 64 x 64 pixels are shrunk to `size`. `relevant`: patches that the shape touches and the words in
    which questions differ.
    """
    require_whole("questions", 38575 if questions is None else questions, 100, 38575)
    if size not in (16, 32, 64):
        require_whole("size", size, 16, 15)
    require_whole("patch", patch, 1, size)
    with zipfile.ZipFile(io.BytesIO(EASY_VQA.whole(downloads))) as archive:
        answers = sorted(archive.read("easy_vqa/data/answers.txt").decode().split())
        train = _questions(archive, "train", questions, seed)
        test = _questions(archive, "test", None if questions is None else questions // 4, seed)
        pictures, shapes, which = _pictures(archive, [*train, *test], size)
    split_into_words = tokeniser()
    words = [split_into_words(q) for _, q, _, _ in (*train, *test)]
    text = tokens(words[: len(train)], length, len({w for ws in words for w in ws}), "question")
    ids, padded = encode(words, text)
    labels = torch.tensor([answers.index(answer) for _, _, answer, _ in (*train, *test)])
    of_picture = torch.tensor([number for *_, number in train])
    drawn = torch.rand(int(of_picture.max()) + 1, generator=Streams(seed).generator("split"))
    kept = drawn[of_picture] >= validation
    everything = torch.arange(len(labels))
    rows = (everything[: len(train)][kept], everything[: len(train)][~kept], everything[len(train) :])
    pictures, mean, scale = standardised(pictures, which[rows[0]].unique())
    image = Image((3, size, size), "picture", patch=patch, mean=mean, scale=scale)
    seen = F.max_pool2d(shapes[:, None].float(), patch, ceil_mode=True).flatten(1) > 0
    relevant = torch.cat([seen[which], _telling(text)[ids]], 1)
    parts = [take(r, (pictures[which], ids), labels, relevant=relevant, context=(padded,)) for r in rows]
    return Data(
        (image, text),
        Classification(tuple(answers)),
        train=parts[0],
        validation=parts[1],
        test=parts[2],
        title="easy-VQA",
        source="Zhou (2019), easy-VQA, MIT; from the package easy-vqa",
    )


def batched(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Lists of `size` items, the last one shorter."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


Question = tuple[str, str, str, int]
"""Split, question, answer, number of the picture."""


def _questions(archive: zipfile.ZipFile, split: str, count: int | None, seed: int) -> list[Question]:
    """Questions of a published split, in random order."""
    everything = json.loads(archive.read(f"easy_vqa/data/{split}/questions.json"))
    order = torch.randperm(len(everything), generator=Streams(seed).generator(f"questions {split}"))
    return [(split, *everything[i]) for i in order[:count].tolist()]


def _pictures(
    archive: zipfile.ZipFile, asked: Sequence[Question], size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures in [0, 1] [pictures, 3, size, size], where their shapes are, and the picture of each question."""
    from PIL import Image as Picture

    found = {key: i for i, key in enumerate(dict.fromkeys((split, number) for split, *_, number in asked))}
    small, shapes = [], []
    for some in batched(found, 500):
        names = (f"easy_vqa/data/{split}/images/{number}.png" for split, number in some)
        opened = (Picture.open(io.BytesIO(archive.read(name))).convert("RGB") for name in names)
        pixels = torch.tensor(np.stack([np.asarray(picture) for picture in opened])).permute(0, 3, 1, 2)
        background = pixels.flatten(2).median(2).values[..., None, None]
        shape = ((pixels.float() - background).abs() > APART * 255).any(1, keepdim=True).float()
        small.append(F.avg_pool2d(pixels / 255, SIDE // size))
        shapes.append(F.max_pool2d(shape, SIDE // size)[:, 0] > 0)
    which = torch.tensor([found[split, number] for split, *_, number in asked])
    return torch.cat(small), torch.cat(shapes), which


def _telling(text: Tokens) -> Tensor:
    """Whether each word of the vocabulary is one in which questions differ [vocabulary]."""
    return torch.tensor([word in TELLING for word in text.vocabulary])
