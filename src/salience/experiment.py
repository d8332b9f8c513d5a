"""One run: train a network, explain it, measure the explanations, keep everything."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from . import figures, finite, gate, interrupts, report, terminal, trackers
from .allocator import keep_freed_memory
from .artifacts import LOG, SHARD, STATUS, RunFolder
from .assembly import Study, assemble, model_node, recipe_node
from .attribution.explanation import Cost, Explanation
from .config import Composed, check, compose, signatures
from .data.base import Examples
from .errors import WrongInput
from .files import point_to
from .history import History
from .metrics.base import Metric, Reference
from .networks import Networks, weights_digest
from .parallel import Workers
from .pieces import Measured, Pieces, key_of
from .settings import Run
from .sharing import serving
from .statistics import interval, skill
from .training import fit

if TYPE_CHECKING:
    from .results import RunResult


def run(composed: Composed, resumed: RunFolder | None = None) -> "RunResult | None":
    """The story of one run, from a composed config to a finished folder (None for a dry run).

    In a `resumed` folder what an earlier process has finished is not done again.
    """
    settings = check(composed.config)
    signatures(composed.config)
    torch.set_num_threads(settings.threads)
    if settings.keep_memory:
        keep_freed_memory()
    if settings.dry:
        study = assemble(composed, settings)
        terminal.show_plan(study, study.preflight())
        return None
    if (
        Workers.join().rank > 0
    ):  # under torchrun the first process keeps the run; the others only train with it
        study = assemble(composed, settings)
        fitted(study, *store(study))
        return None
    with recorded(resumed or new_folder(composed, settings)) as folder:
        screen = terminal.Progress(folder.log)
        with screen.stage("check", folder):
            study = assemble(composed, settings)  # everything is built before anything is trained
            study.preflight()
        with screen.stage("train", folder, settings.training.epochs) as advance:
            network = train(study, folder, advance)
        outputs = study.outputs(study.data.split(settings.split), settings.split)
        examples = study.chosen(outputs)
        folder.save_predictions(study.data.split(settings.split), outputs, study.data.task)
        with screen.stage("explain and measure", folder, shards(examples) * len(study.explainers)) as advance:
            pieces = Pieces(folder, key_of(folder.config_text(), network["weights"], examples))
            methods = explain_and_measure(study, folder, pieces, examples, advance)
        summary = {"network": network, "ruler": study.ruler, "methods": methods}
        folder.save_summary(summary)
        with screen.stage("figures and page", folder):
            if settings.figures:
                figures.save_all(folder, study.data, study.controls)
            pieces.finished()
            folder.finish()
            if settings.figures:
                report.page(folder.path, study.data, study.model)
        trackers.tell(settings.tracker, folder, settings.outputs)
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


def new_folder(composed: Composed, settings: Run) -> RunFolder:
    """The run's own folder, with its config."""
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
    return folder


@contextmanager
def recorded(folder: RunFolder) -> Iterator[RunFolder]:
    """Inside, the folder belongs to this process; it says how the run ended whatever happens."""
    with folder.held(), interrupts.postponed():
        try:
            yield folder
        except KeyboardInterrupt as error:
            folder.set_status("interrupted", folder.json(STATUS).get("stage"))
            error.add_note(f"go on with: python scripts/resume.py {folder.path}")
            raise
        except BaseException as error:
            folder.fail(error)
            error.add_note(f"the traceback is in {folder.path / LOG}")
            raise


def train(study: Study, folder: RunFolder, advance: Any) -> dict[str, Any]:
    """Train the network or take it from the store; its scores, and whether it was trained now."""
    settings = study.settings
    name = model_node(settings.model)[0]
    networks, recipe = store(study)
    config = recipe_node(settings)
    before = folder.trains(recipe, not networks.holds(recipe))
    history, trained = fitted(study, networks, recipe, advance)
    trained = trained or before  # by an earlier process of this run
    study.explained.eval()
    folder.save_environment(settings.seed, study.device)
    folder.save_history(history.rows)
    digest = weights_digest(study.model)
    preprocessing = [serving.described(m) for m in study.data.modalities]
    description: dict[str, Any] = {
        "recipe": recipe,
        "weights": digest,
        "name": name,
        "model": config,
        "data": settings.data,
    }
    description |= {"seed": settings.seed, "trained": trained, "preprocessing": preprocessing}
    description |= {"task": serving.described(study.data.task)}
    folder.save_network(study.model, description)
    test = study.data.test
    scores = study.data.task.scores(study.outputs(test), test.labels)
    doubt = gate.warning(study.data.task, scores, test.labels, settings.gate)
    known = {**scores, "recipe": recipe, "weights": digest, "trained": trained}
    return known if doubt is None else known | {"warning": doubt}


