"""The store of trained networks, and weights of one's own."""

import importlib
import json
import logging
import sys
import threading
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from small_data import make
from torch import nn

from salience import files
from salience.errors import WrongInput
from salience.models.base import predict
from salience.models.mlp import MLP
from salience.networks import DESCRIPTION, WEIGHTS, Networks, load_weights, weights_digest
from salience.settings import Training
from salience.training import fit, initialised

DATA = make("table")
CONFIG = {"_target_": "salience.models.mlp.MLP", "hidden": [8]}


def network(seed=0, hidden=(8,)):
    return initialised(lambda: MLP(DATA.modalities, 2, hidden=hidden), seed)


def recipe(networks, model=None, **changed):
    parts = {
        "data_config": {"name": "table"},
        "data": DATA,
        "model_config": CONFIG,
        "model": model or network(),
        "settings": Training(epochs=2),
        "seed": 0,
        "device": "cpu",
    }
    return networks.recipe(**(parts | changed))


class Trainer:
    """A `train` for the store that counts how often it is called."""

    def __init__(self, model, epochs=2):
        self.model, self.epochs, self.calls = model, epochs, 0

    def __call__(self):
        self.calls += 1
        return fit(self.model, DATA, Training(epochs=self.epochs), seed=0)


def trained(networks, name=None):
    """A network through the store: (network, history, whether it was trained, calls of the trainer)."""
    model = network()
    train = Trainer(model)
    history, now = networks.trained(name or recipe(networks), model, train)
    return model, history, now, train.calls


