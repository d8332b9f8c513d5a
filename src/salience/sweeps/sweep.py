"""Many runs: every one is composed and checked before the first starts, then each runs in a process of its own."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ..config import Composed, Composer, composed
from ..edge.mistakes import without_methods
from ..edge.overrides import as_typed, method_of
from ..edge.targets import locate, nodes, plain, signatures
from ..edge.trust import allowed
from ..errors import SomeFailed, WrongInput
from ..resume import outputs_of, user_of
from .jobs import Jobs
from .scheduling import Settings, Sweep
from .screen import counted, screen, show
from .together import train_first
from .workers import Workers

if TYPE_CHECKING:
    from omegaconf import DictConfig

HEAVY = (
    "captum.attr",
    "omegaconf.grammar_parser",
    "safetensors.torch",
    "salience.results",
    "salience.sweeps.sweep",
    "jinja2",
    "rich.table",
)
"""Modules that every run imports, so that they are loaded once for all of them."""
MANY, GUESS = 200, 10.0
"""Runs that start without a word, and the guess of what one takes, in seconds, for saying how long more will take."""


# -- before anything runs ----------------------------------------------------------------------------------------------


def planned(
    composer: Composer, overrides: Sequence[str], settings: Settings | None = None
) -> list[list[str]]:
    """The overrides of every run of a sweep, each composed and checked; WrongInput names the mistakes of all runs.

    Settings of a method are dropped from the runs without that method, where some run has it. More than 200 runs need
    a word, which is asked for before they are composed.
    """
    parsed, lines = composer.judged(overrides, several_jobs=True)
    wanted = composer.expanded([override.input_line for override in parsed])
    jobs: list[list[str]] = []
    used: set[str] = set()
    dropped: dict[str, list[str]] = {}
    for job in wanted:
        kept = [o for o in job if method_of(o) is None]
        if len(kept) < len(job):
            config = composer.loose(job)
            kept = job if config is None else without_methods(job, config)
            used |= set(kept)
            dropped |= {o: job for o in job if o not in kept}
        if kept not in jobs:
            jobs.append(kept)
    nowhere = [dropped[o] for o in dropped if o not in used]  # a method that no run has: wrong in every run
    refused = None if settings is None else too_many(len(jobs), settings)
    lines += composer.mistakes([*nowhere[:1], *(jobs[:1] if refused else jobs)])
    lines += [refused] if refused and not lines else []
    if lines:
        raise WrongInput("\n".join(dict.fromkeys(lines)))
    return jobs


def too_many(runs: int, settings: Settings) -> str | None:
    """What to say where so many runs need a word and there is none."""
    if runs <= MANY or settings.yes:
        return None
    hours, minutes = divmod(round(runs * GUESS / settings.n_jobs / 60), 60)
    return (
        f"{runs} runs: about {f'{hours} h ' if hours else ''}{minutes} min, {settings.n_jobs} at a time, guessing "
        f"{GUESS:.0f} s a run; to start them add hydra.launcher.yes=true"
    )


def signature_mistakes(configs: list[str]) -> list[str]:
    """The lines of check (b) for configs as JSON; imports what they name, so it runs in a worker."""
    lines: list[str] = []
    for config in configs:
        try:
            signatures(json.loads(config))
        except WrongInput as error:
            lines += str(error).splitlines()
    return list(dict.fromkeys(lines))


def modules_of(job: str, configs: Iterable["DictConfig"], more: Iterable[str] | None) -> list[str]:
    """What the runs will import: the modules of the job and of every `_target_`, and `more` (None: HEAVY)."""
    names = [job, *(node["_target_"] for config in configs for _, node in nodes(plain(config)))]
    return list(
        dict.fromkeys([*(name.rpartition(".")[0] for name in names), *(HEAVY if more is None else more)])
    )


# -- the runs ----------------------------------------------------------------------------------------------------------


def work(job: str, config: str, overrides: str, choices: str, folder: str, cwd: str) -> str:
    """One run, in a worker: its config is text, its folder is given. Returns the folder."""
    os.chdir(cwd)
    result = locate(job)(
        Composed(read(config), tuple(json.loads(overrides)), json.loads(choices), Path(folder))
    )
    return str(getattr(result, "path", folder))


def run_all(jobs: Jobs, preload: Sequence[str], dry: bool = False) -> None:
    """Run what is queued, on the engine that the sweep's settings name, and show how it goes."""
    from .engines import engine

    settings = Settings(**jobs.settings)
    if warning := crowded(jobs, settings):
        print(f"warning: {warning}", flush=True)
    with jobs.alone():
        train_first(jobs, settings, preload)
        chosen = engine(settings, list(preload), jobs.path.absolute())
        try:
            with screen(jobs, settings.n_jobs, dry) as watcher:
                Sweep(jobs, chosen, settings, watcher).run(work, dry)
        except KeyboardInterrupt:
            print(f"{counted(jobs.rows)}; to run what is left: {resuming(jobs)}", flush=True)
            raise
    show(jobs)


