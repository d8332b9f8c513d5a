"""Facts about every data set that ships: `python benchmarks/data.py` loads and trains them, and writes docs/data.md."""

import time
from pathlib import Path

import torch

from salience.assembly import assemble
from salience.config import check, compose, options
from salience.data.base import Data
from salience.files import atomic_write
from salience.training import fit

OWN = ("csv", "text_csv", "image_folder", "audio_folder", "npz", "hugging_face")
TRAINED = {
    "breast_cancer": ["model=mlp"],
    "diabetes": ["model=logistic"],
    "heart_disease": ["model=logistic"],
    "german_credit": ["experiment=credit"],
    "digits": ["model=cnn"],
    "mnist": ["model=cnn", "training.epochs=6"],
    "traffic_signs": ["experiment=traffic"],
    "tweets": ["model=transformer", "training.epochs=8"],
    "film": ["model=transformer", "training.epochs=4"],
    "spoken_digits": ["experiment=speech"],
    "ucr": ["experiment=series"],
    "easy_vqa": ["experiment=multimodal"],
    "synthetic": ["experiment=synthetic"],
    "xor": ["model=mlp"],
    "orange_skin": ["model=mlp"],
    "additive": ["model=mlp"],
    "switch": ["model=mlp"],
    "tetromino": ["model=logistic"],
    "state": ["model=gru", "training.epochs=15"],
}
"""What the score in the table comes from; data sets that are not here are not trained."""
HEAD = """# Data sets

Written by `python benchmarks/data.py`: each is loaded and one network is trained on it (seed 0; the score is on its
test split). Data of others is never part of this repository: it is read from an installed package, or one file of a
pinned package is fetched (hash checked) and cached.

| `data=` | what | train, validation, test | inputs: features | predicts | truth | score, trained by | source |
|---|---|---|---|---|---|---|---|
"""
TAIL = """
Your own: `data=csv`, `data=text_csv`, `data=image_folder`, `data=audio_folder`, `data=npz` (MedMNIST's files:
`data.inputs=images data.target=labels`), `data=hugging_face` (extra `salience[datasets]`). Each YAML file in
`configs/data/` lists what can be set.

What to know:
- `german_credit` has sex, age and being a foreign worker among its columns, as the bank recorded them in 1994.
- `spoken_digits` names no speakers: the same six voices are in all splits.
- `traffic_signs` are real designs pasted on two photographs; no package with real street scenes was found.
- `state` draws its labels, so that no network can be right always (the likelier label is right in .90).
"""


def row(option: str) -> str:
    """One line of the table."""
    overrides = TRAINED.get(option, ["model=logistic"])
    composed = compose([*overrides, f"data={option}"] if "experiment" not in overrides[0] else overrides)
    study = assemble(composed, check(composed.config))
    data, score = study.data, ""
    if option in TRAINED:
        fit(study.model, data, study.settings.training, seed=0)
        found = data.task.scores(study.outputs(data.test), data.test.labels)[data.task.main_score]
        score = f"{data.task.main_score} {found:.3f}, `{' '.join(overrides)}`"
    return " | ".join((f"| `{option}`", *facts(data), score, f"{data.source} |"))


def facts(data: Data) -> tuple[str, ...]:
    """Title, rows, inputs, what is predicted, and which truth is known."""
    rows = ", ".join(str(len(data.split(s))) for s in ("train", "validation", "test"))
    inputs = "; ".join(f"{m.name} {' x '.join(map(str, m.shape))}: {m.num_features}" for m in data.modalities)
    names = data.task.names
    predicts = ", ".join(names) if len(names) <= 3 else f"{len(names)} classes"
    known = (("relevant features", data.test.relevant), ("human ratings", data.test.ratings))
    truth = [what for what, there in (*known, ("weights", data.weights)) if there is not None]
    return data.title, rows, inputs, predicts, ", ".join(truth) or "none"


def main() -> None:
    """Write the page."""
    torch.set_num_threads(1)
    lines = []
    for option in options("data"):
        if option not in OWN:
            started = time.process_time()
            lines.append(row(option))
            print(f"{option}: {time.process_time() - started:.0f} s", flush=True)
    atomic_write(Path(__file__).parents[1] / "docs" / "data.md", HEAD + "\n".join(lines) + "\n" + TAIL)


if __name__ == "__main__":
    main()