def test_a_network_is_trained_once(tmp_path):
    networks = Networks(tmp_path / "networks")
    first, history, now, calls = trained(networks)
    again, same_history, later, no_calls = trained(Networks(tmp_path / "networks"))
    assert (now, calls, later, no_calls) == (True, 1, False, 0)
    assert weights_digest(first) == weights_digest(again) != weights_digest(network())
    assert history == same_history and len(history.rows) == 2
    assert not again.training
    assert torch.equal(predict(first, DATA.test.inputs), predict(again, DATA.test.inputs))
    kept = [p.name for p in networks.folder.iterdir() if not p.name.endswith(".lock")]
    assert kept == [recipe(networks)]
    assert sorted(p.name for p in (networks.folder / kept[0]).iterdir()) == [DESCRIPTION, WEIGHTS]


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "a flipped bit": lambda folder: flip_a_byte(folder / WEIGHTS),
    "cut off": lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:50]),
    "no weights": lambda folder: (folder / WEIGHTS).unlink(),
    "no description": lambda folder: (folder / DESCRIPTION).unlink(),
    "not JSON": lambda folder: (folder / DESCRIPTION).write_text("{"),
    "other JSON": lambda folder: (folder / DESCRIPTION).write_text("[]"),
    "no history": lambda folder: (folder / DESCRIPTION).write_text(
        json.dumps(json.loads((folder / DESCRIPTION).read_text()) | {"history": {"epoch": 1}})
    ),
    "another recipe": lambda folder: (folder / DESCRIPTION).write_text(
        json.dumps(json.loads((folder / DESCRIPTION).read_text()) | {"recipe": "0" * 64})
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_damaged_is_trained_again_with_a_warning(tmp_path, damage, caplog):
    networks = Networks(tmp_path)
    first, *_ = trained(networks)
    DAMAGE[damage](tmp_path / recipe(networks))
    with caplog.at_level(logging.WARNING):
        again, _, now, calls = trained(networks)
    assert (now, calls) == (True, 1)
    assert "is damaged" in caplog.text
    assert weights_digest(again) == weights_digest(first)
    caplog.clear()
    assert not trained(networks)[2]
    assert not caplog.text


def test_a_stored_network_of_another_shape_counts_as_damaged(tmp_path, caplog):
    networks = Networks(tmp_path)
    trained(networks, "a" * 64)
    model = network(hidden=(9,))
    _, now = networks.trained("a" * 64, model, Trainer(model))
    assert now and "layers.0.bias is (8,) there and (9,) in the network" in caplog.text


def test_an_untrained_network_is_not_stored(tmp_path):
    networks, model = Networks(tmp_path), network()
    history, now = networks.trained("b" * 64, model, Trainer(model, epochs=0))
    assert (history.rows, now) == ([], False)
    assert not (tmp_path / ("b" * 64)).exists()


def test_a_store_that_cannot_be_written_does_not_stop_a_run(tmp_path, caplog):
    (tmp_path / "networks").write_text("a file, where the folder should be")
    _, history, now, _ = trained(Networks(tmp_path / "networks"))
    assert now and len(history.rows) == 2
    assert "cannot be kept" in caplog.text


def test_of_several_that_want_one_network_one_trains_and_the_others_wait(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    started, results = threading.Event(), []

    def slow():
        model = network()

        def train():
            started.set()
            waiting.wait(0.3)
            return Trainer(model)()

        results.append(Networks(tmp_path).trained("c" * 64, model, train)[1])

    waiting = threading.Event()  # never set: a pause that holds no lock of Python's
    threads = [threading.Thread(target=slow) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert started.is_set() and sorted(results) == [False, False, True]
    assert "another process trains this network; waiting for it" in caplog.text


def test_a_network_that_was_kept_just_before_the_lock_was_free_is_not_trained_again(tmp_path, monkeypatch):
    alone = Networks._alone

    def late(self, name):
        monkeypatch.setattr(Networks, "_alone", alone)
        assert trained(Networks(tmp_path))[2], "another one trains it, from beginning to end"
        return alone(self, name)

    monkeypatch.setattr(Networks, "_alone", late)
    _, history, now, calls = trained(Networks(tmp_path))
    assert (now, calls) == (False, 0) and len(history.rows) == 2


def test_without_working_locks_both_train_and_agree_on_the_first_that_was_kept(tmp_path, monkeypatch):
    import fcntl

    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    networks, model = Networks(tmp_path), network()

    def train():
        other = network(seed=5)  # what another process finds meanwhile, a little different
        networks.trained("d" * 64, other, Trainer(other))
        kept.append(weights_digest(other))
        return Trainer(model)()

    kept = []
    _, now = networks.trained("d" * 64, model, train)
    assert now and weights_digest(model) == kept[0]
    assert [p.name for p in tmp_path.iterdir() if not p.name.endswith(".lock")] == ["d" * 64]


@pytest.mark.parametrize("name", ["", "../x", "A" * 64, "a" * 63, "a" * 64 + "\n"])
def test_only_a_recipe_names_a_folder(tmp_path, name):
    with pytest.raises(ValueError, match="not a recipe"):
        Networks(tmp_path).trained(name, network(), Trainer(network()))


OTHER_LABELS = DATA.with_train(replace(DATA.train, labels=1 - DATA.train.labels))
CHANGES = {
    "data config": {"data_config": {"name": "another"}},
    "training rows": {"data": DATA.with_train(DATA.train[:-1])},
    "labels": {"data": OTHER_LABELS},
    "model config": {"model_config": CONFIG | {"hidden": [9]}},
    "initial weights": {"model": network(seed=1)},
    "training": {"settings": Training(epochs=3)},
    "seed": {"seed": 1},
    "device": {"device": "cuda"},
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_decides_the_result_decides_the_recipe(tmp_path, change):
    networks = Networks(tmp_path)
    assert recipe(networks, network()) == recipe(networks, network())
    assert recipe(networks, **CHANGES[change]) != recipe(networks)


def test_the_number_of_processes_and_the_type_of_numbers_decide_the_recipe(tmp_path, monkeypatch):
    networks, model = Networks(tmp_path), network()
    names = {recipe(networks, model)}
    monkeypatch.setenv("WORLD_SIZE", "2")
    names.add(recipe(networks, model))
    monkeypatch.setattr(torch, "__version__", "0.0")
    names.add(recipe(networks, model))
    monkeypatch.setattr(torch, "get_default_dtype", lambda: torch.float64)
    names.add(recipe(networks, model))
    assert len(names) == 4


def test_a_file_of_weights_counts_by_its_content(tmp_path):
    networks = Networks(tmp_path)
    names = []
    for file, seed in (("a", 3), ("b", 3), ("c", 4)):
        path = tmp_path / f"{file}.safetensors"
        save_file(network(seed).state_dict(), path)
        model = network()
        load_weights(model, path)
        names.append(recipe(networks, model, model_config=CONFIG | {"weights": str(path)}))
    assert names[0] == names[1] != names[2]


def test_the_source_of_a_network_decides_the_recipe(tmp_path, monkeypatch):
    source = "from torch import nn\nclass Own(nn.Linear):\n    bias_of_forward = {}\n"
    monkeypatch.syspath_prepend(tmp_path)
    names = []
    for value in (0, 1):
        (tmp_path / "own_network_of_a_test.py").write_text(source.format(value))
        importlib.invalidate_caches()
        sys.modules.pop("own_network_of_a_test", None)
        module = importlib.import_module("own_network_of_a_test")
        model = initialised(lambda module=module: nn.Sequential(module.Own(5, 2)), 0)
        names.append(recipe(Networks(tmp_path), model))
    assert names[0] != names[1]


def test_the_digest_of_weights_sees_every_name_shape_type_and_value():
    model = nn.BatchNorm1d(2)
    digests = {weights_digest(model)}
    for name, value in model.state_dict().items():
        before = value.clone()
        value += 1
        digests.add(weights_digest(model))
        value.copy_(before)
        assert weights_digest(model) in digests, name
    digests |= {
        weights_digest(m) for m in (nn.BatchNorm1d(2).half(), nn.BatchNorm1d(3), nn.Sequential(model))
    }
    assert len(digests) == 1 + 5 + 3


# -- weights of one's own ------------------------------------------------------------------------------------------


def test_weights_of_ones_own_are_loaded(tmp_path):
    save_file(network(seed=7).state_dict(), tmp_path / "own.safetensors")
    model = network()
    load_weights(model, tmp_path / "own.safetensors")
    assert weights_digest(model) == weights_digest(network(seed=7))


def test_half_precision_weights_are_cast(tmp_path):
    save_file({k: v.half() for k, v in network(seed=7).state_dict().items()}, tmp_path / "own.safetensors")
    model = network()
    load_weights(model, tmp_path / "own.safetensors")
    assert model.layers[0].weight.dtype == torch.float32
    assert torch.equal(model.layers[0].weight, network(seed=7).layers[0].weight.half().float())


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.second = nn.Linear(3, 3)
        self.second.weight = self.first.weight


def test_of_tied_weights_one_suffices(tmp_path):
    given = {k: v for k, v in Tied().state_dict().items() if k != "second.weight"}
    save_file(given, tmp_path / "own.safetensors")
    model = Tied()
    load_weights(model, tmp_path / "own.safetensors")
    assert torch.equal(model.second.weight, given["first.weight"])
    with pytest.raises(WrongInput, match="tensor second.bias of the network is missing"):
        save_file({k: v for k, v in given.items() if k != "second.bias"}, tmp_path / "own.safetensors")
        load_weights(model, tmp_path / "own.safetensors")


def change(**tensors):
    """The weights of a network with some changed; None takes one out."""
    changed = network().state_dict() | {k.replace("_", "."): v for k, v in tensors.items()}
    return {k: v for k, v in changed.items() if v is not None}


@pytest.mark.parametrize(
    "weights, message",
    [
        (change(layers_0_bias=None), r"tensor layers.0.bias of the network is missing there"),
        (
            change(layers_4_bias=torch.zeros(2)),
            r"the network has no tensor layers.4.bias. Did you mean layers.2.bias\?",
        ),
        (
            change(layers_0_weight=torch.zeros(8, 6)),
            r"tensor layers.0.weight is \(8, 6\) there and \(8, 5\) in the network",
        ),
        (
            change(layers_2_bias=torch.tensor([0, torch.nan])),
            r"tensor layers.2.bias holds values that are not finite",
        ),
    ],
)
def test_weights_that_do_not_fit_are_one_line_and_change_nothing(tmp_path, weights, message):
    path, model = tmp_path / "own.safetensors", network()
    save_file(weights, path)
    before = weights_digest(model)
    with pytest.raises(WrongInput, match=message) as caught:
        load_weights(model, path)
    assert str(caught.value).startswith(f"model.weights={path}: ") and "\n" not in str(caught.value)
    assert weights_digest(model) == before


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("none.safetensors", None, "no such file"),
        ("own.pt", b"x", "only .safetensors files are read"),
        ("own.safetensors", b"not a file of tensors", "cannot be read"),
        ("own.safetensors", b"", "cannot be read"),
    ],
)
def test_files_that_hold_no_weights_are_one_line(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(WrongInput, match=message) as caught:
        load_weights(network(), tmp_path / name)
    assert "\n" not in str(caught.value)


# -- folders that appear and disappear at once ----------------------------------------------------------------------


def test_a_folder_is_published_once(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "content").write_text(name)
    assert files.publish(tmp_path / "a", tmp_path / "final")
    assert not files.publish(tmp_path / "b", tmp_path / "final")
    assert (tmp_path / "final" / "content").read_text() == "a"
    files.discard(tmp_path / "final")
    files.discard(tmp_path / "final")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_published_is_an_error(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError):
        files.publish(tmp_path / "a", tmp_path / "missing" / "final")
    assert list(tmp_path.iterdir()) == []