def crowded(jobs: Jobs, settings: Settings) -> str | None:
    """What to say where the runs together have more threads than this machine has cores: each then takes far longer.

    They are not taken from them: the number of threads is part of what a run promises to repeat.
    """
    threads = max((int(yaml.safe_load(g.config).get("threads") or 1) for g in jobs.given), default=1)
    cores = os.cpu_count() or 1
    if settings.engine != "local" or settings.n_jobs == 1 or settings.n_jobs * threads <= cores:
        return None
    return (
        f"{settings.n_jobs} runs at a time with threads={threads} each, on {cores} cores; they will be slow"
    )


def resuming(jobs: Jobs) -> str:
    """The command that runs what is missing."""
    return f"python scripts/resume.py {jobs.path}"


def outcome(jobs: Jobs) -> None:
    """Raise SomeFailed with one line unless every run completed."""
    failed, left = len(jobs.failed), len(jobs.left)
    if failed or left:
        more = f", {left} not started" if left else ""
        raise SomeFailed(
            f"{failed} of {len(jobs.rows)} runs failed{more}; to run them again: {resuming(jobs)}"
        )


def resume(folder: Path | str, trust: Sequence[str] = ()) -> None:
    """Run what a sweep has not completed, from its own saved configs; completed runs are not touched.

    An attempt gets a folder of its own beside the earlier one. Raises WrongInput where the folder holds no sweep, where
    one of its runs is still running, or where it names code of neither salience, torch, captum nor a package of
    `trust`; SomeFailed where runs fail again.
    """
    jobs = Jobs.open(Path(folder).resolve())
    _check_trusted(jobs, trust)
    if jobs.cwd is not None and jobs.cwd.is_dir():
        os.chdir(jobs.cwd)
        jobs.path = Path(os.path.relpath(jobs.path)) if jobs.path.is_relative_to(jobs.cwd) else jobs.path
    outputs = outputs_of(jobs.path / "run")
    for row in jobs.rows:
        status, given = jobs.status(row), jobs.given[row.number]
        if jobs.done(row):
            row.state, row.cause = "completed", ""
            row.attempts = max(row.attempts, 1)  # the table may be older than what the run says of itself
            continue
        if holder := user_of(status):
            raise WrongInput(f"{jobs.folder(row)}: in use by {holder}")
        row.state = "queued" if given.whole else "failed"
        row.cause = "" if given.whole else "its config held a secret, which is not kept on disk"
        jobs.given[row.number] = given.below(outputs)
    print(f"{jobs.path}: {counted(jobs.rows)}", flush=True)
    configs = [read(jobs.given[row.number].config) for row in jobs.left]
    run_all(jobs, modules_of(jobs.job, configs, Settings(**jobs.settings).preload))
    outcome(jobs)


def check_names(configs: Iterable[dict[str, Any]], trust: Sequence[str]) -> None:
    """WrongInput where a config names what a run folder may not, unless it is of a package of `trust`."""
    for name in sorted({str(node["_target_"]) for config in configs for _, node in nodes(config)}):
        if name.split(".")[0] not in trust:
            allowed(name, trust, whole=True)


