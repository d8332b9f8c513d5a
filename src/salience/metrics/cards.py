"""What is known of each metric: direction, range, its value on random and on true maps, and its cost.

The numbers in cards.csv were computed by `python -m salience.metrics.exact`; a test computes them again. Reading
them needs neither torch nor a network.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("cards.csv")
NETWORKS = ("linear", "additive", "relu")
"""The networks with hand-set weights whose true maps are known; eight features, six of them relevant."""


@dataclass(frozen=True)
class Card:
    """One metric, with the options that its config ships."""

    name: str
    higher_is_better: bool
    best: float | None
    """The best possible value; None where there is no bound."""
    low: float
    high: float
    random: Mapping[str, float | None]
    """Mean score of random maps by network; None where it does not apply or is undefined."""
    true: Mapping[str, float | None]
    """Mean score of the true maps (exact Shapley values) by network."""
    forward_rows: float
    """Rows through the network for one example of eight features, beside the explanation's own (of a method that
    takes one row forward and one back for each explanation)."""
    backward_rows: float

    @property
    def line(self) -> str:
        """All of it in one line."""
        way = "higher is better" if self.higher_is_better else "lower is better"
        best = "" if self.best is None else f", best {_text(self.best)}"
        known = [n for n in NETWORKS if self.random[n] is not None or self.true[n] is not None]
        values = "; ".join(f"{n}: random {_text(self.random[n])}, true {_text(self.true[n])}" for n in known)
        return f"{way}{best}; {values}; {self.forward_rows:.0f} rows forward, {self.backward_rows:.0f} back"


@cache
def cards() -> tuple[Card, ...]:
    """The cards of all metrics that are shipped, by name."""
    with open(FILE, encoding="utf-8", newline="") as opened:
        return tuple(_card(row) for row in csv.DictReader(opened))


def row(card: Card) -> dict[str, str]:
    """A card as a row of the file."""
    known = {
        "name": card.name,
        "higher_is_better": str(card.higher_is_better).lower(),
        "best": _cell(card.best),
        "low": _cell(card.low),
        "high": _cell(card.high),
    }
    for network in NETWORKS:
        known[f"random_{network}"] = _cell(card.random[network])
        known[f"true_{network}"] = _cell(card.true[network])
    return known | {"forward_rows": _cell(card.forward_rows), "backward_rows": _cell(card.backward_rows)}


def _card(row: Mapping[str, str]) -> Card:
    return Card(
        row["name"],
        row["higher_is_better"] == "true",
        _number(row["best"]),
        float(row["low"]),
        float(row["high"]),
        {n: _number(row[f"random_{n}"]) for n in NETWORKS},
        {n: _number(row[f"true_{n}"]) for n in NETWORKS},
        float(row["forward_rows"]),
        float(row["backward_rows"]),
    )


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _number(text: str) -> float | None:
    return float(text) if text else None


def _text(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
