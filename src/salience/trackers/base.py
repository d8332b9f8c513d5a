"""What a tracker is: a sink for a finished run. Whatever goes wrong in one is a warning, never the end of a run."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from ..artifacts import CONFIG, RunFolder
from ..comparisons.leaderboard import network_scores
from ..comparisons.records import flattened
from ..edge.targets import build
from ..terminal import clean


@dataclass(frozen=True)
class Tracked:
    """A finished run as trackers see it."""

    path: Path
    """Its folder."""
    outputs: Path
    """The folder of all outputs, where trackers keep what they keep on disk."""
    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]
    """A row per epoch."""

    @property
    def name(self) -> str:
        """What the run is called: its folder, with that of its sweep."""
        return "/".join(self.path.parts[-2:])

    def settings(self) -> dict[str, str]:
        """The config as dotted keys and text."""
        return {key: str(value) for key, value in flattened(dict(self.config))}

    def scores(self) -> Iterator[tuple[str, float]]:
        """`network/accuracy`, `deletion/saliency`, ...: every mean that is a number."""
        yield from ((f"network/{name}", value) for name, value in network_scores(self.summary).items())
        for method, found in (self.summary.get("methods") or {}).items():
            for metric, entry in (found.get("metrics") or {}).items():
                if entry.get("mean") is not None and entry["mean"] == entry["mean"]:
                    yield f"{metric}/{method}", float(entry["mean"])

    def epochs(self) -> Iterator[tuple[int, str, float]]:
        """Epoch, name and value of everything that was noted while training."""
        for number, row in enumerate(self.history, 1):
            epoch = int(float(row.get("epoch") or number))
            for name, value in row.items():
                if name != "epoch" and value not in (None, ""):
                    yield epoch, f"training/{name}", float(value)


class Tracker(ABC):
    """A sink: told once, when a run has finished. Its package is imported only then."""

    package: str
    """What `pip install` calls the package that it needs."""

    @abstractmethod
    def track(self, run: Tracked) -> None:
        """Send the run on."""


def tell(nodes: Mapping[str, Mapping[str, Any]], folder: RunFolder, outputs: Path | str) -> None:
    """Tell the trackers of a config of the run in a folder; without any, nothing is read."""
    if nodes:
        config, history = folder.yaml(CONFIG), folder.history()
        track(nodes, Tracked(folder.path, Path(outputs), config, folder.summary(), history), folder.log)


def track(
    nodes: Mapping[str, Mapping[str, Any]],
    run: Tracked,
    log: Callable[[str], None] = lambda line: None,
    stream: TextIO | None = None,
) -> None:
    """Tell every tracker of a config; one that fails is one warning on the screen and in the log."""
    for name, node in nodes.items():
        try:
            build(node).track(run)
        except ImportError as error:
            package = clean(error.name or error)
            _warn(f"tracker={name}: needs the package {package}: pip install 'salience[{name}]'", log, stream)
        except Exception as error:  # of a package that is not ours; the run itself is complete
            _warn(f"tracker={name}: {type(error).__name__}: {clean(error)[:200]}", log, stream)


def _warn(line: str, log: Callable[[str], None], stream: TextIO | None) -> None:
    log(f"warning: {line}")
    print(f"warning: {line}; the run is complete and nothing else is lost", file=stream or sys.stderr)
