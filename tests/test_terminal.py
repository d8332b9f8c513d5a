"""What a person sees: a line per stage, one table that fits, names that are only names."""

import io
import os
import pty
import subprocess
import sys
import time

import pytest

from salience import terminal
from salience.comparisons.leaderboard import leaderboard, network_scores

METRICS = {"deletion": False, "insertion": True, "sensitivity": False, "complexity": False}


def entry(mean=0.5, half=0.02, undefined=0, higher=True) -> dict:
    low, high = (None, None) if half is None else (mean - half, mean + half)
    return {
        "mean": mean,
        "low": low,
        "high": high,
        "n": 10,
        "undefined": undefined,
        "higher_is_better": higher,
    }


def summary(methods=("saliency", "random"), **own) -> dict:
    metrics = {name: entry(higher=higher) for name, higher in METRICS.items()}
    found = {m: {"metrics": dict(metrics), "cost": {}, "warnings": []} for m in methods}
    network = {"accuracy": 0.965, "log_loss": 0.1, "recipe": "ab", "weights": "cd", "trained": True}
    return {"network": network, "ruler": {}, "methods": found} | own


def shown(given, controls=("random",), overrides=(), path="outputs/run") -> str:
    stream = io.StringIO()
    terminal.show_results(path, given, controls, overrides, stream)
    return stream.getvalue()


def test_table_has_scores_directions_and_intervals():
    text = shown(summary())
    assert "accuracy 0.965" in text and "recipe" not in text
    assert "deletion ↓" in text and "insertion ↑" in text and "0.500 ±0.020" in text


def test_the_end_says_where_things_are_and_how_to_repeat(tmp_path):
    text = shown(summary(), overrides=["model=mlp", "attribution=[saliency, lime]"], path=tmp_path)
    assert f"run     {tmp_path}\n" in text and "figures" not in text
    assert "repeat  python scripts/run.py model=mlp 'attribution=[saliency, lime]'\n" in text
    (tmp_path / "report.html").write_text("page")
    (tmp_path / "figures").mkdir()
    text = shown(summary(), path=tmp_path)
    assert f"page    {tmp_path}/report.html\n" in text and f"figures {tmp_path}/figures\n" in text


def test_undefined_scores_warnings_and_missing_controls_are_said():
    given = summary(("saliency", "lime"))
    given["methods"]["lime"]["metrics"]["deletion"] = entry(undefined=3)
    given["methods"]["saliency"]["warnings"] = ["the gradient is 0 everywhere"]
    text = shown(given, controls=())
    assert "deletion: undefined for 3 of 13 examples for lime" in text
    assert "saliency: the gradient is 0 everywhere" in text
    assert "no controls" in text and "controls=[random, input]" in text
    assert "no controls" not in shown(summary())


def test_controls_come_last_and_nothing_defined_is_a_dash():
    given = summary(("random", "saliency"))
    given["methods"]["saliency"]["metrics"]["deletion"] = entry(mean=None, half=None, undefined=10)
    board = leaderboard(given, ("random",))
    assert [row.method for row in board.rows] == ["saliency", "random"]
    assert board.rows[0].entries["deletion"].text == "–"


@pytest.mark.parametrize(
    ("mean", "half", "text"),
    [
        (0.31234, 0.0213, "0.312 ±0.021"),
        (12.345, 3.21, "12.3 ±3.2"),
        (-1543.21, 210.0, "-1543 ±210"),
        (2.5e7, 1e5, "2.5e+07 ±1e+05"),
        (3.1e-7, 2e-7, "3.1e-07 ±2e-07"),
        (0.5, 0.0, "0.5"),
        (0.5, None, "0.5"),
    ],
)
def test_digits_are_those_that_the_interval_bears(mean, half, text):
    given = summary(("saliency",))
    given["methods"]["saliency"]["metrics"]["deletion"] = entry(mean, half)
    assert leaderboard(given).rows[0].entries["deletion"].text == text


def test_network_scores_are_the_numbers():
    assert network_scores(summary()) == {"accuracy": 0.965, "log_loss": 0.1}
    assert network_scores({}) == {}


