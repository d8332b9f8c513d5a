"""What a run left behind, as objects that draw themselves. Everything is read when it is first asked for."""

import csv
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from . import artifacts, files
from .artifacts import RunFolder
from .attribution.explanation import Cost
from .data.base import Data
from .errors import WrongInput
from .randomness import preserved
from .report import leaderboard_html
from .shards import Stored
from .storage import formats
from .storage.schema import too_new

if TYPE_CHECKING:
    import pandas as pd

    from .data.base import Task
    from .modality import Modality


def load_run(
    path: Path | str = "outputs/latest", trust: Sequence[str] = (), verify: bool = True
) -> "RunResult":
    """The run in a folder, or in a zip of `scripts/export.py`, checked: sizes always, digests unless `verify` is False.

    Nothing is built before `.data` or `.model` is asked for, and then only what lies in salience, torch.nn, captum.attr
    or a package of `trust`. Raises WrongInput where there is no run, a file is damaged or was written by a newer
    salience. A run that did not finish loads with a warning.
    """
    folder = RunFolder(found(_unpacked(Path(path))))
    status = folder.json(artifacts.STATUS)
    check_schema(folder, status)
    if (folder.path / artifacts.MANIFEST).is_file():
        _check_files(folder, verify)
    elif status.get("state") == "completed":
        raise WrongInput(f"{folder.path}: {artifacts.MANIFEST} is missing, so nothing vouches for this run")
    else:
        state, stage = status.get("state"), status.get("stage")
        warnings.warn(
            f"{folder.path} did not finish (state {state}, stage {stage}): it is not verified", stacklevel=2
        )
    return RunResult(folder, tuple(trust))


def _unpacked(path: Path) -> Path:
    """The run inside an archive of `scripts/export.py`; a folder as it is."""
    if path.suffix != ".zip" or not path.is_file():
        return path
    from .sharing.export import opened

    return opened(path)


def found(path: Path) -> Path:
    """The run folder that `path` means; WrongInput where there is none."""
    if path.is_file() and path.stat().st_size < 4096:  # `latest` where the file system knows no links
        path = path.parent / path.read_text(encoding="utf-8").strip()
    if (path / artifacts.STATUS).is_file():
        return path
    if not path.is_dir():
        raise WrongInput(
            f"{path}: no such folder; give a run's folder, such as outputs/<date>/<time>-<model>-<data>-<id>"
        )
    runs = sorted(p.parent.name for p in path.glob(f"*/{artifacts.STATUS}"))
    if runs:
        raise WrongInput(f"{path} holds {len(runs)} runs; load one of them: {', '.join(runs[:5])}")
    raise WrongInput(f"{path} is no run folder: it has no {artifacts.STATUS}")


def check_schema(folder: RunFolder, status: Mapping[str, Any]) -> None:
    """WrongInput where a run was written by a newer salience."""
    version = status.get("schema_version")
    if not isinstance(version, int):
        raise WrongInput(f"{folder.path}: {artifacts.STATUS} names no schema version")
    if why := too_new(status):
        raise WrongInput(f"{folder.path} {why}")


def _check_files(folder: RunFolder, verify: bool) -> None:
    """Compare files with the manifest, sizes first: they cost nothing."""
    manifest = folder.json(artifacts.MANIFEST)
    try:
        listed = {str(name): (entry["size"], entry["sha256"]) for name, entry in manifest["files"].items()}
    except (KeyError, TypeError, AttributeError):
        raise WrongInput(f"{folder.path / artifacts.MANIFEST} is damaged") from None
    for name, (expected, _) in listed.items():
        size = folder.file(name).stat().st_size
        if size != expected:
            raise WrongInput(f"{folder.path / name} is damaged: {size} bytes instead of {expected}")
    for name, (_, digest) in listed.items() if verify else ():
        if files.sha256(folder.file(name)) != digest:
            raise WrongInput(f"{folder.path / name} is damaged: its sha256 differs from the manifest")


