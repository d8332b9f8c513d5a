"""Training: what it promises to the bit, when it stops, and what it refuses."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from small_data import make
from torch import nn

from salience.errors import WrongInput
from salience.history import Diverged, History
from salience.models.base import predict
from salience.models.cnn import CNN
from salience.models.mlp import MLP
from salience.models.transformer import Transformer
from salience.optimizers import SGD, Adam, flattened
from salience.randomness import Streams, global_state, same_state
from salience.settings import Training
from salience.training import batch_bounds, fit, initialised, rate

TESTS = Path(__file__).parent


def mlp(data, **own):
    return initialised(lambda: MLP(data.modalities, data.task.num_outputs, **own), 0)


def flat_weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def small_networks():
    torch.manual_seed(1)
    dense = nn.Sequential(nn.Linear(11, 63), nn.ReLU(), nn.Linear(63, 17), nn.Tanh(), nn.Linear(17, 3))
    convolutional = nn.Sequential(
        nn.Conv2d(1, 7, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(63, 3)
    )
    return {"dense": (dense, (11,)), "convolutional": (convolutional, (1, 8, 8))}


def optimise(network, make_optimizer, flat):
    """The weights after 200 steps with a falling learning rate."""
    model, shape = small_networks()[network]
    torch.manual_seed(2)
    inputs, labels = torch.randn(64, *shape), torch.randint(0, 3, (64,))

    def steps(optimizer, clear):
        for step in range(200):
            optimizer.param_groups[0]["lr"] = 1e-2 * (1 - step / 200)
            rows = slice(step * 7 % 32, step * 7 % 32 + 32)
            clear()
            nn.functional.cross_entropy(model(inputs[rows]), labels[rows]).backward()
            optimizer.step()

    if flat:
        with flattened(model) as vector:
            steps(make_optimizer(vector), vector.grad.zero_)
    else:
        optimizer = make_optimizer(model.parameters())
        steps(optimizer, optimizer.zero_grad)
    return flat_weights(model)


OPTIMIZERS = {
    "adamw": lambda decay: (
        lambda flat: Adam(flat, 1e-2, decay),
        lambda parameters: torch.optim.AdamW(parameters, 1e-2, weight_decay=decay),
    ),
    "adam": lambda decay: (
        lambda flat: Adam(flat, 1e-2, decay, decoupled=False),
        lambda parameters: torch.optim.Adam(parameters, 1e-2, weight_decay=decay),
    ),
    "sgd": lambda decay: (
        lambda flat: SGD(flat, 1e-2, decay, 0.9),
        lambda parameters: torch.optim.SGD(parameters, 1e-2, 0.9, weight_decay=decay),
    ),
    "sgd without momentum": lambda decay: (
        lambda flat: SGD(flat, 1e-2, decay),
        lambda parameters: torch.optim.SGD(parameters, 1e-2, weight_decay=decay),
    ),
}


@pytest.mark.parametrize("network", ["dense", "convolutional"])
@pytest.mark.parametrize("decay", [0.0, 0.05])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_flat_optimisers_give_the_parameters_of_torch_optim_bit_for_bit(name, decay, network):
    ours, theirs = OPTIMIZERS[name](decay)
    expected = optimise(network, theirs, flat=False)
    assert torch.equal(optimise(network, ours, flat=True), expected)
    assert not torch.equal(flat_weights(small_networks()[network][0]), expected)


@pytest.mark.parametrize("name, target", [("adamw", "AdamW"), ("adam", "Adam"), ("sgd", "SGD")])
def test_fit_with_a_class_of_torch_optim_equals_the_built_in_one_bit_for_bit(name, target):
    data = make("image")
    own = {"weight_decay": 0.02} | ({"momentum": 0.8} if name == "sgd" else {})
    node = {"_target_": f"torch.optim.{target}", **own}
    trained = []
    for optimizer in (name, node):
        model = initialised(lambda: CNN(data.modalities, 2), 0)
        fit(model, data, Training(epochs=3, optimizer=optimizer, **own), seed=3)
        trained.append(flat_weights(model))
    assert torch.equal(*trained)


def test_fit_is_a_plain_loop():
    data, training = make("table"), Training(epochs=3, batch_size=32, patience=None, warmup=0.25)
    ours, plain = mlp(data), mlp(data)
    history = fit(ours, data, training, seed=5)

    optimizer = torch.optim.AdamW(plain.parameters(), weight_decay=training.weight_decay)
    (inputs,), labels, step = data.train.inputs, data.train.labels, 0
    for epoch in (1, 2, 3):
        order = torch.randperm(len(labels), generator=Streams(5).generator("batches", epoch))
        for rows in order.split(32):
            optimizer.param_groups[0]["lr"] = training.learning_rate * rate(training, step, 21)
            optimizer.zero_grad()
            data.task.loss(plain(inputs[rows]), labels[rows]).backward()
            optimizer.step()
            step += 1
    assert torch.equal(flat_weights(ours), flat_weights(plain))
    outputs = predict(plain, data.validation.inputs)
    assert history.rows[-1]["validation_loss"] == data.task.loss(outputs, data.validation.labels).item()


def test_the_same_seed_gives_the_same_weights_and_the_global_streams_are_left_alone():
    data = make("tokens")

    def trained(seed):
        model = initialised(lambda: Transformer(data.modalities, 2, width=8, heads=2, ff=8), 0)
        fit(model, data, Training(epochs=2), seed=seed)
        return flat_weights(model)

    before = global_state()
    first = trained(1)
    assert same_state(before, global_state())
    torch.rand(3)
    assert torch.equal(first, trained(1))
    assert not torch.equal(first, trained(2))


def test_initialisation_is_by_its_seed_alone():
    data = make("table", rows=4)
    before = global_state()
    first, second, other = (
        flat_weights(initialised(lambda: MLP(data.modalities, 2), seed)) for seed in (1, 1, 2)
    )
    assert same_state(before, global_state())
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_afterwards_parameters_are_tensors_of_their_own_and_the_network_is_in_eval_mode():
    data = make("table")
    model = mlp(data, dropout=0.5)
    fit(model, data, Training(epochs=1), seed=0)
    storages = {p.untyped_storage().data_ptr() for p in model.parameters()}
    assert len(storages) == len(list(model.parameters()))
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert not model.training


def test_a_frozen_layer_is_not_trained():
    data = make("table")
    model = mlp(data)
    model.layers[0].requires_grad_(False)
    before = {n: p.clone() for n, p in model.named_parameters()}
    fit(model, data, Training(epochs=1), seed=0)
    changed = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert changed == {n for n in before if not n.startswith("layers.0.")}


def test_the_history_has_a_row_per_epoch_and_progress_is_told_of_each():
    data, told = make("table"), []
    training = Training(epochs=3, schedule="linear", warmup=0.0)
    history = fit(mlp(data), data, training, seed=0, progress=lambda *what: told.append(what))
    assert told == [(i + 1, 3, row) for i, row in enumerate(history.rows)]
    assert [row["epoch"] for row in history.rows] == [1, 2, 3]
    assert list(history.rows[0]) == [
        "epoch",
        "seconds",
        "learning_rate",
        "train_loss",
        "validation_loss",
        "validation_accuracy",
        "validation_balanced_accuracy",
        "validation_log_loss",
    ]
    assert history.rows[-1]["train_loss"] < history.rows[0]["train_loss"]
    assert history.rows[0]["learning_rate"] == pytest.approx(0.003 * (1 - 6 / 21))
    assert history.stopped == "epochs"


def test_patience_stops_and_the_best_weights_are_kept():
    data = make("table", rows=40)
    flipped = data.with_train(data.train[:20])  # few rows: learnt by heart, so validation gets worse again
    model = mlp(data, hidden=[128])
    training = Training(epochs=200, patience=5, learning_rate=0.02, batch_size=5, schedule="constant")
    history = fit(model, flipped, training, seed=0)
    losses = [row["validation_loss"] for row in history.rows]
    assert history.stopped == "patience"
    assert len(losses) == history.kept_epoch + 5 < 200
    assert losses[history.kept_epoch - 1] == min(losses) < losses[-1]
    outputs = predict(model, data.validation.inputs)
    assert data.task.loss(outputs, data.validation.labels).item() == min(losses)


def test_without_patience_the_last_weights_are_kept():
    data = make("table", rows=20)
    model = mlp(data)
    history = fit(
        model, data, Training(epochs=30, patience=None, learning_rate=0.1, schedule="constant"), seed=0
    )
    outputs = predict(model, data.validation.inputs)
    assert history.kept_epoch == 30
    assert data.task.loss(outputs, data.validation.labels).item() == history.rows[-1]["validation_loss"]


def test_stop_at_stops_at_the_first_epoch_that_reaches_it():
    data = make("table")
    model = mlp(data)
    history = fit(model, data, Training(epochs=100, stop_at=0.9, patience=None), seed=0)
    scores = [row["validation_accuracy"] for row in history.rows]
    assert history.stopped == "stop_at"
    assert scores[-1] >= 0.9 > max(scores[:-1])
    outputs = predict(model, data.validation.inputs)
    assert data.task.scores(outputs, data.validation.labels)["accuracy"] == scores[-1]


def test_no_epochs_change_nothing():
    data = make("table", rows=4)
    model = mlp(data)
    before = flat_weights(model)
    assert fit(model, data, Training(epochs=0), seed=0) == History()
    assert torch.equal(flat_weights(model), before)


def test_a_loss_that_is_not_a_number_names_epoch_batch_and_learning_rate():
    data = make("table", rows=96)
    order = torch.randperm(96, generator=Streams(0).generator("batches", 1))
    data.train.inputs[0][order[40]] = torch.nan
    with pytest.raises(
        Diverged, match=r"the loss is not finite in epoch 1, batch 2, at learning rate 0.01;"
    ) as caught:
        fit(mlp(data), data, Training(learning_rate=0.01, schedule="constant", warmup=0.0), seed=0)
    assert (caught.value.epoch, caught.value.batch, caught.value.learning_rate) == (1, 2, 0.01)
    assert not isinstance(caught.value, WrongInput)


def test_weights_that_explode_stop_training():
    data = make("table", numbers=True)
    training = Training(optimizer="sgd", learning_rate=1e4, weight_decay=0.0)
    with pytest.raises(Diverged, match="not finite in epoch"):
        fit(mlp(data), data, training, seed=0)


def test_a_clipped_gradient_moves_the_weights_by_at_most_its_norm():
    data = make("table", rows=30)
    own = {
        "epochs": 1,
        "optimizer": "sgd",
        "momentum": 0.0,
        "weight_decay": 0.0,
        "batch_size": 30,
        "warmup": 0.0,
    }
    moved = {}
    for clip in (None, 1e-3, 1e3):
        model = mlp(data)
        before = flat_weights(model)
        fit(model, data, Training(**own, learning_rate=1.0, clip=clip), seed=0)
        moved[clip] = (flat_weights(model) - before).norm().item()
    assert moved[None] > 0.1
    assert moved[1e-3] == pytest.approx(1e-3, rel=2e-2)
    assert moved[1e3] == pytest.approx(moved[None])


def test_class_weights_help_the_rare_class():
    data = make("table", rows=400)
    (x,), _ = data.train.inputs, data.train.labels
    x += torch.randn_like(x) * 1.5
    rare = torch.cat([(data.train.labels == 0).nonzero()[:, 0], (data.train.labels == 1).nonzero()[:12, 0]])
    unbalanced = data.with_train(data.train[rare])
    recalls = []
    for weighted in (False, True):
        model = mlp(data, hidden=[])
        fit(model, unbalanced, Training(epochs=20, patience=None, class_weights=weighted), seed=0)
        found = data.task.predictions(predict(model, data.test.inputs))[data.test.labels == 1]
        recalls.append(found.float().mean().item())
    assert recalls[1] > recalls[0] + 0.2


def test_regression_learns_a_line():
    data = make("table", rows=400, numbers=True)
    model = mlp(data, hidden=[])
    history = fit(model, data, Training(epochs=60, learning_rate=0.02), seed=0)
    assert history.rows[-1]["validation_r2"] > 0.99
    expected = torch.tensor([1.0, -1.0, 0.0, 0.0, 0.0])
    torch.testing.assert_close(model.layers[0].weight[0].detach(), expected, atol=0.05, rtol=0)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_trains_float32_weights(precision):
    data = make("table")
    model, plain = mlp(data), mlp(data)
    history = fit(model, data, Training(epochs=8, precision=precision), seed=0)
    expected = fit(plain, data, Training(epochs=8), seed=0)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert not torch.equal(flat_weights(model), flat_weights(plain))
    assert history.rows[-1]["validation_loss"] == pytest.approx(expected.rows[-1]["validation_loss"], rel=0.1)


def test_batch_normalisation_is_never_given_one_row():
    data = make("table", rows=33)
    model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    history = fit(model, data, Training(epochs=3, batch_size=16, patience=1, learning_rate=0.05), seed=0)
    assert model[1].num_batches_tracked == 2 * history.kept_epoch


@pytest.mark.parametrize(
    "rows, size, expected",
    [
        (4, 2, [(0, 2), (2, 4)]),
        (5, 3, [(0, 3), (3, 5)]),
        (5, 2, [(0, 2), (2, 5)]),
        (1, 2, [(0, 1)]),
        (2, 1, [(0, 1), (1, 2)]),
        (3, 9, [(0, 3)]),
    ],
)
def test_batches_cover_all_rows(rows, size, expected):
    assert batch_bounds(rows, size) == expected


@pytest.mark.parametrize(
    "schedule, expected",
    [
        ("constant", [0.5, 1, 1, 1, 1, 1, 1, 1, 1, 1]),
        ("linear", [0.5, 1, 1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]),
        ("cosine", [0.5, 1, 1, 0.9619, 0.8536, 0.6913, 0.5, 0.3087, 0.1464, 0.0381]),
    ],
)
def test_schedules(schedule, expected):
    training = Training(schedule=schedule, warmup=0.2)
    assert [rate(training, step, 10) for step in range(10)] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    "node, message",
    [
        (
            {"_target_": "torch.optim.AdamWW"},
            r"training.optimizer=torch.optim.AdamWW: .* Did you mean AdamW\?",
        ),
        ({"_target_": "torch.no_such.Adam"}, r"training.optimizer=torch.no_such.Adam: no such class"),
        ({"_target_": "Adam"}, r"training.optimizer=Adam: no such class"),
        ({}, r"training.optimizer=: no such class"),
        ({"_target_": "torch.optim.Adam", "alpha": 1}, r"training.optimizer=torch.optim.Adam: .*'alpha'"),
        ({"_target_": "torch.optim.LBFGS"}, r"training.optimizer=torch.optim.LBFGS: .*'closure'"),
        (
            {"_target_": "torch.optim.Adam", "betas": [2, 2]},
            r"training.optimizer=torch.optim.Adam: Invalid beta",
        ),
    ],
)
def test_wrong_optimisers_are_one_line(node, message):
    data = make("table", rows=4)
    with pytest.raises(WrongInput, match=message):
        fit(mlp(data), data, Training(optimizer=node), seed=0)


def test_a_network_without_trainable_parameters_is_refused():
    data = make("table", rows=4)
    with pytest.raises(WrongInput, match="training=none explains it as it is"):
        fit(mlp(data).requires_grad_(False), data, Training(), seed=0)


def test_the_default_config_is_the_default_of_the_settings():
    shipped = OmegaConf.load(TESTS.parent / "configs" / "training" / "default.yaml")
    assert Training(**OmegaConf.to_container(shipped)) == Training()
    assert set(shipped) == set(Training.model_fields)


START = """
import sys
sys.path.insert(0, {tests!r})
from small_data import make
from salience.models.mlp import MLP
from salience.settings import Training
from salience.training import fit