@pytest.mark.parametrize("width", [40, 60, 200])
def test_the_table_fits_the_terminal_and_cuts_no_name(monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    text = shown(summary())
    table = text[: text.index("run ")]
    assert max(map(len, table.splitlines())) <= width
    assert all(name in text for name in METRICS) and text.count("saliency") >= (1 if width == 200 else 2)


@pytest.mark.parametrize(
    "name", ["[red]x[/red]", "[/]", "\x1b]0;owned\x07x", "a\nb\tc", "\u202eevil", "<script>"]
)
def test_names_are_neither_markup_nor_control(name):
    text = shown(summary((name, "random")))
    assert terminal.clean(name) in text
    assert not set(text) & {"\x1b", "\x07", "\t", "\u202e"}


def test_without_a_terminal_a_stage_is_one_line_and_the_log_has_it():
    log, stream = [], io.StringIO()
    with terminal.Progress(log.append, stream).stage("train", total=30) as advance:
        for epoch in range(30):
            advance(epoch + 1, 30, {"epoch": epoch, "validation_loss": 0.25, "validation_accuracy": 0.9})
    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue().startswith("train: 30 of 30, loss 0.25 accuracy 0.9, ")
    assert log == [stream.getvalue().rstrip("\n")]


def test_a_stage_that_stops_says_how_far_it_came():
    log, stream = [], io.StringIO()
    with (
        pytest.raises(RuntimeError),
        terminal.Progress(log.append, stream).stage("explain", total=6) as advance,
    ):
        advance()
        advance()
        raise RuntimeError
    assert log[0].startswith("explain: stopped after 2 of 6, ")


def test_a_stage_tells_the_folder_that_it_is_alive(monkeypatch):
    beats = []

    class Folder:
        def set_status(self, state, stage):
            beats.append((state, stage))

    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr(terminal.time, "monotonic", lambda: float(next(clock)))
    with terminal.Progress(stream=io.StringIO()).stage("train", Folder(), 9) as advance:
        for _ in range(9):
            advance()
    assert 3 <= len(beats) <= 5 and set(beats) == {("running", "train")}


def on_a_terminal(environment: dict[str, str]) -> str:
    """What a small run writes to a terminal of 80 columns."""
    code = (
        "from salience.terminal import *\n"
        "with Progress().stage('train [b]', total=3) as advance:\n"
        "    for _ in range(3): advance()\n"
        "entry = {'mean': .5, 'low': .4, 'high': .6, 'n': 9, 'undefined': 0, 'higher_is_better': True}\n"
        "found = {'metrics': {'insertion': entry}, 'warnings': ['careful'], 'cost': {}}\n"
        "show_results('outputs/run', {'network': {'accuracy': .9}, 'methods': {'saliency': found}})\n"
    )
    leader, follower = pty.openpty()
    given = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS", "FORCE_COLOR")}
    given |= {"TERM": "xterm-256color"} | environment
    job = subprocess.Popen([sys.executable, "-c", code], stdout=follower, stderr=follower, env=given)
    os.close(follower)
    written, end = b"", time.monotonic() + 60
    while time.monotonic() < end:
        try:
            piece = os.read(leader, 65536)
        except OSError:
            break
        if not piece:
            break
        written += piece
    os.close(leader)
    assert job.wait(10) == 0
    return written.decode()


def test_a_terminal_gets_a_bar_and_colours():
    text = on_a_terminal({})
    assert "train [b]" in text and "3/3" in text and "━" in text
    assert "\x1b[33mwarning" in text


def test_no_color_is_respected():
    text = on_a_terminal({"NO_COLOR": "1"})
    assert "warning: saliency: careful" in text
    assert not any(f"\x1b[{colour}m" in text for colour in range(30, 38))


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_that_knows_no_arrows_gets_letters(encoding):
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    terminal.show_results("outputs/run", summary(), ("random",), (), stream)
    text = raw.getvalue().decode(encoding)
    assert "?" not in text
    assert ("deletion ↓" in text) == (encoding == "utf-8") and "0.500" in text


def test_a_reader_that_has_gone_away_is_no_error():
    code = (
        "import sys, time\nfrom salience import terminal\n"
        "sys.stdin.readline()\nterminal.show_results('x', {'methods': {}}, (), [])\n"
    )
    job = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    job.stdout.close()
    _, errors = job.stdin.write(b"\n"), job.stdin.close()
    assert job.wait(60) == 0 and errors is None
    assert job.stderr.read() == b""
    job.stderr.close()


def test_importing_loads_neither_rich_nor_torch():
    code = "import sys, salience.terminal\nassert not {'rich', 'torch', 'matplotlib'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


class Plan:
    forward_rows, backward_rows = 50.0, 49.5


@pytest.mark.parametrize(("asked", "rows"), [(100, "5,000"), ([1, 2, 3], "150"), ("all", "2,000")])
def test_a_dry_run_says_how_many_rows_will_pass(asked, rows):
    class Settings:
        explained, split = asked, "test"

    class Data:
        def split(self, name):
            return range(40)

    class Study:
        settings, data, controls, model_name = Settings, Data(), ("random",), "mlp"

    stream = io.StringIO()
    terminal.show_plan(Study, {"saliency": Plan}, stream)
    assert rows in stream.getvalue() and "saliency" in stream.getvalue()
