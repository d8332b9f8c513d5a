"""One call of a Captum method: what it takes is filled in, what it gives is brought into one form."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import captum.attr
import torch
from torch import Tensor, nn

from ..errors import WrongInput
from ..modality import Modality
from . import guards
from .averaging import Result
from .explanation import Explained, Explicand
from .planner import summed_gradients
from .signatures import TUPLES, constructor_of

if TYPE_CHECKING:
    from .explainer import Explainer

Formed = Callable[[tuple[Tensor, ...], tuple[Tensor, ...]], tuple[Tensor, ...]]
"""What a method returned and its inputs -> the attributions that are kept."""


def outcome(
    method: captum.attr.Attribution, accepted: Mapping[str, Any], own: Mapping[str, Any], formed: Formed
) -> Result:
    """Call `method` with those arguments that it takes (`own` come from the config and go first)."""
    inputs = accepted["inputs"]
    single = len(inputs) == 1
    bare = {n: v[0] if single and isinstance(v, tuple) and n in TUPLES else v for n, v in accepted.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Captum narrates its hooks; what matters is checked by guards
        result = method.attribute(**{**bare, **own})
    delta = None
    if bare.get("return_convergence_delta"):
        result, delta = result
        delta = delta.detach().reshape(len(inputs[0]), -1).mean(1)
    result = result if isinstance(result, tuple) else (result,)
    return Result(formed(result, inputs), delta, dict(getattr(method, "details", {})))


def in_dtype_of_inputs(result: tuple[Tensor, ...], inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Without its graph, and in the dtype of the inputs where they are numbers."""
    return tuple(
        a.detach().to(x.dtype if x.is_floating_point() else a.dtype)
        for a, x in zip(result, inputs, strict=True)
    )


def one_row(call: Mapping[str, Any], row: int, count: int, shared: Sequence[str] = ()) -> dict[str, Any]:
    """The arguments of one of `count` rows; those that are `shared`, and what has no row for each, stay."""

    def cut(name: str, value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(cut(name, v) for v in value)
        own = isinstance(value, Tensor) and len(value) == count and name not in shared
        return value[row : row + 1] if own else value

    return {name: cut(name, value) for name, value in call.items()}


def windows(key: str, modalities: Sequence[Modality], inputs: Sequence[Tensor]) -> tuple[Any, ...]:
    """The smallest block of each input that is one feature; Refused where there is none."""
    found = tuple(m.window(x) for m, x in zip(modalities, inputs, strict=True))
    if any(w is None for w in found):
        raise guards.Refused(
            f"attribution={key}: no window is one feature here; use feature_ablation, or set "
            f"attribution.{key}.arguments.sliding_window_shapes"
        )
    return found


def embedded_baseline(explainer: "Explainer", x: Explicand, several: bool) -> tuple[Tensor, ...]:
    """The rows of an explainer's baseline as its network reads them: one, one per example, or `several`.

    WrongInput for another number of rows, and for a baseline that is made of training rows where there are none
    (networks in memory).
    """
    baseline, train = explainer.baseline, explainer.train
    missing = WrongInput(f"baseline={baseline.name}: is made of training rows, and there are none here")
    try:
        raw = baseline.of(explainer.modalities, train, x, explainer.streams)
    except (IndexError, RuntimeError) as error:
        raise error if len(train) else missing from error
    if not len(train) and not all(len(b) and bool(b.isfinite().all()) for b in raw):
        raise missing
    with torch.no_grad():
        own = explainer.model.embed(*raw)
        embedded = tuple(b.to(i.device).to(i.dtype) for b, i in zip(own, x.inputs, strict=True))
    if not several and any(len(b) not in (1, len(x)) for b in embedded):
        raise WrongInput(
            f"attribution={explainer.key}: {max(len(b) for b in embedded)} baselines for {len(x)} examples; "
            "give one, or one per example"
        )
    return embedded


def summing(method: captum.attr.Attribution) -> captum.attr.Attribution:
    """Take gradients from the sum of the scores: the same numbers, many times faster than one root per row."""
    if hasattr(method, "gradient_func"):
        method.gradient_func = summed_gradients
    return method


def made(
    factory: Callable[..., captum.attr.Attribution], model: Explained, layer: Callable[[], nn.Module]
) -> captum.attr.Attribution:
    """The Captum object for a network: around another method, reading a layer, or neither."""
    inner = factory.keywords.get("attribution_method") if isinstance(factory, partial) else None
    if inner is not None:
        return factory(attribution_method=summing(inner(model)))
    return factory(model, layer=layer()) if "layer" in constructor_of(factory) else factory(model)


def peak_mb(device: torch.device) -> float | None:
    """The most memory that was in use on a GPU, in MiB; None elsewhere."""
    return torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else None