data = make("table")
fit(MLP(data.modalities, 2), data, Training(epochs=2, precision="bfloat16", clip=1.0), seed=0)
print(*[name for name in ("torch._dynamo", "sympy", "captum", "sklearn", "pandas") if name in sys.modules])
"""


def test_training_does_not_import_what_takes_seconds():
    command = [sys.executable, "-c", START.format(tests=str(TESTS))]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == ""


PARALLEL = """
import json, os, sys
sys.path.insert(0, {tests!r})
import torch
torch.set_num_threads(1)
from small_data import make
from salience.models.mlp import MLP
from salience.networks import Networks, weights_digest
from salience.settings import Training
from salience.training import fit, initialised

data = make("table", rows=65)
results = []
for _ in range(2):
    # the processes start from different weights: they must agree all the same
    model = initialised(lambda: MLP(data.modalities, 2), int(os.environ["RANK"]))
    training = Training(epochs=4, batch_size=32, clip=1.0)
    train = lambda: fit(model, data, training, seed=0)
    history, trained = Networks({store!r}).trained("ab" * 32, model, train)
    first = model.layers[0].weight[0].tolist()
    results.append([weights_digest(model), trained, [r["train_loss"] for r in history.rows], first])
print(json.dumps(results))
"""


def in_processes(script, count):
    """What `count` processes printed (as JSON) that were started as torchrun starts them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(count)}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            env=common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]
    outcomes = [process.communicate(timeout=300) for process in started]
    assert all(process.returncode == 0 for process in started), outcomes
    return [json.loads(out) for out, _ in outcomes]


def test_two_processes_train_one_network_as_one_process_would(tmp_path):
    alone, pair = tmp_path / "alone", tmp_path / "pair"
    ((expected, again),) = in_processes(PARALLEL.format(tests=str(TESTS), store=str(alone)), 1)
    (first, first_again), (second, second_again) = in_processes(
        PARALLEL.format(tests=str(TESTS), store=str(pair)), 2
    )
    assert first[:3] == second[:3]
    assert [r[1] for r in (expected, again, first, first_again, second, second_again)] == 3 * [True, False]
    assert expected[2] == pytest.approx(first[2], rel=1e-5)
    assert expected[3] == pytest.approx(first[3], abs=1e-5)
    assert {r[0] for r in (first, first_again, second, second_again)} == {first[0]}
    assert again[0] == expected[0]


def test_training_shows_in_the_version_of_every_weight():
    """Copies of a network that are kept for speed are known to be old by it, however training ended."""
    data = make("image", rows=40)
    for settings in (Training(epochs=2, patience=None), Training(epochs=2, stop_at=0.01)):
        model = CNN(data.modalities, 2)
        before = [p._version for p in model.parameters()]
        fit(model, data, settings, seed=0)
        assert all(p._version > b for p, b in zip(model.parameters(), before, strict=True))