def store(study: Study) -> tuple[Networks, str]:
    """The store of trained networks, and what this run's network is called there."""
    settings, networks = study.settings, Networks(Path(study.settings.outputs) / "networks")
    config = recipe_node(settings)
    return networks, networks.recipe(
        settings.data, study.data, config, study.model, settings.training, settings.seed, study.device
    )


def fitted(study: Study, networks: Networks, recipe: str, advance: Any = None) -> tuple[History, bool]:
    """Give the study's network the weights of `recipe`, trained now or before, and say which."""
    settings, alone = study.settings, Workers.join().size == 1
    return networks.trained(
        recipe,
        study.model,
        lambda: fit(
            study.model,
            study.data,
            settings.training,
            seed=settings.seed,
            device=study.device,
            progress=advance,
            checkpoints=networks.checkpoints(recipe) if alone else None,
        ),
    )


def explain_and_measure(
    study: Study, folder: RunFolder, pieces: Pieces, examples: Examples, advance: Any
) -> dict[str, Any]:
    """Every method on every example, shard by shard, so that memory does not grow with the number of examples."""
    costs = dict.fromkeys(study.explainers, Cost())
    measuring = {name: dict.fromkeys(study.metrics, Cost()) for name in study.explainers}
    warnings: dict[str, list[str]] = {name: [] for name in study.explainers}
    details: dict[str, list[Mapping[str, Tensor]]] = {name: [] for name in study.explainers}
    for shard in range(shards(examples)):
        x = study.explicand(examples[shard * SHARD : (shard + 1) * SHARD])
        reference = study.reference(x)
        folder.save_examples(shard, x, reference)
        for name, explainer in study.explainers.items():
            explanation = pieces.explanation(explainer, shard, x, reference)
            said = list(explanation.warnings)
            for key, metric in study.metrics.items():
                if metric.per_example or shard == 0:  # what judges the whole data set is asked once
                    ask = partial(measure, study, key, metric, explanation, reference)
                    measured = pieces.measurement(name, key, shard, ask)
                    measuring[name][key] += measured.cost
                    said += measured.warnings
            costs[name] += explanation.cost
            details[name].append(explanation.details)
            warnings[name] += [w for w in dict.fromkeys(said) if w not in warnings[name]]
            advance()
    methods = {
        name: {
            "metrics": {
                key: summarised(folder, name, key, metric) | {"cost": asdict(measuring[name][key])}
                for key, metric in study.metrics.items()
            },
            "cost": asdict(costs[name]),
            "warnings": warnings[name],
            "details": ranges(details[name]),
        }
        for name in study.explainers
    }
    add_skill(methods)
    return methods


def measure(
    study: Study, key: str, metric: Metric, explanation: Explanation, reference: Reference
) -> Measured:
    """One metric on one explanation, and what it took."""
    counter = study.explained.counter
    rows, start = (counter.forward_rows, counter.backward_rows), time.perf_counter()
    measured = explanation.measured_by(metric, study.explainers[explanation.method], reference)
    scores = measured.scores if metric.per_example else measured.scores[:1]
    index = explanation.index if metric.per_example else None
    seconds = time.perf_counter() - start
    cost = Cost(counter.forward_rows - rows[0], counter.backward_rows - rows[1], seconds)
    return Measured(
        index, scores, measured.curve, measured.at, cost, finite.infinite_scores(key, scores, index)
    )


def summarised(folder: RunFolder, method: str, key: str, metric: Metric) -> dict[str, Any]:
    """Mean over the examples with its interval, how many there are, which way is better and what is best."""
    known = {"higher_is_better": metric.higher_is_better, "best": metric.best}
    return interval(folder.scores(method, key))._asdict() | known


def ranges(details: Sequence[Mapping[str, Tensor]]) -> dict[str, dict[str, float]]:
    """Mean, least and most of what a method says of each example beside its attributions, over all shards."""
    joined = {name: torch.cat([part[name].double() for part in details]) for name in details[0]}
    return {
        name: {"mean": float(v.mean()), "least": float(v.min()), "most": float(v.max())}
        for name, v in joined.items()
    }


def add_skill(methods: dict[str, Any]) -> None:
    """Say where every score lies between that of random numbers (0) and the metric's best (1), where both are known."""
    random = methods.get("random", {}).get("metrics", {})
    for found in methods.values():
        for key, entry in found["metrics"].items():
            entry["skill"] = skill(entry["mean"], random.get(key, {}).get("mean"), entry["best"])


def shards(examples: Examples) -> int:
    """How many shards hold these examples."""
    return -(-len(examples) // SHARD)
