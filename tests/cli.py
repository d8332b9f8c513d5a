"""A small configs folder with stand-ins for everything heavy, and the command line run on it."""

import os
import re
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent
CONFIGS = TESTS.parent / "configs"
METHODS = ("integrated_gradients", "deep_lift", "kernel_shap", "saliency", "random", "input", "occlusion")
METRICS = ("deletion", "sensitivity")
SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from salience.config import command

if __name__ == "__main__":
    code = command("standins.job")
    if "--loaded" in {extra!r}:
        heavy = [name for name in ("torch", "captum", "pydantic", "hydra", "standins") if name in sys.modules]
        print("loaded:", *heavy, file=sys.stderr)
    sys.exit(code)
"""


def make_configs(folder: Path) -> Path:
    """The real run.yaml, choosing among options that need nothing but standins.py."""
    folder.mkdir(parents=True)
    text = (CONFIGS / "run.yaml").read_text()
    for group, names in (
        ("attribution", METHODS[:4]),
        ("attribution@controls", METHODS[4:6]),
        ("metric", METRICS),
    ):
        text, count = re.subn(rf"- {group}: \[[^]]*\]", f"- {group}: [{', '.join(names)}]", text)
        assert count == 1, group
    (folder / "run.yaml").write_text(text)
    files = {
        "data/breast_cancer": "_target_: standins.data\nrows: 10\n",
        "data/digits": "_target_: standins.data\nrows: 20\n",
        "model/mlp": "mlp: {_target_: standins.Network, hidden: 8}\n",
        "model/cnn": "cnn: {_target_: standins.Network, hidden: 9}\n",
        "training/default": "epochs: 3\nlearning_rate: 0.1\n",
        "training/none": "epochs: 0\n",
        "baseline/blank": "_target_: standins.metric\n",
        "experiment/study": "# @package _global_\nseed: 7\ntraining: {epochs: 9}\n",
        "tracker/csv": "csv: {_target_: standins.metric}\n",
    }
    method = "{}:\n  method: {{_target_: standins.Method}}\n  arguments: {{n_steps: 9}}\n"
    files |= {f"attribution/{name}": method.format(name) for name in METHODS}
    files |= {f"metric/{name}": f"{name}: {{_target_: standins.metric, steps: 5}}\n" for name in METRICS}
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / f"{name}.yaml").write_text(content)
    return folder


def start(folder: Path, *arguments: str, extra: str = "", **environment: str) -> subprocess.Popen:
    """Start the command line in `folder`, on the configs in `folder/configs` where there are some."""
    script = folder / "run.py"
    script.write_text(SCRIPT.format(tests=str(TESTS), extra=extra))
    where = [f"--config-path={folder / 'configs'}"] if (folder / "configs").exists() else []
    quick = ["hydra.launcher.preload=[]"] if "-m" in arguments and "preload" not in str(arguments) else []
    return subprocess.Popen(
        [sys.executable, str(script), *where, *arguments, *quick],
        cwd=folder,
        env={k: v for k, v in os.environ.items() if k != "HYDRA_FULL_ERROR"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(folder: Path, *arguments: str, extra: str = "", **environment: str) -> subprocess.CompletedProcess:
    """What the command line says, and its exit code."""
    process = start(folder, *arguments, extra=extra, **environment)
    out, err = process.communicate(timeout=120)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)
