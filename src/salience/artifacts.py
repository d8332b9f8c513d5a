"""What a run leaves behind: the only file that knows the names inside a run folder."""

import os
import secrets
import traceback
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor, nn

from . import files, shards
from .attribution.explanation import Explanation, Explicand
from .data.base import Examples, Task
from .errors import WrongInput
from .figures import INDEX
from .figures.curves import Band
from .metrics.base import Reference
from .modality import Modality
from .scorebook import Scorebook
from .shards import Stored
from .storage import environment, formats
from .storage.redaction import Redactor
from .storage.schema import SCHEMA_VERSION

SHARD = 1024
"""Examples in one file of `examples/` and `attributions/`; the last shard holds what is left."""
STATUS, SUMMARY, MANIFEST = "status.json", "summary.json", "manifest.json"
LOCK = ".lock"
"""Held while a process works in the folder."""
LOG, PAGE, FIGURES = "run.log", "report.html", "figures"
CONFIG, OVERRIDES, CHOICES = "config.yaml", "overrides.yaml", "choices.json"
ENVIRONMENT, NETWORK, WEIGHTS = "environment.json", "network.json", "network.safetensors"
HISTORY, PREDICTIONS, SCORES = "history.csv", "predictions.csv", "scores.csv"
UNLISTED = {STATUS, LOG, PAGE, MANIFEST}
"""Files that may still change after the run, so the manifest does not vouch for them."""


