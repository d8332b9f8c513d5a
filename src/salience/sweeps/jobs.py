"""The folder of a sweep: what each run was given, how far it is, and which folder is its own."""

import json
import os
import re
import secrets
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import yaml

from .. import files
from ..config import Composed
from ..errors import WrongInput
from ..storage import schema
from ..storage.redaction import HIDDEN, Redactor, is_secret
from ..storage.schema import SCHEMA_VERSION

SWEEP, JOBS, LOCK = "sweep.json", "jobs.json", ".lock"
STATUS, MANIFEST = "status.json", "manifest.json"
NETWORK = ("data", "model", "training", "seed", "device")
"""The parts of a config that decide which network a run needs."""
ENDED = ("completed", "failed", "interrupted")


@dataclass
class Row:
    """One run of a sweep, as `sweep.json` keeps it. `state`: queued, running, completed, failed, interrupted."""

    number: int
    overrides: list[str]
    changed: list[str]
    folder: str
    digest: str
    """Identity of the run: sha256 of its composed config."""
    state: str = "queued"
    cause: str = ""
    seconds: float | None = None
    attempts: int = 0


@dataclass(frozen=True)
class Given:
    """What one run is given, as text that any process on any machine can read."""

    config: str
    overrides: list[str]
    choices: dict[str, Any]
    network: str
    """Digest of what decides which network it needs."""
    digest: str
    """sha256 of the composed config."""

    @classmethod
    def of(cls, run: Composed) -> "Given":
        """The composed config as YAML, references to the environment unresolved."""
        from omegaconf import OmegaConf

        text = OmegaConf.to_yaml(run.config)
        parts: Any = OmegaConf.to_container(run.config, resolve=False)
        needs = json.dumps([parts.get(key) for key in NETWORK], default=str)
        network, digest = files.sha256(needs.encode()), files.sha256(text.encode())
        return cls(text, list(run.overrides), run.choices, network, digest)

    def hidden(self) -> "Given":
        """Without secrets, for the disk: a run that has one cannot be resumed."""
        config = yaml.safe_load(self.config)
        redact = Redactor(config, self.overrides, self.config)
        known = redact.value(config)
        text = self.config if known == config else yaml.safe_dump(known, allow_unicode=True, sort_keys=False)
        return replace(self, config=text, overrides=[redact.override(o) for o in self.overrides])

    def below(self, outputs: Path) -> "Given":
        """To be run where the sweep lies now, never in a place that only its config names."""
        config = yaml.safe_load(self.config)
        if Path(str(config.get("outputs"))).resolve() == outputs.resolve():
            return self
        config["outputs"] = str(outputs)
        return replace(self, config=yaml.safe_dump(config, allow_unicode=True, sort_keys=False))

    @property
    def whole(self) -> bool:
        """Whether nothing was blotted out of the config, so that the run can be started from it."""
        return files.sha256(self.config.encode()) == self.digest


