"""How two ways of doing the same thing compare: interleaved pairs, one thread, CPU time, the median of the ratios.

Shared machines drift; a ratio of two runs that follow each other drifts little. The peer runs in a process of its own,
with the allocator as a plain script has it; ours runs as a run of ours does.
"""

import multiprocessing
import platform
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Comparison:
    """Ours beside a peer's on one workload."""

    what: str
    ours_ms: float
    peer_ms: float
    ratio: float
    """Median of peer / ours over the pairs; above 1 is faster."""
    low: float
    high: float
    difference: float | None
    """Largest difference of the results, as a share of the largest value; None where they are random."""
    limit_ms: float | None = None
    """What the rows that must pass through the network cost at the best batch size."""

    @property
    def line(self) -> str:
        """One row of the printed table."""
        limit = "" if self.limit_ms is None else f"{self.limit_ms:9.2f} {self.ours_ms / self.limit_ms:6.2f}"
        gap = "" if self.difference is None else f"{self.difference:.1e}"
        return (
            f"{self.what:46}{self.ours_ms:10.2f}{self.peer_ms:11.2f}{self.ratio:9.2f}x "
            f"[{self.low:.2f} - {self.high:.2f}]{limit:>18}  {gap}"
        )


HEADER = (
    f"{'workload':46}{'ours ms':>10}{'peer ms':>11}{'ratio':>10} [range]{'limit, ours/limit':>22}  difference"
)


def cpu(function: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of one call, and what it returned."""
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


LEAST = 0.05
"""Seconds that a measurement takes at least: a shorter call is repeated, on both sides, so that neither is measured
while it fills its caches again after the other."""


def repeated(function: Callable[[], Any], first: float) -> float:
    """CPU seconds of one call, of which one took `first`; the mean of as many as fill `LEAST`."""
    count = max(1, min(100, round(LEAST / max(first, 1e-6))))

    def calls() -> None:
        for _ in range(count):
            function()

    return cpu(calls)[0] / count


class Peer:
    """The other side, in its own process: asked for a workload by name, it answers with CPU seconds and result."""

    def __init__(self, connection: Any):
        self.connection = connection

    def __call__(self, name: str, first: float | None = None) -> tuple[float, Any]:
        """One call, or (where it is said what one took) the mean of several, without a result."""
        self.connection.send((name, first))
        return self.connection.recv()


@contextmanager
def peer(workloads: Callable[[], dict[str, Callable[[], Any]]]) -> Iterator[Peer]:
    """Start the peer; `workloads` is a function of a module that gives its calls by name."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_serve, args=(theirs, workloads), daemon=True
    )
    process.start()
    try:
        yield Peer(ours)
    finally:
        ours.send(None)
        process.join()


def _serve(connection: Any, workloads: Callable[[], dict[str, Callable[[], Any]]]) -> None:
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    calls = workloads()
    while (asked := connection.recv()) is not None:
        name, first = asked
        if first is not None:
            connection.send((repeated(calls[name], first), None))
            continue
        seconds, result = cpu(calls[name])
        connection.send((seconds, result.detach().numpy() if hasattr(result, "detach") else result))


def compare(
    name: str, ours: Callable[[], Any], other: Peer, count: int, same: bool, limit_ms: float | None = None
) -> Comparison:
    """Time both in turn, `count` times after one warm-up each; `same`: whether the results should agree."""
    ours()
    (here, mine), (there, theirs) = cpu(ours), other(name)
    times = [(repeated(ours, here), other(name, there)[0]) for _ in range(count)]
    ratios = sorted(b / max(a, 1e-9) for a, b in times)
    return Comparison(
        name,
        1e3 * median(a for a, _ in times),
        1e3 * median(b for _, b in times),
        median(ratios),
        ratios[0],
        ratios[-1],
        gap(mine, theirs) if same else None,
        limit_ms,
    )


def gap(a: Any, b: Any) -> float:
    """Largest difference as a share of the largest value."""
    import numpy as np

    a, b = (np.asarray(v.detach() if hasattr(v, "detach") else v) for v in (a, b))
    return float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-12))


def save(name: str, rows: list[Comparison]) -> Path:
    """Write the comparisons beside versions and hardware to outputs/benchmarks/<name>.json."""
    from importlib.metadata import version

    from salience.files import write_json

    place = {
        "processor": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        **{n: version(n) for n in ("torch", "captum", "numpy")},
    }
    folder = Path("outputs/benchmarks")
    folder.mkdir(parents=True, exist_ok=True)
    return write_json(folder / f"{name}.json", {"place": place, "rows": [asdict(r) for r in rows]})
