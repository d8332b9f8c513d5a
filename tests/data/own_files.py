"""Files that a user might bring, written by the tests: one function per data option, which gives its arguments."""

import numpy as np
from PIL import Image
from scipy.io import wavfile

COLOURS = {"blue": (20, 30, 220), "red": (230, 40, 30)}
PITCHES = {"high": 1500.0, "low": 300.0}


def csv(folder):
    rows = "".join(f"{20 + i % 7},{('red', 'blue')[i % 2]},{i % 3}\n" for i in range(60))
    (folder / "own.csv").write_text("age,colour,label\n" + rows)
    return {"path": str(folder / "own.csv"), "target": "label"}


def text_csv(folder):
    words = ("good film", "bad film", "a very good one", "a bad one, sadly")
    rows = "".join(f'"{words[i % 4]} number {i % 5}",{("yes", "no")[i % 2]}\n' for i in range(60))
    (folder / "texts.csv").write_text("sentence,liked\n" + rows)
    return {"path": str(folder / "texts.csv"), "text": "sentence", "target": "liked"}


def pictures(folder, count=20):
    generator = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            pixels = np.array(colour) + generator.integers(-20, 20, (30 + i % 5, 40, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name / f"{i}.png")
    return folder


def image_folder(folder):
    return {"path": str(pictures(folder / "pictures"))}


def tone(pitch, seconds, rate=8000):
    return (0.5 * np.sin(2 * np.pi * pitch * np.arange(int(seconds * rate)) / rate) * 32767).astype(np.int16)


def audio_folder(folder):
    for name, pitch in PITCHES.items():
        (folder / "sounds" / name).mkdir(parents=True, exist_ok=True)
        for i in range(12):
            wavfile.write(folder / "sounds" / name / f"{i}.wav", 8000, tone(pitch + 10 * i, 0.6 + 0.05 * i))
    return {"path": str(folder / "sounds")}


def npz(folder):
    generator = np.random.default_rng(0)
    y = np.arange(60) % 2
    x = generator.normal(size=(60, 3, 8, 6)) + y[:, None, None, None]
    np.savez(folder / "own.npz", x=x, y=y, where=x > 1)
    return {"path": str(folder / "own.npz")}


def hugging_face(folder):
    import datasets

    words = ("good film", "bad film", "a very good one", "a bad one, sadly")
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["negative", "positive"])}
    )
    rows = {"text": [f"{words[i % 4]} {i % 5}" for i in range(60)], "label": [1 - i % 2 for i in range(60)]}
    table = datasets.Dataset.from_dict(rows, features=features)
    table.train_test_split(0.25, seed=0).save_to_disk(str(folder / "saved"))
    return {"path": str(folder / "saved"), "inputs": "text", "target": "label"}


KINDS = {f.__name__: f for f in (csv, text_csv, image_folder, audio_folder, npz, hugging_face)}
