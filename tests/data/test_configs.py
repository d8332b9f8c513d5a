"""Every data config, by what any data set must be."""

import inspect
import subprocess
import sys
from functools import cache
from importlib import import_module
from pathlib import Path

import numpy as np
import own_files
import pytest
import torch
from omegaconf import OmegaConf

from salience.config import build, config_folder
from salience.data.base import split_rows

FETCHED = {
    "mnist",
    "tweets",
    "film",
    "german_credit",
    "ucr",
    "heart_disease",
    "spoken_digits",
    "traffic_signs",
}
FETCHED |= {"easy_vqa"}
NUMBERS = {"diabetes", "rare"}
OWN_SPLITS = {"ucr", "easy_vqa"}
ALWAYS_THE_SAME = {"sigmoid_unit"}
STANDARDISED = {"breast_cancer", "diabetes", "digits", "mnist", "german_credit", "ucr", "csv"}
STANDARDISED |= {"traffic_signs", "image_folder", "npz"}
FILES = sorted((config_folder() / "data").glob("*.yaml"))
NEEDS_EXTRA = {"hugging_face"}
OPTIONS = [
    pytest.param(
        f.stem,
        marks=[pytest.mark.network] * (f.stem in FETCHED) + [pytest.mark.extras] * (f.stem in NEEDS_EXTRA),
    )
    for f in FILES
]
SPLITS = ("train", "validation", "test")


def node(name, folder):
    config = OmegaConf.load(config_folder() / "data" / f"{name}.yaml")
    if OmegaConf.is_missing(config, "path"):  # the user's own files
        config.update(own_files.KINDS[name](folder))
    return config


@pytest.fixture(scope="module")
def load(downloads, tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")

    def loaded(name, seed=0):
        return build(node(name, folder), seed=seed, downloads=downloads)

    return cache(loaded)


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_a_config_is_short_and_says_what_the_function_says(file):
    assert len(file.read_text().splitlines()) < 12
    config = OmegaConf.load(file)
    module, _, function = config.pop("_target_").rpartition(".")
    parameters = inspect.signature(getattr(import_module(module), function)).parameters
    assert set(parameters) - set(config) <= {"seed", "downloads"}
    for key in config:
        if not OmegaConf.is_missing(config, key):
            default = parameters[key].default
            given = OmegaConf.to_container(config)[key]
            assert given == default or (not given and not default), key


@pytest.mark.parametrize("name", OPTIONS)
def test_examples_agree_with_modalities_and_task(load, name):
    data = load(name)
    assert data.title and data.source
    features = sum(m.num_features for m in data.modalities)
    for split in SPLITS:
        examples = data.split(split)
        assert torch.equal(examples.index, torch.arange(len(examples)))
        for modality, inputs in zip(data.modalities, examples.inputs, strict=True):
            assert inputs.shape == (len(examples), *modality.shape)
            if modality.vocabulary_size:
                assert inputs.dtype == torch.long
                assert inputs.min() >= 0 and inputs.max() < modality.vocabulary_size
            else:
                assert inputs.dtype == torch.float32 and inputs.isfinite().all()
        for truth in (examples.relevant, examples.ratings):
            assert truth is None or truth.shape == (len(examples), features)
        outputs = torch.zeros(len(examples), data.task.num_outputs)
        assert np.isfinite(list(data.task.scores(outputs, examples.labels).values())).all()
    if data.weights is not None:
        assert data.weights.shape == (data.task.num_outputs, features)


@pytest.mark.parametrize("name", OPTIONS)
def test_features_have_names_and_units(load, name):
    for modality in load(name).modalities:
        assert len(set(modality.feature_names)) == modality.num_features
        columns = getattr(modality, "columns", ())
        assert len(columns) in (0, *modality.shape[:1])
        assert len(getattr(modality, "units", ())) in (0, len(columns))
        embedded = torch.zeros(1, *modality.embedded_shape(3))
        assert modality.feature_mask(embedded).unique().tolist() == list(range(modality.num_features))


@pytest.mark.parametrize("name", [o for o in OPTIONS if o.values[0] not in NUMBERS | OWN_SPLITS])
def test_every_split_holds_the_classes_in_their_shares(load, name):
    data = load(name)
    classes = len(data.task.names)
    counts = torch.stack([torch.bincount(data.split(s).labels, minlength=classes) for s in SPLITS]).double()
    assert counts.min() > 0
    if name not in ALWAYS_THE_SAME:
        expected = counts.sum(0) * counts.sum(1, keepdim=True) / counts.sum()
        assert (counts - expected).abs().max() <= 1.5  # each is rounded to whole rows


@pytest.mark.parametrize("name", OPTIONS)
def test_the_seed_decides_and_nothing_else(load, name):
    first = load(name)
    torch.manual_seed(123)
    again = load.__wrapped__(name)
    for split in SPLITS:
        assert torch.equal(first.split(split).inputs[0], again.split(split).inputs[0])
        assert torch.equal(first.split(split).labels, again.split(split).labels)
    same = torch.equal(first.train.inputs[0], load(name, seed=1).train.inputs[0])
    assert same == (name in ALWAYS_THE_SAME)


@pytest.mark.parametrize("name", [o for o in OPTIONS if o.values[0] in STANDARDISED])
def test_the_training_rows_have_mean_0_and_deviation_1(load, name):
    data = load(name)
    modality, inputs = data.modalities[0], data.train.inputs[0].double()
    others = [a for a in range(inputs.dim()) if a != 1]
    assert inputs.mean(others).abs().max() < 1e-5
    scaled = torch.tensor(modality.scale) != 1  # constants and one-hot columns keep their scale
    assert ((inputs.std(others, correction=0) - 1).abs() < 1e-4)[scaled].all() and scaled.any()
    torch.testing.assert_close(modality.model_space(modality.original(inputs)), inputs, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("breast_cancer", 569),
        ("diabetes", 442),
        ("digits", 1797),
        pytest.param("heart_disease", 303, marks=pytest.mark.network),
        pytest.param("spoken_digits", 3000, marks=pytest.mark.network),
        pytest.param("german_credit", 1000, marks=pytest.mark.network),
        pytest.param("mnist", 5000, marks=pytest.mark.network),
        pytest.param("film", 10041, marks=pytest.mark.network),
        pytest.param("ucr", 200, marks=pytest.mark.network),
    ],
)
def test_no_row_is_lost(load, name, count):
    data = load(name)
    assert sum(len(data.split(s)) for s in SPLITS) == count


