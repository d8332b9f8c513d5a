"""The package alone, as somebody has it who installed the wheel: its configs travel inside."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
USE = """
import pathlib, torch, salience
from salience.config import config_folder
assert "site" in salience.__file__, salience.__file__
assert config_folder() == pathlib.Path(salience.__file__).parent / "configs", config_folder()
network = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
explained = salience.explain(network, torch.ones(2, 4), "kernel_shap", target=1)
assert explained.per_feature().shape == (2, 4)
result = salience.run(["attribution=[saliency]", "metric=[deletion]", "training.epochs=2", "explained=5"])
assert (result.path / "report.html").is_file()
"""


@pytest.mark.slow
def test_explain_and_run_where_only_the_wheel_is_installed(tmp_path):
    source = tmp_path / "source"
    kept = shutil.ignore_patterns(".*", "outputs", "build", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, source, ignore=kept)
    pip = [sys.executable, "-m", "pip", "-q"]
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(source)], check=True
    )
    wheel = next(tmp_path.glob("*.whl"))
    site = tmp_path / "site"
    subprocess.run([*pip, "install", "--no-deps", "--target", str(site), str(wheel)], check=True)
    done = subprocess.run(
        [sys.executable, "-c", USE],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
