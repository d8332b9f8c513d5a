"""What the networks reach with the shipped configs on real data."""

import pytest
from omegaconf import OmegaConf
from test_models import CONFIGS, network

from salience.config import build
from salience.models.base import predict
from salience.settings import Training
from salience.training import fit

REACHED = [
    ("mlp", "breast_cancer", 0.95),
    ("cnn", "digits", 0.97),
    pytest.param("cnn", "mnist", 0.95, marks=pytest.mark.network),
    ("transformer", "digits", 0.93),
    pytest.param(
        "transformer", "film", 0.72, marks=pytest.mark.network
    ),  # TF-IDF and logistic regression: 0.77
    pytest.param("transformer", "tweets", 0.82, marks=pytest.mark.network),
]


@pytest.mark.slow
@pytest.mark.parametrize("name, data_name, accuracy", REACHED)
def test_the_default_training_reaches(name, data_name, accuracy, tmp_path_factory):
    downloads = tmp_path_factory.getbasetemp() / "downloads"
    data = build(OmegaConf.load(CONFIGS.parent / "data" / f"{data_name}.yaml"), seed=0, downloads=downloads)
    model = network(name, data)
    fit(model, data, Training(), seed=0)
    outputs = predict(model, data.test.inputs, data.test.context)
    assert data.task.scores(outputs, data.test.labels)["accuracy"] >= accuracy
