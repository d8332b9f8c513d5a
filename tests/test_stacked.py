"""The seeds of one network trained at once: the same trainings, up to rounding."""

import copy
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from omegaconf import OmegaConf
from torch import nn

from salience import WrongInput
from salience.config import Composed, compose
from salience.data.base import Classification, Data, Examples, Regression
from salience.experiment import run_overrides
from salience.history import Diverged, History
from salience.modality import Image, Tabular, Tokens
from salience.models.cnn import CNN
from salience.models.mlp import MLP
from salience.models.transformer import Transformer
from salience.settings import Training
from salience.stacked import fit_stacked, unstackable
from salience.sweeps import together
from salience.sweeps.jobs import Jobs
from salience.training import fit, initialised

SCRIPTS = Path(__file__).parents[1] / "scripts"
CLASSES = Classification(("a", "b", "c"))
SETTINGS = Training(epochs=4, batch_size=16, stacked=True, patience=None, learning_rate=1e-2)


def split(seed: int, modality, rows: int, task) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    if isinstance(modality, Tokens):
        x = torch.randint(1, modality.vocabulary_size, (rows, *modality.shape), generator=generator)
    else:
        x = torch.randn(rows, *modality.shape, generator=generator)
    score = x.float().flatten(1).mean(1)
    labels = score[:, None] if isinstance(task, Regression) else (score > 0).long() + (score > 0.3)
    return Examples((x,), labels, torch.arange(rows))


def data(modality, seed: int = 0, task=CLASSES) -> Data:
    train, held = split(seed, modality, 50, task), split(seed + 100, modality, 30, task)
    return Data((modality,), task, train, held, held)


TABLE, PICTURE = Tabular((6,)), Image((1, 8, 8), patch=4)
WORDS = Tokens((5,), vocabulary=tuple("abcdefg"))
NETWORKS = {
    "mlp": (TABLE, lambda: MLP((TABLE,), 3, hidden=[8])),
    "cnn": (PICTURE, lambda: CNN((PICTURE,), 3, channels=[4])),
    "transformer": (
        WORDS,
        lambda: Transformer((WORDS,), 3, depth=1, width=8, heads=2, ff=8, embedding=8, dropout=0.0),
    ),
}


def alone(model: nn.Module, given: Data, settings: Training, seed: int) -> tuple[nn.Module, History]:
    model = copy.deepcopy(model)
    return model, fit(model, given, settings.model_copy(update={"stacked": False}), seed=seed)


def differ(a: nn.Module, b: nn.Module) -> float:
    return max(
        float((p - q).detach().abs().max()) for p, q in zip(a.parameters(), b.parameters(), strict=True)
    )


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(
    "changed",
    [{}, {"clip": 0.1}, {"optimizer": "sgd"}, {"class_weights": True}, {"patience": 1, "epochs": 30}],
    ids=str,
)
def test_equal_to_one_by_one(name, changed):
    modality, build = NETWORKS[name]
    rule = {"optimizer": "sgd"} if name == "transformer" else {}
    settings = SETTINGS.model_copy(update=rule | changed)
    given = [data(modality, seed) for seed in range(3)]
    models = [initialised(build, seed) for seed in range(3)]
    expected = [alone(m, d, settings, s) for s, (m, d) in enumerate(zip(models, given, strict=True))]
    histories = fit_stacked(models, given, settings, range(3))
    for model, history, (other, theirs) in zip(models, histories, expected, strict=True):
        assert differ(model, other) < 1e-5
        assert not model.training and all(p.grad is None for p in model.parameters())
        assert (history.stopped, history.kept_epoch) == (theirs.stopped, theirs.kept_epoch)
        assert [row["train_loss"] for row in history.rows] == pytest.approx(
            [row["train_loss"] for row in theirs.rows], rel=1e-4
        )
    assert differ(models[0], models[1]) > 1e-2


def test_a_transformer_by_adam():
    """Adam makes steps of full length out of the rounding of a key's bias, which no output depends on."""
    modality, build = NETWORKS["transformer"]
    models = [initialised(build, seed) for seed in range(2)]
    _, theirs = alone(models[1], data(modality), SETTINGS, 1)
    history = fit_stacked(models, [data(modality)] * 2, SETTINGS, range(2))[1]
    assert isinstance(history, History)
    assert [row["train_loss"] for row in history.rows] == pytest.approx(
        [row["train_loss"] for row in theirs.rows], rel=1e-4
    )


def test_a_seed_gets_the_same_bits_in_any_company():
    """Of 2, of 5, or alone: what a run promises to repeat must not depend on who else was trained."""
    given = data(TABLE)
    found = []
    for seeds in ([7], [7, 1], [3, 4, 7, 5, 6]):
        models = [initialised(NETWORKS["mlp"][1], seed) for seed in seeds]
        fit_stacked(models, [given] * len(seeds), SETTINGS, seeds)
        found.append(models[seeds.index(7)])
    assert differ(found[0], found[1]) == differ(found[0], found[2]) == 0.0


