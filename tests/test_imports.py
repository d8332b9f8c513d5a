"""The house's rules that can be read off the source: who may import whom, and what nobody may do."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from salience.config import options

SOURCE = Path(__file__).parents[1] / "src"
SCRIPTS = Path(__file__).parents[1] / "scripts"

ORDER = (
    {"errors"},
    {"files", "settings", "config", "randomness"},
    {"modality"},
    {"data"},
    {"models"},
    {"training"},
    {"networks"},
    {"attribution"},
    {"metrics"},
    {"statistics", "interactive"},
    {"figures"},
    {"artifacts"},
    {"report"},
    {"results"},
    {"comparison"},
    {"trackers"},
    {"assembly"},
    {"experiment"},
    {"sweeps"},
    {"scripts"},
)
"""The rooms of the house from the ground up: each imports only from those below, not even through a module between.

Modules that are not named here may stand wherever they fit.
"""
ON_DEMAND = {
    ("attribution", "figures"): "an explanation draws itself when a notebook asks it to",
    ("report", "results"): "a page can be made again from a folder, which results reads",
}
"""Imports inside functions that point up, and why."""
HYDRA = {"config", "edge", "sweeps", "hydra_plugins"}
"""Where Hydra may be imported."""
HEAVY = {"sklearn", "scipy", "pandas", "matplotlib", "mlflow", "wandb", "tensorboard", "rich", "jinja2"}
"""Packages that take long to import: inside the functions that need them."""


@dataclass(frozen=True)
class Import:
    """One import statement."""

    room: str
    """Who: the first part of the importing module below salience."""
    path: Path
    name: str
    """What, dotted."""
    lazy: bool
    """Inside a function."""

    @property
    def of(self) -> str | None:
        """Which room of ours it imports."""
        parts = self.name.split(".")
        return parts[1] if parts[0] == "salience" and len(parts) > 1 else None


@cache
def trees() -> dict[Path, ast.Module]:
    """Every source file of ours, parsed."""
    files = [*SOURCE.glob("salience/**/*.py"), *SOURCE.glob("hydra_plugins/**/*.py"), *SCRIPTS.glob("*.py")]
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(files)}


def dotted(path: Path) -> list[str]:
    """The parts of a module's name."""
    if path.parent == SCRIPTS:
        return ["scripts", path.stem]
    parts = list(path.relative_to(SOURCE).with_suffix("").parts)
    return parts[:-1] if parts[-1] == "__init__" else parts


def room_of(path: Path) -> str:
    parts = dotted(path)
    return parts[1] if parts[0] == "salience" and len(parts) > 1 else parts[0]


def imports() -> Iterator[Import]:
    """Every import that is run (not those for type checkers alone)."""
    for path, tree in trees().items():
        package = dotted(path) if path.name == "__init__.py" else dotted(path)[:-1]
        for node, lazy in statements(tree):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                above = package[: len(package) - node.level + 1] if node.level else []
                base = ".".join([*above, *([node.module] if node.module else [])])
                names = [base] if node.module else [f"{base}.{alias.name}" for alias in node.names]
            yield from (Import(room_of(path), path, name, lazy) for name in names)


def statements(node: ast.AST, lazy: bool = False) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, lazy
        yield from statements(
            child, lazy or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        )


def shown(found: list) -> str:
    return "\n".join(f"{f.path.name} imports {f.name}" for f in found)


# -- who imports whom --------------------------------------------------------------------------------------------------


def edges() -> dict[str, set[str]]:
    """Which rooms each room imports when it is imported itself."""
    found: dict[str, set[str]] = {room_of(path): set() for path in trees()}
    for i in imports():
        if not i.lazy and i.of in found and i.of != i.room:
            found[i.room].add(i.of)
    return found


def reached(start: str, graph: dict[str, set[str]]) -> set[str]:
    """All rooms that importing `start` imports."""
    seen, waiting = set(), [start]
    while waiting:
        for room in graph[waiting.pop()] - seen:
            seen.add(room)
            waiting.append(room)
    return seen


def test_imports_point_down_the_order():
    height = {room: at for at, level in enumerate(ORDER) for room in level}
    graph = edges()
    assert set(height) <= set(graph), f"no longer there: {set(height) - set(graph)}"
    for room, level in height.items():
        above = {r for r in reached(room, graph) if height.get(r, -1) > level}
        assert not above, f"{room} imports {sorted(above)}, itself or through others: {sorted(graph[room])}"


def test_imports_go_round_in_no_circle():
    graph = edges()
    assert not [room for room in graph if room in reached(room, graph)]


def test_what_is_imported_on_demand_is_named():
    height = {room: at for at, level in enumerate(ORDER) for room in level}
    up = {(i.room, i.of) for i in imports() if i.lazy and height.get(i.of or "", -1) > height.get(i.room, 99)}
    assert up <= set(ON_DEMAND), f"give a reason for {up - set(ON_DEMAND)}"


@pytest.mark.parametrize(
    ("package", "rooms"),
    [
        ("captum", {"attribution", "metrics"}),
        ("matplotlib", {"figures"}),
        ("hydra", HYDRA),
        ("pydantic", {"settings", "edge", "comparisons", "sweeps"}),
    ],
)
def test_packages_stay_in_their_rooms(package, rooms):
    found = [i for i in imports() if i.name.split(".")[0] == package]
    assert found, f"nobody imports {package}: is the rule out of date?"
    assert not (outside := [i for i in found if i.room not in rooms]), shown(outside)


