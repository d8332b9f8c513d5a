"""The matrix of methods and families of networks: every cell is run, and docs/methods.md says what came out."""

from pathlib import Path

import pytest

from salience import listing, matrix
from salience.attribution.guards import Refused
from salience.config import options

PAGE = Path(__file__).parents[1] / "docs" / "methods.md"
SOME = (
    "saliency",
    "deep_lift",
    "guided_backprop",
    "transformer_lrp",
    "lrp",
    "layer_grad_cam",
    "occlusion",
    "oracle",
)


@pytest.fixture(scope="module")
def some() -> list[matrix.Cell]:
    return list(matrix.cells(SOME))


def page_rows() -> dict[str, list[str]]:
    """The signs of each method, family by family."""
    rows = [
        line.strip("|").split("|") for line in PAGE.read_text(encoding="utf-8").splitlines() if "`" in line
    ]
    return {r[0].strip(): [c.strip(" `") for c in r[1:]] for r in rows if len(r) == 1 + len(matrix.FAMILIES)}


def test_the_page_has_every_method_and_no_fault():
    rows = page_rows()
    assert list(rows) == list(options("attribution")), (
        "python scripts/list.py matrix --markdown > docs/methods.md"
    )
    signs = "".join(s for row in rows.values() for s in row)
    assert set(signs) <= set("+~-.") and all(len(s) == len(matrix.INPUTS) for r in rows.values() for s in r)
    assert ", 0 fault." in PAGE.read_text(encoding="utf-8")


def test_cells_that_are_run_now_are_those_of_the_page(some):
    rows = page_rows()
    for cell in some:
        sign = rows[cell.method][list(matrix.FAMILIES).index(cell.family)][
            list(matrix.INPUTS).index(cell.inputs)
        ]
        assert sign == matrix.SYMBOLS[cell.verdict], cell


def test_every_cell_that_does_not_work_says_why(some):
    assert all(cell.verdict != "fault" for cell in some)
    for cell in some:
        assert bool(cell.reason) == (cell.verdict != "works") and "\n" not in cell.reason, cell
    verdict = {(c.method, c.family, c.inputs): c.verdict for c in some}
    assert verdict["saliency", "mlp", "table"] == "works" and verdict["lrp", "gru", "series"] == "refused"
    assert verdict["transformer_lrp", "transformer", "tokens"] == "works"
    assert verdict["deep_lift", "gru", "tokens"] == "refused", "also where the gap happens to be small"
    assert ("saliency", "cnn", "table") not in verdict


def test_what_is_no_reason_is_a_fault(monkeypatch):
    def broken(*_):
        try:
            raise AttributeError("no such attribute")
        except AttributeError as error:
            raise Refused("attribution=saliency: no such attribute") from error

    monkeypatch.setattr(matrix, "preflight", broken)
    assert {c.verdict for c in matrix.cells(["saliency"])} == {"fault"}


def test_the_command_prints_it(monkeypatch, capsys, some):
    monkeypatch.setattr(matrix, "cells", lambda: iter(some))
    assert listing.show_options(["matrix"]) == 0
    text = capsys.readouterr().out
    assert "logistic" in text and "guided_backprop, refused on" in text and "no nn.ReLU module" in text
    assert listing.show_options(["matrix", "--markdown"]) == 0
    assert "| saliency | `++++` |" in capsys.readouterr().out
    assert listing.show_options(["methods"]) == 0
    assert "On which networks" in capsys.readouterr().out
    fault = matrix.Cell("saliency", "mlp", "table", "fault", "oops")
    monkeypatch.setattr(matrix, "cells", lambda: iter([fault]))
    assert listing.show_options(["matrix"]) == 1


@pytest.mark.slow
def test_the_whole_matrix_has_no_traceback():
    found = list(matrix.cells())
    assert len(found) == len(options("attribution")) * 26 and not [c for c in found if c.verdict == "fault"]
    assert sum(c.verdict == "works" for c in found) > 900