def test_one_that_reaches_its_score_keeps_the_weights_of_then():
    settings = SETTINGS.model_copy(update={"stop_at": 0.5, "epochs": 20})
    given = [data(TABLE, seed) for seed in range(3)]
    models = [initialised(NETWORKS["mlp"][1], seed) for seed in range(3)]
    expected = [alone(m, d, settings, s) for s, (m, d) in enumerate(zip(models, given, strict=True))]
    histories = fit_stacked(models, given, settings, range(3))
    assert len({len(h.rows) for h in histories}) > 1, "they should end at different times"
    for model, history, (other, theirs) in zip(models, histories, expected, strict=True):
        assert len(history.rows) == len(theirs.rows) == history.kept_epoch
        assert differ(model, other) < 1e-5


def test_one_that_diverges_leaves_the_others_alone():
    given = [data(TABLE, seed) for seed in range(3)]
    given[1].train.inputs[0][3, 2] = float("inf")
    models = [initialised(NETWORKS["mlp"][1], seed) for seed in range(3)]
    other, _ = alone(models[2], given[2], SETTINGS, 2)
    histories = fit_stacked(models, given, SETTINGS, range(3))
    assert isinstance(histories[1], Diverged) and "epoch 1" in str(histories[1])
    assert differ(models[2], other) < 1e-5


@pytest.mark.parametrize("class_weights", [False, True])
def test_regression(class_weights):
    settings = SETTINGS.model_copy(update={"class_weights": class_weights})
    task = Regression(("y",))
    given, build = data(TABLE, task=task), lambda: MLP((TABLE,), 1, hidden=[8])
    models = [initialised(build, seed) for seed in range(2)]
    other, _ = alone(models[1], given, settings, 1)
    fit_stacked(models, [given] * 2, settings, range(2))
    assert differ(models[1], other) < 1e-5


@pytest.mark.parametrize(
    ("module", "changed", "reason"),
    [
        (nn.Dropout(0.1), {}, "dropout"),
        (nn.BatchNorm1d(6), {}, "batch norm"),
        (nn.LSTM(6, 6), {}, "recurrent"),
        (nn.Identity(), {"precision": "bfloat16"}, "float32"),
        (nn.Identity(), {"optimizer": {"_target_": "torch.optim.RMSprop"}}, "adamw"),
    ],
)
def test_what_cannot_be_stacked_says_why(module, changed, reason):
    assert reason in (unstackable(module, SETTINGS.model_copy(update=changed)) or "")


def test_networks_of_other_shapes_are_refused():
    models = [MLP((TABLE,), 3, hidden=[8]), MLP((TABLE,), 3, hidden=[9])]
    with pytest.raises(ValueError, match="differ in shape"):
        fit_stacked(models, [data(TABLE)] * 2, SETTINGS, range(2))


QUICK = (
    "data=breast_cancer",
    "model=mlp",
    "attribution=[saliency]",
    "metric=[]",
    "controls=[]",
    "figures=false",
)


def test_refused_before_anything_is_trained(tmp_path):
    with pytest.raises(WrongInput, match=r"training.stacked=true: dropout"):
        run_overrides([*QUICK, f"outputs={tmp_path}", "training.stacked=true", "model.mlp.dropout=0.2"])
    assert not (tmp_path / "networks").exists()


def test_one_run_alone(tmp_path):
    run = run_overrides([*QUICK, f"outputs={tmp_path}", "training.stacked=true", "training.epochs=3"])
    assert run.summary["network"]["trained"] and len(run.history) == 3
    assert compose([*QUICK]).config.training.stacked is False


@pytest.mark.slow
def test_a_sweep_trains_its_seeds_first(tmp_path):
    """From the command line: trained at once, taken from the store by every run, whichever methods it has."""
    command = [sys.executable, str(SCRIPTS / "run.py"), "-m", *QUICK[:2], *QUICK[3:], f"outputs={tmp_path}"]
    command += ["seed=0,1,2", "attribution=[saliency],[input_x_gradient]", "training.stacked=true"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "3 networks trained at once" in done.stdout
    assert len(list((tmp_path / "networks").glob("[!.]*"))) == 3
    found = [json.loads(path.read_text()) for path in (tmp_path / "latest").glob("*/summary.json")]
    assert len(found) == 6 and not any(summary["network"]["trained"] for summary in found)
    alone = run_overrides([*QUICK, f"outputs={tmp_path / 'alone'}", "seed=1", "training.stacked=true"])
    weights = {summary["network"]["weights"] for summary in found}
    assert len(weights) == 3 and alone.summary["network"]["weights"] in weights


def test_stacks_are_of_networks_that_differ_by_their_seed_alone(tmp_path, monkeypatch):
    """One config for each network, whichever methods it is explained with; no more than fit."""
    base = compose([*QUICK[:2], f"outputs={tmp_path}", "training.stacked=true"])

    def but(**changed) -> Composed:
        config = copy.deepcopy(base.config)
        for key, value in changed.items():
            OmegaConf.update(config, key.replace("__", "."), value)
        return replace(base, config=config, overrides=(str(changed),))

    monkeypatch.setattr(together, "MOST", 3)
    runs = [but(seed=seed, explained=n) for seed in range(5) for n in (1, 2)]
    runs += [but(model__mlp__hidden=[3]), but(training__stacked=False), but(seed=1, dry=True)]
    jobs = Jobs.create(runs, "salience.experiment.run", {})
    groups = list(together.stacks(jobs))
    assert [len(group) for group in groups] == [3, 2]
    seeds = [yaml.safe_load(config)["seed"] for group in groups for config in group]
    assert seeds == list(range(5))
