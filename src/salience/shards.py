"""Explicands and explanations as named tensors and text, and back: the content of one shard on disk."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from .attribution.explanation import Cost, Explanation, Explicand
from .attribution.layer_explanation import LayerExplanation
from .data.task import Task
from .metrics.base import Reference
from .modality import Modality

Shard = tuple[dict[str, Tensor], dict[str, str]]
"""Tensors by name, and metadata."""
SINGLE = ("index", "present", "target", "score", "relevant", "ratings", "labels")


def from_examples(explicand: Explicand, reference: Reference) -> Shard:
    """What all methods share; raw inputs only where they differ from the inputs (token ids)."""
    groups = {"inputs": explicand.inputs, "context": explicand.context, "reference": reference.values}
    groups["feature_mask"] = explicand.feature_mask
    if any(r is not x for r, x in zip(explicand.raw, explicand.inputs, strict=True)):
        groups["raw"] = explicand.raw
    tensors = {f"{name}.{i}": t for name, group in groups.items() for i, t in enumerate(group)}
    tensors |= {name: getattr(explicand, name) for name in SINGLE if getattr(explicand, name) is not None}
    return tensors, {} if explicand.num_outputs is None else {"num_outputs": str(explicand.num_outputs)}


def to_examples(shard: Shard) -> tuple[Explicand, Reference]:
    """What `from_examples` made a shard of."""
    tensors, metadata = shard
    inputs = _group(tensors, "inputs")
    explicand = Explicand(
        raw=_group(tensors, "raw") or inputs,
        inputs=inputs,
        context=_group(tensors, "context"),
        feature_mask=_group(tensors, "feature_mask"),
        **{name: tensors[name] for name in ("present", "target", "score", "index")},
        relevant=tensors.get("relevant"),
        ratings=tensors.get("ratings"),
        labels=tensors.get("labels"),
        num_outputs=int(metadata["num_outputs"]) if "num_outputs" in metadata else None,
    )
    return explicand, Reference(_group(tensors, "reference"))


def from_explanation(explanation: Explanation, reference: Reference) -> Shard:
    """What is a method's own; baselines only where they are not the reference."""
    tensors = {f"attributions.{i}": t for i, t in enumerate(explanation.attributions)}
    tensors |= {f"background.{i}": t for i, t in enumerate(explanation.background or ())}
    if explanation.convergence_delta is not None:
        tensors["convergence_delta"] = explanation.convergence_delta
    tensors |= {f"details.{name}": tensor for name, tensor in explanation.details.items()}
    kind = "none"
    if explanation.baselines is not None:
        kind = "reference" if _same(explanation.baselines, reference.values) else "own"
    if kind == "own":
        tensors |= {f"baselines.{i}": t for i, t in enumerate(explanation.baselines or ())}
    return tensors, {"reduce": explanation.reduce, "baselines": kind} | explanation.stored


def to_explanation(shard: Shard, explicand: Explicand, reference: Reference, **known: Any) -> Explanation:
    """What `from_explanation` made a shard of; `known`: method, modalities, task, warnings, cost."""
    tensors, metadata = shard
    baselines = {"none": None, "reference": reference.values, "own": _group(tensors, "baselines")}
    own = partial(LayerExplanation, layer=metadata["layer"]) if "layer" in metadata else Explanation
    return own(
        **{field.name: getattr(explicand, field.name) for field in fields(explicand)},
        attributions=_group(tensors, "attributions"),
        convergence_delta=tensors.get("convergence_delta"),
        details={n.removeprefix("details."): t for n, t in tensors.items() if n.startswith("details.")},
        baselines=baselines[metadata["baselines"]],
        background=_group(tensors, "background") or None,
        reduce="mean" if metadata["reduce"] == "mean" else "sum",
        **known,
    )


@dataclass(frozen=True)
class Stored:
    """The explanations of one method on disk: a sequence of examples, in memory one shard at a time."""

    folder: Any
    """The run folder: it knows the names."""
    method: str
    modalities: tuple[Modality, ...] = ()
    task: Task | None = None
    warnings: tuple[str, ...] = ()
    cost: Cost = field(default_factory=Cost)

    def __len__(self) -> int:
        return sum(self.folder.lengths())

    def __iter__(self) -> Iterator[Explanation]:
        """The shards, one after the other."""
        return (self.shard(number) for number in self.folder.shards())

    def __getitem__(self, example: int) -> Explanation:
        """One example (0 is the first that was explained) as an explanation of its own."""
        left = example + len(self) if example < 0 else example
        for number, length in zip(self.folder.shards(), self.folder.lengths(), strict=True):
            if 0 <= left < length:
                return cast(Explanation, self.shard(number).rows(slice(left, left + 1)))
            left -= length
        raise IndexError(f"example {example} of {len(self)}")

    def shard(self, number: int) -> Explanation:
        """One shard as a whole."""
        known = {
            "modalities": self.modalities,
            "task": self.task,
            "warnings": self.warnings,
            "cost": self.cost,
        }
        return self.folder.read_attributions(self.method, number, **known)

    def load(self) -> Explanation:
        """All examples in memory."""
        return joined(list(self))

    def show(self, example: int = 0):
        """A figure of one example."""
        return self[example].show()

    def _repr_html_(self) -> str:
        return self.shard(self.folder.shards()[0])._repr_html_() if len(self) else "nothing explained"


def joined(parts: Sequence[Explanation]) -> Explanation:
    """Shards one after the other; what all examples share (masks, common baselines) stays as it is."""
    first = parts[0]
    names = [f.name for f in fields(first) if isinstance(getattr(first, f.name), Tensor | tuple | Mapping)]
    return replace(first, **{name: _joined([getattr(p, name) for p in parts], parts) for name in names})


def _joined(values: Sequence[Any], parts: Sequence[Explanation]) -> Any:
    if isinstance(values[0], tuple):
        return tuple(_joined(column, parts) for column in zip(*values, strict=True))
    if isinstance(values[0], Mapping):
        return {key: _joined([v[key] for v in values], parts) for key in values[0]}
    if not isinstance(values[0], Tensor):
        return values[0]
    aligned = all(len(value) == len(part) for value, part in zip(values, parts, strict=True))
    return torch.cat(list(values)) if aligned else values[0]


def _group(tensors: dict[str, Tensor], name: str) -> tuple[Tensor, ...]:
    """The tensors called `name.0`, `name.1`, ... as a tuple."""
    count = sum(key.rpartition(".")[0] == name for key in tensors)
    return tuple(tensors[f"{name}.{i}"] for i in range(count))


def _same(a: tuple[Tensor, ...], b: tuple[Tensor, ...]) -> bool:
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
