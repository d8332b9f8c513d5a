"""What a search varies and what it looks for: ranges as they are typed, and objectives read from run folders."""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .. import files
from ..config import shipped
from ..errors import WrongInput, listed, nearest

KINDS = ("log", "uniform", "int", "log_int", "choice")
RANGE = re.compile(rf"({'|'.join(sorted(KINDS, key=len, reverse=True))})\((.*)\)", re.DOTALL)
OWN_BASELINE = re.compile(r"attribution\.[^.]+\.baseline")
RULER = ("baseline", "output", "split", "explained", "only", "target", "metric")
"""Keys that change what is measured, so that values of a metric under two of them are no better or worse."""
COSTS = ("forward_rows", "backward_rows", "seconds")


@dataclass(frozen=True)
class Dimension:
    """One key of a run and the values that it may take. `values`: both ends of a range, or all choices as text."""

    key: str
    kind: str
    values: tuple[Any, ...]

    @classmethod
    def parsed(cls, key: str, text: str) -> "Dimension":
        """From `log(1e-4, 1e-1)` and the like; WrongInput says what is wrong with it."""
        found = RANGE.fullmatch(text.strip())
        if found is None:
            raise WrongInput(
                f"{key}={text}: not a range. Ranges: {', '.join(f'{kind}(...)' for kind in KINDS)}"
            )
        kind, parts = found[1], _parts(found[2])
        if kind == "choice":
            if len(set(parts)) < 2:
                raise WrongInput(f"{key}={text}: give two or more different choices")
            return cls(key, kind, tuple(dict.fromkeys(parts)))
        number = int if kind in ("int", "log_int") else float
        try:
            low, high = (number(part) for part in parts)
        except ValueError:
            raise WrongInput(f"{key}={text}: give two numbers, the lower one first") from None
        if not low < high or (kind.startswith("log") and low <= 0):
            above = " above 0" if kind.startswith("log") else ""
            raise WrongInput(f"{key}={text}: give two numbers{above}, the lower one first")
        return cls(key, kind, (low, high))

    def distribution(self) -> Any:
        """The same for Optuna."""
        from optuna import distributions

        if self.kind == "choice":
            return distributions.CategoricalDistribution(self.values)
        low, high = self.values
        if self.kind in ("int", "log_int"):
            return distributions.IntDistribution(low, high, log=self.kind == "log_int")
        return distributions.FloatDistribution(low, high, log=self.kind == "log")

    def override(self, value: Any) -> str:
        """What is typed for one value. A method's own baseline may be named as an option of the group baseline."""
        if OWN_BASELINE.fullmatch(self.key) and re.fullmatch(r"\w+", str(value)) and value != "null":
            node = shipped("baseline", str(value))
            value = "{" + ",".join(f"{key}:{_yaml(inner)}" for key, inner in node.items()) + "}"
        return f"{self.key}={value}"


def _parts(text: str) -> list[str]:
    """Split at the commas that no bracket encloses."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "[{(") - (letter in "]})")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).splitlines()[0]


@dataclass(frozen=True)
class Objective:
    """A number of a finished run that is to be as high, or as low, as it can be."""

    name: str
    higher_is_better: bool
    """Of the number itself, as the metric says."""

    def value(self, folder: Path) -> float:
        """What a run reached; WrongInput where it is undefined there."""
        method, _, metric = self.name.rpartition(".")
        try:
            number = _score(folder, self.name) if not method else _measured(folder, method, metric)
        except (OSError, KeyError, ValueError, ZeroDivisionError) as error:
            raise WrongInput(f"{self.name}: not in {folder.name} ({error})") from None
        if number is None or number != number:
            raise WrongInput(f"{self.name}: undefined for every example of {folder.name}")
        return float(number)


def _measured(folder: Path, method: str, metric: str) -> float | None:
    found = files.read_json(folder / "summary.json")["methods"][method]
    if metric == "cost":
        return float(found["cost"]["forward_rows"] + found["cost"]["backward_rows"])
    where = found["cost"] if metric in COSTS else found["metrics"][metric]
    number: float | None = where[metric] if metric in COSTS else where["mean"]
    return number


def _score(folder: Path, name: str) -> float:
    """Of the network, on the split that the run explains (a summary has the test split's only)."""
    with open(folder / "predictions.csv", encoding="utf-8", newline="") as opened:
        pairs = [(row["label"], row["prediction"]) for row in csv.DictReader(opened)]
    if name == "accuracy":
        return sum(label == prediction for label, prediction in pairs) / len(pairs)
    numbers = [(float(label), float(prediction)) for label, prediction in pairs]
    mean = sum(label for label, _ in numbers) / len(numbers)
    spread = sum((label - mean) ** 2 for label, _ in numbers)
    return 1 - sum((label - prediction) ** 2 for label, prediction in numbers) / spread


def named(names: Sequence[str], config: Mapping[str, Any], keys: Sequence[str]) -> None:
    """WrongInput unless a run of `config` has every objective, and no key that is varied changes the ruler."""
    if not names:
        raise WrongInput("objectives=[]: give one or more: accuracy, r2, METHOD.METRIC, METHOD.cost")
    methods = [*config["attribution"], *config.get("controls", {})]
    for name in names:
        method, dot, metric = str(name).rpartition(".")
        if not dot:
            if name not in ("accuracy", "r2"):
                raise WrongInput(f"objectives={name}: give accuracy, r2, METHOD.METRIC or METHOD.cost")
            continue
        if method not in methods:
            near = nearest(method, methods)
            raise WrongInput(
                f"objectives={name}: no such method in this run.{near} Methods: {listed(methods)}"
            )
        measured = config.get("metric", {})
        metrics = [*measured, "cost", *COSTS]
        if metric not in metrics:
            near = nearest(metric, metrics)
            raise WrongInput(
                f"objectives={name}: not measured in this run.{near} There are: {listed(metrics)}"
            )
        if changed := [key for key in keys if key.split(".")[0] in RULER and metric in measured]:
            raise WrongInput(
                f"{changed[0]}: changes what {metric} measures, so its values cannot be compared; "
                "a method's own baseline is attribution.METHOD.baseline"
            )


def directions(metrics: str, names: list[str]) -> list[bool]:
    """Whether higher is better, for each objective; imports the metrics' classes, so it runs in a worker."""
    import json

    from ..edge.targets import locate

    nodes = json.loads(metrics)
    found = []
    for name in names:
        method, _, metric = name.rpartition(".")
        cost = metric in ("cost", *COSTS)
        found.append(
            not cost if not method or cost else bool(locate(nodes[metric]["_target_"]).higher_is_better)
        )
    return found
