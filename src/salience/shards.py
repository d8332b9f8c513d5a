"""Explicands and explanations as named tensors and text, and back: the content of one shard on disk."""

from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from .attribution.explanation import Explanation, Explicand
from .metrics.base import Reference

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
    if explanation.convergence_delta is not None:
        tensors["convergence_delta"] = explanation.convergence_delta
    kind = "none"
    if explanation.baselines is not None:
        kind = "reference" if _same(explanation.baselines, reference.values) else "own"
    if kind == "own":
        tensors |= {f"baselines.{i}": t for i, t in enumerate(explanation.baselines or ())}
    return tensors, {"reduce": explanation.reduce, "baselines": kind}


def to_explanation(shard: Shard, explicand: Explicand, reference: Reference, **known: Any) -> Explanation:
    """What `from_explanation` made a shard of; `known`: method, modalities, task, warnings, cost."""
    tensors, metadata = shard
    baselines = {"none": None, "reference": reference.values, "own": _group(tensors, "baselines")}
    return Explanation(
        **{field.name: getattr(explicand, field.name) for field in fields(explicand)},
        attributions=_group(tensors, "attributions"),
        convergence_delta=tensors.get("convergence_delta"),
        baselines=baselines[metadata["baselines"]],
        reduce="mean" if metadata["reduce"] == "mean" else "sum",
        **known,
    )


def _group(tensors: dict[str, Tensor], name: str) -> tuple[Tensor, ...]:
    """The tensors called `name.0`, `name.1`, ... as a tuple."""
    count = sum(key.rpartition(".")[0] == name for key in tensors)
    return tuple(tensors[f"{name}.{i}"] for i in range(count))


def _same(a: tuple[Tensor, ...], b: tuple[Tensor, ...]) -> bool:
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
