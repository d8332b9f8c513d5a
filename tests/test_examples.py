"""The notebooks run from beginning to end, and what they keep is small and names no machine."""

import os
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))


def outputs(notebook) -> str:
    """All that a notebook shows, as text."""
    return "\n".join(str(output) for cell in notebook.cells for output in cell.get("outputs", ()))


def test_there_are_two():
    assert [path.stem for path in NOTEBOOKS] == ["compare_a_sweep", "one_network"]


@pytest.mark.slow  # needs the extra `notebooks`
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_says_what_it_shows(path, tmp_path):
    import nbformat
    from nbclient import NotebookClient

    stored = nbformat.read(path, as_version=4)
    nbformat.validate(stored)
    kept = outputs(stored)
    assert (
        kept
        and "Error" not in kept
        and not {"/home", "/root", "/tmp", "/work"} & set(kept.replace("/", " /").split())
    )
    assert path.stat().st_size < 200_000
    fresh = nbformat.read(path, as_version=4)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    NotebookClient(fresh, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert "on auroc (higher is better)" in outputs(fresh) and "auroc" in kept
    assert sum(cell.cell_type == "code" and not cell.outputs for cell in fresh.cells) <= 1  # imports alone
