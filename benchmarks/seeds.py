"""Ten seeds of one network at once (`training.stacked=true`) beside one after the other.

    python benchmarks/seeds.py [--seeds 10] [--pairs 5]

The networks and rows of benchmarks/training.py, in batches of 32 (the default) and of 64. The peers: a bare torch loop
with torch.optim.Adam, in a process of its own, and ours one by one. The difference is that of the trained weights. One
thread, CPU time.
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
from training import EPOCHS, RATE, WORKLOADS, bare, ours

from salience.allocator import keep_freed_memory
from salience.data.base import Data
from salience.settings import Training
from salience.stacked import fit_stacked


def at_once(model: nn.Module, given: Data, seeds: int, batch: int) -> Tensor:
    """Weights [seeds, all], every network from the same first weights."""
    models = [deepcopy(model) for _ in range(seeds)]
    settings = Training(
        epochs=EPOCHS, batch_size=batch, learning_rate=RATE, optimizer="adam", weight_decay=0.0,
        schedule="constant", warmup=0.0, patience=None, stacked=True,
    )  # fmt: skip
    fit_stacked(models, [given] * seeds, settings, range(seeds))
    return torch.stack([torch.cat([p.detach().flatten() for p in m.parameters()]) for m in models])


def one_by_one(train: Callable[..., Tensor], model: nn.Module, given: Data, seeds: int, batch: int) -> Tensor:
    """The same, each seed alone."""
    return torch.stack([train(model, given, seed, batch) for seed in range(seeds)])


WORKLOAD = [("MLP", 32), ("MLP", 64), ("CNN", 32)]
PEERS = {"bare loop": bare, "ours, one by one": ours}


def name_of(network: str, batch: int, peer_name: str) -> str:
    return f"{network}, batch {batch}, beside {peer_name}"


def peers(seeds: int) -> dict[str, Callable[[], Any]]:
    return {
        name_of(network, batch, how): partial(one_by_one, train, *WORKLOADS[network](), seeds, batch)
        for network, batch in WORKLOAD
        for how, train in PEERS.items()
    }


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
        for network, batch in WORKLOAD:
            call = partial(at_once, *WORKLOADS[network](), chosen.seeds, batch)
            for how in PEERS:
                rows.append(compare(name_of(network, batch, how), call, other, chosen.pairs, True))
                print(rows[-1].line, flush=True)
    save("seeds", rows)


if __name__ == "__main__":
    main()
