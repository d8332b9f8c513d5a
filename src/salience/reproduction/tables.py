"""What was published, what we get, and how far apart they are: `python scripts/reproduce.py table=rare_feature`.

A new table is a module with `run(**options) -> Outcome` and a CSV beside it with the columns method, quantity, source,
value, spread; `source` is `paper` or the name of a third party.
"""

import csv
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from math import sqrt
from pathlib import Path
from typing import Any

from ..errors import WrongInput, listed, nearest

FOLDER = Path(__file__).parent
TABLES = {
    "rare_feature": ("rare", {"rare": "feature"}),
    "rare_time": ("rare", {"rare": "time"}),
    "state": ("state", {}),
    "moons": ("moons", {}),
    "functional": ("functional", {}),
}
"""Name of a table: the module of its protocol, and the options that make it this table."""


@dataclass(frozen=True)
class Value:
    """One number of a table with the standard deviation over repetitions (None: a single or an exact number)."""

    method: str
    quantity: str
    value: float
    spread: float | None = None
    source: str = "ours"


@dataclass(frozen=True)
class Outcome:
    """What running a protocol gave."""

    found: Sequence[Value]
    gate: str
    """Whether the network (or the generator) is what the table is about, in words."""
    passed: bool
    notes: Sequence[str] = ()
    """What was reduced or differs from the publication."""


@dataclass(frozen=True)
class Row:
    """One line: ours beside the paper's and third parties' numbers."""

    ours: Value
    paper: Value | None
    third: Sequence[Value]

    @property
    def z(self) -> float | None:
        """(ours - paper) in standard deviations of both together; None where neither is known to spread."""
        return None if self.paper is None else z(self.ours, self.paper)


def z(a: Value, b: Value) -> float | None:
    """The difference of two numbers in units of their joint standard deviation; 0 where they are equal as printed."""
    if abs(a.value - b.value) < 5e-4:
        return 0.0
    spread = sqrt((a.spread or 0.0) ** 2 + (b.spread or 0.0) ** 2)
    return (a.value - b.value) / spread if spread else None


def published(table: str) -> list[Value]:
    """What the table's CSV holds."""
    with open(FOLDER / f"{table}.csv", encoding="utf-8", newline="") as opened:
        return [
            Value(
                row["method"],
                row["quantity"],
                float(row["value"]),
                float(row["spread"]) if row["spread"] else None,
                row["source"],
            )
            for row in csv.DictReader(opened)
        ]


def repeated(runs: Iterable[Mapping[tuple[str, str], float]]) -> list[Value]:
    """Mean and standard deviation over repetitions, each a number by method and quantity."""
    import numpy as np

    together: dict[tuple[str, str], list[float]] = {}
    for run in runs:
        for key, value in run.items():
            together.setdefault(key, []).append(value)
    return [
        Value(method, quantity, float(np.mean(v)), float(np.std(v, ddof=1)) if len(v) > 1 else None)
        for (method, quantity), v in together.items()
    ]


def rows(outcome: Outcome, known: Sequence[Value]) -> list[Row]:
    """Every number that we found, with what was published of it."""
    found = []
    for ours in outcome.found:
        same = [v for v in known if (v.method, v.quantity) == (ours.method, ours.quantity)]
        paper = next((v for v in same if v.source == "paper"), None)
        found.append(Row(ours, paper, [v for v in same if v.source != "paper"]))
    return found


def printed(table: str, outcome: Outcome, lines: Sequence[Row]) -> str:
    """The table as text (it is Markdown too)."""
    head = ["method", "quantity", "ours", "paper", "third party", "z"]
    body = [
        [
            line.ours.method,
            line.ours.quantity,
            _text(line.ours),
            "–" if line.paper is None else _text(line.paper),
            "; ".join(f"{v.source} {_text(v)}" for v in line.third) or "–",
            "–" if line.z is None else f"{line.z:+.1f}",
        ]
        for line in lines
    ]
    widths = [max(len(row[i]) for row in [head, *body]) for i in range(len(head))]

    def joined(cells: Sequence[str]) -> str:
        return "| " + " | ".join(c.ljust(w) for c, w in zip(cells, widths, strict=True)) + " |"

    gate = f"gate: {outcome.gate}: {'passed' if outcome.passed else 'NOT passed, the numbers do not count'}"
    rule = "|" + "|".join("-" * (w + 2) for w in widths) + "|"
    text = [f"table={table}", "", joined(head), rule, *map(joined, body), "", gate]
    return "\n".join([*text, *(f"note: {note}" for note in outcome.notes)])


def _text(value: Value) -> str:
    digits = 0 if abs(value.value) >= 1000 else 1 if abs(value.value) >= 100 else 3
    number = f"{value.value:.{digits}f}"
    return number if value.spread is None else f"{number} ±{value.spread:.{digits}f}"


def reproduce(table: str, **options: Any) -> tuple[Outcome, list[Row]]:
    """Run the protocol of a table. WrongInput for an unknown table or option."""
    if table not in TABLES:
        raise WrongInput(f"table={table}: no such table.{nearest(table, TABLES)} Tables: {listed(TABLES)}")
    module, fixed = TABLES[table]
    run = import_module(f".{module}", __package__).run
    names = [n for n in run.__kwdefaults__ if n not in fixed]
    for name in options:
        if name not in names:
            raise WrongInput(
                f"{name}={options[name]}: no such option.{nearest(name, names)} Options: {listed(names)}"
            )
    outcome = run(**fixed, **options)
    return outcome, rows(outcome, published(table))


def main(arguments: Sequence[str]) -> int:
    """`table=NAME` and the protocol's options as whole numbers; the exit code: 0, 2 wrong input, 1 gate not passed."""
    try:
        given = dict(_pair(a) for a in arguments)
        table = given.pop("table", "")
        if not table:
            raise WrongInput(f"table=NAME is missing. Tables: {listed(TABLES)}")
        outcome, lines = reproduce(table, **{name: _whole(name, value) for name, value in given.items()})
    except WrongInput as mistake:
        print(f"error: {mistake}", file=sys.stderr)
        return 2
    print(printed(table, outcome, lines))
    return 0 if outcome.passed else 1


def _pair(argument: str) -> tuple[str, str]:
    name, equals, value = argument.partition("=")
    if not equals:
        raise WrongInput(f"{argument}: write key=value")
    return name, value


def _whole(name: str, value: str) -> int:
    if not value.isdigit() or int(value) < 1:
        raise WrongInput(f"{name}={value}: must be a whole number from 1 upwards")
    return int(value)