def test_heavy_packages_are_imported_where_they_are_needed():
    """At the top of a module they would be paid for by every start."""
    found = [
        i
        for i in imports()
        if i.name.split(".")[0] in HEAVY and not i.lazy and i.room not in ("figures", "trackers")
    ]
    assert not found, shown(found)


LIGHT = [
    "salience",
    "salience.config",
    "salience.settings",
    "salience.edge.checks",
    "salience.errors",
    "salience.files",
]


@pytest.mark.parametrize("module", LIGHT)
def test_the_edge_does_not_import_torch(module):
    code = (
        f"import sys, {module}; sys.exit(' '.join({{'torch', 'captum', 'pandas'}} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_public_names_exist():
    import salience

    for name in salience.__all__:
        assert getattr(salience, name) is not None
    with pytest.raises(AttributeError):
        _ = salience.nonsense


# -- what nobody may do ------------------------------------------------------------------------------------------------

FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
FORBIDDEN_CALLS = {
    "eval",
    "exec",
    "__import__",
    "torch.load",
    "torch.save",
    "yaml.load",
    "yaml.unsafe_load",
    "os.system",
}


WRITERS = {
    "files": "where writing is made atomic",
    "storage.formats": "writes into the temporary file that files.atomic_write gives it",
    "networks": "opens a lock, which holds nothing",
    "sweeps.jobs": "opens a lock, which says who holds it",
    "sharing.export": "packs and unpacks under temporary names, which are renamed when all is there",
    "edge.commandline": "opens the null device in place of a stream that was closed",
}


def called(node: ast.Call) -> str:
    return ast.unparse(node.func)


def calls() -> Iterator[tuple[Path, ast.Call]]:
    for path, tree in trees().items():
        yield from ((path, node) for node in ast.walk(tree) if isinstance(node, ast.Call))


def test_nothing_that_runs_what_it_reads():
    assert not (found := [i for i in imports() if i.name.split(".")[0] in FORBIDDEN_MODULES]), shown(found)
    wrong = [
        f"{path.name}:{node.lineno} {called(node)}"
        for path, node in calls()
        if called(node) in FORBIDDEN_CALLS
    ]
    wrong += [
        f"{path.name}:{node.lineno} allow_pickle"
        for path, node in calls()
        if any(k.arg == "allow_pickle" and ast.unparse(k.value) != "False" for k in node.keywords)
    ]
    assert not wrong, wrong


def test_every_write_goes_through_files():
    """Atomic writes and exclusive folders are in one place."""
    wrong = []
    for path, node in calls():
        if ".".join(dotted(path)[1:]) in WRITERS:
            continue
        method = called(node).rpartition(".")[2]
        mode = [
            a.value
            for a in [*node.args[1:2], *(k.value for k in node.keywords if k.arg == "mode")]
            if isinstance(a, ast.Constant)
        ]
        opens = method == "open" and any(isinstance(m, str) and set(m) & set("wax+") for m in mode)
        if opens or method in ("write_text", "write_bytes", "save_file", "to_parquet"):
            wrong.append(f"{path.name}:{node.lineno} {called(node)}")
    assert not wrong, wrong


def test_optimizers_are_not_made_while_importing():
    found = [i for i in imports() if i.name.startswith("torch.optim") and not i.lazy]
    assert not found, shown(found)


# -- no branch on a name -----------------------------------------------------------------------------------------------

MODALITIES = {"Tabular", "Image", "Series", "Audio", "Tokens"}
TASKS = {"Classification", "Regression"}


def names() -> set[str]:
    """The names of methods, networks and modalities, which no code may ask for (some are words with other uses)."""
    known = {*options("attribution"), *options("model"), *MODALITIES, *(m.lower() for m in MODALITIES)}
    return known - {"input", "random", "constant"}


def strings(node: ast.expr) -> set[str]:
    inside = node.elts if isinstance(node, ast.Tuple | ast.List | ast.Set) else [node]
    return {e.value for e in inside if isinstance(e, ast.Constant) and isinstance(e.value, str)}


def test_no_branch_on_the_name_of_a_method_a_network_or_a_modality():
    known, wrong = names(), []
    for path, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Compare):
                asked = set().union(*(strings(e) for e in [node.left, *node.comparators]))
                wrong += [f"{path.name}:{node.lineno} {ast.unparse(node)}"] if asked & known else []
                by_class = "__name__" in ast.unparse(node) and "__main__" not in ast.unparse(node)
                wrong += [f"{path.name}:{node.lineno} {ast.unparse(node)}"] if by_class else []
            if isinstance(node, ast.MatchValue) and strings(node.value) & known:
                wrong.append(f"{path.name}:{node.value.lineno} case {ast.unparse(node.value)}")
    assert not wrong, "\n".join(wrong)


def test_nobody_asks_which_modality_or_task_it_is():
    """What differs between kinds is a method of theirs."""
    wrong = []
    for path, node in calls():
        if called(node) in ("isinstance", "issubclass") and room_of(path) not in ("modality", "trust"):
            asked = {
                part.rpartition(".")[2]
                for part in ast.unparse(node.args[1]).strip("()").replace("|", ",").split(", ")
            }
            wrong += (
                [f"{path.name}:{node.lineno} {ast.unparse(node)}"]
                if {a.strip() for a in asked} & (MODALITIES | TASKS)
                else []
            )
    assert not wrong, "\n".join(wrong)