class RunFolder:
    """The folder of one run. Every method writes one file, whole or not at all."""

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self._started = _now()
        self._book = Scorebook()
        self._redact = Redactor()

    @classmethod
    def create(cls, root: Path | str, model: str, data: str) -> "RunFolder":
        """A new `<root>/<date>/<time>-<model>-<data>-<6 hex>/` that no other process has."""
        now = datetime.now()
        name = f"{now:%H-%M-%S}-{files.slug(model, 24)}-{files.slug(data, 24)}"
        day = Path(root) / f"{now:%Y-%m-%d}"
        return cls(files.make_new_folder(day, lambda: f"{name}-{secrets.token_hex(3)}"))._created()

    @classmethod
    def create_at(cls, path: Path | str) -> "RunFolder":
        """The folder that a sweep chose for a run; FileExistsError where a run already lies there."""
        Path(path).mkdir(parents=True, exist_ok=True)
        if (Path(path) / STATUS).exists():
            raise FileExistsError(f"{path} already holds a run")
        return cls(path)._created()

    def tidy(self) -> None:
        """Remove what a killed process left half written."""
        for path in [*self.path.rglob(".*.part"), *self.path.rglob(".*.part.*")]:
            path.unlink(missing_ok=True)

    def taken_up(self) -> "RunFolder":
        """This folder again, for a run that goes on in it."""
        self.tidy()
        for name in (MANIFEST, SUMMARY, SCORES, PAGE):
            (self.path / name).unlink(missing_ok=True)
        config, typed = self.file(CONFIG).read_text(encoding="utf-8"), self.yaml(OVERRIDES)
        self.hide(config, typed)
        return self._created()

    def _created(self) -> "RunFolder":
        self.set_status("created")
        return self

    # -- what was asked for, and how it goes ---------------------------------------------------------------

    def save_config(self, config_yaml: str, overrides: Sequence[str], choices: dict[str, Any]) -> None:
        """The composed config as text (references unresolved), what was typed, the option of each group.

        Secrets in them are blotted out, here and in all that is written afterwards.
        """
        config = self.hide(config_yaml, overrides)
        hidden = self._redact.value(config)
        unchanged = hidden == config
        text = config_yaml if unchanged else yaml.safe_dump(hidden, allow_unicode=True, sort_keys=False)
        files.atomic_write(self.path / CONFIG, text)
        shown = [self._redact.override(override) for override in overrides]
        typed = yaml.safe_dump(shown, allow_unicode=True, width=10_000)
        files.atomic_write(self.path / OVERRIDES, typed)
        self._write_json(CHOICES, choices)

    def hide(self, config_yaml: str, overrides: Sequence[str]) -> Any:
        """Learn which values are secret; the config as it was read."""
        config = yaml.safe_load(config_yaml)
        self._redact = Redactor(config, overrides, config_yaml)
        return config

    def config_text(self) -> str:
        """The composed config as it was saved."""
        return self.file(CONFIG).read_text(encoding="utf-8")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes out while this one works here; BlockingIOError where another does."""
        with files.locked(self.path / LOCK):
            yield

    def trains(self, recipe: str, now: bool) -> bool:
        """Note before the training whether this run is (as `now` says) the one that trains `recipe`; whether an earlier
        process of it was.

        (What `now` says may turn out otherwise: of two runs that start in one moment the second waits for the first.)
        """
        before = self.json(NETWORK) if (self.path / NETWORK).is_file() else {}
        earlier = before.get("recipe") == recipe and before.get("trained") is True
        if not earlier:
            self._write_json(NETWORK, {"recipe": recipe, "trained": now})
        return earlier

    def set_status(
        self, state: str, stage: str | None = None, error: str | BaseException | None = None
    ) -> None:
        """How the run stands: created, running, completed, failed or interrupted."""
        if isinstance(error, BaseException):
            error = " ".join("".join(traceback.format_exception_only(error)).split())  # one line
        status = {"schema_version": SCHEMA_VERSION, "state": state, "stage": stage, "error": error}
        process = {"pid": os.getpid(), "process": environment.process(), "host": environment.host()}
        times = {"started": self._started, "heartbeat": _now()}
        self._write_json(STATUS, status | process | times)

    def save_environment(self, seed: int, device: torch.device | str) -> None:
        """Versions, hardware, git commit, threads and seed; never an environment variable."""
        place = environment.describe(str(device))
        self._write_json(ENVIRONMENT, {"seed": seed, "device": str(device)} | place)

    def fail(self, error: BaseException) -> None:
        """The run ended with `error`: one line in the status, the whole traceback in the log."""
        stage = self.json(STATUS).get("stage")
        self.log("".join(traceback.format_exception(error)))
        self.set_status("failed", stage, error)

    def log(self, text: str) -> None:
        """Add to the log, with the time."""
        line = f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S%z} {self._redact.text(text).rstrip()}\n"
        files.append(self.path / LOG, line)

    # -- network and predictions ---------------------------------------------------------------------------

    def save_network(self, model: nn.Module, description: dict[str, Any]) -> None:
        """The weights, and what rebuilds the network: recipe, model and data config, preprocessing."""
        formats.write_tensors(self.path / WEIGHTS, dict(model.state_dict()))
        self._write_json(NETWORK, description)

    def save_history(self, rows: Sequence[dict[str, Any]]) -> None:
        """One row per epoch; the columns are those of all rows, in order of appearance."""
        columns = list(dict.fromkeys(name for row in rows for name in row))
        table = ([row.get(name, "") for name in columns] for row in rows)
        formats.write_csv(self.path / HISTORY, columns, table)

    def save_predictions(self, examples: Examples, outputs: Tensor, task: Task) -> None:
        """Per example: row in its split, label, prediction, and a probability per class where there are some."""
        header, columns = _predictions(examples.labels, outputs, task)
        rows = ([index, *row] for index, row in zip(examples.index.tolist(), columns, strict=True))
        formats.write_csv(self.path / PREDICTIONS, ["example", *header], rows)

    # -- explanations: one shard after the other -----------------------------------------------------------

    def save_examples(self, shard: int, explicand: Explicand, reference: Reference) -> None:
        """What all methods share for one shard of examples."""
        path = self._new("examples", _shard_name(shard))
        formats.write_tensors(path, *shards.from_examples(explicand, reference))

    def read_examples(self, shard: int) -> tuple[Explicand, Reference]:
        """What `save_examples` wrote."""
        return shards.to_examples(self.tensors("examples", _shard_name(shard)))

    def save_attributions(
        self, method: str, shard: int, explanation: Explanation, reference: Reference
    ) -> None:
        """Attributions of one method for one shard, and its baselines where they are not the reference."""
        path = self._new("attributions", folder_name(method), _shard_name(shard))
        formats.write_tensors(path, *shards.from_explanation(explanation, reference))

    def attributions_file(self, method: str, shard: int) -> Path:
        """Where `save_attributions` writes."""
        return self.path / "attributions" / folder_name(method) / _shard_name(shard)

    def stored_attributions(self, method: str, shard: int) -> shards.Shard:
        """The content of that file."""
        return self.tensors("attributions", folder_name(method), _shard_name(shard))

    def read_attributions(self, method: str, shard: int, **known: Any) -> Explanation:
        """What `save_attributions` wrote, with the examples; `known`: modalities, task, warnings, cost."""
        stored = self.stored_attributions(method, shard)
        return shards.to_explanation(stored, *self.read_examples(shard), method=method, **known)

    def shards(self) -> list[int]:
        """The numbers of the shards that were explained."""
        return sorted(int(p.stem) for p in (self.path / "examples").glob("[0-9]*.safetensors"))

    # -- scores --------------------------------------------------------------------------------------------

    def add_scores(
        self,
        method: str,
        metric: str,
        index: Tensor | None,
        scores: Tensor | Sequence[float],
        curve: Tensor | None = None,
        at: Tensor | None = None,
    ) -> None:
        """Scores of some examples (`index` None: one score for the whole data set); nan means undefined.

        Only the scores stay in memory; curves [examples, steps] go to disk as they come.
        """
        rows = None if index is None else index.cpu().numpy()
        self._book.add(method, metric, rows, _numbers(torch.as_tensor(scores)).reshape(-1))
        if curve is not None:
            rows = np.array([""], dtype=object) if rows is None else rows
            path = self._new("curves", folder_name(method), f"{folder_name(metric)}.csv")
            steps = np.linspace(0, 1, curve.shape[1]) if at is None else _numbers(at)
            self._book.add_curves(method, metric, path, rows, _numbers(curve), steps)

    def scores(self, method: str, metric: str) -> np.ndarray:
        """All scores that were added so far [examples], in the order in which they came."""
        return self._book.scores(method, metric)

    def curve_bands(self) -> dict[str, dict[str, Band]]:
        """Mean curves with 95 % bands, by metric and method."""
        return self._book.bands()

    def save_summary(self, summary: dict[str, Any]) -> None:
        """The means (DESIGN section 4); the scores and curves they come from are written first."""
        formats.write_csv(self.path / SCORES, ["method", "metric", "example", "score"], self._book.rows())
        self._book.finish()
        self._write_json(SUMMARY, summary)

    def finish(self) -> None:
        """Vouch for every file with size and sha256, then call the run completed."""
        names = sorted(p.relative_to(self.path).as_posix() for p in self.path.rglob("*") if p.is_file())
        listed = [n for n in names if n not in UNLISTED and not Path(n).name.startswith(".")]
        vouched = {n: _voucher(self.path / n) for n in listed}
        formats.write_json(self.path / MANIFEST, {"schema_version": SCHEMA_VERSION, "files": vouched})
        self.set_status("completed")

    # -- reading -------------------------------------------------------------------------------------------

    def file(self, *parts: str) -> Path:
        """The path of a file of this run; ValueError where it would lie outside or is missing."""
        path = files.inside(self.path, *parts)
        if not path.is_file():
            raise WrongInput(f"{self.path}: {'/'.join(parts)} is missing")
        return path

    def json(self, name: str) -> Any:
        """The content of one JSON file."""
        return formats.read_json(self.file(name))

    def yaml(self, name: str) -> Any:
        """The content of one YAML file."""
        return formats.read_yaml(self.file(name))

    def tensors(self, *parts: str) -> tuple[dict[str, Tensor], dict[str, str]]:
        """The tensors and the metadata of one safetensors file."""
        return formats.read_tensors(self.file(*parts))

    def lengths(self) -> list[int]:
        """How many examples each shard holds, from the headers alone."""
        return [formats.tensor_length(self.file("examples", _shard_name(n)), "index") for n in self.shards()]

    def methods(self) -> list[str]:
        """The methods and controls that the summary has, in their order."""
        return list(self.summary()["methods"])

    def summary(self) -> dict[str, Any]:
        """The means of all scores, and what the network reached."""
        return self.json(SUMMARY)

    def explanations(
        self, method: str, modalities: tuple[Modality, ...] = (), task: Task | None = None
    ) -> Stored:
        """What is stored of one method, read shard by shard."""
        return Stored(self, method, modalities, task)

    def history(self) -> list[dict[str, str]]:
        """One row per epoch; empty where nothing was trained."""
        return list(formats.csv_rows(self.file(HISTORY)))

    def predictions(self, index: Collection[int]) -> dict[int, dict[str, str]]:
        """The rows of some examples, by their row in the split."""
        wanted = {str(i) for i in index}
        rows = formats.csv_rows(self.file(PREDICTIONS))
        return {int(row["example"]): row for row in rows if row["example"] in wanted}

    def curves(self) -> Iterator[tuple[str, str, Path]]:
        """Method, metric and file of every curve that was kept."""
        for method, found in self.summary()["methods"].items():
            for metric in found["metrics"]:
                path = self.path / "curves" / folder_name(method) / f"{folder_name(metric)}.csv"
                if path.is_file():
                    yield method, metric, path

    @property
    def figures(self) -> Path:
        """Where the figures lie."""
        return self.path / FIGURES

    def drawn(self) -> list[tuple[Path, str, str]]:
        """File, title and alternative text of every figure."""
        if not (self.figures / INDEX).is_file():
            return []
        entries = formats.read_json(self.file(FIGURES, INDEX))
        return [(self.file(FIGURES, e["file"]), e["title"], e["alt"]) for e in entries]

    # -- writing -------------------------------------------------------------------------------------------

    def _write_json(self, name: str, value: Any) -> None:
        formats.write_json(self.path / name, self._redact.value(formats.plain(value)))

    def _new(self, *parts: str) -> Path:
        path = self.path.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():  # somebody's accident, which no file could replace
            files.clear(path)
        return path


def _predictions(labels: Tensor, outputs: Tensor, task: Task) -> tuple[list[str], list[list[Any]]]:
    """Header and rows: names of classes with a probability each, or numbers in original units."""
    predictions, probabilities = task.predictions(outputs), task.probabilities(outputs)
    if probabilities is None:
        pairs = [task.original(values).reshape(len(outputs), -1) for values in (labels, predictions)]
        kinds = ("label", "prediction")
        header = [f"{kind}_{name}" if len(task.names) > 1 else kind for kind in kinds for name in task.names]
        return header, torch.cat(pairs, 1).tolist()
    named = zip(labels, predictions, probabilities.tolist(), strict=True)
    rows = [[task.display(label), task.display(prediction), *row] for label, prediction, row in named]
    return ["label", "prediction", *(f"probability_{name}" for name in task.names)], rows


def _voucher(path: Path) -> dict[str, Any]:
    return {"size": path.stat().st_size, "sha256": files.sha256(path)}


def _numbers(values: Tensor) -> np.ndarray:
    return values.detach().double().cpu().numpy()


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


def _shard_name(shard: int) -> str:
    return f"{shard:05d}.safetensors"


def folder_name(key: str) -> str:
    """The key of a method or metric as a file name: itself, or made safe and unique by a digest."""
    return key if files.SLUG.fullmatch(key) else f"{files.slug(key, 40)}-{files.sha256(key.encode())[:8]}"
