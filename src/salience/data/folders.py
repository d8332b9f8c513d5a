"""Your own images and recordings, without code: a folder with one folder per class."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import WrongInput, listed
from ..modality import Audio, Image
from .arguments import require_number, require_whole
from .base import Classification, Data, split_rows, splits
from .own_text import numbered
from .scaling import standardised

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")


def image_folder(
    path: str,
    seed: int = 0,
    size: int = 32,
    patch: int = 4,
    grey: bool = False,
    validation: float = 0.15,
    test: float = 0.25,
) -> Data:
    """Your own images: a folder with one folder per class, whose name is that of the class.

    Images are cut to a square about their middle and resized to `size` pixels.
    """
    require_whole("size", size, 4, 1024)
    require_whole("patch", patch, 1, size)
    files, names = class_files(path, IMAGES)
    pixels = torch.stack([read(file, lambda f: image(f, size, grey), "an image") for file in files])
    return from_images(pixels, names, seed, patch, (validation, test), Path(path).name)


def from_images(
    pixels: Tensor, names: list[str], seed: int, patch: int, shares: tuple[float, float], title: str
) -> Data:
    """Data from pixels in [0, 1] [examples, channels, height, width] and the class of each."""
    labels, classes = numbered(names)
    task = Classification(classes)
    rows = split_rows(labels, task, seed, *shares)
    inputs, mean, scale = standardised(pixels, rows[0])
    modality = Image(tuple(pixels.shape[1:]), "image", patch=patch, mean=mean, scale=scale)
    return Data((modality,), task, **splits(rows, (inputs,), labels), title=title, source="your own files")


def image(file: Path, size: int, grey: bool) -> Tensor:
    """Pixels in [0, 1] [1 or 3, size, size]."""
    from PIL import Image as Picture

    with Picture.open(file) as opened:
        return square(opened.convert("L" if grey else "RGB"), size)


def square(picture, size: int) -> Tensor:
    """A picture cut to a square about its middle and resized: pixels in [0, 1] [channels, size, size]."""
    side = min(picture.size)
    left, top = ((length - side) // 2 for length in picture.size)
    small = picture.crop((left, top, left + side, top + side)).resize((size, size))
    values = torch.tensor(np.asarray(small)) / 255
    return values[None] if values.dim() == 2 else values.permute(2, 0, 1)


def audio_folder(
    path: str,
    seed: int = 0,
    seconds: float = 1.0,
    bands: int = 32,
    frames: int = 50,
    rate: int = 8000,
    patch: int = 2,
    validation: float = 0.15,
    test: float = 0.25,
) -> Data:
    """Your own recordings: a folder of .wav files with one folder per class, as spectrograms (time x frequency).

    The first `seconds` are read, at `rate` samples a second; `bands` equal bands of frequency up to half the rate, in
    decibels, at `frames` times. What is missing at the end of shorter recordings is absent.
    """
    require_number("seconds", seconds, 0.05, 60)
    require_whole("bands", bands, 2, 128)
    require_whole("rate", rate, 1000, 48000)
    require_whole("frames", frames, 2, int(seconds * rate / 16))
    require_whole("patch", patch, 1, min(bands, frames))
    files, names = class_files(path, (".wav",))
    step = int(seconds * rate / frames)
    spectra = [
        read(f, lambda f: spectrogram(recording(f, rate), bands, frames, step), "a recording") for f in files
    ]
    labels, classes = numbered(names)
    task = Classification(classes)
    rows = split_rows(labels, task, seed, validation, test)
    inputs, mean, scale = standardised(torch.stack(spectra), rows[0])
    modality = Audio(
        (1, bands, frames),
        "recording",
        patch=patch,
        mean=mean,
        scale=scale,
        seconds=step / rate,
        hertz=rate / 2 / bands,
    )
    return Data(
        (modality,), task, **splits(rows, (inputs,), labels), title=Path(path).name, source="your own files"
    )


def recording(file: Path, rate: int) -> Tensor:
    """Samples in [-1, 1] of a .wav file, its channels averaged, at `rate` samples a second."""
    from scipy.io import wavfile
    from scipy.signal import resample_poly

    own, samples = wavfile.read(file)
    values = samples.astype(np.float64)
    if samples.dtype.kind == "u":
        values = (values - 128) / 128
    elif samples.dtype.kind == "i":
        values = values / float(np.iinfo(samples.dtype).max)
    values = values.mean(1) if values.ndim == 2 else values
    if not len(values):
        raise ValueError("it holds no samples")
    common = math.gcd(own, rate)
    return torch.tensor(values if own == rate else resample_poly(values, rate // common, own // common))


def spectrogram(samples: Tensor, bands: int, frames: int, step: int) -> Tensor:
    """Decibels [1, bands, frames] of a short-time Fourier transform; nan after the end of the recording."""
    window = max(2 * step, 4 * bands)
    kept = samples[: frames * step]
    there = max(1, min(frames, len(kept) // step))
    padded = F.pad(kept, (window // 2, window // 2 + frames * step - len(kept)))
    pieces = padded.unfold(0, window, step)[:frames] * torch.hann_window(window, dtype=padded.dtype)
    power = torch.fft.rfft(pieces).abs().square()[:, 1:]
    grouped = F.adaptive_avg_pool1d(power[None], bands)[0].T
    found = 10 * torch.log10(grouped + 1e-8)
    found[:, there:] = math.nan
    return found[None]


def class_files(path: str, endings: tuple[str, ...]) -> tuple[list[Path], list[str]]:
    """Files of a folder of class folders, and the class of each, in order; WrongInput where there are none."""
    root = Path(path)
    if not root.is_dir():
        raise WrongInput(f"data.path={path}: {'is a file' if root.exists() else 'no such folder'}")
    found = sorted(f for f in root.glob("*/*") if f.suffix.lower() in endings and not f.name.startswith("."))
    if not found:
        inside = sorted(p.name for p in root.iterdir())
        raise WrongInput(
            f"data.path={path}: needs a folder per class with {', '.join(endings[:3])} files; it holds {listed(inside)}"
        )
    return found, [f.parent.name for f in found]


def read(file: Path, reader: Callable[[Path], Tensor], what: str) -> Tensor:
    """`reader(file)`; WrongInput, which names the file, where it cannot be read."""
    try:
        return reader(file)
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        cause = str(error).splitlines()[0][:60] if str(error) else type(error).__name__
        raise WrongInput(
            f"data.path: {file.parent.name}/{file.name} is not {what} ({cause}); mend or remove it"
        ) from None
