"""`scripts/search.py`: Optuna proposes settings, runs try them, and the best is judged on data that it has not seen.

Every trial is a whole run, in a folder of its own, explained on the validation split; the settings that win are run
once more on the test split, beside the settings that stood before the search. Networks come from the store, so a
search over a method's settings trains once.
"""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, StrictInt, StrictStr, ValidationError

from .. import files
from ..config import Composed, Composer, config_folder
from ..edge.commandline import exit_code
from ..edge.targets import plain
from ..errors import SomeFailed, WrongInput
from ..settings import Count, Strict
from ..storage import schema
from ..storage.schema import SCHEMA_VERSION
from .engines import engine
from .isolation import Report
from .jobs import Given, new_folder
from .scheduling import TICK
from .scheduling import Settings as Launching
from .space import RANGE, Dimension, Objective, directions, named
from .sweep import check_names, modules_of, signature_mistakes, work
from .workers import Workers

SEARCH, STUDY, JOB = "search.json", "study.log", "salience.experiment.run"
FRONT = 5
"""Runs of a front that are judged on the test split."""
USAGE = """usage: python scripts/search.py [--config FILE] [--config-dir FOLDER] [key=value ...]

  key=log(1e-4,1e-1)     varies a key of a run; also uniform(a,b) int(a,b) log_int(a,b) choice(a,b,...)
  objectives=[accuracy]  what is looked for: accuracy, r2, METHOD.METRIC, METHOD.cost; several give a front
  trials=20  sampler=tpe  sampler_seed=0  n_jobs=1  engine=local
  any other key=value    a setting of every run
Whoever types a range starts from an empty search; else configs/search.yaml, or FILE, says what is varied.
Quote brackets: 'training.learning_rate=log(1e-4,1e-1)'. An interrupted search: python scripts/resume.py <folder>

"""


class Settings(Strict):
    """What configs/search.yaml and the command line may say."""

    space: dict[StrictStr, StrictStr]
    objectives: list[StrictStr] = ["accuracy"]
    overrides: list[StrictStr] = []
    trials: Count = 20
    sampler: Literal["tpe", "random"] = "tpe"
    sampler_seed: Annotated[StrictInt, Field(ge=0, lt=2**32)] = 0
    n_jobs: Count = 1
    engine: Literal["local", "ray", "submitit"] = "local"
    cluster: dict[str, Any] = {}
    resources: dict[str, Any] = {}
    config_dirs: list[StrictStr] = []


def command(typed: Sequence[str]) -> int:
    """Search as typed; the exit code, as of scripts/run.py."""
    if set(typed) & {"-h", "--help"}:
        print(USAGE + (config_folder() / "search.yaml").read_text(encoding="utf-8"))
        return 0
    return exit_code(lambda: start(parsed(typed)))


def parsed(typed: Sequence[str]) -> Settings:
    """From the command line and the file that it names; WrongInput for what is wrong by itself."""
    words, file, dirs = list(typed), config_folder() / "search.yaml", []
    while words and words[0].startswith("--"):
        if words[0] not in ("--config", "--config-dir") or len(words) < 2:
            raise WrongInput(f"{words[0]}: no such option, or nothing behind it; --help shows them")
        option, value, *words = words
        if option == "--config":
            file = Path(value)
        else:
            dirs.append(str(Path(value).absolute()))
    try:
        given: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise WrongInput(f"--config {file}: cannot be read ({type(error).__name__})") from None
    ranges = {
        key: text for key, equals, text in (word.partition("=") for word in words) if RANGE.fullmatch(text)
    }
    if ranges:
        given |= {"space": ranges, "objectives": ["accuracy"], "overrides": []}
    overrides = {word.partition("=")[0]: word for word in given.get("overrides") or ()}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            raise WrongInput(f"{word}: a key and a value are needed: {word}=<value>")
        if key in Settings.model_fields and key not in ("space", "overrides", "config_dirs"):
            given[key] = yaml.safe_load(text)
        elif key not in ranges:
            overrides[key] = word
    given |= {"overrides": list(overrides.values()), "config_dirs": dirs}
    try:
        return Settings.model_validate(given)
    except ValidationError as mistake:
        first = mistake.errors()[0]
        raise WrongInput(f"{'.'.join(map(str, first['loc']))}={first['input']}: {first['msg']}") from None


