"""What a stranger's files, names and secrets can do: nothing."""

import ast
import csv
import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import runs
import yaml

import salience
from salience import WrongInput, artifacts, files, report
from salience.edge.trust import allowed, check_config
from salience.storage import formats
from salience.storage.redaction import HIDDEN, Redactor, is_secret

REPOSITORY = Path(__file__).parents[1]
SOURCES = [p for folder in ("src", "scripts") for p in sorted((REPOSITORY / folder).rglob("*.py"))]
CANARY = "canary-7f3a91c2d4"
BANNED = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal"}
CALLS = {
    "eval", "exec", "torch.load", "joblib.load", "pd.read_pickle", "pandas.read_pickle", "yaml.load", "yaml.full_load",
    "yaml.unsafe_load", "os.system", "os.popen", "torch.hub.load", "torch.jit.load",
}  # fmt: skip


def dotted(node: ast.AST) -> str:
    """`a.b.c` of an expression; empty where it is none."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def forbidden(tree: ast.AST) -> list[str]:
    """What runs code from a file, in one module."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name.split(".")[0] in BANNED]
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in BANNED:
            found.append(node.module or "")
        if isinstance(node, ast.Call):
            if dotted(node.func) in CALLS:
                found.append(dotted(node.func))
            given = {k.arg: k.value for k in node.keywords}
            pickled = given.get("allow_pickle")
            if pickled is not None and not (isinstance(pickled, ast.Constant) and pickled.value is False):
                found.append("allow_pickle")
            shell = given.get("shell")
            if shell is not None and not (isinstance(shell, ast.Constant) and shell.value is False):
                found.append("shell=True")
    return found


def test_nothing_in_the_package_runs_code_from_a_file():
    found = {str(p): f for p in SOURCES if (f := forbidden(ast.parse(p.read_text(encoding="utf-8"))))}
    assert not found


@pytest.mark.parametrize(
    "code", ["import pickle", "from pickle import loads", "torch.load(p)", "np.load(p, allow_pickle=True)", "eval(x)",
             "yaml.load(x, y)", "joblib.load(p)", "subprocess.run(c, shell=True)"],
)  # fmt: skip
def test_the_walk_sees(code):
    assert forbidden(ast.parse(code))


# -- names and paths ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["os.system", "salience.files.discard", "salience.files.atomic_write", "torch.optim.torch.load",
             "torch.optim.optimizer.torch.load", "torch.optim.lr_scheduler.os.system", "salience.metrics.base.Callable",
             "salience.resume.resume", "salience.sharing.export.opened", "salience.storage.parts.Parts"],
)  # fmt: skip
def test_a_run_that_goes_on_builds_only_parts_of_a_run(name):
    with pytest.raises(WrongInput, match="not built from a run folder"):
        check_config({"metric": {"x": {"_target_": name}}})


def test_every_shipped_option_may_be_part_of_a_run_that_goes_on():
    refused = []
    for path in sorted((REPOSITORY / "configs").glob("*/*.yaml")):
        if path.parent.name in ("tracker", "hydra", "experiment"):
            continue
        for name in re.findall(r"_target_: ([\w.]+)", path.read_text(encoding="utf-8")):
            try:
                allowed(name, whole=True)
            except WrongInput:
                refused.append(f"{path.stem}: {name}")
    assert not refused


@pytest.mark.parametrize("part", ["../x", "/etc/passwd", "a/../../x", "link/x"])
def test_a_path_inside_a_run_folder_stays_inside(tmp_path, part):
    (tmp_path / "run").mkdir()
    os.symlink("/etc", tmp_path / "run" / "link")
    with pytest.raises(ValueError, match="lies outside"):
        files.inside(tmp_path / "run", part)


def test_a_manifest_cannot_point_out_of_the_folder(tmp_path):
    folder, *_ = runs.write(tmp_path)
    manifest = json.loads((folder.path / "manifest.json").read_text())
    manifest["files"]["../../../../etc/passwd"] = {"size": 1, "sha256": "0"}
    (folder.path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="lies outside"):
        salience.load_run(folder.path)


