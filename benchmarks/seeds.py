"""Ten seeds of one network at once (`training.stacked=true`) beside one after the other.

    python benchmarks/seeds.py [--seeds 10] [--pairs 5]

The networks, rows and settings of benchmarks/training.py. The peers: a bare torch loop with torch.optim.Adam, in a
process of its own, and ours one by one. The difference is that of the trained weights. One thread, CPU time.
"""

import argparse
import warnings
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from timing import HEADER, compare, peer, save
from torch import Tensor, nn
from training import BATCH, EPOCHS, RATE, WORKLOADS, bare, ours

from salience.allocator import keep_freed_memory
from salience.data.base import Data
from salience.settings import Training
from salience.stacked import fit_stacked


def at_once(model: nn.Module, given: Data, seeds: int) -> Tensor:
    """Weights [seeds, all], every network from the same first weights."""
    models = [deepcopy(model) for _ in range(seeds)]
    settings = Training(
        epochs=EPOCHS, batch_size=BATCH, learning_rate=RATE, optimizer="adam", weight_decay=0.0,
        schedule="constant", warmup=0.0, patience=None, stacked=True,
    )  # fmt: skip
    fit_stacked(models, [given] * seeds, settings, range(seeds))
    return torch.stack([torch.cat([p.detach().flatten() for p in m.parameters()]) for m in models])


def one_by_one(train: Callable[..., Tensor], model: nn.Module, given: Data, seeds: int) -> Tensor:
    """The same, each seed alone."""
    return torch.stack([train(model, given, seed) for seed in range(seeds)])


def peers(seeds: int) -> dict[str, Callable[[], Any]]:
    calls: dict[str, Callable[[], Any]] = {}
    for name, make in WORKLOADS.items():
        given = make()
        for how, train in (("bare loop", bare), ("ours, one by one", ours)):
            calls[f"{name}, beside {how}"] = partial(one_by_one, train, *given, seeds)
    return calls


def main() -> None:
    """Both networks, beside both peers."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--pairs", type=int, default=5)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    warnings.simplefilter("ignore")
    rows = []
    print(HEADER)
    with peer(partial(peers, chosen.seeds)) as other:
        for name, make in WORKLOADS.items():
            call = partial(at_once, *make(), chosen.seeds)
            for how in ("bare loop", "ours, one by one"):
                rows.append(compare(f"{name}, beside {how}", call, other, chosen.pairs, True))
                print(rows[-1].line, flush=True)
    save("seeds", rows)


if __name__ == "__main__":
    main()
