"""What a table of scores allows one to say: one sentence, with the tests that it rests on."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import listed
from ..statistics import Difference, Interval, examples_needed, indistinguishable, interval, pairwise
from .leaderboard import Column, Entry

CEILINGS = {"salience.attribution.methods.Oracle"}
"""Controls that know the truth: a row to look up to, not one that a method must beat."""
FAMILIES = ("localisation", "truth", "faithfulness", "curves", "subsets")
"""Modules of metrics that say whether an explanation is right, the most telling first; others say what it is like."""


@dataclass(frozen=True)
class Pair:
    """Two methods on one metric: the better one first."""

    better: str
    worse: str
    test: Difference
    """Of better minus worse; `p` is corrected by Holm for all pairs of the table."""
    apart: bool
    needed: int | None
    """Examples that would show a difference as large as the one seen; None where it was shown, or there is none."""


@dataclass(frozen=True)
class Verdict:
    """What can be said on one metric."""

    sentence: str
    metric: str
    order: tuple[str, ...] = ()
    """All methods and controls that have scores, best mean first."""
    groups: tuple[tuple[str, ...], ...] = ()
    """Methods that cannot be told apart, best first; groups may overlap."""
    pairs: tuple[Pair, ...] = ()
    winners: tuple[str, ...] = ()
    """Methods that nothing beats and that beat every control; empty where there are none."""

    @property
    def letters(self) -> dict[str, str]:
        """A compact letter display: methods that share a letter cannot be told apart."""
        found = dict.fromkeys(self.order, "")
        for number, group in enumerate(self.groups):
            for method in group:
                found[method] += chr(ord("a") + number) if number < 26 else f"[{number}]"
        return found


def primary(metrics: Sequence[str], modules: Mapping[str, str]) -> str | None:
    """The metric that the verdict is about: the first of the most telling family that was measured."""
    for family in FAMILIES:
        for metric in metrics:
            if modules.get(metric, "").rpartition(".")[2] == family:
                return metric
    return metrics[0] if metrics else None


def modules_of(config: Mapping[str, Any]) -> dict[str, str]:
    """The module of each metric of a config."""
    nodes: Mapping[str, Any] = config.get("metric") or {}
    return {
        k: str(v.get("_target_", "")).rpartition(".")[0] for k, v in nodes.items() if isinstance(v, Mapping)
    }


def ceilings(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The methods and controls of a config that know the truth."""
    specs = {**(config.get("attribution") or {}), **(config.get("controls") or {})}
    nodes = {k: v.get("method") for k, v in specs.items() if isinstance(v, Mapping)}
    return tuple(
        str(k) for k, node in nodes.items() if isinstance(node, Mapping) and node.get("_target_") in CEILINGS
    )


def verdict(
    scores: Mapping[str, np.ndarray],
    column: Column,
    controls: Collection[str] = (),
    level: float = 0.95,
    unit: str = "example",
    above: Collection[str] = (),
    cells: Mapping[str, Entry] | None = None,
) -> Verdict:
    """What paired tests over shared examples say of scores [examples] by method; nan: undefined.

    `unit` names what is paired; rows of `above` (see `ceilings`) take no part in who is first;
    `cells` are the means as a table shows them, where those are not over these scores alone.
    """
    known = {name: values for name, values in scores.items() if np.isfinite(values).any()}
    sign = 1 if column.higher_is_better else -1
    order = tuple(sorted(known, key=lambda name: -sign * float(np.nanmean(known[name]))))
    tested = {name: known[name] for name in order}
    pairs = tuple(_pair(a, b, test, tested, level) for (a, b), test in pairwise(tested).items())
    groups = tuple(indistinguishable(tested, column.higher_is_better, level))
    said = _Said(
        column,
        tested,
        order,
        {(p.better, p.worse): p for p in pairs},
        set(controls),
        unit,
        set(above),
        cells or {},
    )
    return Verdict(said.sentence(), column.name, order, groups, pairs, said.winners())


def _pair(a: str, b: str, test: Difference, scores: Mapping[str, np.ndarray], level: float) -> Pair:
    apart = bool(test.p <= 1 - level)
    return Pair(a, b, test, apart, None if apart else examples_needed(scores[a], scores[b], level))


