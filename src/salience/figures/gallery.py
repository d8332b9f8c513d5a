"""The figures of one explanation for a notebook, and those of a whole run for its folder."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from .. import files, interrupts
from ..attribution.explanation import Explanation
from ..data.base import Data
from ..data.task import Task
from ..modality import Modality
from .canvas import image_tag, number, plain, png
from .compare import caption, compare
from .curves import Band, curves_figure, training_figure
from .layers import layer_means, layers_figure
from .summary import drawable, means, summary_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INDEX = "index.json"
"""Beside the figures: file, title and alternative text of each, in the order in which they are shown."""
GALLERY = 4
"""Examples that are drawn of a run."""
Drawn = tuple[str, str, str, "Figure"]
"""File name, title, alternative text, figure."""


class Kept(Protocol):
    """What the figures of a run are drawn from: a run folder."""

    @property
    def figures(self) -> Path: ...
    def methods(self) -> list[str]: ...
    def explanations(
        self, method: str, modalities: tuple[Modality, ...], task: Task | None
    ) -> Iterable[Explanation]: ...
    def history(self) -> Sequence[Mapping[str, Any]]: ...
    def predictions(self, index: Collection[int]) -> Mapping[int, Mapping[str, str]]: ...
    def curve_bands(self) -> Mapping[str, Mapping[str, Band]]: ...
    def summary(self) -> dict[str, Any]: ...


def draw(explanation: Explanation, example: int = 0) -> "Figure":
    """One example of an explanation (0 is the first of this batch); IndexError where there is none."""
    if not -len(explanation) <= example < len(explanation):
        raise IndexError(f"example {example} of {len(explanation)}")
    return compare({explanation.method or "attribution": explanation}, [example % len(explanation)])


def as_html(explanation: Explanation, examples: int = 3) -> str:
    """The first examples as images that a notebook shows, without files."""
    shown = range(min(examples, len(explanation)))
    tags = [image_tag(png(draw(explanation, i)), caption(explanation, i)) for i in shown]
    left = len(explanation) - len(tags)
    return "".join(f"<div>{tag}</div>" for tag in tags) + (
        f"<div>and {left} more examples</div>" if left else ""
    )


def save_all(folder: Kept, data: Data, controls: Collection[str] = ()) -> list[Path]:
    """Draw a whole run into its folder, one PNG each; shards are read one at a time."""
    folder.figures.mkdir(parents=True, exist_ok=True)
    saved = []
    for drawn in (_examples, _features, _layers, _curves, _training):
        for name, title, alt, figure in drawn(folder, data, controls):
            interrupts.poll()
            files.atomic_write(folder.figures / name, png(figure))
            saved.append({"file": name, "title": title, "alt": alt})
    files.write_json(folder.figures / INDEX, saved)
    return [folder.figures / entry["file"] for entry in saved]


def _examples(folder: Kept, data: Data, controls: Collection[str]) -> Iterator[Drawn]:
    first: dict[str, Explanation] = {}
    for method in folder.methods():
        shard = _first(folder, data, method)
        if shard.of_inputs:
            first[method] = cast(Explanation, shard.rows(slice(0, GALLERY)))
    if first:
        one = next(iter(first.values()))
        said = {i: _said(row) for i, row in folder.predictions(one.index.tolist()).items()}
        reference = folder.summary().get("ruler", {}).get("reference")
        figure = compare(first, range(len(one)), said, controls, reference)
        captions = " ".join(caption(one, i, said) for i in range(len(one)))
        alt = f"Attributions of {', '.join(first)} side by side. {captions}"
        yield "examples.png", "Examples", alt, figure


def _first(folder: Kept, data: Data, method: str) -> Explanation:
    """The first shard of a method."""
    return next(iter(folder.explanations(method, data.modalities, data.task)))


def _said(row: Mapping[str, str]) -> str:
    """What the data and the network say about one example, from its row of the predictions."""
    sure = [float(value) for name, value in row.items() if name.startswith("probability_")]
    if sure:
        return f"Label {row['label']}, predicted {row['prediction']} ({max(sure):.2f})."
    values = {name: number(float(value)) for name, value in row.items() if name != "example"}
    return ", ".join(f"{name} {value}" for name, value in values.items()).capitalize() + "."


def _features(folder: Kept, data: Data, controls: Collection[str]) -> Iterator[Drawn]:
    methods = [m for m in folder.methods() if _first(folder, data, m).of_inputs]
    found = {m: means(folder.explanations(m, data.modalities, data.task)) for m in methods}
    if drawable(found):
        alt = f"Mean size of the attribution of each feature for {', '.join(methods)}."
        yield "features.png", "Features on average", alt, summary_figure(found, controls)


def _layers(folder: Kept, data: Data, controls: Collection[str]) -> Iterator[Drawn]:
    methods = [m for m in folder.methods() if not _first(folder, data, m).of_inputs]
    if methods:
        found = {m: layer_means(folder.explanations(m, data.modalities, data.task)) for m in methods}
        alt = f"Mean attribution of the units of a hidden layer for {', '.join(methods)}."
        yield "layers.png", "Hidden layers", alt, layers_figure(found)


def _curves(folder: Kept, data: Data, controls: Collection[str]) -> Iterator[Drawn]:
    bands = folder.curve_bands()
    if bands:
        alt = (
            f"Mean score against the share of features for {', '.join(bands)}, a line with a band per method."
        )
        yield "curves.png", "Curves", alt, curves_figure(bands, controls, _directions(folder.summary()))


def _directions(summary: Mapping[str, Any]) -> dict[str, bool]:
    entries = (pair for method in summary["methods"].values() for pair in method["metrics"].items())
    return {plain(name): bool(entry["higher_is_better"]) for name, entry in entries}


def _training(folder: Kept, data: Data, controls: Collection[str]) -> Iterator[Drawn]:
    history = folder.history()
    if history:
        yield (
            "training.png",
            "Training",
            f"Loss and scores over {len(history)} epochs.",
            training_figure(history),
        )