def test_yaml_bombs_and_tags_are_refused_at_once(tmp_path):
    path, started = tmp_path / "config.yaml", time.monotonic()
    levels = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
    for text in (
        "a0: &a0 [x]\n" + "\n".join(levels),
        "x: !!python/object/apply:os.system ['true']",
        "x: " + "[" * 5000,
    ):
        path.write_text(text)
        with pytest.raises(WrongInput):
            formats.read_yaml(path)
    path.write_bytes(b"a: b\n" * (1 << 18))
    with pytest.raises(WrongInput, match="larger than 1 MB"):
        formats.read_yaml(path)
    assert time.monotonic() - started < 2


def test_json_that_is_too_large_or_too_deep_is_refused(tmp_path):
    path = tmp_path / "x.json"
    path.write_text("[" * 100_000)
    with pytest.raises(WrongInput):
        formats.read_json(path)
    with open(path, "wb") as opened:
        opened.truncate(65 << 20)
    with pytest.raises(WrongInput, match="larger than"):
        formats.read_json(path)


# -- what is shown -----------------------------------------------------------------------------------------------------

PAYLOADS = [
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "javascript:alert(1)", "</style><script>1</script>",
    "{{ 7*7 }}", "\u2028<b>", "--><svg/onload=1>",
]  # fmt: skip


def test_the_page_shows_names_as_text(tmp_path):
    from html.parser import HTMLParser

    tags: list = []

    class Seen(HTMLParser):
        def handle_starttag(self, tag, attrs):
            tags.append((tag, dict(attrs)))

    names = tuple(PAYLOADS[:3])
    folder, *_ = runs.write(tmp_path, runs.data(names, (PAYLOADS[1], PAYLOADS[3])), warning="".join(PAYLOADS))
    folder.set_status("failed", PAYLOADS[0], PAYLOADS[1])
    text = report.page(folder.path).read_text()
    Seen().feed(text)
    scripts = [attrs for tag, attrs in tags if tag == "script"]
    policy = next(
        a["content"] for tag, a in tags if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy"
    )
    assert "default-src 'none'" in policy and "unsafe-eval" not in policy
    assert not scripts or "sha256-" in policy, "a script of the page itself is named by its digest"
    assert all("src" not in attrs for attrs in scripts) and not [
        t for t, _ in tags if t in ("iframe", "object", "embed", "svg") and "onload" in _
    ]
    for tag, attrs in tags:
        assert not [name for name in attrs if name.startswith("on")], (tag, attrs)
        assert not str(attrs.get("href", "")).startswith("javascript:")
        assert str(attrs.get("src", "data:")).startswith("data:")
    assert "<script>alert(1)" not in text and "49" not in re.findall(r"\{\{ 7\*7 \}\}|>49<", text)


def test_cells_are_no_formulas_and_come_back(tmp_path):
    cells = ["=1+1", "+x", "-x", "@x", "\tx", "plain", "'quoted"]
    formats.write_csv(tmp_path / "x.csv", ["a"], [[c] for c in cells])
    with open(tmp_path / "x.csv", newline="") as opened:
        raw = [row[0] for row in csv.reader(opened)][1:]
    assert not [cell for cell in raw if cell.startswith(formats.FORMULA)]
    assert [row["a"] for row in formats.csv_rows(tmp_path / "x.csv")] == cells


# -- secrets -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["token", "api_key", "data.password", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "my-secret"]
)
def test_names_of_secrets(name):
    assert is_secret(name)


@pytest.mark.parametrize(
    "name", ["tokens", "tokenizer", "max_tokenised", "keys", "seed", "baseline.token", "passes", "author"]
)
def test_names_that_only_look_like_it(name):
    assert not is_secret(name)