@dataclass(frozen=True)
class _Said:
    """The parts of the sentence."""

    column: Column
    scores: Mapping[str, np.ndarray]
    order: tuple[str, ...]
    pairs: Mapping[tuple[str, str], Pair]
    controls: set[str]
    unit: str
    above: set[str]
    cells: Mapping[str, Entry]

    @property
    def methods(self) -> list[str]:
        return [name for name in self.order if name not in self.controls | self.above]

    def apart(self, better: str, worse: str) -> bool:
        pair = self.pairs.get((better, worse))
        return pair is not None and pair.apart

    def tied(self) -> list[str]:
        """The first method and those that cannot be told from it."""
        top = self.methods[0]
        return [top, *(m for m in self.methods[1:] if not self.apart(top, m))]

    def beating(self) -> list[str]:
        """Methods that beat every control."""
        return [m for m in self.methods if all(self.apart(m, c) for c in self.controls_here)]

    @property
    def controls_here(self) -> list[str]:
        return [name for name in self.order if name in self.controls - self.above]

    def winners(self) -> tuple[str, ...]:
        if len(self.order) < 2 or not self.methods or not any(pair.apart for pair in self.pairs.values()):
            return ()
        beating = self.beating()
        return tuple(m for m in self.tied() if m in beating)

    def sentence(self) -> str:
        if not self.methods:
            return f"No method has a score on {self.on}, so there is nothing to say."
        if len(self.order) == 1:
            only = self.methods[0]
            return f"Only {only} has scores on {self.on}, {self.mean(only)}, so nothing is compared."
        if not any(pair.apart for pair in self.pairs.values()):
            names = self.names(self.order)
            return f"{names} cannot be told apart on {self.on}: {self.differ(self.order)}."
        if self.controls_here and not self.beating():
            return self.no_better()
        tied = self.tied()
        return f"{self.alone() if len(tied) == 1 else self.shared(tied)}{self.beaten(tied)}."

    @property
    def on(self) -> str:
        better = "higher" if self.column.higher_is_better else "lower"
        return f"{self.column.name} ({better} is better)"

    def alone(self) -> str:
        top, rest = self.methods[0], self.methods[1:]
        said = f"{top} is best on {self.on} with {self.mean(top)}"
        if not rest:
            return said
        return f"{said}: it beats {rest[0]}, the next, by {self.gap(top, rest[0])}"

    def shared(self, tied: Sequence[str]) -> str:
        last = [m for m in self.methods if m not in tied]
        said = f"{self.names(tied)} share the first place on {self.on}: they cannot be told apart ({self.differ(tied)})"
        return said + (f", and {tied[0]} beats {self.names(last)}" if last else "")

    def beaten(self, tied: Sequence[str]) -> str:
        """Which of the first beat the controls."""
        controls = self.controls_here
        if not controls:
            return ", but no control says whether that beats random numbers"
        beating = [m for m in tied if m in self.beating()]
        if not beating:
            return f", but none of them beats all of {self.names(controls)}"
        rest = [m for m in tied if m not in beating]
        but = f", {self.names(rest)} {'does' if len(rest) == 1 else 'do'} not" if rest else ""
        return (
            f"; {self.names(beating)} {'beats' if len(beating) == 1 else 'beat'} {self.names(controls)}{but}"
        )

    def no_better(self) -> str:
        top = self.methods[0]
        control = next(c for c in self.controls_here if not self.apart(top, c))
        worse = self.apart(control, top)
        pair = self.pairs[(control, top) if (control, top) in self.pairs else (top, control)]
        what = "scores worse than" if worse else "cannot be told from"
        every = f"the control {control}" if len(self.controls_here) == 1 else "every control"
        return (
            f"No method beats {every} on {self.on}: {top}, the best of {len(self.methods)} with {self.mean(top)}, "
            f"{what} {control} with {self.mean(control)} ({_p(pair.test.p)}, {self.count(pair)})."
        )

    def differ(self, names: Sequence[str]) -> str:
        """The smallest p-value among them."""
        inner = [self.pairs[a, b] for i, a in enumerate(names) for b in names[i + 1 :]]
        clearest = min(inner, key=lambda pair: np.inf if np.isnan(pair.test.p) else pair.test.p)
        if np.isnan(clearest.test.p):
            return f"they share fewer than two {self.unit}s"
        return f"smallest {_p(clearest.test.p)}, {self.count(clearest)}"

    def gap(self, better: str, worse: str) -> str:
        pair = self.pairs[better, worse]
        return f"{abs(pair.test.mean):.3g} ({_p(pair.test.p)}, {self.count(pair)})"

    def count(self, pair: Pair) -> str:
        return f"{pair.test.n} {self.unit}{'' if pair.test.n == 1 else 's'}"

    def mean(self, name: str) -> str:
        return (self.cells.get(name) or entry(self.scores[name])).text

    def names(self, names: Sequence[str]) -> str:
        return names[0] if len(names) == 1 else f"{listed(names[:-1], 120)} and {names[-1]}"


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def entry(scores: np.ndarray) -> Entry:
    """The cell of a table: mean and half of the interval of scores [examples]."""
    return entry_of(interval(scores))


def entry_of(found: Interval) -> Entry:
    """The same of an interval."""
    half = None if np.isnan(found.low) else (found.high - found.low) / 2
    return Entry(None if np.isnan(found.mean) else found.mean, half, found.n, found.undefined)


def ordered(found: Verdict) -> str:
    """`a > b ≈ c > random`: neighbours that a test tells apart, and those that it does not."""
    apart = {(pair.better, pair.worse): pair.apart for pair in found.pairs}
    signs = [" > " if apart.get(pair) else " ≈ " for pair in zip(found.order, found.order[1:], strict=False)]
    return "".join(name + sign for name, sign in zip(found.order, [*signs, ""], strict=True))
