"""The model card of a run: what the network is for, what it was trained on, how good it is, and what was looked at.

After Mitchell and others (2019), Model Cards for Model Reporting.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .. import artifacts
from ..comparisons.leaderboard import leaderboard, network_scores
from ..errors import WrongInput
from ..terminal import clean

if TYPE_CHECKING:
    from ..results import RunResult

LIMITS = (
    "Explanations say what the network does, not what is true of the world, and hold under the reference above.",
    "Scores are of the test split, drawn from the same data as the training rows; other data may differ.",
    "Weights repeat to the bit only for the same versions, threads and kind of machine.",
)
Rows = list[tuple[str, str]]


def sections(
    summary: Mapping, config: Mapping, network: Mapping, place: Mapping, status: Mapping
) -> dict[str, Rows]:
    """The card as titles with pairs of name and text, from what lies in a run folder (nothing is built)."""
    return {
        "Model": list(_model(config, network)),
        "Data": list(_data(config, network)),
        "Scores on the test split": [(clean(n), f"{v:.4g}") for n, v in network_scores(summary).items()],
        "Explanations examined": list(_examined(summary, config)),
        "Hardware and time": list(_hardware(place, summary, status)),
        "Limits": [("", line) for line in (*_doubts(summary), *LIMITS)],
    }


def of_folder(folder: "artifacts.RunFolder") -> dict[str, Rows]:
    """`sections` of a run folder; what is missing or damaged is left out."""

    def read(name: str, reader: Any) -> Mapping:
        try:
            found = reader(name)
        except (WrongInput, ValueError, OSError):
            return {}
        return found if isinstance(found, Mapping) else {}

    json, yaml = folder.json, folder.yaml
    return sections(
        read(artifacts.SUMMARY, json),
        read(artifacts.CONFIG, yaml),
        read(artifacts.NETWORK, json),
        read(artifacts.ENVIRONMENT, json),
        read(artifacts.STATUS, json),
    )


def model_card(run: "RunResult") -> str:
    """The card of a run as Markdown."""
    name = clean(run.folder.json(artifacts.NETWORK).get("name") or "network")
    lines = [f"# Model card: {_escaped(name)}", ""]
    for title, rows in of_folder(run.folder).items():
        lines += [f"## {title}", ""]
        lines += [f"- {f'{_escaped(key)}: ' if key else ''}{_escaped(text)}" for key, text in rows] or [
            "- unknown"
        ]
        lines.append("")
    return "\n".join(lines)


def _model(config: Mapping, network: Mapping) -> Iterator[tuple[str, str]]:
    node = network.get("model") if isinstance(network.get("model"), Mapping) else {}
    yield "network", clean(network.get("name") or "unknown")
    for key, value in (node or {}).items():
        if value is not None:
            yield clean(key), clean(value)
    yield "weights", f"sha256 {clean(network.get('weights') or 'unknown')}"
    training = config.get("training")
    if isinstance(training, Mapping):
        said = (f"{clean(k)} {clean(v)}" for k, v in training.items() if v not in (None, False))
        yield "training", ", ".join(said)
    yield "seed", clean(config.get("seed", "unknown"))
    yield (
        "intended use",
        "research on attribution: to compare explanations of this network; not for decisions about people",
    )


def _data(config: Mapping, network: Mapping) -> Iterator[tuple[str, str]]:
    node = config.get("data")
    for key, value in (node if isinstance(node, Mapping) else {}).items():
        if value is not None:
            yield "data set" if key == "_target_" else clean(key), clean(value)
    stored = network.get("preprocessing")
    for modality in stored if isinstance(stored, list) else []:
        if isinstance(modality, Mapping):
            yield (
                f"input {clean(modality.get('name'))}",
                f"{clean(modality.get('kind'))} {clean(modality.get('shape'))}",
            )
    task = network.get("task")
    if isinstance(task, Mapping):
        names = task.get("names")
        yield (
            "task",
            f"{clean(task.get('kind'))} {', '.join(map(clean, names)) if isinstance(names, list) else ''}",
        )


def _examined(summary: Mapping, config: Mapping) -> Iterator[tuple[str, str]]:
    ruler = summary.get("ruler")
    for key, value in (ruler if isinstance(ruler, Mapping) else {}).items():
        yield clean(key), clean(value)
    board = leaderboard(summary, set(config.get("controls") or ()))
    for row in board.rows:
        entries = (f"{clean(name)} {entry.text}" for name, entry in row.entries.items())
        yield f"{clean(row.method)}{' (control)' if row.control else ''}", ", ".join(entries)


def _hardware(place: Mapping, summary: Mapping, status: Mapping) -> Iterator[tuple[str, str]]:
    for key in ("cpu", "gpu", "threads", "platform", "python"):
        if place.get(key):
            yield key, clean(place[key])
    packages = place.get("packages")
    if isinstance(packages, Mapping):
        yield "packages", ", ".join(f"{clean(k)} {clean(v)}" for k, v in packages.items())
    yield "started", clean(status.get("started") or "unknown")
    methods = summary.get("methods")
    costs = (
        [m.get("cost") for m in methods.values() if isinstance(m, Mapping)]
        if isinstance(methods, Mapping)
        else []
    )
    seconds = sum(c.get("seconds") or 0 for c in costs if isinstance(c, Mapping))
    yield "seconds of explaining", f"{seconds:.3g}"


def _doubts(summary: Mapping) -> list[str]:
    network = summary.get("network")
    doubt = network.get("warning") if isinstance(network, Mapping) else None
    return [clean(doubt)] if doubt else []


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>#|!" else c for c in text)
