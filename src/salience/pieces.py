"""The pieces of explaining and measuring: a method, or a metric of it, on one shard. None is done twice."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from . import files, interrupts, shards
from .artifacts import RunFolder
from .attribution.explainer import Explainer
from .attribution.explanation import Cost, Explanation, Explicand
from .metrics.base import Reference
from .networks import examples_digest
from .storage import environment
from .storage.parts import Parts

PARTS = "parts"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measured:
    """What one metric said of one method on one shard, and what it took."""

    index: Tensor | None
    scores: Tensor
    curve: Tensor | None
    at: Tensor | None
    cost: Cost
    warnings: tuple[str, ...] = ()


class Pieces:
    """Does what a run folder does not hold yet, and keeps it there until the run is finished.

    `key` says what all pieces depend on; pieces of another key are thrown away.
    """

    def __init__(self, folder: RunFolder, key: str):
        self.folder = folder
        self.parts = Parts(folder.path / PARTS)
        self.parts.belong_to(key)

    def explanation(
        self, explainer: Explainer, shard: int, x: Explicand, reference: Reference
    ) -> Explanation:
        """The explanation of one shard: from the folder where it lies there whole, else made and saved."""
        interrupts.poll()
        method, name = explainer.key, f"{shard:05d}/{_safe(explainer.key)}/explanation"
        kept, path = self.parts.read(name), self.folder.attributions_file(method, shard)
        if kept is not None:
            if path.is_file() and files.sha256(path) == kept[1]["sha256"]:
                return self._read(explainer, shard, x, reference, kept[1])
            log.warning("%s is damaged; it is done again", path)
        explanation = explainer.explain(x)
        self.folder.save_attributions(method, shard, explanation, reference)
        words = {"warnings": list(explanation.warnings), "cost": asdict(explanation.cost)}
        self.parts.write(name, {}, words | {"sha256": files.sha256(path)})
        return explanation

    def measurement(self, method: str, metric: str, shard: int, measure: Callable[[], Measured]) -> Measured:
        """The scores of one metric on one shard, which go to the folder; `measure()` where none are kept."""
        interrupts.poll()
        name = f"{shard:05d}/{_safe(method)}/metric-{_safe(metric)}"
        kept = self.parts.read(name)
        found = _measured(*kept) if kept is not None else measure()
        if kept is None:
            tensors = {n: getattr(found, n) for n in ("index", "scores", "curve", "at")}
            words = {"cost": asdict(found.cost), "warnings": list(found.warnings)}
            self.parts.write(name, {n: t for n, t in tensors.items() if t is not None}, words)
        self.folder.add_scores(method, metric, found.index, found.scores, found.curve, found.at)
        return found

    def finished(self) -> None:
        """The run holds everything itself now."""
        self.parts.discard()

    def _read(
        self, explainer: Explainer, shard: int, x: Explicand, reference: Reference, words: dict[str, Any]
    ) -> Explanation:
        tensors, metadata = self.folder.stored_attributions(explainer.key, shard)
        device = x.inputs[0].device
        moved = {name: tensor.to(device) for name, tensor in tensors.items()}
        return shards.to_explanation(
            (moved, metadata),
            x,
            reference,
            method=explainer.key,
            modalities=explainer.modalities,
            task=explainer.task,
            explainer=explainer,
            warnings=tuple(words["warnings"]),
            cost=Cost(**words["cost"]),
        )


def _measured(tensors: Mapping[str, Tensor], words: Mapping[str, Any]) -> Measured:
    return Measured(
        tensors.get("index"),
        tensors["scores"],
        tensors.get("curve"),
        tensors.get("at"),
        Cost(**words["cost"]),
        tuple(words["warnings"]),
    )


def key_of(config_yaml: str, weights: str, examples: Any) -> str:
    """What the pieces of a run depend on: config, weights, examples, versions, and the source of this package."""
    versions = {name: environment.version(name) for name in environment.PACKAGES}
    package = Path(__file__).parent
    source = [files.sha256(path) for path in sorted(package.rglob("*.py"))]
    return files.sha256(repr((config_yaml, weights, examples_digest(examples), versions, source)).encode())


def _safe(key: str) -> str:
    from .artifacts import folder_name

    return folder_name(key)
