"""How a sweep looks while it goes: a live table on a terminal, a line per run elsewhere, a table at the end."""

import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

from .isolation import Report
from .jobs import Jobs, Row

SHOWN = 40
"""Rows of the last table; beyond that, only those that did not complete."""


class Lines:
    """A line per run that ends: for logs, pipes and dry runs."""

    def __init__(self, jobs: Jobs, n_jobs: int):
        self.jobs, self.warned = jobs, False

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *error: Any) -> None: ...

    def started(self, row: Row) -> None:
        """Nothing to say."""

    def ended(self, row: Row, report: Report) -> None:
        """One line."""
        if report.missing and not self.warned:
            self.warned = True
            self.say(f"warning: not loaded ahead, so every run loads it again: {', '.join(report.missing)}")
        what, took = " ".join(row.changed) or "run", f"in {row.seconds or 0:.1f} s"
        self.say(f"[{row.number + 1}/{len(self.jobs.rows)}] {what}: {row.state} {took} {row.cause}".rstrip())

    def say(self, line: str) -> None:
        """Print a line."""
        print(line, flush=True)

    def tick(self) -> None:
        """Nothing changes with time."""


class Table(Lines):
    """What is done, running and failed, and how long the rest will take, on a terminal."""

    def __init__(self, jobs: Jobs, n_jobs: int):
        from rich.console import Console
        from rich.live import Live

        super().__init__(jobs, n_jobs)
        self.n_jobs, self.since = n_jobs, {}
        self.live = Live(console=Console(), auto_refresh=False, transient=True)

    since: dict[int, float]

    def __enter__(self) -> "Table":
        self.live.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self.live.stop()

    def started(self, row: Row) -> None:
        """Its clock starts."""
        self.since[row.number] = time.monotonic()

    def ended(self, row: Row, report: Report) -> None:
        """Failures stay on the screen; the others are counted."""
        self.since.pop(row.number, None)
        if row.state != "completed" or report.missing:
            super().ended(row, report)

    def say(self, line: str) -> None:
        """A line above the table."""
        from rich.text import Text

        self.live.console.print(Text(line))

    def tick(self) -> None:
        """Draw it again."""
        self.live.update(self.drawn(), refresh=True)

    def drawn(self) -> Any:
        """A line of counts, and a row for each run that is on its way."""
        from rich.console import Group
        from rich.table import Table as Grid
        from rich.text import Text

        grid = Grid(box=None, show_header=False, pad_edge=False)
        for number, since in list(self.since.items())[:20]:
            row = self.jobs.rows[number]
            stage = str(self.jobs.status(row).get("stage") or "starting")
            cells = (
                f"[{number + 1}]",
                " ".join(row.changed) or "run",
                stage,
                _span(time.monotonic() - since),
            )
            grid.add_row(*map(Text, cells))
        return Group(Text(counted(self.jobs.rows, self.left(), "  ")), grid)

    def left(self) -> float | None:
        """Seconds until the end: the median run, for all that is to do."""
        took = [row.seconds for row in self.jobs.rows if row.state == "completed" and row.seconds]
        if not took:
            return None
        one = statistics.median(took)
        running = sum(max(0.0, one - (time.monotonic() - since)) for since in self.since.values())
        return (one * sum(row.state == "queued" for row in self.jobs.rows) + running) / self.n_jobs


def screen(jobs: Jobs, n_jobs: int, dry: bool) -> Lines:
    """What suits where the output goes."""
    return Table(jobs, n_jobs) if sys.stdout.isatty() and not dry else Lines(jobs, n_jobs)


def counted(rows: Sequence[Row], left: float | None = None, gap: str = ", ") -> str:
    """How many runs are in each state, and how long it will take."""
    names = {
        "completed": "done",
        "running": "running",
        "failed": "failed",
        "interrupted": "interrupted",
        "queued": "to do",
    }
    numbers = {shown: sum(row.state == state for row in rows) for state, shown in names.items()}
    parts = [f"{number} {shown}" for shown, number in numbers.items() if number or shown == "done"]
    return gap.join([*parts, *([f"about {_span(left)} left"] if left is not None else [])])


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def show(jobs: Jobs) -> None:
    """Print the table of runs; of a long sweep, those that did not complete."""
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

    rows = jobs.rows if len(jobs.rows) <= SHOWN else [row for row in jobs.rows if row.state != "completed"]
    table = Grid(title=str(jobs.path), title_justify="left", box=None)
    for name in ("run", "changed", "state", "cause", "folder"):
        table.add_column(name, overflow="fold")
    for row in rows[:SHOWN]:
        cells = (str(row.number), " ".join(row.changed), row.state, row.cause, row.folder)
        table.add_row(*map(Text, cells))
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table)
    if len(rows) != len(jobs.rows) or len(rows) > SHOWN:
        console.print(counted(jobs.rows), highlight=False)
