"""An epoch of ours beside a bare torch loop with torch.optim.Adam: in-memory tensors, one permutation an epoch.

    python benchmarks/training.py [--pairs 5]

The same first weights, batches and learning rate; the difference is that of the trained weights. One thread, CPU time;
the bare loop runs in a process of its own, with the allocator as a plain script has it.
"""

import argparse
import warnings
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from timing import HEADER, compare, peer, save
from torch import Tensor, nn

from salience.allocator import keep_freed_memory
from salience.data.base import Classification, Data, Examples
from salience.modality import Image, Tabular
from salience.models.cnn import CNN
from salience.models.mlp import MLP
from salience.randomness import Streams
from salience.settings import Training
from salience.training import fit

EPOCHS, BATCH, RATE = 5, 64, 1e-3


def mlp() -> tuple[nn.Module, Data]:
    torch.manual_seed(0)
    table = Tabular((30,))
    return MLP((table,), 2, hidden=[64, 64]), data(table, torch.randn(2048, 30), 2)


def cnn() -> tuple[nn.Module, Data]:
    torch.manual_seed(0)
    image = Image((1, 28, 28), patch=4)
    return CNN((image,), 10), data(image, torch.randn(512, 1, 28, 28), 10)


WORKLOADS = {"MLP": mlp, "CNN": cnn}


def data(modality: Any, x: Tensor, classes: int) -> Data:
    """Random rows with random labels; nothing to validate on."""
    train = Examples((x,), torch.randint(0, classes, (len(x),)), torch.arange(len(x)))
    return Data((modality,), Classification(tuple(map(str, range(classes)))), train, train[:0], train[:0])


def ours(model: nn.Module, given: Data, seed: int = 0, batch: int = BATCH) -> Tensor:
    """Trained weights as one vector, by `fit`."""
    model = deepcopy(model)
    settings = Training(
        epochs=EPOCHS, batch_size=batch, learning_rate=RATE, optimizer="adam", weight_decay=0.0,
        schedule="constant", warmup=0.0, patience=None,
    )  # fmt: skip
    fit(model, given, settings, seed=seed)
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def bare(model: nn.Module, given: Data, seed: int = 0, batch: int = BATCH) -> Tensor:
    """The same by hand."""
    model, x, y = deepcopy(model), given.train.inputs[0], given.train.labels
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    for epoch in range(1, EPOCHS + 1):
        order = torch.randperm(len(x), generator=Streams(seed).generator("batches", epoch))
        for start in range(0, len(x), batch):
            rows = order[start : start + batch]
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def peers() -> dict[str, Callable[[], Any]]:
    made = {name: make() for name, make in WORKLOADS.items()}
    return {name: lambda given=given: bare(*given) for name, given in made.items()}  # type: ignore[misc]


def main() -> None:
    """Both networks."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=5)
    pairs = parser.parse_args().pairs
    torch.set_num_threads(1)
    keep_freed_memory()
    warnings.simplefilter("ignore")
    rows = []
    print(HEADER)
    with peer(peers) as other:
        for name, make in WORKLOADS.items():
            given = make()
            rows.append(compare(name, lambda given=given: ours(*given), other, pairs, True))  # type: ignore[misc]
            print(rows[-1].line, f"  ours / bare {1 / rows[-1].ratio:.2f}", flush=True)
    save("training", rows)


if __name__ == "__main__":
    main()
