"""A run that was cut short goes on, and ends as if nothing had happened."""

import faulty
import pytest


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that was never interrupted."""
    outputs = tmp_path_factory.mktemp("whole") / "outputs"
    done = faulty.run(outputs)
    assert done.returncode == 0, done.stderr
    return faulty.content(faulty.latest(outputs))


def assert_same(folder, whole):
    found = faulty.content(folder)
    assert list(found) == list(whole)
    for name in whole:
        assert found[name] == whole[name], name
    assert not list(folder.rglob("*.part*")) and not (folder / "parts").exists()


@pytest.mark.parametrize("files", [4, 12, 30, 45])
def test_f1_killed_and_resumed(tmp_path, whole, files):
    outputs = tmp_path / "outputs"
    killed = faulty.run(outputs, fault=f"faulty.kill_at({files})")
    assert killed.returncode == -9
    folder = faulty.latest(outputs)
    assert faulty.state(folder) != "completed"
    done = faulty.run(outputs, resume=folder)
    assert done.returncode == 0, done.stderr
    assert faulty.state(folder) == "completed"
    assert_same(folder, whole)