class Jobs:
    """Rows and what their runs are given, in `path`; `sweep.json` always says how far the sweep is."""

    def __init__(self, path: Path, rows: list[Row], given: list[Given], job: str, settings: dict[str, Any]):
        self.path, self.rows, self.given, self.job, self.settings = path, rows, given, job, settings
        self._saved, self._state = 0.0, "created"

    @classmethod
    def create(cls, runs: Sequence[Composed], job: str, settings: dict[str, Any]) -> "Jobs":
        """A new folder below the runs' `outputs`; WrongInput where it cannot be made. Equal runs are one run."""
        chosen: dict[str, tuple[Given, Composed]] = {}
        for run in runs:
            given = Given.of(run)
            chosen.setdefault(given.digest, (given, run))
        overrides = [run.overrides for _, run in chosen.values()]
        common = {o for typed in overrides for o in typed if o.startswith("--")}  # the folders of configs
        common |= set.intersection(*map(set, overrides)) if len(overrides) > 1 else set()
        width, rows = len(str(len(overrides) - 1)), []
        for number, (digest, typed) in enumerate(zip(chosen, overrides, strict=True)):
            changed = [override for override in typed if override not in common]
            name = files.slug(",".join(c for c in changed if not is_secret(c.partition("=")[0])))
            redact = Redactor(overrides=typed)
            shown, short = map(redact.override, typed), map(redact.override, changed)
            rows.append(Row(number, list(shown), list(short), f"{number:0{width}}-{name}", digest))
        folder = new_folder(Path(str(runs[0].config.get("outputs", "outputs"))), "sweep")
        jobs = cls(folder, rows, [given for given, _ in chosen.values()], job, settings)
        kept = {"schema_version": SCHEMA_VERSION, "job": job, "launcher": settings, "cwd": os.getcwd()}
        files.write_json(jobs.path / JOBS, kept | {"jobs": [asdict(given.hidden()) for given in jobs.given]})
        return jobs

    @classmethod
    def open(cls, path: Path) -> "Jobs":
        """The jobs of a sweep that was started before; WrongInput where its files do not fit together."""
        kept = schema.read(path / JOBS, "sweep", limit=1 << 30)
        try:
            rows = files.read_json(path / SWEEP)["jobs"]
            names = {field.name for field in fields(Row)}
            rows = [Row(**{key: row[key] for key in names & set(row)}) for row in rows]
            given = [Given(**job) for job in kept["jobs"]]
            if len(rows) != len(given) or any(r.digest != g.digest for r, g in zip(rows, given, strict=True)):
                raise ValueError(f"{JOBS} and {SWEEP} do not describe the same runs")
            for row, job in zip(rows, given, strict=True):
                files.inside(path, row.folder)
                if not job.whole and HIDDEN not in job.config:
                    raise ValueError(f"the config of run {row.number} is not what was saved")
            jobs = cls(path, rows, given, str(kept["job"]), dict(kept["launcher"]))
            jobs.cwd = Path(kept["cwd"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WrongInput(f"{path}: not a sweep that can be resumed ({error})") from None
        return jobs

    cwd: Path | None = None
    """Where the sweep was started; relative paths of its runs count from there."""

    @property
    def failed(self) -> list[Row]:
        """The rows of runs that did not complete."""
        return [row for row in self.rows if row.state not in ("completed", "queued")]

    @property
    def left(self) -> list[Row]:
        """The rows of runs that never started."""
        return [row for row in self.rows if row.state == "queued"]

    def save(self, state: str, at_least: float = 0.0) -> None:
        """Write `sweep.json`, unless that was done less than `at_least` seconds ago."""
        if state == self._state and time.monotonic() - self._saved < at_least:
            return
        content = {
            "schema_version": SCHEMA_VERSION,
            "state": state,
            "jobs": [asdict(row) for row in self.rows],
        }
        files.write_json(self.path / SWEEP, content)
        self._saved, self._state = time.monotonic(), state

    def folder(self, row: Row) -> Path:
        """Where the newest attempt of a run lies."""
        return self.path / row.folder

    def renew(self, row: Row) -> None:
        """A folder for one more attempt: what an earlier one left is never overwritten."""
        base = re.sub(r"-try\d+$", "", row.folder)
        names = (base if n == 1 else f"{base}-try{n}" for n in range(1, 10_000))
        row.folder = next(name for name in names if not (self.path / name).exists())
        row.attempts += 1
        (self.path / f"{row.folder}.txt").unlink(missing_ok=True)

    def arguments(self, row: Row) -> tuple[str, ...]:
        """What `sweep.work` needs for one run: text only, with an absolute folder."""
        given, where = self.given[row.number], self.folder(row).absolute()
        return (
            self.job,
            given.config,
            json.dumps(row.overrides),
            json.dumps(given.choices),
            str(where),
            os.getcwd(),
        )

    def status(self, row: Row) -> dict[str, Any]:
        """What a run says of itself; empty where it says nothing."""
        try:
            said = files.read_json(self.folder(row) / STATUS)
        except (OSError, ValueError):
            return {}
        return said if isinstance(said, dict) else {}

    def done(self, row: Row) -> bool:
        """Whether a run came to its end and vouches for its files."""
        return self.status(row).get("state") == "completed" and (self.folder(row) / MANIFEST).is_file()

    def close(self, row: Row, printed: str = "") -> None:
        """Say in the folder of a run that did not complete what became of it: it may not have been able to."""
        self.folder(row).mkdir(exist_ok=True)
        files.append(self.folder(row) / "run.log", f"{row.state}: {row.cause}\n{printed}")
        status = self.status(row)
        if status.get("state") not in ENDED:
            status = {"schema_version": SCHEMA_VERSION, **status, "state": row.state, "error": row.cause}
            files.write_json(self.folder(row) / STATUS, status)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep a second process from running the same sweep; WrongInput says which one does."""
        path = self.path / LOCK
        with open(path, "a+", encoding="utf-8") as opened:
            try:
                import fcntl

                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                said = path.read_text(encoding="utf-8").strip()
                raise WrongInput(f"{self.path}: in use by {said or 'another process'}") from None
            except (ImportError, OSError):
                pass  # no locks on this file system: nobody is kept out
            opened.truncate(0)
            opened.write(f"pid {os.getpid()} on {socket.gethostname()} since {time.strftime('%F %T')}")
            opened.flush()
            yield


def new_folder(outputs: Path, kind: str) -> Path:
    """A folder for a sweep or a search below `outputs`, the newest there; WrongInput where it cannot be made."""
    try:
        folder = files.make_new_folder(
            outputs / time.strftime("%Y-%m-%d"),
            lambda: f"{time.strftime('%H-%M-%S')}-{kind}-{secrets.token_hex(3)}",
        )
        files.point_to(outputs / "latest", folder)
    except OSError as error:
        raise WrongInput(f"outputs={outputs}: cannot be written to ({error.strerror})") from None
    return folder