class RunResult:
    """One run. Tables are pandas frames; explanations are read shard by shard; data and network are rebuilt."""

    def __init__(self, folder: RunFolder, trust: tuple[str, ...] = ()):
        self.folder, self.trust, self.path = folder, trust, folder.path

    def __repr__(self) -> str:
        return f"RunResult({str(self.path)!r}, state={self.status.get('state')!r})"

    # -- what was asked for and what came of it --------------------------------------------------------------

    @property
    def status(self) -> dict[str, Any]:
        """State, stage, error, heartbeat; read anew each time."""
        return self.folder.json(artifacts.STATUS)

    @cached_property
    def config(self) -> dict[str, Any]:
        """The composed config, references unresolved."""
        return self.folder.yaml(artifacts.CONFIG)

    @cached_property
    def overrides(self) -> list[str]:
        """What was typed."""
        return self.folder.yaml(artifacts.OVERRIDES)

    @cached_property
    def choices(self) -> dict[str, Any]:
        """The option of each group."""
        return self.folder.json(artifacts.CHOICES)

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Means with intervals, by method and metric."""
        return self.folder.summary()

    @cached_property
    def environment(self) -> dict[str, Any]:
        """Versions, hardware, commit, seed."""
        return self.folder.json(artifacts.ENVIRONMENT)

    @property
    def controls(self) -> tuple[str, ...]:
        """The methods that the others must beat."""
        return tuple(self.config.get("controls") or ())

    # -- tables ----------------------------------------------------------------------------------------------

    @cached_property
    def scores(self) -> "pd.DataFrame":
        """Tidy: method, metric, example (missing for a score of the whole data set), score (nan: undefined)."""
        frame = _frame(self.folder.file(artifacts.SCORES), ("method", "metric"))
        return frame.astype({"example": "Int64"})

    @cached_property
    def predictions(self) -> "pd.DataFrame":
        """Per example of the explained split: label, prediction, probability per class."""
        return _frame(self.folder.file(artifacts.PREDICTIONS), ("label", "prediction"))

    @cached_property
    def history(self) -> "pd.DataFrame":
        """Per epoch; empty where nothing was trained."""
        return _frame(self.folder.file(artifacts.HISTORY))

    @property
    def curves(self) -> dict[str, dict[str, "pd.DataFrame"]]:
        """Curves by method and metric: a row per example, a column per step."""
        found: dict[str, dict[str, pd.DataFrame]] = {}
        for method, metric, path in self.folder.curves():
            frame = _frame(path).set_index("example")
            frame.columns = frame.columns.astype(float)
            found.setdefault(method, {})[metric] = frame
        return found

    # -- objects ---------------------------------------------------------------------------------------------

    @property
    def explanations(self) -> "Explanations":
        """What is stored of each method: `run.explanations["saliency"][3].show()`."""
        return Explanations(self)

    @cached_property
    def data(self) -> Data:
        """The data set, rebuilt from the config."""
        node, seed = self.node("data"), self.config.get("seed", 0)
        return self._build(node, seed=seed, downloads=_downloads(self.path))

    @cached_property
    def preprocessing(self) -> "tuple[tuple[Modality, ...], Task]":
        """What inputs and outputs of the network mean: as stored with it, so that the data set is not needed."""
        from .sharing.serving import rebuilt_all

        try:
            return rebuilt_all(self.folder.json(artifacts.NETWORK))
        except WrongInput:  # a network of an older salience, or a kind of input of somebody's own
            return self.data.modalities, self.data.task

    @cached_property
    def model(self) -> nn.Module:
        """The trained network in eval mode, rebuilt from the config and the stored weights."""
        nodes = [n for n in self.node("model").values() if isinstance(n, Mapping) and "_target_" in n]
        if len(nodes) != 1:
            raise WrongInput(f"{self.path}: the config names {len(nodes)} networks instead of one")
        modalities, task = self.preprocessing
        with preserved():  # initial weights are drawn, only to be replaced
            known = {"modalities": modalities, "num_outputs": task.num_outputs}
            model = self._build(nodes[0], **known, downloads=_downloads(self.path))
        if not isinstance(model, nn.Module):
            raise WrongInput(f"{self.path}: the config's model is no network")
        weights, _ = self.folder.tensors(artifacts.WEIGHTS)
        try:
            model.load_state_dict(weights)
        except RuntimeError as mistake:
            raise WrongInput(
                f"{self.path}: its weights do not fit its network: {first_line(mistake)}"
            ) from None
        return model.eval()

    # -- new rows --------------------------------------------------------------------------------------------

    def predict(self, rows: Any) -> "pd.DataFrame":
        """What the network says of new rows, given as a person has them: original units, names of categories, text.

        `rows` is a DataFrame, a list of dicts by column name, an array [rows, ...] or sentences; for several inputs a
        tuple, one of these each. One line per row: the prediction, and a probability per class (classification) or
        numbers in original units (regression). Raises WrongInput for rows that the network cannot read.
        """
        from .models.base import predict
        from .sharing.serving import examples_of, table_of

        modalities, task = self.preprocessing
        examples = examples_of(modalities, task, rows)
        return table_of(predict(self.model, examples.inputs, examples.context), task)

    def explain(
        self, rows: Any, method: str = "integrated_gradients", target: str | int = "predicted"
    ) -> Any:
        """An Explanation of new rows (as `predict` takes them) by a method, set as in this run where it was part of it.

        `target` is `predicted`, `runner_up` or a class. Methods whose baseline needs training rows rebuild the data.
        """
        from .sharing.serving import examples_of
        from .sharing.serving_methods import explain_rows

        modalities, task = self.preprocessing
        if target == "label":
            raise WrongInput("target=label: new rows have no label; use predicted, runner_up or a class")
        return explain_rows(self, examples_of(modalities, task, rows), method, target)

    def node(self, group: str) -> dict[str, Any]:
        """One group of the config with its references resolved."""
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException

        try:
            return OmegaConf.to_container(OmegaConf.create(self.config)[group], resolve=True)  # type: ignore[return-value]
        except OmegaConfBaseException as mistake:
            raise WrongInput(f"{self.path}: its config cannot be read: {first_line(mistake)}") from None

    def _build(self, node: Mapping[str, Any], **known: Any) -> Any:
        from .config import build

        return build(node, trusted=self.trust, **known)

    def _repr_html_(self) -> str:
        return leaderboard_html(self.summary, self.controls)


class Explanations(Mapping[str, Stored]):
    """What is stored of each method of a run; nothing is read before it is asked for."""

    def __init__(self, run: RunResult):
        self.run = run

    def __iter__(self) -> Iterator[str]:
        return iter(self.run.summary["methods"])

    def __len__(self) -> int:
        return len(self.run.summary["methods"])

    def __getitem__(self, method: str) -> Stored:
        found = self.run.summary["methods"][method]
        known: dict[str, Any] = {
            "warnings": tuple(found.get("warnings") or ()),
            "cost": Cost(**(found.get("cost") or {})),
        }
        try:
            data = self.run.data
        except WrongInput as mistake:  # attributions can be read without; only names and units are lost
            warnings.warn(f"explanations without names and units: {mistake}", stacklevel=2)
            return Stored(self.run.folder, method, **known)
        return Stored(self.run.folder, method, data.modalities, data.task, **known)


def _frame(path: Path, text: Sequence[str] = ()) -> "pd.DataFrame":
    """A table; columns of `text` stay text (a class may be called 1, NA or =x) unless all of it is numbers."""
    import pandas as pd

    with open(path, encoding="utf-8") as opened:
        names = next(csv.reader(opened), [])
    if not names:
        return pd.DataFrame()
    missing = {name: [] if name in text else ["", "nan"] for name in names}
    named = any(name.startswith("probability_") for name in names) or "metric" in names
    kinds = dict.fromkeys(text, str) if named else {}
    frame = pd.read_csv(path, keep_default_na=False, na_values=missing, dtype=kinds)
    for name in kinds:
        frame[name] = frame[name].map(formats.unquoted)
    return frame.rename(columns=formats.unquoted)


def first_line(error: Exception) -> str:
    """An exception as one line."""
    return " ".join(str(error).split())[:160] or type(error).__name__


def _downloads(path: Path) -> Path:
    """Where the outputs that hold this run keep what was fetched; never a place that the run folder names."""
    resolved = path.resolve()
    known = (parent / "downloads" for parent in resolved.parents[1:3])
    return next((folder for folder in known if folder.is_dir()), Path("outputs") / "downloads")
