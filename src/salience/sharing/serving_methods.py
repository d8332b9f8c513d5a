"""Explaining new rows with the network, the methods and the baseline of a finished run."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from ..assembly import link_of
from ..attribution.explanation import Explained, Explanation, explicand
from ..attribution.inner import explainer_of
from ..config import build, shipped
from ..data.base import Examples, Task
from ..edge.trust import check_config
from ..errors import WrongInput
from ..modality import Modality
from ..randomness import Streams

if TYPE_CHECKING:
    from ..results import RunResult


def explain_rows(run: "RunResult", examples: Examples, method: str, target: str | int) -> Explanation:
    """The explanation of `examples`, set as the run's config sets `method`, else as shipped."""
    modalities, task = run.preprocessing
    explained = Explained(run.model, link_of(task, str(run.config.get("output") or "logit")))
    x = explicand(explained, modalities, task, examples, target)
    spec = _spec(run, method)
    factory = build({**spec["method"], "_partial_": True}, trusted=run.trust)
    explainer = explainer_of(factory)(
        method,
        factory,
        explained,
        modalities,
        task,
        _training(run, modalities, task),
        _built(spec.get("baseline") or run.node("baseline"), run.trust),
        Streams(int(run.config.get("seed") or 0)),
        spec.get("arguments") or {},
        spec.get("layer"),
        str(run.config.get("guards") or "error"),
    )
    return explainer.explain(x)


def _spec(run: "RunResult", method: str) -> dict[str, Any]:
    for group in ("attribution", "controls"):
        found = (run.node(group) if run.config.get(group) else {}).get(method)
        if isinstance(found, Mapping):
            return dict(found)
    return shipped("attribution", method)[method]


def _built(node: Mapping[str, Any], trust: tuple[str, ...]) -> Any:
    check_config(node, trust)
    return build(node)


def _training(run: "RunResult", modalities: tuple[Modality, ...], task: Task) -> Examples:
    """The training rows, or none where the data set cannot be had here: most baselines need none."""
    try:
        return run.data.train
    except (WrongInput, OSError):
        inputs = tuple(torch.zeros(0, *m.shape) for m in modalities)
        return Examples(inputs, torch.zeros(0, dtype=torch.long), torch.arange(0))
