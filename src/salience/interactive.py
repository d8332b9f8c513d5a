"""Explaining and measuring a network that is in memory: no config, no files."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import combinations
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .attribution.baselines import Baseline
from .attribution.explanation import Explained, Explanation, Explicand, at_target, feature_masks
from .attribution.guards import NotFinite, Refused, same_mode
from .attribution.inner import explainer_of
from .attribution.signatures import is_method, made_by, named
from .config import build, options, shipped
from .data.base import Classification, Examples
from .errors import WrongInput, listed, nearest
from .memory import OutOfMemory
from .metrics.base import Metric, Reference
from .modality import Modality, Tokens
from .randomness import Streams

if TYPE_CHECKING:
    import pandas as pd

GUARDS = ("error", "warn", "off")
FILLED = {"inputs", "target", "baselines", "feature_mask", "generators", "return_convergence_delta"}


def explain(
    model: nn.Module,
    inputs: Tensor | tuple[Tensor, ...],
    *method: str | type | partial,
    target: int | str | Sequence[int] | Tensor | None = None,
    baselines: Any = None,
    feature_mask: Tensor | tuple[Tensor, ...] | None = None,
    layer: str | None = None,
    seed: int = 0,
    additional_forward_args: Any = None,
    guards: str = "error",
    **arguments: Any,
) -> Explanation:
    """Explain `inputs` [examples, ...] (a tensor, or a tuple of several inputs) of any network.

    `method`, the third argument, is the name of a config (`"integrated_gradients"`, `"kernel_shap"`, ...) or a Captum
    class; every argument of its `attribute` passes through (integrated gradients has one that is called `method`, too:
    after a method in third place it is that one). `target` is one class, one per example, or `"predicted"` (also None);
    outputs are [examples, classes] or one number per example. `baselines` as Captum takes them: a number, one row, one
    row per example, or the rows of a distribution for methods that average over one; None is zeros. `layer` names a
    module of the network for methods that read one. `guards` says what becomes of a method that would only seem to
    explain this network: `"error"`, `"warn"` (explained all the same, with a warning) or `"off"`. The network, its
    mode and the global random streams are left as
    they were.

    Raises WrongInput for what cannot be: a misspelled method or argument, a target out of range, a method that cannot
    explain this network (attribution.guards.Refused).
    """
    if guards not in GUARDS:
        raise WrongInput(f"guards={guards}: one of {listed(GUARDS)}")
    chosen, *more = method or (arguments.pop("method", None),)
    if more or not isinstance(model, nn.Module):
        raise WrongInput(
            "explain takes a network (an nn.Module), its inputs and one method; all else by name"
        )
    factory, spec = _factory(chosen)
    key = str(chosen if isinstance(chosen, str) else made_by(chosen).__name__)
    given = inputs if isinstance(inputs, tuple) else (inputs,)
    with same_mode(model):
        explained, context = _closed(model, given, additional_forward_args)
        x = _explicand(explained, given, context, target, feature_mask)
        settings = _arguments(spec, arguments, factory, key)
        try:
            explainer = explainer_of(factory)(
                key, factory, explained, _modalities(given, x.inputs), _task(x), _no_examples(given),
                Given(baselines), Streams(seed), settings, layer or spec.get("layer"),
                guards,
            )  # fmt: skip
            return explainer.explain(x)
        except (WrongInput, NotFinite, OutOfMemory):
            raise
        except Exception as error:  # Captum's and the network's own, of any kind
            raise Refused(f"{key}: {str(error).strip() or type(error).__name__}") from error


def measure(
    explanation: Explanation,
    metrics: str | Sequence[str | Metric],
    *,
    model: nn.Module | None = None,
    baselines: Any = None,
    relevant: Tensor | None = None,
    seed: int = 0,
) -> "pd.DataFrame":
    """Judge an explanation: one row per example, one column per metric (nan: undefined for that example).

    `metrics` are names of configs (`"deletion"`, ...) or Metric objects. `model` is needed only where the explanation
    was read from disk. Hidden features are replaced by `baselines`, by default those of the explanation, else zeros.
    `relevant` is the ground truth, bool [examples, features], for metrics that need it.
    """
    import pandas as pd

    explainer = explanation.explainer
    if explainer is None:
        if model is None:
            raise WrongInput("model: this explanation was read from disk; give the network that it explains")
        explainer = _Measured(Explained(model))
    elif model is not None and model is not explainer.model.model:
        explainer = explainer.on(Explained(model))
    if relevant is not None:
        explanation = replace(explanation, relevant=relevant)
    reference = _reference(explanation, baselines)
    columns = {}
    with same_mode(explainer.model):
        explainer.model.eval()
        for given in [metrics] if isinstance(metrics, str | Metric) else metrics:
            name, metric = (given, _metric(given, seed)) if isinstance(given, str) else (given.key, given)
            if metric.needs_relevant and explanation.relevant is None:
                raise WrongInput(f"metric {name} needs the known relevant features: give relevant=")
            columns[name] = explanation.measured_by(metric, explainer, reference).scores.cpu().numpy()
    return pd.DataFrame(columns, index=pd.Index(explanation.index.tolist(), name="example"))


class Given(Baseline):
    """Baselines that the caller gave, in the form of the inputs: None, a number, or tensors."""

    name = "given"

    def __init__(self, baselines: Any = None):
        self.baselines = baselines

    def __call__(self, modalities, train, inputs, streams):
        given = self.baselines if isinstance(self.baselines, tuple) else (self.baselines,) * len(inputs)
        if len(given) != len(inputs):
            raise WrongInput(f"baselines: {len(given)} for {len(inputs)} inputs")
        return tuple(self._one(b, x) for b, x in zip(given, inputs, strict=True))

    @staticmethod
    def _one(baseline: Any, x: Tensor) -> Tensor:
        if not isinstance(baseline, Tensor):
            return torch.full_like(x[:1], 0 if baseline is None else baseline)
        baseline = baseline if baseline.dim() == x.dim() else baseline[None]
        if baseline.shape[1:] != x.shape[1:]:
            raise WrongInput(
                f"baselines: shape {tuple(baseline.shape)} does not match inputs of shape {tuple(x.shape)}; "
                f"use a number, {(1, *x.shape[1:])} or {tuple(x.shape)}"
            )
        return baseline.to(x.dtype).to(x.device)


class _Measured:
    """In place of an explainer, for explanations whose method is not at hand."""

    def __init__(self, model: Explained):
        self.model = model

    def attribute(self, *_: Any) -> Any:
        raise WrongInput(
            "this metric explains perturbed copies: it needs an explanation made by salience.explain"
        )


def _factory(method: str | type | partial) -> tuple[Any, Mapping[str, Any]]:
    """What makes the Captum object, and the rest of the config of a named method."""
    if isinstance(method, str):
        return _configured(method)
    if not is_method(method):
        raise WrongInput(f"method={method!r}: no attribution method; give a config's name or a Captum class")
    return method, {}


@cache
def _configured(method: str) -> tuple[Any, Mapping[str, Any]]:
    known = options("attribution")
    if method not in known:
        raise WrongInput(
            f"method={method}: no such method.{nearest(method, known)} Methods: {listed(known, 400)}"
        )
    spec = shipped("attribution", method)[method]
    return build({**spec["method"], "_partial_": True}), spec


def _arguments(spec: Mapping[str, Any], given: Mapping[str, Any], factory: Any, key: str) -> dict[str, Any]:
    target = made_by(factory)
    allowed = set(named(target.attribute)) - {"self"} - FILLED
    inner = getattr(factory, "keywords", {}).get("attribution_method")
    if inner is not None:
        allowed |= set(named(made_by(inner).attribute)) - {"self"} - FILLED
    for name in given:
        if name not in allowed:
            raise WrongInput(
                f"{key}: no argument {name}.{nearest(name, allowed)} Arguments: {listed(sorted(allowed))}"
            )
    return {**(spec.get("arguments") or {}), **given}


def _closed(model: nn.Module, raw: tuple[Tensor, ...], context: Any) -> tuple[Explained, tuple[Tensor, ...]]:
    """The network with those additional arguments that all rows share, and the others, which have one entry per row.

    A tensor with as many entries as there are rows may be either (a mask of positions by positions): the first row
    alone must then give what it gives among the others.
    """
    given = context if isinstance(context, tuple) else () if context is None else (context,)
    rows = len(raw[0])
    open_ = [i for i, c in enumerate(given) if isinstance(c, Tensor) and c.dim() and len(c) == rows]

    def split(batched: Iterable[int]) -> tuple[Explained, tuple[Tensor, ...]]:
        shared = {len(raw) + i: c for i, c in enumerate(given) if i not in batched}
        return Explained(model, shared=shared), tuple(given[i] for i in batched)

    for count in range(len(open_), -1, -1) if rows > 1 else ():
        for batched in combinations(open_, count):
            if open_ and _same_alone(*split(batched), raw):
                return split(batched)
    return split(open_)


def _same_alone(model: Explained, context: tuple[Tensor, ...], raw: tuple[Tensor, ...]) -> bool:
    """Whether the first row gives by itself what it gives among the others."""
    with torch.no_grad():
        inputs = model.embed(*raw)
        try:
            all_, first = (
                model.uncounted(*(x[:n] for x in inputs), *(c[:n] for c in context)) for n in (len(raw[0]), 1)
            )
            return all_[:1].shape == first.shape and torch.allclose(all_[:1], first, rtol=1e-4, atol=1e-5)
        except RuntimeError:  # shapes that do not fit
            return False


def _explicand(
    model: Explained, raw: tuple[Tensor, ...], context: tuple, target: Any, feature_mask: Any
) -> Explicand:
    if not len(raw[0]):
        raise WrongInput("inputs: there are no examples")
    try:
        with torch.no_grad():
            inputs = tuple(x.detach() for x in model.embed(*raw))
            outputs = model.uncounted(*inputs, *context)
    except OutOfMemory:
        raise
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise WrongInput(f"inputs: the network does not read them: {reason}") from error
    if outputs.dim() != 2 or len(outputs) != len(inputs[0]):
        raise WrongInput(
            f"the network gives outputs of shape {tuple(outputs.shape)} for {len(inputs[0])} examples; "
            "explained are outputs [examples] or [examples, classes]"
        )
    chosen = _target(outputs, target)
    masks = _masks(raw, inputs, feature_mask)
    features = max(int(m.max()) for m in masks) + 1
    return Explicand(
        raw=raw,
        inputs=inputs,
        context=context,
        feature_mask=masks,
        present=torch.ones(len(outputs), features, dtype=torch.bool, device=outputs.device),
        target=chosen,
        score=at_target(outputs, chosen),
        index=torch.arange(len(outputs), device=outputs.device),
        num_outputs=outputs.shape[1],
    )


def _target(outputs: Tensor, target: Any) -> Tensor:
    if outputs.shape[1] == 1 and target is None:
        return torch.zeros(len(outputs), dtype=torch.long, device=outputs.device)
    if target is None or (isinstance(target, str) and target == "predicted"):
        return outputs.argmax(1)
    if isinstance(target, str):
        raise WrongInput(f"target={target}: give a class number, one per example, or predicted")
    chosen = torch.as_tensor(target, device=outputs.device).long()
    chosen = chosen.expand(len(outputs)) if chosen.numel() == 1 else chosen.reshape(-1)
    if len(chosen) != len(outputs):
        raise WrongInput(f"target: {len(chosen)} given for {len(outputs)} examples")
    if bool(((chosen < 0) | (chosen >= outputs.shape[1])).any()):
        wrong = chosen[(chosen < 0) | (chosen >= outputs.shape[1])][0].item()
        raise WrongInput(f"target={wrong}: classes are 0..{outputs.shape[1] - 1}")
    return chosen


def _masks(raw: tuple[Tensor, ...], inputs: tuple[Tensor, ...], given: Any) -> tuple[Tensor, ...]:
    if given is None:
        return feature_masks(_modalities(raw, inputs), inputs)
    masks = given if isinstance(given, tuple) else (given,)
    if len(masks) != len(inputs):
        raise WrongInput(f"feature_mask: {len(masks)} given for {len(inputs)} inputs")
    full = []
    for mask, x in zip(masks, inputs, strict=True):
        mask = mask.long() if mask.dim() == x.dim() else mask.long()[None]
        try:
            full.append(mask.expand(len(mask), *x.shape[1:]).to(x.device))
        except RuntimeError:
            raise WrongInput(
                f"feature_mask: shape {tuple(mask.shape)} does not match inputs of shape {tuple(x.shape)}"
            ) from None
    first = min(int(m.min()) for m in full)
    return tuple(m - first for m in full)


def _modalities(raw: tuple[Tensor, ...], inputs: tuple[Tensor, ...]) -> tuple[Modality, ...]:
    """One feature per element; one per position where the network embeds what it is given."""
    return tuple(
        Modality(tuple(r.shape[1:]), f"input {i}")
        if r.dim() == x.dim()
        else Tokens(tuple(r.shape[1:]), padding_id=-1)
        for i, (r, x) in enumerate(zip(raw, inputs, strict=True))
    )


def _task(x: Explicand) -> Classification:
    return Classification(tuple(str(i) for i in range(x.num_outputs or 1)))


def _no_examples(raw: tuple[Tensor, ...]) -> Examples:
    empty = torch.zeros(0, dtype=torch.long)
    return Examples(tuple(r[:0] for r in raw), empty, empty)


def _metric(name: str, seed: int) -> Metric:
    known = options("metric")
    if name not in known:
        raise WrongInput(
            f"metric={name}: no such metric.{nearest(name, known)} Metrics: {listed(known, 400)}"
        )
    return build(shipped("metric", name)[name], streams=Streams(seed))


def _reference(explanation: Explanation, baselines: Any) -> Reference:
    if baselines is None and explanation.baselines is not None:
        return Reference(explanation.baselines)
    given = Given(baselines)(explanation.modalities, None, explanation.inputs, None)
    return Reference(tuple(g.to(x.dtype) for g, x in zip(given, explanation.inputs, strict=True)))
