"""Every preset: it composes, says how the full one is run, runs, and reaches what its data allows."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

import salience
from salience.config import check, compose
from salience.metrics.shares import modality_shares

ROOT = Path(__file__).parents[1]
REACHED = {  # what is known to be reachable (docs/data.md), minus 0.03
    "medicine": 0.95,
    "credit": 0.72,
    "traffic": 0.95,
    "speech": 0.968,
    "text": 0.823,
    "series": 0.957,
    "multimodal": 0.97,
    "pretrained": 0.9,
    "sigmoid_unit": 1.0,
    "synthetic": 0.93,
}
OFFLINE = {"medicine", "sigmoid_unit", "synthetic", "white_box"}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    return tmp_path_factory.mktemp("outputs")


@pytest.mark.parametrize("name", [*REACHED, "white_box"])
def test_every_value_of_a_preset_arrives(name):
    text = (ROOT / "configs" / "experiment" / f"{name}.yaml").read_text()
    assert text.startswith("# @package _global_\n# ")
    config = compose([f"experiment={name}"]).config
    check(config)
    own = OmegaConf.to_container(OmegaConf.create(text))
    for group in own.pop("defaults"):
        key, chosen = next(iter(group.items()))
        group_name = key.removeprefix("override /").partition("@")[0]
        place = key.rpartition("@")[2] if "@" in key else group_name
        if isinstance(chosen, list):
            assert list(config[place]) == chosen
        elif group_name in ("data", "baseline"):
            shipped = OmegaConf.load(ROOT / "configs" / group_name / f"{chosen}.yaml")
            assert config[group_name]["_target_"] == shipped["_target_"]
    for key, value in own.items():
        found = OmegaConf.to_container(config[key]) if OmegaConf.is_config(config[key]) else config[key]
        assert contains(found, value), key


def contains(found, value):
    """Whether all that `value` says is in `found`."""
    if isinstance(value, dict):
        return all(contains(found[key], inner) for key, inner in value.items())
    return found == value


def test_the_sigmoid_unit_gives_the_known_numbers(outputs):
    result = salience.run([f"outputs={outputs}", "experiment=sigmoid_unit"])
    with open(result.path / "predictions.csv", newline="") as opened:
        found = [round(float(row["probability_on"]), 4) for row in csv.DictReader(opened)]
    assert found == [0.7311, 0.7311, 0.8808, 0.5]
    explanation = result.explanations["integrated_gradients"]
    points = result.data.test.inputs[0]
    for row, point in enumerate(points):
        torch.testing.assert_close(explanation[row].attributions[0][0], point, atol=1e-6, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(p, marks=[pytest.mark.network] * (p not in OFFLINE)) for p in REACHED]
)
def test_a_preset_runs_and_reaches(name, outputs):
    result = salience.run([f"outputs={outputs}", f"experiment={name}"])
    assert result.summary["network"]["accuracy"] >= REACHED[name]
    assert {"examples.png"} <= {p.name for p in (result.path / "figures").iterdir()}


@pytest.mark.slow
@pytest.mark.network
def test_shuffling_the_questions_moves_the_shares_of_the_inputs(outputs):
    result = salience.run([f"outputs={outputs}", "experiment=multimodal", "metric=[deletion]"])
    test = result.data.test[:40]
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(0))
    given = shares(result.model, test, test.inputs[1], test.context)
    moved = shares(result.model, test, test.inputs[1][order], tuple(c[order] for c in test.context))
    torch.testing.assert_close(given.sum(1), torch.ones(len(test)))
    assert (given - moved).abs().mean() > 0.01


def shares(model, test, questions, context):
    """Shares of input x gradient on picture and question."""
    explanation = salience.explain(
        model,
        (test.inputs[0], questions),
        "input_x_gradient",
        target=test.labels,
        additional_forward_args=context,
    )
    return modality_shares(explanation)


OWN_MODULE = '''
import captum.attr
import torch
from salience.data.base import Classification, Data, Examples
from salience.modality import Tabular

class Net(torch.nn.Module):
    def __init__(self, modalities, num_outputs, width=7):
        super().__init__()
        self.first = torch.nn.Linear(modalities[0].shape[0], width)
        self.relu = torch.nn.ReLU()
        self.second = torch.nn.Linear(width, num_outputs)

    def forward(self, x):
        return self.second(self.relu(self.first(x)))

def two_clouds(seed=0, rows=90) -> Data:
    x = torch.randn(rows, 3, generator=torch.Generator().manual_seed(seed))
    y = (x[:, 1] > 0).long()
    parts = [Examples((x[i::3],), y[i::3], torch.arange(rows // 3)) for i in range(3)]
    return Data((Tabular((3,), "mine"),), Classification(("left", "right")), *parts)

class TwiceGradient(captum.attr.Saliency):
    """Twice the gradient."""
    def attribute(self, inputs, target=None, additional_forward_args=None, factor=2.0):
        found = super().attribute(inputs, target, abs=False, additional_forward_args=additional_forward_args)
        return tuple(factor * f for f in found) if isinstance(found, tuple) else factor * found
'''
OWN_CONFIGS = {
    "model/mine": "mine: {_target_: mypackage.Net, width: 5}\n",
    "data/mine": "_target_: mypackage.two_clouds\nrows: 120\n",
    "attribution/mine": "mine:\n  method: {_target_: mypackage.TwiceGradient}\n  arguments: {factor: 3.0}\n",
}


def test_a_users_own_model_data_and_method_from_outside_the_package(tmp_path):
    (tmp_path / "mypackage.py").write_text(OWN_MODULE)
    for name, text in OWN_CONFIGS.items():
        file = tmp_path / "configs" / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    command = [sys.executable, str(ROOT / "scripts" / "run.py"), "--config-dir", str(tmp_path / "configs")]
    typed = ["data=mine", "model=mine", "attribution=[mine,saliency]", "metric=[deletion]", "explained=5"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [*command, *typed, f"outputs={tmp_path}/outputs"],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    folder = (tmp_path / "outputs" / "latest").resolve()
    summary = json.loads((folder / "summary.json").read_text())
    assert set(summary["methods"]) == {"mine", "saliency", "random", "input"}
    assert re.search(r"accuracy", done.stdout + done.stderr)
    sys.path.insert(0, str(tmp_path))
    try:
        result = salience.load_run(folder, trust=("mypackage",))
        mine, plain = result.explanations["mine"][0], result.explanations["saliency"][0]
        torch.testing.assert_close(mine.attributions[0], 3 * plain.attributions[0])
        assert type(result.model).__name__ == "Net" and result.data.modalities[0].name == "mine"
    finally:
        sys.path.remove(str(tmp_path))
        sys.modules.pop("mypackage", None)
