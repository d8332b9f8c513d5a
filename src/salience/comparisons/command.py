"""The command line of comparisons: what was typed, what is shown, what is written."""

import secrets
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import yaml
from pydantic import Field, StrictBool, StrictStr, ValidationError

from .. import files
from ..config import config_folder
from ..errors import WrongInput
from ..settings import Strict
from ..storage import formats

if TYPE_CHECKING:
    from ..comparison import Comparison

TABLE, RESULT, PAGE = "comparison.csv", "comparison.json", "report.html"
BOARDS = 6
"""Leaderboards that the screen shows; the page has all."""


class Settings(Strict):
    """What configs/compare.yaml and the command line may say, beside filters."""

    paths: list[StrictStr]
    primary: StrictStr | None = None
    method: list[StrictStr] = []
    metric: list[StrictStr] = []
    examples: Annotated[int, Field(ge=0, le=200)] = 12
    page: StrictBool = True
    outputs: StrictStr = "outputs"


def command(typed: Sequence[str], stream: TextIO | None = None) -> int:
    """Compare what was typed; the exit code: 0, or 2 where it is wrong or nothing could be compared."""
    stream = stream or sys.stdout
    if set(typed) & {"-h", "--help"}:
        print(f"{_usage()}\n\n{_shipped()}", file=stream)
        return 0
    try:
        settings, filters = parsed(typed)
        from ..comparison import compare

        chosen = {"method": settings.method, "metric": settings.metric, "where": filters}
        found = compare(settings.paths, primary=settings.primary, **chosen)  # type: ignore[arg-type]
        folder = save(found, settings)
    except WrongInput as wrong:
        for line in str(wrong).splitlines():
            print(f"error: {line}", file=sys.stderr)
        return 2
    show(found, stream, folder)
    if not found.complete:
        print("error: none of these runs can be compared", file=sys.stderr)
        return 2
    return 0


def parsed(typed: Sequence[str]) -> tuple[Settings, dict[str, list[Any]]]:
    """Settings and filters; what names a folder or looks like one is a path, also with a `=` in it."""
    given: dict[str, Any] = yaml.safe_load(_shipped())
    paths: list[str] = []
    filters: dict[str, list[Any]] = {}
    for word in typed:
        if word.startswith("-"):
            raise WrongInput(f"{word}: no such option; {_usage()}")
        key, equals, value = word.partition("=")
        if not equals or "/" in key or Path(word).exists():
            paths.append(word)
        elif key in Settings.model_fields:
            listed = isinstance(given.get(key), list)
            given[key] = _values(value) if listed else _value(value)
        else:
            filters[key.lstrip("+")] = _values(value)
    given["paths"] = paths or given["paths"]
    try:
        return Settings.model_validate(given), filters
    except ValidationError as mistake:
        first = mistake.errors()[0]
        raise WrongInput(f"{'.'.join(map(str, first['loc']))}={first['input']}: {first['msg']}") from None


def _values(text: str) -> list[Any]:
    inner = text.removeprefix("[").removesuffix("]")
    return [part.strip() for part in inner.split(",") if part.strip()]


def _value(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _usage() -> str:
    return "usage: python scripts/compare.py [folders or globs ...] [key=value ...]"


def _shipped() -> str:
    return (config_folder() / "compare.yaml").read_text(encoding="utf-8")


def save(found: "Comparison", settings: Settings) -> Path:
    """Write table, result and page into a new folder; returns it."""
    day = Path(settings.outputs) / time.strftime("%Y-%m-%d")
    try:
        name = f"{time.strftime('%H-%M-%S')}-comparison"
        folder = files.make_new_folder(day, lambda: f"{name}-{secrets.token_hex(3)}")
    except OSError as error:
        raise WrongInput(f"outputs={settings.outputs}: cannot be written to ({error.strerror})") from None
    found.save_csv(folder / TABLE)
    formats.write_json(folder / RESULT, found.result())
    if settings.page:
        found.save_page(folder / PAGE, settings.examples)
    return folder


def show(found: "Comparison", stream: TextIO, folder: Path | None = None) -> None:
    """The verdict, leaderboards, what failed, warnings, and where it all lies."""
    from rich.text import Text

    from ..terminal import clean, console, print_board
    from .verdict import ordered

    screen = console(stream)
    with screen.capture() as captured:
        screen.print(
            Text(
                f"{len(found.complete)} of {len(found.records)} runs, {len(found.boards)} leaderboards", "dim"
            )
        )
        screen.print(Text(clean(found.verdict), "bold"))
        for board in found.boards[:BOARDS]:
            networks = f", mean of {len(board.networks)} networks" if len(board.networks) > 1 else ""
            screen.print(Text(f"\n{clean(board.label)}{networks}", "bold"))
            print_board(screen, board.table)
            if said := board.verdict(found.primary):
                screen.print(Text(clean(f"{said.metric}: {ordered(said)}")))
        if len(found.boards) > BOARDS:
            screen.print(Text(f"\nand {len(found.boards) - BOARDS} more leaderboards, in the page"))
        for record in found.failed[:20]:
            screen.print(Text(clean(f"{record.state}: {record.path.name} {record.cause}"), "red"))
        for warning in found.warnings[:20]:
            screen.print(Text(clean(f"warning: {warning}"), "yellow"))
        screen.print()
        for name in (PAGE, TABLE) if folder else ():
            if (folder / name).is_file():  # type: ignore[operator]
                screen.print(Text(f"{name.partition('.')[2]:<8}{folder / name}"), soft_wrap=True)  # type: ignore[operator]
    stream.write(captured.get())