def _check_trusted(jobs: Jobs, trust: Sequence[str]) -> None:
    """A sweep's folder may come from a stranger: nothing is imported that a run folder may not name."""
    if jobs.job != "salience.experiment.run" and jobs.job.split(".")[0] not in trust:
        raise WrongInput(f"{jobs.path}: names {jobs.job[:80]}, which is not ours; --trust PACKAGE allows it")
    check_names([yaml.safe_load(given.config) for given in jobs.given], trust)
    if (preload := jobs.settings.get("preload")) is not None:
        known = {name.split(".")[0] for name in HEAVY} | {"salience", "torch", *trust}
        jobs.settings["preload"] = [name for name in preload if name.split(".")[0] in known]


def read(text: str) -> "DictConfig":
    """A config from its text."""
    from omegaconf import OmegaConf

    node: Any = OmegaConf.create(text)
    return node


# -- what the plugins of Hydra do --------------------------------------------------------------------------------------


def sweep(sweeper: Any, arguments: Sequence[str]) -> list[Any]:
    """What our sweeper does: plan, check, launch; raises SomeFailed at the end where runs failed."""
    composer = Composer(
        sweeper.hydra_context.config_loader,
        sweeper.config.hydra.job.config_name,
        list(sweeper.config.hydra.overrides.hydra),
    )
    typed = [*(f"{key}={value}" for key, value in sweeper.params.items()), *arguments]
    ours = hasattr(sweeper.launcher, "settings")
    settings = Settings(**settings_of(sweeper.launcher)) if ours else None
    jobs = planned(composer, typed, settings)
    if settings is None:
        from .elsewhere import launch_elsewhere

        return launch_elsewhere(sweeper.launcher, sweeper.config, jobs)
    sweeper.launcher.known = composer.known
    return list(sweeper.launcher.launch(jobs, initial_job_idx=0))


def launch(launcher: Any, job_overrides: Sequence[Sequence[str]]) -> list[Any]:
    """What our launcher does: check the signatures in a worker, then run each job in a worker of its own."""
    settings = settings_of(launcher)
    job = launcher.task_function.job
    loader, known = launcher.hydra_context.config_loader, launcher.known
    runs = checked(loader, launcher.config, job, job_overrides, settings["preload"], known)
    jobs = Jobs.create(runs, job, settings)
    modules = modules_of(job, [run.config for run in runs], settings["preload"])
    run_all(jobs, modules, dry=bool(runs[0].config.get("dry")))
    outcome(jobs)
    return results(jobs)


def settings_of(launcher: Any) -> dict[str, Any]:
    """What our launcher was told, as plain values."""
    from omegaconf import OmegaConf

    given = launcher.settings.items()
    return {key: plain(value) if OmegaConf.is_config(value) else value for key, value in given}


def checked(
    loader: Any,
    config: Any,
    job: str,
    job_overrides: Sequence[Sequence[str]],
    preload: Sequence[str] | None,
    known: Mapping[tuple[str, ...], Any] | None = None,
) -> list[Composed]:
    """Every run composed, its arguments compared with the signatures in a process of its own.

    `known` holds configs that were composed while planning.
    """
    from omegaconf import OmegaConf

    runs, configs = [], []
    for overrides in job_overrides:
        full = (known or {}).get(tuple(overrides))
        if full is None:
            full = loader.load_sweep_config(config, list(overrides))
        OmegaConf.copy_cache(from_config=config, to_config=full)
        runs.append(composed(full, [as_typed(override) for override in overrides]))
        configs.append(json.dumps(plain(runs[-1].config)))
    workers = Workers(1, modules_of(job, [run.config for run in runs], preload))
    judged = workers.run(signature_mistakes, [((list(dict.fromkeys(configs)),), None)])[0]
    if judged.state != "completed" or judged.value:
        raise WrongInput("\n".join(judged.value or [judged.cause]))
    return runs


def results(jobs: Jobs) -> list[Any]:
    """The rows as Hydra's results."""
    from hydra.core.utils import JobReturn, JobStatus

    return [
        JobReturn(overrides=row.overrides, status=JobStatus.COMPLETED, _return_value=str(jobs.folder(row)))
        for row in jobs.rows
    ]
