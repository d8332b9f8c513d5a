"""What can be chosen: the screen of `--help`, and `scripts/list.py` with a line for each option."""

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from .config import config_folder, options, shipped
from .edge.targets import locate, nodes
from .errors import WrongInput, listed, nearest
from .metrics.cards import cards

GROUPS = ("data", "model", "training", "baseline", "attribution", "metric", "tracker", "experiment")
LISTED = {
    "data": "data",
    "models": "model",
    "methods": "attribution",
    "metrics": "metric",
    "baselines": "baseline",
    "trainings": "training",
    "trackers": "tracker",
    "experiments": "experiment",
}
"""What `scripts/list.py` calls the groups."""
MATRIX, MARKDOWN = "matrix", "--markdown"
"""What it calls the matrix of methods and networks, and how that is asked for as a page of docs/."""


def help_text() -> str:
    """One screen: the groups with their options, and commands to copy. Reads file names only."""
    words = {group: word for word, group in LISTED.items()}
    lines = [
        "Train a network, explain it with Captum, measure the explanations.",
        "",
        "Groups (group=option):",
    ]
    for group in GROUPS:
        more = f" ... python scripts/list.py {words[group]}"
        named = ", ".join(options(group))
        text = textwrap.wrap(named, 84, break_on_hyphens=False)
        if len(text) > 4:  # a list that is cut anyway leaves room for the commands
            text = textwrap.wrap(named, 84, max_lines=3, placeholder=more, break_on_hyphens=False)
        lines += [f"  {'' if number else group:<13}{part}" for number, part in enumerate(text)]
    return "\n".join([*lines, HELP])


def show_options(words: Sequence[str]) -> int:
    """Print a line for each option of the groups called `words` (of all groups without any); the exit code.

    `methods` adds which network each method explains, `matrix` shows only that.
    """
    import sys

    if words and words[0] == MATRIX and set(words[1:]) <= {MARKDOWN}:
        return show_matrix(MARKDOWN in words)
    for word in words:
        if word not in LISTED and word not in GROUPS:
            lists = [*LISTED, MATRIX]
            print(
                f"error: {word}: no such list.{nearest(word, lists)} Lists: {listed(lists)}",
                file=sys.stderr,
            )
            return 2
    for group in [LISTED.get(word, word) for word in words] or GROUPS:
        print(f"{group}:")
        known = {card.name: card.line for card in cards()} if group == "metric" else {}
        for name, line in described(group):
            print(f"  {name:<28}{line}")
            if name in known:
                print(f"  {'':<28}{known[name]}")
        if group == "attribution" and "methods" in words:
            print("\nOn which networks (every method is tried, about a minute):", flush=True)
            show_matrix()
    return 0


def show_matrix(markdown: bool = False) -> int:
    """Try every method on every family of networks and print what came out; 1 where one ends in a fault."""
    from . import matrix

    found = list(matrix.cells())
    print("\n".join(matrix.lines(found, markdown)))
    return int(any(cell.verdict == "fault" for cell in found))


def described(group: str) -> Iterator[tuple[str, str]]:
    """(name, one line) of each option: the comment that opens its file, or what its `_target_` says it is."""
    for name in options(group):
        yield name, _comment(group, name) or next(map(_first_line, nodes(shipped(group, name))), "")


def _comment(group: str, name: str) -> str:
    first = (config_folder() / group / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[:2]
    comments = [line.lstrip("# ") for line in first if line.startswith("#") and "@package" not in line]
    return comments[0] if comments else ""


def _first_line(node: tuple[str, dict[str, Any]]) -> str:
    import inspect

    try:
        summary = (
            (inspect.getdoc(locate(node[1]["_target_"])) or node[1]["_target_"]).strip().split("\n\n")[0]
        )
    except WrongInput as error:
        return str(error)
    first, *more = summary.splitlines()
    return first if first.endswith(".") else " ".join([first, *more]).split(". ")[0].rstrip(".") + "."


HELP = """\
  controls     rows that a method must beat, options of attribution: controls=[random,input]
  Of attribution, controls, metric and tracker a run takes several: attribution=[saliency,lime]

Keys (key=value; --cfg job shows all of them):
  explained=200  seed=1  training.epochs=50  model.mlp.hidden=[128]  attribution=lime
  attribution.lime.arguments.n_samples=99 (any argument that the method takes)

Commands to copy:
  python scripts/run.py
  python scripts/run.py model=cnn data=digits attribution=[saliency,occlusion] dry=true
  python scripts/run.py model=transformer data=film seed=1 explained=50
  python scripts/run.py -m attribution=saliency,lime seed=0,1  # a run each: here four
  python scripts/run.py --cfg job                              # the composed config; nothing is run
  python scripts/resume.py latest                              # an interrupted run or sweep goes on
  python scripts/search.py                                     # finds settings: configs/search.yaml
  python scripts/compare.py latest                             # many runs: one table and one page
  python scripts/export.py latest                              # a run as one zip to give away
Also: --config-dir FOLDER (your own options), --info, --hydra-help; completion: -sc install=bash
Exit codes: 0 done, 1 failed, 2 wrong input, 3 some runs of a sweep failed, 130/143 interrupted"""
