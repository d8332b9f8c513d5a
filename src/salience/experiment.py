"""One run: train a network, explain it, measure the explanations, keep everything."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from . import figures, gate, report, terminal
from .allocator import keep_freed_memory
from .artifacts import LOG, SHARD, RunFolder
from .assembly import Study, assemble, model_node, recipe_node
from .attribution.explanation import Cost, Explanation
from .config import Composed, check, compose, signatures
from .data.base import Examples
from .errors import WrongInput
from .files import point_to
from .metrics.base import Metric
from .networks import Networks, weights_digest
from .settings import Run
from .statistics import interval, skill
from .training import fit

if TYPE_CHECKING:
    from .results import RunResult


def run(composed: Composed) -> "RunResult | None":
    """The story of one run, from a composed config to a finished folder (None for a dry run)."""
    settings = check(composed.config)
    signatures(composed.config)
    torch.set_num_threads(settings.threads)
    if settings.keep_memory:
        keep_freed_memory()
    if settings.dry:
        study = assemble(composed, settings)
        terminal.show_plan(study, study.preflight())
        return None
    with new_folder(composed, settings) as folder:
        screen = terminal.Progress(folder.log)
        with screen.stage("check", folder):
            study = assemble(composed, settings)  # everything is built before anything is trained
            study.preflight()
        with screen.stage("train", folder, settings.training.epochs) as advance:
            network = train(study, folder, advance)
        outputs = study.outputs(study.data.split(settings.split))
        examples = study.chosen(outputs)
        folder.save_predictions(study.data.split(settings.split), outputs, study.data.task)
        with screen.stage("explain and measure", folder, shards(examples) * len(study.explainers)) as advance:
            methods = explain_and_measure(study, folder, examples, advance)
        summary = {"network": network, "ruler": study.ruler, "methods": methods}
        folder.save_summary(summary)
        with screen.stage("figures and page", folder):
            figures.save_all(folder, study.data, study.controls)
            folder.finish()
            report.page(folder.path)
        terminal.show_results(folder.path, summary, study.controls, composed.overrides)
    from .results import load_run

    return load_run(folder.path)


def run_overrides(
    overrides: Sequence[str] = (), config_dirs: Sequence[str | Path] = ()
) -> "RunResult | None":
    """Run from Python: `salience.run(["model=mlp", "data=breast_cancer"])` gives what `load_run` gives.

    Takes what the command line takes (`config_dirs` are folders with options of your own) and raises WrongInput for
    what it would refuse.
    """
    return run(compose(list(overrides), config_dirs))


@contextmanager
def new_folder(composed: Composed, settings: Run) -> Iterator[RunFolder]:
    """The run's own folder, which says how the run ended whatever happens inside."""
    from omegaconf import OmegaConf

    root = Path(settings.outputs)
    try:
        name = model_node(settings.model)[0]
        data = str(composed.choices.get("data") or "data")
        folder = (
            RunFolder.create_at(composed.folder) if composed.folder else RunFolder.create(root, name, data)
        )
    except OSError as error:
        raise WrongInput(
            f"outputs={settings.outputs}: not writable ({error.strerror}); set outputs=FOLDER"
        ) from error
    folder.save_config(OmegaConf.to_yaml(composed.config), composed.overrides, composed.choices)
    if not composed.folder:
        point_to(root / "latest", folder.path)
    try:
        yield folder
    except KeyboardInterrupt:
        folder.set_status("interrupted")
        raise
    except BaseException as error:
        folder.fail(error)
        error.add_note(f"the traceback is in {folder.path / LOG}")
        raise