def start(settings: Settings) -> None:
    """Check everything that can be checked, then search in a new folder."""
    search = Search(settings)
    search.run(new_folder(Path(str(search.before.config.outputs)), "search"))


def resume(folder: Path | str, trust: Sequence[str] = ()) -> None:
    """Make the trials that an earlier search in `folder` has left, and its report."""
    path = Path(folder).resolve()
    kept = schema.read(path / SEARCH, "search")
    try:
        settings = Settings.model_validate(kept["settings"])
        cwd = Path(kept["cwd"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WrongInput(f"{path}: not a search that can be resumed ({error})") from None
    if cwd.is_dir():
        os.chdir(cwd)
        path = Path(os.path.relpath(path)) if path.is_relative_to(cwd) else path
    Search(settings, trust).run(path)


class Search:
    """A space, objectives and runs; checked when it is made, before anything is written."""

    def __init__(self, settings: Settings, trust: Sequence[str] | None = None):
        self.settings = settings
        self.space = [Dimension.parsed(key, text) for key, text in settings.space.items()]
        if not self.space:
            raise WrongInput(
                "space={}: nothing varies; type a range such as 'training.learning_rate=log(1e-4,1e-1)'"
            )
        self.composer = Composer.create(settings.config_dirs)
        self.before = self.composed({}, "validation")
        config = plain(self.before.config)
        named(settings.objectives, config, list(settings.space))
        corners = [self.composed({d.key: value}, "validation") for d in self.space for value in d.values]
        configs = [plain(run.config) for run in (self.before, *corners)]
        if trust is not None:
            check_names(configs, trust)
        self.modules = modules_of(JOB, [run.config for run in (self.before, *corners)], None)
        known = Workers(1, self.modules)
        texts = [json.dumps(config) for config in configs]
        wrong, better = (
            known.run(function, [(arguments, None)])[0]
            for function, arguments in (
                (signature_mistakes, (texts,)),
                (directions, (json.dumps(config.get("metric", {})), settings.objectives)),
            )
        )
        if wrong.value or wrong.state != "completed" or better.state != "completed":
            raise WrongInput("\n".join(wrong.value or [wrong.cause or better.cause]))
        self.objectives = [Objective(n, h) for n, h in zip(settings.objectives, better.value, strict=True)]
        self.trials: dict[int, dict[str, Any]] = {}
        self.seen: dict[str, list[float]] = {}

    def composed(self, params: dict[str, Any], split: str) -> Composed:
        """The run that tries `params`; WrongInput where its config is wrong."""
        varied = {dimension.key for dimension in self.space if dimension.key in params}
        fixed = [o for o in self.settings.overrides if o.partition("=")[0] not in {*varied, "split"}]
        tried = [
            dimension.override(params[dimension.key]) for dimension in self.space if dimension.key in varied
        ]
        return self.composer.compose([*fixed, *tried, f"split={split}"])

    def run(self, folder: Path) -> None:
        """Make the trials, then judge the best of them; what stops here goes on with scripts/resume.py."""
        self.folder = folder
        study = self._study()
        self._recall(study)
        self.save("running")
        launching = Launching(
            n_jobs=self.settings.n_jobs,
            engine=self.settings.engine,
            cluster=self.settings.cluster,
            resources=self.settings.resources,
        )
        self.engine = engine(launching, self.modules, folder.absolute())
        try:
            self._search(study)
            best = self._best(study)
            judged = self._judge(best) if best else {}
        except BaseException:
            self.engine.stop()
            self.save("interrupted")
            print(f"interrupted; to go on: python scripts/resume.py {folder}", flush=True)
            raise
        finally:
            self.engine.close()
        self.save("completed" if best else "failed", best=best, test=judged)
        if not best:
            raise SomeFailed(f"all {len(self.trials)} trials failed; {folder / SEARCH} says why")
        self._show(best, judged)

    # -- trials ------------------------------------------------------------------------------------------------

    def _study(self) -> Any:
        """Optuna's study, kept in the folder."""
        try:
            import optuna
            from optuna.storages import JournalStorage
            from optuna.storages.journal import JournalFileBackend
        except ImportError:
            raise WrongInput("search: needs the package optuna; pip install 'salience[search]'") from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = JournalStorage(JournalFileBackend(str(self.folder / STUDY)))
        ways: list[Any] = ["maximize" if o.higher_is_better else "minimize" for o in self.objectives]
        study = optuna.create_study(
            storage=storage, study_name="search", directions=ways, load_if_exists=True
        )
        seed = self.settings.sampler_seed + len(study.trials)  # one that goes on does not draw the same again
        study.sampler = (
            optuna.samplers.TPESampler(seed=seed, constant_liar=self.settings.n_jobs > 1)
            if self.settings.sampler == "tpe"
            else optuna.samplers.RandomSampler(seed=seed)
        )
        return study

    def _recall(self, study: Any) -> None:
        """What earlier trials reached; one that was cut short is tried again."""
        from optuna.trial import TrialState

        for trial in study.trials:
            if trial.state == TrialState.RUNNING:
                study.tell(trial.number, state=TrialState.FAIL)
                study.enqueue_trial(trial.params)
            if trial.state != TrialState.WAITING:
                done = trial.state == TrialState.COMPLETE
                state = "completed" if done else "failed"
                cause = trial.user_attrs.get("cause", "the search was interrupted")
                self._note(
                    trial.number, trial.params, trial.values if done else None, state, "" if done else cause
                )
                if done:
                    self.seen[Given.of(self.composed(trial.params, "validation")).digest] = list(trial.values)

    def _search(self, study: Any) -> None:
        space = {dimension.key: dimension.distribution() for dimension in self.space}
        running: dict[int, tuple[Any, Composed]] = {}
        interrupted = sum(trial["cause"] == "the search was interrupted" for trial in self.trials.values())
        wanted = self.settings.trials + interrupted
        while len(self.trials) + len(running) < wanted or running:
            while len(self.trials) + len(running) < wanted and self.engine.free:
                trial = study.ask(space)
                try:
                    run = self.composed(trial.params, "validation")
                except WrongInput as error:
                    self._tell(study, trial, None, str(error).splitlines()[0])
                    continue
                if values := self.seen.get(Given.of(run).digest):
                    self._tell(study, trial, values, "as before")
                    continue
                running[trial.number] = trial, run
                self._start(run, self._place(trial.number), trial.number)
            for number, report in self.engine.wait(TICK):
                trial, run = running.pop(number)
                values, cause = self._values(self._place(number), report)
                if values:
                    self.seen[Given.of(run).digest] = values
                self._tell(study, trial, values, cause)

    def _place(self, number: int | str) -> Path:
        return self.folder / (f"{number:04d}" if isinstance(number, int) else number)

    def _start(self, run: Composed, place: Path, number: int) -> None:
        given = Given.of(run)
        typed, chosen = json.dumps(given.overrides), json.dumps(given.choices)
        arguments = (JOB, given.config, typed, chosen, str(place.absolute()), os.getcwd())
        self.engine.start(number, work, arguments, place.absolute().with_suffix(".txt"))

    def _values(self, place: Path, report: Report) -> tuple[list[float] | None, str]:
        """What a run reached, or why it did not; what it printed is kept only in that case."""
        if report.state == "completed":
            place.with_suffix(".txt").unlink(missing_ok=True)
            try:
                return [objective.value(place) for objective in self.objectives], ""
            except WrongInput as error:
                return None, str(error)
        return None, report.cause

    def _tell(self, study: Any, trial: Any, values: list[float] | None, cause: str) -> None:
        from optuna.trial import TrialState

        if values is None:
            trial.set_user_attr("cause", cause)
        study.tell(trial, values, state=None if values else TrialState.FAIL)
        self._note(trial.number, trial.params, values, "completed" if values else "failed", cause)
        self.save("running")
        said = f"{self._numbers(values)} {cause}" if values else f"failed: {cause}"
        print(
            f"[{len(self.trials)}/{self.settings.trials}] {_typed(trial.params)}: {said}".rstrip(), flush=True
        )

    def _note(
        self, number: int, params: dict[str, Any], values: list[float] | None, state: str, cause: str
    ) -> None:
        folder = self._place(number).name
        known = {"number": number, "params": params, "values": values, "state": state, "cause": cause}
        self.trials[number] = known | {"folder": folder}

    # -- the end -----------------------------------------------------------------------------------------------

    def _best(self, study: Any) -> list[int]:
        """The best trial, or those of which no other is better in everything."""
        from optuna.trial import TrialState

        if not any(trial.state == TrialState.COMPLETE for trial in study.trials):
            return []
        if len(self.objectives) == 1:
            return [study.best_trial.number]
        front = sorted(study.best_trials, key=lambda trial: trial.values[0])
        different = {tuple(trial.values): trial.number for trial in reversed(front)}
        return sorted(different.values(), key=lambda number: study.trials[number].values[0])

    def _judge(self, best: list[int]) -> dict[str, list[float] | str]:
        """The test split's verdict on the settings before the search, and on the best."""
        tries = {"before": {}} | {f"trial {n}": self.trials[n]["params"] for n in best[:FRONT]}
        found: dict[str, list[float] | str] = {}
        waiting = list(enumerate(tries.items()))
        names = list(tries)
        taken = len([path for path in self.folder.glob("test-*") if path.is_dir()])
        while waiting or self.engine.busy:
            while waiting and self.engine.free:
                number, (_, params) = waiting.pop(0)
                self._start(self.composed(params, "test"), self._place(f"test-{taken + number}"), number)
            for number, report in self.engine.wait(TICK):
                values, cause = self._values(self._place(f"test-{taken + number}"), report)
                found[names[number]] = values or cause
        return {name: found[name] for name in names}

    def save(self, state: str, **more: Any) -> None:
        """Write `search.json`."""
        known = {
            "schema_version": SCHEMA_VERSION,
            "state": state,
            "cwd": os.getcwd(),
            "settings": self.settings.model_dump(),
        }
        better = {o.name: "higher" if o.higher_is_better else "lower" for o in self.objectives}
        trials = [self.trials[number] for number in sorted(self.trials)]
        files.write_json(self.folder / SEARCH, known | {"better": better} | more | {"trials": trials})

    def _numbers(self, values: Sequence[float]) -> str:
        return "  ".join(f"{o.name} {v:.4g}" for o, v in zip(self.objectives, values, strict=True))

    def _show(self, best: list[int], judged: dict[str, list[float] | str]) -> None:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(title="what was found, and what the test split says", title_justify="left", box=None)
        for name in ("settings", "validation", "test"):
            table.add_column(name, overflow="fold")
        for name, values in judged.items():
            trial = None if name == "before" else self.trials[int(name.split()[1])]
            tried = "as they were" if trial is None else _typed(trial["params"])
            on_test = values if isinstance(values, str) else self._numbers(values)
            table.add_row(
                *map(Text, (tried, "" if trial is None else self._numbers(trial["values"]), on_test))
            )
        console = Console(width=None if sys.stdout.isatty() else 160)
        console.print(table)
        failed = sum(trial["state"] == "failed" for trial in self.trials.values())
        console.print(
            Text(f"{len(self.trials)} trials, {failed} failed; search {self.folder}"), soft_wrap=True
        )


def _typed(params: dict[str, Any]) -> str:
    """Settings as they would be typed, rounded for reading."""
    shown = (f"{value:.4g}" if isinstance(value, float) else str(value) for value in params.values())
    return " ".join(f"{key}={value}" for key, value in zip(params, shown, strict=True))
