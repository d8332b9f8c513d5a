"""One attribution method, ready to explain examples of one network.

Captum's `Attribution` is the only interface: whatever the class, its arguments are read from the signature of its
`attribute` and filled in with what the data can answer; what the config sets goes first.
"""

import inspect
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import captum.attr
import torch
from torch import Tensor

from ..data.base import Examples, Task
from ..memory import fitted, halved
from ..modality import Modality
from ..randomness import Streams, global_state, same_state
from . import guards
from .averaging import Result, Rows, averaged, joined, target_by_target
from .baselines import Baseline
from .calls import embedded_baseline, in_dtype_of_inputs, made, one_row, outcome, peak_mb, summing, windows
from .explanation import Cost, Counter, Explained, Explanation, Explicand
from .inside import named_layer
from .planner import FEWEST, MOST, chunks, rows_per_pass
from .signatures import as_tuples, innermost, parameters

TOGETHER = 256
"""Examples a call for methods that make passes of their own: coalitions and fits of so many stay below 64 MiB."""


class Explainer:
    """A method with its network, baseline, arguments and random streams.

    `factory` makes the Captum object from the network (a class, or a partial of one). `layer` names a module of the
    network for methods that read one; None takes the network's own `explained_layer`. Methods that explain a layer or
    a neuron have explainers of their own: `inner.explainer_of` says which a method needs.
    """

    layer_needs = " with a place in the input"
    """What must be true of a layer that this method reads, for a message."""

    def __init__(
        self,
        key: str,
        factory: Callable[..., captum.attr.Attribution],
        model: Explained,
        modalities: tuple[Modality, ...],
        task: Task,
        train: Examples,
        baseline: Baseline,
        streams: Streams,
        arguments: Mapping[str, Any] | None = None,
        layer: str | None = None,
        guarded: str = "error",
    ):
        self.key, self.factory, self.model = key, factory, model
        self.modalities, self.task, self.train = modalities, task, train
        self.baseline, self.streams, self.layer, self.guarded = baseline, streams, layer, guarded
        given = (arguments or {}).items()
        self.arguments = {name: as_tuples(value) for name, value in given if value is not None}
        self.method = self._construct()
        self.parameters = parameters(self.method)
        self.promises_delta = (
            "return_convergence_delta" in self.parameters and self.method.has_convergence_delta()
        )
        self.stochastic: bool | None = False if "generators" in self.parameters else None
        """Whether the method draws from the global random streams; None until it was seen at work."""
        self.expansion = 1
        """Rows that the method sends through the network at once for one example; measured in preflight."""

    def on(self, model: Explained) -> "Explainer":
        """The same explainer on another network."""
        other = type(self)(
            self.key, self.factory, model, self.modalities, self.task, self.train, self.baseline, self.streams,
            self.arguments, self.layer, self.guarded,
        )  # fmt: skip
        other.stochastic, other.expansion = self.stochastic, self.expansion
        return other

    def comparing_with(self, baseline: Baseline) -> "Explainer":
        """The same explainer with another baseline."""
        other = self.on(self.model)
        other.baseline = baseline
        return other

    @property
    def counter(self) -> Counter:
        """What counts the rows of the network."""
        return self.model.counter

    # -- construction --------------------------------------------------------------------------------------------

    def _construct(self) -> captum.attr.Attribution:
        method = made(self.factory, self.model, self._layer)
        self.notes = guards.notes(method) if self.guarded != "off" else ()
        self.notes += self._refused(guards.before(innermost(method), self.model))
        return summing(method)

    def _refused(self, reason: str | None) -> tuple[str, ...]:
        """What becomes of a guard's objection: Refused, a note, or nothing."""
        if reason is None or self.guarded == "off":
            return ()
        if self.guarded == "error":
            raise guards.Refused(f"attribution={self.key}: {reason}")
        return (reason,)

    @property
    def default_layer(self) -> str | None:
        """The layer that is read where the config names none."""
        return self.model.explained_layer

    def _layer(self) -> torch.nn.Module:
        name = self.layer or self.default_layer
        if name is None:
            raise guards.Refused(
                f"attribution={self.key}: needs a layer{self.layer_needs}, and "
                f"{type(self.model.model).__name__} names none; set attribution.{self.key}.layer"
            )
        return named_layer(self.model.model, name, f"attribution.{self.key}.layer={name}")

    # -- explaining ----------------------------------------------------------------------------------------------

    def explain(self, x: Explicand) -> Explanation:
        """Attributions for every example of `x`, checked; with their cost and what there is to warn of."""
        counter = self.model.counter
        before, start = (counter.forward_rows, counter.backward_rows), time.perf_counter()
        notes = self.notes + self._refused(guards.before_rows(innermost(self.method), self.model, x))
        baselines, background = self._baselines(x)
        rows = Rows(x.inputs, x.target, x.index, x.context, x.feature_mask)
        found = self._explained(rows, baselines if background is None else background)
        explanation = self._explanation(
            **vars(x),
            attributions=found.attributions,
            baselines=baselines,
            background=background,
            convergence_delta=found.delta,
            details=found.details,
            reduce=self.reduce,
            method=self.key,
            modalities=self.modalities,
            task=self.task,
            explainer=self,
        )
        explanation = replace(explanation, details=guards.with_verdict(explanation, self.method))
        notes += self._judged(explanation)
        cost = Cost(
            counter.forward_rows - before[0],
            counter.backward_rows - before[1],
            time.perf_counter() - start,
            peak_mb(x.inputs[0].device),
        )
        return replace(explanation, warnings=notes, cost=cost)

    def _explanation(self, **known: Any) -> Explanation:
        return Explanation(**known)

    def _judged(self, explanation: Explanation) -> tuple[str, ...]:
        """What there is to warn of, which is all that the guards do unless they are errors."""
        if self.guarded == "off":
            return ()
        try:
            return self._check(explanation)
        except (guards.Refused, guards.NotFinite) as error:
            if self.guarded == "error":
                raise
            return (str(error),)

    def _check(self, explanation: Explanation) -> tuple[str, ...]:
        """What there is to warn of; raises where it is no explanation."""
        return guards.check(explanation, self.method)

    @property
    def reduce(self) -> Any:
        """Perturbation methods write a feature's value into each of its elements; all others give shares."""
        return "mean" if isinstance(innermost(self.method), captum.attr.PerturbationAttribution) else "sum"

    def attribute(
        self,
        inputs: tuple[Tensor, ...],
        baselines: tuple[Tensor, ...] | None,
        target: Tensor,
        index: Tensor,
        context: tuple[Tensor, ...],
        feature_mask: tuple[Tensor, ...],
    ) -> tuple[tuple[Tensor, ...], Tensor | None]:
        """Attributions and convergence delta (or None) of embedded inputs, with the draws that belong to `index`.

        What metrics call for perturbed copies: a copy gets the random numbers of its original. `baselines` are those
        of the explanation, or its background; over that, a method that takes one baseline at a time is averaged.
        """
        found = self._explained(Rows(inputs, target, index, context, feature_mask), baselines)
        return found.attributions, found.delta

    def _explained(self, rows: Rows, baselines: tuple[Tensor, ...] | None) -> Result:
        """What the method gives, with the network left as it was."""
        if baselines is not None and self.baseline.by_target:
            return target_by_target(self._averaged, rows, baselines, self.baseline.rows_for)
        return self._averaged(rows, baselines)

    def _averaged(self, rows: Rows, baselines: tuple[Tensor, ...] | None) -> Result:
        """The mean over the rows of a distribution, for methods that take one baseline at a time."""
        if baselines is None or self.takes_distribution or not self.baseline.is_distribution:
            return self._in_parts(rows, baselines)
        return averaged(self._in_parts, rows, baselines)

    def _in_parts(self, rows: Rows, baselines: tuple[Tensor, ...] | None) -> Result:
        """As many examples at a time as fit; the next ones meet the network as it was, also after a failure."""
        results = []
        for part in self._parts(rows.inputs, rows.context):

            def explained(some: slice, start: int = part.start) -> Result:
                at = torch.arange(start + some.start, start + some.stop, device=rows.index.device)
                return self._some(rows.at(at), at, baselines)

            count = part.stop - part.start
            if type(self.method) is captum.attr.FeaturePermutation:  # its rows depend on one another
                results.append(explained(slice(0, count)))
            else:
                results += fitted(self, f"examples for {self.key}", count, explained, self._smaller)
        return joined(results)

    def _smaller(self) -> bool:
        """Let each example go through the network in smaller passes, where one alone is too much."""
        return halved(self.model, MOST)

    def _some(self, some: Rows, at: Tensor, baselines: tuple[Tensor, ...] | None) -> Result:
        """The examples `some`, which are those `at` of all that the baselines are for."""
        call = dict(
            inputs=some.inputs,
            baselines=baselines
            if baselines is None or self.takes_distribution  # everybody's
            else tuple(b[at] if len(b) > 1 else b for b in baselines),
            target=some.target,
            additional_forward_args=some.context or None,
            feature_mask=some.feature_mask,
        )
        with guards.untouched(self.model, isinstance(self.method, guards.SWAPS_WEIGHTS)):
            return self._call(call, some.index)

    def _parts(self, inputs: tuple[Tensor, ...], context: tuple[Tensor, ...]) -> list[slice]:
        """Batches: all examples for methods that stream by themselves, else as many as fit one pass."""
        count = len(inputs[0])
        if type(self.method) is captum.attr.FeaturePermutation:
            return [slice(0, count)]
        streams = type(self.method).__module__.startswith("salience.") and not hasattr(
            self.method, "one_pass"
        )
        if streams and not self.stochastic:
            return list(chunks(count, TOGETHER))
        if count * self.expansion <= FEWEST:  # fits any pass: nothing to measure
            return [slice(0, count)]
        return list(chunks(count, max(1, rows_per_pass(self.model, inputs, context) // self.expansion)))

    def _call(self, call: dict[str, Any], index: Tensor) -> Result:
        """One call of the method, or one per example under seeded streams where it draws from the global ones."""
        if "generators" in self.parameters:
            # Shared draws are those of row 0, whichever rows there are.
            own = torch.zeros_like(index) if self.arguments.get("shared") else index
            call["generators"] = [self.streams.generator(self.key, int(i)) for i in own]
            return self._attribute(call)
        if self.stochastic is None:
            with self.streams.seeded(self.key, int(index[0])):
                before = global_state()
                result = self._attribute(call)
                moved = not same_state(before, global_state())
            if moved or len(index) > 1:
                self.stochastic = moved
            if not moved or len(index) == 1:
                return result
        if not self.stochastic:
            return self._attribute(call)
        if type(self.method) is captum.attr.FeaturePermutation:
            with self.streams.seeded(self.key, int(index[0])):
                return self._attribute(call)
        results = []
        for row in range(len(index)):
            with self.streams.seeded(self.key, int(index[row])):
                shared = ("baselines",) if self.takes_distribution else ()
                results.append(self._attribute(one_row(call, row, len(index), shared)))
        return joined(results)

    def _attribute(self, call: dict[str, Any]) -> Result:
        """Call the method with what it takes of `call` and of what the data knows."""
        available = call | self._filled_in(call["inputs"])
        accepted = {n: v for n, v in available.items() if n in self.parameters and v is not None}
        return outcome(self.method, accepted, self.arguments, self._formed)

    def _formed(self, result: tuple[Tensor, ...], inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """What a method returned, as it is kept."""
        return in_dtype_of_inputs(result, inputs)

    def _filled_in(self, inputs: tuple[Tensor, ...]) -> dict[str, Any]:
        """What the data knows: the smallest block that is one feature, and whether to report the delta."""
        filled: dict[str, Any] = {"return_convergence_delta": True if self.promises_delta else None}
        if "sliding_window_shapes" in self.parameters and "sliding_window_shapes" not in self.arguments:
            blocks = windows(self.key, self.modalities, inputs)
            filled |= {"sliding_window_shapes": blocks, "strides": blocks}
        return filled

    # -- baselines -----------------------------------------------------------------------------------------------

    @property
    def takes_baselines(self) -> bool:
        """Whether the method compares with something at all."""
        return "baselines" in self.parameters

    @property
    def takes_distribution(self) -> bool:
        """Whether it averages over many baseline rows itself: methods that insist on being given them."""
        return self.takes_baselines and self.parameters["baselines"].default is inspect.Parameter.empty

    def _baselines(self, x: Explicand) -> tuple[tuple[Tensor, ...] | None, tuple[Tensor, ...] | None]:
        """Embedded baselines: one row (or one per example), or the rows of a distribution."""
        if not self.takes_baselines:
            return None, None
        if self.takes_distribution and self.baseline.per_example:
            raise guards.Refused(
                f"attribution={self.key}: averages over rows that all examples share, and "
                f"baseline={self.baseline.name} gives each its own; use samples or uniform"
            )
        several = self.takes_distribution or self.baseline.is_distribution
        embedded = embedded_baseline(self, x, several)
        return (None, embedded) if several else (embedded, None)
