"""Which method explains which family of networks: every cell is tried, none is written down.

`works`; `approximate`: it explains, and its numbers come with a warning; `refused`, with the reason; `fault`: it ends
in an error that is no reason, which is a mistake of ours.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from .attribution.baselines import Blank
from .attribution.explanation import Explained, explicand
from .attribution.inner import explainer_of
from .attribution.preflight import preflight
from .config import build, options, shipped
from .data.base import Classification, Examples
from .errors import WrongInput
from .modality import Image, Modality, Series, Tabular, Tokens
from .randomness import Streams
from .training import initialised

FAMILIES: dict[str, dict[str, Any]] = {
    "logistic": {},
    "mlp": {"hidden": [8, 8]},
    "cnn": {"channels": [3, 4]},
    "resnet": {"channels": [3, 4]},
    "gru": {"hidden": 6},
    "lstm": {"hidden": 6},
    "temporal_cnn": {"channels": [4, 4]},
    "transformer": {"width": 8, "heads": 2, "depth": 1, "ff": 8},
}
"""Networks and what makes them tiny."""
VOCABULARY = ("[pad]", "[start]", *(f"word{i}" for i in range(8)))
INPUTS: dict[str, Modality] = {
    "table": Tabular((6,), columns=tuple("abcdef")),
    "image": Image((1, 8, 8), patch=4),
    "series": Series((2, 8), segment=2),
    "tokens": Tokens((6,), vocabulary=VOCABULARY, special_ids=(1,)),
}
SYMBOLS = {"works": "+", "approximate": "~", "refused": "-", "fault": "!"}
FAULTS = (NameError, AttributeError, LookupError, TypeError)
"""What Python raises where a program is wrong; Captum raises TypeError where LRP has no rule, which says so."""


@dataclass(frozen=True)
class Cell:
    """One method on one network that reads one kind of input."""

    method: str
    family: str
    inputs: str
    verdict: str
    reason: str = ""


def cells(methods: Sequence[str] = ()) -> Iterator[Cell]:
    """Every method (or those that are named) on every family, with each kind of input that the family reads."""
    chosen = methods or options("attribution")
    worlds = [(f, i, w) for f in FAMILIES for i in INPUTS if (w := _world(f, i)) is not None]
    for method in chosen:
        for family, inputs, world in worlds:
            yield Cell(method, family, inputs, *_tried(method, *world))


def _rows(inputs: str, count: int = 12) -> Examples:
    modality, generator = INPUTS[inputs], torch.Generator().manual_seed(0)
    labels, index = torch.arange(count) % 3, torch.arange(count)
    if not modality.vocabulary_size:
        return Examples((torch.randn(count, *modality.shape, generator=generator),), labels, index)
    ids = torch.randint(2, modality.vocabulary_size, (count, *modality.shape), generator=generator)
    ids[:, 0], ids[::2, -1] = 1, 0
    return Examples((ids,), labels, index, context=(ids == 0,))


def _world(family: str, inputs: str) -> tuple[Explained, Modality, Examples] | None:
    """A network with random weights and its data; None where the family does not read such inputs."""
    node = shipped("model", family)[family] | FAMILIES[family]
    modality, rows = INPUTS[inputs], _rows(inputs)
    try:
        network = initialised(partial(build, node, modalities=(modality,), num_outputs=3), 0)
        explained = Explained(network)
        with torch.no_grad():
            explained.uncounted(*explained.embed(*rows.inputs), *rows.context)
    except (WrongInput, RuntimeError):
        return None
    return explained, modality, rows


def _tried(method: str, network: Explained, modality: Modality, rows: Examples) -> tuple[str, str]:
    """Verdict and reason."""
    spec, task = shipped("attribution", method)[method], Classification(("a", "b", "c"))
    baseline = build(spec["baseline"]) if spec.get("baseline") else Blank()
    try:
        factory = build({**spec["method"], "_partial_": True}, weights=None)
        explainer = explainer_of(factory)(
            method, factory, network, (modality,), task, rows, baseline, Streams(0), spec.get("arguments"),
            spec.get("layer"),
        )  # fmt: skip
        plan = preflight(explainer, explicand(network, (modality,), task, rows[:2]))
    except WrongInput as refused:
        wrong = isinstance(refused.__cause__, FAULTS) and "no rule" not in str(refused)
        reason = str(refused).removeprefix(f"attribution={method}: ")
        alike = reason.replace(f"and {type(network.model).__name__} ", "and the network ")
        return "fault" if wrong else "refused", alike
    warnings = [w for w in plan.warnings if w not in explainer.notes]
    return ("approximate", warnings[0]) if warnings else ("works", "")


def lines(found: Sequence[Cell], markdown: bool = False) -> Iterator[str]:
    """The matrix as text: a row for each method, a column for each family, a sign for each kind of input; then why."""
    legend = ", ".join(f"{sign} {verdict}" for verdict, sign in SYMBOLS.items() if verdict != "fault")
    counts = ", ".join(f"{sum(c.verdict == v for c in found)} {v}" for v in SYMBOLS)
    if markdown:
        yield from ("# Which method explains which network", "")
    yield f"One sign each for {', '.join(INPUTS)}: {legend}; a dot: the network does not read it."
    yield f"Tried on tiny networks with random weights: {len(found)} cells, {counts}."
    if markdown:
        yield from ("", "Written by `python scripts/list.py matrix --markdown > docs/methods.md`.", "")
    verdicts = {(c.method, c.family, c.inputs): SYMBOLS[c.verdict] for c in found}
    widths = {f: max(len(f), len(INPUTS)) + 2 for f in FAMILIES}
    yield _row("method", list(FAMILIES), widths, markdown)
    if markdown:
        yield "|" + "---|" * (1 + len(FAMILIES))
    for method in dict.fromkeys(c.method for c in found):
        signs = ["".join(verdicts.get((method, f, i), ".") for i in INPUTS) for f in FAMILIES]
        yield _row(method, [f"`{s}`" if markdown else s for s in signs], widths, markdown)
    yield from ("", "## Why" if markdown else "why:", *([""] if markdown else []))
    for (method, verdict, reason), where in _reasons(found).items():
        places = "; ".join(f"{family} ({', '.join(inputs)})" for family, inputs in where.items())
        yield f"- {method}, {verdict} on {places}: {' '.join(reason.split())}"


def _row(first: str, rest: Sequence[str], widths: dict[str, int], markdown: bool) -> str:
    if markdown:
        return f"| {first} | {' | '.join(rest)} |"
    return (
        f"{first:<29}"
        + "".join(f"{cell:<{w}}" for cell, w in zip(rest, widths.values(), strict=True)).rstrip()
    )


def _reasons(found: Sequence[Cell]) -> dict[tuple[str, str, str], dict[str, list[str]]]:
    """Where each method is not simply right, by what is said of it (numbers differ from cell to cell)."""
    reasons: dict[tuple[str, str, str], dict[str, list[str]]] = {}
    said: dict[tuple[str, str, str], tuple[str, str, str]] = {}
    for cell in found:
        if cell.verdict != "works":
            alike = "".join(c for c in cell.reason if not c.isdigit())[:40]
            key = said.setdefault(
                (cell.method, cell.verdict, alike), (cell.method, cell.verdict, cell.reason)
            )
            reasons.setdefault(key, {}).setdefault(cell.family, []).append(cell.inputs)
    return reasons