def train(study: Study, folder: RunFolder, advance: Any) -> dict[str, Any]:
    """Train the network or take it from the store; its scores, and whether it was trained now."""
    settings = study.settings
    name = model_node(settings.model)[0]
    networks = Networks(Path(settings.outputs) / "networks")
    config = recipe_node(settings)
    recipe = networks.recipe(
        settings.data, study.data, config, study.model, settings.training, settings.seed, study.device
    )
    history, trained = networks.trained(
        recipe,
        study.model,
        lambda: fit(
            study.model,
            study.data,
            settings.training,
            seed=settings.seed,
            device=study.device,
            progress=advance,
        ),
    )
    study.explained.eval()
    folder.save_environment(settings.seed, study.device)
    folder.save_history(history.rows)
    digest = weights_digest(study.model)
    preprocessing = [asdict(m) | {"kind": type(m).__name__} for m in study.data.modalities]
    description = {"recipe": recipe, "weights": digest, "name": name, "model": config, "data": settings.data}
    folder.save_network(study.model, description | {"seed": settings.seed, "preprocessing": preprocessing})
    test = study.data.test
    scores = study.data.task.scores(study.outputs(test), test.labels)
    doubt = gate.warning(study.data.task, scores, test.labels, settings.gate)
    known = {**scores, "recipe": recipe, "weights": digest, "trained": trained}
    return known if doubt is None else known | {"warning": doubt}


def explain_and_measure(study: Study, folder: RunFolder, examples: Examples, advance: Any) -> dict[str, Any]:
    """Every method on every example, shard by shard, so that memory does not grow with the number of examples."""
    costs = dict.fromkeys(study.explainers, Cost())
    measuring = {name: dict.fromkeys(study.metrics, Cost()) for name in study.explainers}
    warnings: dict[str, list[str]] = {name: [] for name in study.explainers}
    for shard in range(shards(examples)):
        x = study.explicand(examples[shard * SHARD : (shard + 1) * SHARD])
        reference = study.reference(x)
        folder.save_examples(shard, x, reference)
        for name, explainer in study.explainers.items():
            explanation = explainer.explain(x)
            folder.save_attributions(name, shard, explanation, reference)
            for key, metric in study.metrics.items():
                if metric.per_example or shard == 0:  # what judges the whole data set is asked once
                    measuring[name][key] += measure(study, folder, key, metric, explanation, reference)
            costs[name] += explanation.cost
            warnings[name] += [w for w in explanation.warnings if w not in warnings[name]]
            advance()
    methods = {
        name: {
            "metrics": {
                key: summarised(folder, name, key, metric) | {"cost": asdict(measuring[name][key])}
                for key, metric in study.metrics.items()
            },
            "cost": asdict(costs[name]),
            "warnings": warnings[name],
        }
        for name in study.explainers
    }
    add_skill(methods)
    return methods


def measure(
    study: Study, folder: RunFolder, key: str, metric: Metric, explanation: Explanation, reference: Any
) -> Cost:
    """One metric on one explanation; its scores and curve go to the folder. What it took."""
    counter = study.explained.counter
    rows, start = (counter.forward_rows, counter.backward_rows), time.perf_counter()
    measured = explanation.measured_by(metric, study.explainers[explanation.method], reference)
    scores = measured.scores if metric.per_example else measured.scores[:1]
    index = explanation.index if metric.per_example else None
    folder.add_scores(explanation.method, key, index, scores, measured.curve, measured.at)
    seconds = time.perf_counter() - start
    return Cost(counter.forward_rows - rows[0], counter.backward_rows - rows[1], seconds)


def summarised(folder: RunFolder, method: str, key: str, metric: Metric) -> dict[str, Any]:
    """Mean over the examples with its interval, how many there are, which way is better and what is best."""
    known = {"higher_is_better": metric.higher_is_better, "best": metric.best}
    return interval(folder.scores(method, key))._asdict() | known


def add_skill(methods: dict[str, Any]) -> None:
    """Say where every score lies between that of random numbers (0) and the metric's best (1), where both are known."""
    random = methods.get("random", {}).get("metrics", {})
    for found in methods.values():
        for key, entry in found["metrics"].items():
            entry["skill"] = skill(entry["mean"], random.get(key, {}).get("mean"), entry["best"])


def shards(examples: Examples) -> int:
    """How many shards hold these examples."""
    return -(-len(examples) // SHARD)