def test_original_values_are_those_of_the_source(load):
    from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits

    loaded = load_breast_cancer()
    data = load("breast_cancer")
    rows = split_rows(torch.as_tensor(loaded.target), data.task, seed=0)
    for split, at in zip(SPLITS, rows, strict=True):
        raw = torch.as_tensor(loaded.data[at])
        original = data.modalities[0].original(data.split(split).inputs[0].double())
        torch.testing.assert_close(original, raw, rtol=1e-5, atol=1e-5)
        assert torch.equal(data.split(split).labels, torch.as_tensor(loaded.target[at]))
    assert data.modalities[0].mean == pytest.approx(loaded.data[rows[0]].mean(0))
    assert data.modalities[0].scale == pytest.approx(loaded.data[rows[0]].std(0))

    data = load("diabetes")
    ages = data.modalities[0].original(data.test.inputs[0])[:, 0]
    assert set(ages.round().int().tolist()) <= set(
        load_diabetes(scaled=False).data[:, 0].astype(int).tolist()
    )
    progress = data.task.original(torch.cat([data.split(s).labels for s in SPLITS]))[:, 0]
    assert progress.sort()[0].tolist() == pytest.approx(sorted(load_diabetes().target), abs=1e-3)

    data = load("digits")
    pixels = data.modalities[0].original(data.train.inputs[0])
    assert pixels.min().item() == pytest.approx(0, abs=1e-6) and pixels.max().item() == pytest.approx(
        1, abs=1e-6
    )
    total = sum(data.modalities[0].original(data.split(s).inputs[0]).sum().item() for s in SPLITS)
    assert total * 16 == pytest.approx(load_digits().images.sum(), rel=1e-5)


@pytest.mark.network
def test_categories_are_one_feature_each(load):
    data = load("german_credit")
    modality = data.modalities[0]
    assert modality.num_features == 20 and modality.shape == (61,)
    assert modality.window(data.test.inputs[0]) is None
    raw = modality.original(data.test.inputs[0])
    groups = torch.tensor(modality.groups)
    for feature in (g for g in groups.unique() if (groups == g).sum() > 1):
        torch.testing.assert_close(raw[:, groups == feature].sum(1), torch.ones(len(raw)))
    units = dict(zip(modality.columns, modality.units, strict=True))
    assert units["credit amount"] == "DM" and units["housing=own"] == ""
    amounts = raw[:, modality.columns.index("credit amount")]
    torch.testing.assert_close(amounts, amounts.round(), atol=1e-2, rtol=0)


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("breast_cancer", 0.95),
        ("digits", 0.93),
        ("synthetic", 0.93),
        ("additive", 0.97),
        ("tetromino", 0.85),  # the published strength is chosen to be hard
        pytest.param("heart_disease", 0.78, marks=pytest.mark.network),
        pytest.param("german_credit", 0.7, marks=pytest.mark.network),
        pytest.param("mnist", 0.86, marks=pytest.mark.network),
    ],
)
def test_a_linear_model_learns_it(load, name, least):
    from sklearn.linear_model import LogisticRegression

    data = load(name)
    x, y = (data.split(s).inputs[0].flatten(1).numpy() for s in ("train", "test"))
    penalty = 0.1 if name == "mnist" else 1.0
    model = LogisticRegression(C=penalty, max_iter=300).fit(x[:4000], data.train.labels[:4000].numpy())
    assert model.score(y, data.test.labels.numpy()) >= least


def test_importing_the_data_sets_imports_nothing_heavy_but_torch():
    modules = sorted({OmegaConf.load(f)["_target_"].rpartition(".")[0] for f in FILES})
    heavy = {"sklearn", "scipy", "pandas", "matplotlib", "captum", "hydra"}
    code = f"import sys, {', '.join(modules)}; print(sorted({heavy!r} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_folder_is_the_one_that_ships():
    assert Path(config_folder(), "data", "breast_cancer.yaml") in FILES