def test_values_are_blotted_out_wherever_they_stand(monkeypatch):
    monkeypatch.setenv("SOME_TOKEN", "env-" + CANARY)
    text = f"data:\n  api_key: {CANARY}\n  other: ${{oc.env:PLAIN_NAME}}\n"
    monkeypatch.setenv("PLAIN_NAME", "ref-" + CANARY)
    redactor = Redactor(yaml.safe_load(text), [f"+password={CANARY}x"], text)
    for shown in (f"error at {CANARY}!", f"env-{CANARY}", f"ref-{CANARY}", f"{CANARY}x"):
        assert CANARY not in redactor.text(shown)
    assert redactor.override(f"+a.token={CANARY}") == f"+a.token={HIDDEN}"
    assert redactor.override("a.token=${oc.env:X}") == "a.token=${oc.env:X}"
    hidden = redactor.value({"a": {"token": "short"}, "b": [f"x{CANARY}"], "c": 3, "password": None})
    assert hidden == {"a": {"token": HIDDEN}, "b": [f"x{HIDDEN}"], "c": 3, "password": None}


def test_no_canary_under_outputs_and_nothing_outside_them(tmp_path, monkeypatch):
    """A secret typed, one of the environment, one referred to: also in what a failing run logs."""
    (tmp_path / "mine.py").write_text(
        "from salience.data.tables import breast_cancer\nfrom salience.data.base import Data\n"
        "def secretive(api_key, other, fails=False, seed=0) -> Data:\n"
        "    if fails: raise RuntimeError(f'no access with {api_key} and {other}')\n"
        "    return breast_cancer(seed)\n"
    )
    (tmp_path / "configs" / "data").mkdir(parents=True)
    text = "_target_: mine.secretive\napi_key: null\nother: ${oc.env:PLAIN_NAME}\nfails: false\n"
    (tmp_path / "configs" / "data" / "mine.yaml").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in ("MY_TOKEN", "PLAIN_NAME"):
        monkeypatch.setenv(name, f"{name}-{CANARY}")
    before = {p for p in tmp_path.rglob("*") if "__pycache__" not in p.parts}
    typed = ["data=mine", f"data.api_key=typed-{CANARY}", "attribution=[saliency]", "metric=[sparseness]"]
    typed += ["explained=4", "training.epochs=1"]
    salience.run(typed, ["configs"])
    with pytest.raises(RuntimeError):
        salience.run([*typed, "data.fails=true"], ["configs"])
    written = {p for p in tmp_path.rglob("*") if "__pycache__" not in p.parts} - before
    assert {p.relative_to(tmp_path).parts[0] for p in written} == {"outputs"}
    assert any(p.name == "run.log" for p in written)
    for path in written:
        assert CANARY not in path.name
        if path.is_file():
            assert CANARY.encode() not in path.read_bytes(), path


def test_importing_opens_no_socket_and_starts_no_process():
    code = (
        "import sys\nseen = []\n"
        "sys.addaudithook(lambda event, args: seen.append(event) if event in "
        "('socket.connect', 'socket.bind', 'subprocess.Popen', 'os.system', 'os.exec', 'os.posix_spawn') else None)\n"
        "import salience, salience.config, salience.storage.redaction, salience.resume, salience.sharing.export\n"
        "print(seen)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_run_talks_to_nobody(tmp_path, monkeypatch):
    def refuse(*_):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "bind", refuse)
    typed = [
        f"outputs={tmp_path}",
        "attribution=[saliency]",
        "metric=[sparseness]",
        "explained=4",
        "training.epochs=1",
    ]
    assert salience.run(typed).status["state"] == "completed"


# -- versions ----------------------------------------------------------------------------------------------------------


def test_newer_folders_are_refused_and_older_ones_read(tmp_path):
    folder, *_ = runs.write(tmp_path)
    path = folder.path / "status.json"
    status = json.loads(path.read_text())
    path.write_text(json.dumps({**status, "schema_version": artifacts.SCHEMA_VERSION + 1}))
    with pytest.raises(WrongInput, match="upgrade it"):
        salience.load_run(folder.path)
    path.write_text(json.dumps({**status, "schema_version": artifacts.SCHEMA_VERSION - 1}))
    assert salience.load_run(folder.path).summary["methods"]
