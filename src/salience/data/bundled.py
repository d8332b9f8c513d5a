"""Tables that lie in the installed scikit-learn, read without importing it: that takes as long as importing torch."""

import gzip
import importlib.util
import io
from pathlib import Path

import numpy as np


def scikit_learn(name: str, delimiter: str | None = ",", header: int = 0) -> np.ndarray:
    """The numbers [rows, columns] in one of the files of sklearn.datasets, after `header` lines."""
    spec = importlib.util.find_spec("sklearn")
    assert spec is not None and spec.submodule_search_locations, (
        "scikit-learn is a requirement of this package"
    )
    content = (Path(spec.submodule_search_locations[0]) / "datasets" / "data" / name).read_bytes()
    if name.endswith(".gz"):
        content = gzip.decompress(content)
    return np.loadtxt(io.BytesIO(content), delimiter=delimiter, skiprows=header)
