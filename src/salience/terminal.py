"""What a person sees while a run goes on and when it has ended. rich is imported only when something is shown."""

import contextlib
import os
import shlex
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from .comparisons.leaderboard import Column, Leaderboard, Row, leaderboard, network_scores

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

BEAT = 10.0
"""Seconds between two heartbeats of a stage."""
ASCII = str.maketrans({"↑": "^", "↓": "v", "±": "-", "–": "-", "…": ".", "×": "x", "·": "-"})


def clean(text: object) -> str:
    """One line without control characters, so that a name can neither colour nor move nor rename the terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())


def console(stream: TextIO) -> "Console":
    """A console for `stream` that respects NO_COLOR, TERM=dumb and COLUMNS; a pipe is 110 columns wide."""
    from rich.console import Console

    wide = None if stream.isatty() or "COLUMNS" in os.environ else 110
    return Console(
        file=stream, width=wide, highlight=False, emoji=False, soft_wrap=False, force_jupyter=False
    )


class Progress:
    """A bar per stage on a terminal, a line per stage elsewhere, and that line in the log."""

    def __init__(self, log: Callable[[str], None] | None = None, stream: TextIO | None = None):
        self.log = log or (lambda line: None)
        self.stream = stream or sys.stderr

    @contextlib.contextmanager
    def stage(self, name: str, folder: Any = None, total: int | None = None) -> Iterator[Callable[..., None]]:
        """One stage of a run; `folder` (a run folder) is told that it runs and that it is alive.

        Yields `advance`: without arguments one step further; `advance(done, total, row)` says how far, with the
        row of an epoch.
        """
        started, counter = time.monotonic(), _Counter(total)
        beat = _Beat(folder, name)
        with self._bar(name, total) as show:

            def advance(
                done: int | None = None, of: int | None = None, row: Mapping[str, Any] | None = None
            ) -> None:
                counter.step(done, of, row)
                show(counter)
                beat()

            try:
                yield advance
            except BaseException:
                self._line(
                    f"{clean(name)}: stopped after {counter.text}{time.monotonic() - started:.1f} s", True
                )
                raise
        self._line(
            f"{clean(name)}: {counter.text}{time.monotonic() - started:.1f} s", not self.stream.isatty()
        )

    def _line(self, line: str, shown: bool) -> None:
        self.log(line)
        if shown:
            _write(self.stream, line + "\n")

    @contextlib.contextmanager
    def _bar(self, name: str, total: int | None) -> Iterator[Callable[["_Counter"], None]]:
        if not self.stream.isatty():
            yield lambda counter: None
            return
        from rich import progress
        from rich.markup import escape

        columns = (
            progress.TextColumn("{task.description:<20}"),
            progress.BarColumn(24),
            progress.MofNCompleteColumn(),
            progress.TimeElapsedColumn(),
            progress.TextColumn("[dim]{task.fields[note]}"),
        )
        with progress.Progress(*columns, console=console(self.stream), refresh_per_second=5) as bar:
            task = bar.add_task(escape(clean(name)), total=total, note="")
            yield lambda c: bar.update(task, completed=c.done, total=c.total, note=escape(c.note))
            bar.update(
                task, completed=total if total is not None else 1, total=total if total is not None else 1
            )


class _Counter:
    """How far a stage is."""

    def __init__(self, total: int | None):
        self.done, self.total, self.note = 0, total, ""

    def step(self, done: int | None, of: int | None, row: Mapping[str, Any] | None) -> None:
        self.done = self.done + 1 if done is None else done
        self.total = of if of is not None else self.total
        numbers = {
            k: v for k, v in (row or {}).items() if k.startswith("validation_") and isinstance(v, float)
        }
        self.note = " ".join(
            f"{clean(k.removeprefix('validation_'))} {v:.3g}" for k, v in list(numbers.items())[:2]
        )

    @property
    def text(self) -> str:
        """`30 of 30, loss 0.1, `, or nothing where nothing is counted."""
        if not self.done:
            return ""
        counted = f"{self.done} of {self.total}" if self.total else str(self.done)
        return f"{counted}, {self.note}, " if self.note else f"{counted}, "


class _Beat:
    """Tells a run folder which stage runs, at once and then every few seconds."""

    def __init__(self, folder: Any, stage: str):
        self.folder, self.stage, self.last = folder, stage, float("-inf")
        self()

    def __call__(self) -> None:
        if self.folder is not None and time.monotonic() - self.last > BEAT:
            self.folder.set_status("running", self.stage)
            self.last = time.monotonic()


def show_results(
    path: Path | str,
    summary: Mapping[str, Any],
    controls: Collection[str] = (),
    overrides: Sequence[str] = (),
    stream: TextIO | None = None,
) -> None:
    """The end of a run: network score, methods by metrics, warnings, and three paths."""
    stream = stream or sys.stdout
    screen, board = console(stream), leaderboard(summary, controls)
    with screen.capture() as captured:
        screen.print(_network_line(summary))
        print_board(screen, board)
        for warning in board.warnings:
            screen.print(_text(f"warning: {warning}", "yellow"))
        screen.print()
        for label, value in ending(path, overrides):
            screen.print(_joined((f"{label:<8}", "dim"), (value, "")), soft_wrap=True)
    _write(stream, captured.get())


def print_board(screen: "Console", board: Leaderboard) -> None:
    """Methods by metrics, in as many tables as the width needs."""
    for columns in _blocks(board, screen.width):
        screen.print(_table(board, columns))


def ending(path: Path | str, overrides: Sequence[str]) -> list[tuple[str, str]]:
    """The run folder, its page where there is one, its figures, and the command that repeats the run."""
    from .artifacts import (
        FIGURES,
        PAGE,
    )  # after a run torch is there anyway; before it, nobody should wait for it

    folder = Path(path)
    page = [("page", str(folder / PAGE))] if (folder / PAGE).is_file() else []
    drawn = [("figures", str(folder / FIGURES))] if (folder / FIGURES).is_dir() else []
    return [("run", str(folder)), *page, *drawn, ("repeat", repeat(overrides))]


def repeat(overrides: Sequence[str]) -> str:
    """The command that repeats a run."""
    return shlex.join(["python", "scripts/run.py", *map(str, overrides)])


def show_plan(study: Any, plans: Mapping[str, Any], stream: TextIO | None = None) -> None:
    """What a dry run found out: the rows that each method will pass through the network."""
    from rich import box
    from rich.table import Table

    stream = stream or sys.stdout
    screen, examples = console(stream), _asked(study)
    table = Table(box=box.SIMPLE_HEAD, header_style="bold")
    table.add_column("method", overflow="fold")
    for name in ("forward rows", "backward rows"):
        table.add_column(name, justify="right")
    for method, plan in plans.items():
        rows = (plan.forward_rows * examples, plan.backward_rows * examples)
        table.add_row(_text(method, "dim" if method in study.controls else ""), *(f"{n:,.0f}" for n in rows))
    with screen.capture() as captured:
        screen.print(
            _text(f"dry run: the config is right and every method can explain {study.model_name}", "bold")
        )
        screen.print(
            _text(
                f"{examples:,} examples to explain; rows through the network, without training and metrics:"
            )
        )
        screen.print(table)
    _write(stream, captured.get())


def _asked(study: Any) -> int:
    """The number of examples that a study will explain at most."""
    split, asked = study.data.split(study.settings.split), study.settings.explained
    counts: dict[type, Callable[[], int]] = {int: lambda: asked, list: lambda: len(asked)}
    return counts.get(type(asked), lambda: len(split))()


def _network_line(summary: Mapping[str, Any]) -> "Text":
    scores = "  ".join(f"{clean(name)} {value:.3g}" for name, value in network_scores(summary).items())
    trained = (
        "" if (summary.get("network") or {}).get("trained", True) else "  (from the store, not trained again)"
    )
    return _joined(("network ", "dim"), (scores or "no scores", "bold"), (trained, "dim"))


def _blocks(board: Leaderboard, width: int) -> Iterator[list[Column]]:
    """The columns in groups that fit a terminal of `width`; names are never cut."""
    names = max((len(clean(row.method)) for row in board.rows), default=6) + 3
    block: list[Column] = []
    used = names
    for column in board.columns:
        cells = [row.entries[column.name].text for row in board.rows if column.name in row.entries]
        needed = 3 + max(map(len, [f"{clean(column.name)} {column.arrow}", *cells]))
        if block and used + needed > width:
            yield block
            block, used = [], names
        block.append(column)
        used += needed
    if block:
        yield block


def _table(board: Leaderboard, columns: Sequence[Column]) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    table.add_column("method", overflow="fold")
    for column in columns:
        table.add_column(_text(f"{column.name} {column.arrow}"), justify="right", no_wrap=True)
    for row in board.rows:
        table.add_row(*_cells(row, columns))
    return table


def _cells(row: Row, columns: Sequence[Column]) -> Iterator["Text"]:
    style = "dim italic" if row.control else ""
    yield _text(row.method, style)
    for column in columns:
        entry = row.entries.get(column.name)
        yield _text(entry.text if entry else "", style)


def _text(content: object, style: str = "") -> "Text":
    """Text that is no markup, whatever it contains."""
    from rich.text import Text

    content = str(content)
    cleaned = content if content.isprintable() else clean(content)
    return Text(cleaned, style=style)


def _joined(*parts: tuple[str, str]) -> "Text":
    """Pieces of text, each in its own style."""
    from rich.text import Text

    return Text.assemble(*(_text(content, style) for content, style in parts))


def _write(stream: TextIO, text: str) -> None:
    """Write what the stream can show; a reader that has gone away (`| head -1`) is no error."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.replace(" ±", "+-").translate(ASCII).encode(encoding, "replace").decode(encoding)
    except LookupError:
        pass
    try:
        stream.write(text)
        stream.flush()
    except OSError:  # nobody reads on, or there is no room: what is shown is in the run folder too
        if stream in (sys.stdout, sys.stderr):  # the interpreter flushes once more when it exits
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
