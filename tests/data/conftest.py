"""One folder of fetched files for the whole test run, shared by all of its processes."""

import pytest


@pytest.fixture(scope="session")
def downloads(tmp_path_factory, worker_id):
    base = tmp_path_factory.getbasetemp()
    return (base if worker_id == "master" else base.parent) / "downloads"
