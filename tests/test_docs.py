"""The pages of docs/ and the README say what works: their code is run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.slow
def test_a_network_data_set_method_and_metric_from_a_folder_outside_the_package(tmp_path):
    """docs/extending.md, typed as it stands."""
    method = (
        "class MyAttribution(captum.attr.Attribution):\n"
        "    def attribute(self, inputs, steps=10):\n        return inputs * steps\n"
    )
    code = "\n".join(["import captum.attr", *blocks("docs/extending.md", "python"), method])
    (tmp_path / "mine.py").write_text(code)
    for text in blocks("docs/extending.md", "yaml"):
        if name := re.match(r"# my_configs/(\S+)", text):
            path = tmp_path / "my_configs" / name[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    method_file = tmp_path / "my_configs" / "attribution" / "mine.yaml"
    method_file.parent.mkdir(parents=True, exist_ok=True)
    method_file.write_text("mine:\n  method: {_target_: mine.MyAttribution}\n  arguments: {steps: 10}\n")
    metric = tmp_path / "my_configs" / "metric" / "positive.yaml"
    metric.parent.mkdir(parents=True, exist_ok=True)
    metric.write_text("positive: {_target_: mine.Positive}\n")
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "run.py"), "--config-dir", "my_configs", "model=wide", "data=rings",
         "model.wide.width=64", "attribution=[mine,saliency]", "metric=[positive,deletion]", "training.epochs=3",
         "explained=20"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": "."}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "positive" in done.stdout and (tmp_path / "outputs" / "latest" / "summary.json").is_file()


def test_readme_is_short_and_names_what_exists():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 250
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert (ROOT / link).exists(), link


@pytest.mark.slow
def test_the_python_of_the_readme_runs(tmp_path):
    code = blocks("README.md", "python")[0]
    layers = "torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)"
    set_up = f"import torch\nnetwork = torch.nn.Sequential({layers})\n"
    inputs = "inputs = torch.randn(6, 4)\n"
    done = subprocess.run(
        [sys.executable, "-c", set_up + inputs + code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
