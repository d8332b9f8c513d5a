"""Trackers: told once, of a run that is complete; whatever goes wrong in one is one warning."""

import io
import subprocess
import sys
import types

import pytest

from salience.config import shipped
from salience.edge.targets import build
from salience.trackers import Tracked, track

CONFIG = {"seed": 3, "training": {"epochs": 2}, "long": "x" * 900}
SUMMARY = {
    "network": {"accuracy": 0.9, "recipe": "ab", "trained": True},
    "methods": {
        "saliency": {"metrics": {"deletion": {"mean": 0.25}, "auroc": {"mean": None}}},
        "random": {"metrics": {"deletion": {"mean": 0.5}}},
    },
}
HISTORY = [
    {"epoch": "1", "train_loss": "0.5", "validation_loss": ""},
    {"epoch": "2", "train_loss": "0.25", "validation_loss": "0.4"},
]
TENSORBOARD = {"_target_": "salience.trackers.tensorboard.TensorBoard"}
MLFLOW = {"_target_": "salience.trackers.mlflow.MLflow"}


class Fails:
    """A tracker whose server is away."""

    def track(self, run):
        raise ConnectionError("no route\nto the server")


@pytest.fixture
def run(tmp_path):
    return Tracked(tmp_path / "2026-01-01" / "12-00-00-mlp", tmp_path, CONFIG, SUMMARY, HISTORY)


def test_what_trackers_are_told(run):
    assert run.name == "2026-01-01/12-00-00-mlp"
    assert run.settings() == {"seed": "3", "training.epochs": "2", "long": "x" * 900}
    assert dict(run.scores()) == {"network/accuracy": 0.9, "deletion/saliency": 0.25, "deletion/random": 0.5}
    assert list(run.epochs()) == [
        (1, "training/train_loss", 0.5),
        (2, "training/train_loss", 0.25),
        (2, "training/validation_loss", 0.4),
    ]


@pytest.mark.slow  # needs the extra of that name
def test_tensorboard_keeps_every_number(run, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    said = io.StringIO()
    track({"tensorboard": TENSORBOARD}, run, stream=said)
    assert said.getvalue() == ""
    events = EventAccumulator(str(tmp_path / "tensorboard" / run.name))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("training/train_loss")] == [(1, 0.5), (2, 0.25)]
    assert [e.value for e in events.Scalars("deletion/saliency")] == [0.25]
    assert "auroc/saliency" not in events.Tags()["scalars"]
    assert b"training.epochs" in events.Tensors("config/text_summary")[0].tensor_proto.string_val[0]


class Client:
    """What the MLflow tracker calls, written down; the real client is tried in a slow test."""

    def __init__(self, uri):
        self.uri, self.calls = uri, []
        Client.last = self

    def get_experiment_by_name(self, name):
        return None

    def create_experiment(self, name):
        self.calls.append(("experiment", name))
        return "7"

    def create_run(self, experiment, run_name, tags):
        assert experiment == "7"
        self.calls.append(("run", run_name))
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id="r1"))

    def log_param(self, identity, key, value):
        self.calls.append(("param", key, len(value)))

    def log_metric(self, identity, key, value, step=None):
        self.calls.append(("metric", key, value, step))

    def set_terminated(self, identity):
        self.calls.append(("end", identity))


def test_mlflow_is_told_everything(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", types.SimpleNamespace(MlflowClient=Client))
    said = io.StringIO()
    track({"mlflow": MLFLOW}, run, stream=said)
    assert said.getvalue() == ""
    client = Client.last
    assert client.uri == f"sqlite:///{(run.outputs / 'mlflow.db').resolve()}"
    assert ("experiment", "salience") in client.calls and ("run", run.name) in client.calls
    assert ("param", "long", 500) in client.calls
    assert ("metric", "training/train_loss", 0.25, 2) in client.calls
    assert ("metric", "deletion/saliency", 0.25, None) in client.calls
    assert client.calls[-1] == ("end", "r1")


@pytest.mark.slow  # needs the extra of that name
def test_mlflow_for_real(run, tmp_path):
    import mlflow

    said = io.StringIO()
    track({"mlflow": MLFLOW}, run, stream=said)
    assert said.getvalue() == ""
    client = mlflow.MlflowClient(f"sqlite:///{(tmp_path / 'mlflow.db').resolve()}")
    (found,) = client.search_runs([client.get_experiment_by_name("salience").experiment_id])
    assert found.data.metrics["deletion/saliency"] == 0.25
    assert found.data.params["training.epochs"] == "2" and found.info.status == "FINISHED"


@pytest.mark.parametrize("node", [TENSORBOARD, MLFLOW])
def test_without_the_package_there_is_one_warning_that_says_what_to_install(run, node, monkeypatch):
    for name in ("mlflow", "tensorboard", "torch.utils.tensorboard"):
        monkeypatch.setitem(sys.modules, name, None)
    name = node["_target_"].split(".")[2]
    said, logged = io.StringIO(), []
    track({name: node}, run, logged.append, said)
    assert len(said.getvalue().splitlines()) == len(logged) == 1
    assert f"pip install 'salience[{name}]'" in said.getvalue() and "the run is complete" in said.getvalue()


def test_f22_one_that_fails_does_not_stop_the_next(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", types.SimpleNamespace(MlflowClient=Client))
    said = io.StringIO()
    track({"away": {"_target_": f"{__name__}.Fails"}, "mlflow": MLFLOW}, run, stream=said)
    assert said.getvalue().splitlines() == [
        "warning: tracker=away: ConnectionError: no route to the server; the run is complete and nothing else is lost"
    ]
    assert Client.last.calls[-1] == ("end", "r1")


@pytest.mark.parametrize(("name", "needs"), [("tensorboard", "tensorboard"), ("mlflow", "mlflow")])
def test_configs_are_the_schema(name, needs):
    assert build(shipped("tracker", name)[name]).package == needs


def test_nothing_is_imported_before_a_run_has_finished():
    code = (
        "import sys; from salience.edge.targets import build\n"
        f"build({TENSORBOARD!r}), build({MLFLOW!r})\n"
        "print(*({'mlflow', 'tensorboard', 'torch.utils.tensorboard'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
