"""The networks of a sweep that differ by their seed, trained at once before its runs (`training.stacked=true`)."""

import json
import time
from collections.abc import Iterator, Sequence

import yaml

from .jobs import Jobs
from .scheduling import Settings
from .workers import Workers

MOST = 32
"""Networks in one stack: more would gain little, and need memory."""


def train_first(jobs: Jobs, settings: Settings, preload: Sequence[str]) -> None:
    """Train and keep what the runs that are left will need; what cannot be trained so, each run trains itself."""
    groups = list(stacks(jobs))
    if not groups:
        return
    started = time.monotonic()
    workers = Workers(settings.n_jobs, preload)
    reports = workers.run(train, [((json.dumps(group),), None) for group in groups])
    trained = sum(report.value for report in reports if report.state == "completed")
    print(f"{trained} networks trained at once in {time.monotonic() - started:.1f} s", flush=True)
    for report in reports:
        if report.state != "completed":
            print(f"warning: not trained at once: {report.cause}; each run trains its own", flush=True)


def stacks(jobs: Jobs) -> Iterator[list[str]]:
    """Configs of runs whose networks differ by their seed alone, one for each network, in groups of 2 to `MOST`."""
    groups: dict[str, dict[str, str]] = {}
    for row in jobs.left:
        given = jobs.given[row.number]
        config = yaml.safe_load(given.config)
        if config.get("training", {}).get("stacked") and not config.get("dry"):
            parts = [config.get(key) for key in ("data", "model", "training", "device", "outputs")]
            group = groups.setdefault(json.dumps(parts, default=str), {})
            group.setdefault(given.network, given.config)
    for group in groups.values():
        configs = list(group.values())
        several = (configs[at : at + MOST] for at in range(0, len(configs), MOST))
        yield from (some for some in several if len(some) > 1)


def train(configs: str) -> int:
    """Train the networks of configs (YAML in a JSON list) at once, in a worker; how many were not in the store."""
    import torch

    from ..allocator import keep_freed_memory
    from ..assembly import assemble
    from ..config import Composed, check
    from ..experiment import store
    from ..history import Diverged, History
    from ..stacked import fit_stacked
    from .sweep import read

    waiting = []
    for text in json.loads(configs):
        config = read(text)
        settings = check(config)
        torch.set_num_threads(settings.threads)
        if settings.keep_memory:
            keep_freed_memory()
        study = assemble(Composed(config, (), {}, None), settings)
        networks, recipe = store(study)
        if not networks.holds(recipe):
            waiting.append((study, networks, recipe))
    if len(waiting) < 2:
        return 0
    studies = [study for study, _, _ in waiting]
    histories = fit_stacked(
        [study.model for study in studies],
        [study.data for study in studies],
        studies[0].settings.training,
        [study.settings.seed for study in studies],
        studies[0].device,
    )
    kept = 0
    for (study, networks, recipe), history in zip(waiting, histories, strict=True):
        if isinstance(history, Diverged):
            continue  # the run of this seed finds out for itself, and says so

        def trained(history: History = history) -> History:
            return history

        kept += networks.trained(recipe, study.model, trained)[1]
    return kept
