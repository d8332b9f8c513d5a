"""A finished run folder without a run: stand-in for what an experiment writes, for tests of what reads it."""

from pathlib import Path

import torch
import yaml

from salience import figures
from salience.artifacts import RunFolder
from salience.attribution.explanation import Explained, Explanation, explicand
from salience.data.base import Classification, Data, Examples
from salience.metrics.base import Reference
from salience.modality import Tabular
from salience.models.mlp import MLP

ROWS = 12
CONFIG = {
    "data": {"_target_": "salience.data.tables.breast_cancer"},
    "model": {"weights": None, "mlp": {"_target_": "salience.models.mlp.MLP", "hidden": [4]}},
    "attribution": {"saliency": {"method": {"_target_": "captum.attr.Saliency"}}},
    "controls": {"random": {"method": {"_target_": "salience.attribution.methods.Random"}}},
    "explained": ROWS,
    "seed": 0,
}


def data(
    names: tuple[str, ...] = ("radius", "texture", "area"), classes: tuple[str, str] = ("benign", "malignant")
):
    """A small table."""
    inputs = torch.randn(3 * ROWS, len(names), generator=torch.Generator().manual_seed(0))
    labels = (inputs[:, 0] > 0).long()
    modality = Tabular((len(names),), "columns", columns=names, units=("mm",) * len(names))
    splits = [Examples((inputs[i::3],), labels[i::3], torch.arange(ROWS)) for i in range(3)]
    return Data((modality,), Classification(classes), *splits)


def entry(mean: float = 0.5, undefined: int = 0, higher: bool = True) -> dict:
    """One cell of a summary."""
    low, high = mean - 0.02, mean + 0.02
    return {
        "mean": mean,
        "low": low,
        "high": high,
        "n": ROWS,
        "undefined": undefined,
        "higher_is_better": higher,
    }


def write(
    root: Path,
    given: Data | None = None,
    methods: tuple[str, ...] = ("saliency", "random"),
    warning: str = "",
    shard: int = 8,
    config: dict | None = None,
    finish: bool = True,
    draw: bool = False,
) -> tuple[RunFolder, MLP, dict[str, Explanation]]:
    """A whole run folder; returns it with the network and the explanations that it holds."""
    given = given or data()
    torch.manual_seed(1)
    model = MLP(given.modalities, given.task.num_outputs, hidden=[4]).eval()
    folder = RunFolder.create(root, "mlp", "synthetic")
    folder.save_config(
        yaml.safe_dump(config or CONFIG), ["model=mlp", "seed=0"], {"model": "mlp", "data": "synthetic"}
    )
    folder.save_environment(0, "cpu")
    folder.save_network(model, {"recipe": "ab", "name": "mlp"})
    folder.save_history(
        [{"epoch": e, "train_loss": 1 / e, "validation_accuracy": 0.5 + e / 20} for e in (1, 2, 3)]
    )
    with torch.no_grad():
        folder.save_predictions(given.test, model(*given.test.inputs), given.task)
    whole = explicand(Explained(model), given.modalities, given.task, given.test[:ROWS])
    reference = Reference((torch.zeros(1, given.modalities[0].num_features),))
    made = {}
    for seed, method in enumerate(methods):
        noise = torch.randn(whole.inputs[0].shape, generator=torch.Generator().manual_seed(seed))
        known = {"modalities": given.modalities, "task": given.task, "method": method}
        made[method] = Explanation(**vars(whole), attributions=(noise,), baselines=reference.values, **known)
    for number, start in enumerate(range(0, ROWS, shard)):
        rows = slice(start, start + shard)
        folder.save_examples(number, whole.rows(rows), reference)
        for method, explanation in made.items():
            part = explanation.rows(rows)
            folder.save_attributions(method, number, part, reference)
            curve = part.attributions[0].abs()
            folder.add_scores(
                method, "deletion", part.index, curve.mean(1), curve, torch.linspace(0, 1, curve.shape[1])
            )
            folder.add_scores(method, "insertion", part.index, curve.mean(1))
    metrics = {"deletion": entry(0.3, higher=False), "insertion": entry(0.7, undefined=2)}
    cost = {"forward_rows": 120, "backward_rows": 60, "seconds": 0.25, "peak_mb": None}
    found = {m: {"metrics": metrics, "cost": cost, "warnings": [warning] if warning else []} for m in methods}
    network = {"accuracy": 0.9583, "recipe": "ab", "weights": "cd", "trained": True}
    ruler = {
        "reference": "blank",
        "output": "logit",
        "features": f"{given.modalities[0].num_features} of columns",
    }
    folder.save_summary({"network": network, "ruler": ruler, "methods": found})
    if draw:
        figures.save_all(folder, given, ("random",))
    if finish:
        folder.finish()
    return folder, model, made
