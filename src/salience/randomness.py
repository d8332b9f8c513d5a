"""Where every random number comes from: one stream per purpose and example, so that nothing depends on order."""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Streams:
    """Independent random streams named by what they are for.

    The numbers that `generator(purpose, index)` yields depend on the seed, the purpose and the index alone: not
    on what was drawn before, on the other methods of a run or on how examples were grouped into batches.
    """

    seed: int

    def number(self, purpose: str, index: int = 0) -> int:
        """A 63-bit seed for `purpose` and `index`."""
        text = f"{self.seed}/{purpose}/{index}".encode()
        return int.from_bytes(hashlib.sha256(text).digest()[:8], "little") >> 1

    def generator(self, purpose: str, index: int = 0) -> torch.Generator:
        """A fresh CPU generator; draw on the CPU and move, so that every device sees the same numbers."""
        return torch.Generator().manual_seed(self.number(purpose, index))

    @contextmanager
    def seeded(self, purpose: str, index: int = 0) -> Iterator[None]:
        """Seed the global torch, numpy and python streams inside the block, and restore them afterwards.

        For code that takes no generator (Captum draws from all three).
        """
        with preserved():
            number = self.number(purpose, index)
            torch.random.default_generator.manual_seed(number)
            if torch.cuda.is_initialized():
                torch.cuda.manual_seed_all(number)
            np.random.seed(number % 2**32)
            random.seed(number)
            yield


@contextmanager
def preserved() -> Iterator[None]:
    """Leave the global torch, numpy and python streams as they were found."""
    state = global_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    try:
        yield
    finally:
        torch.set_rng_state(state[0])
        np.random.set_state(state[1])
        random.setstate(state[2])
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)


def global_state() -> tuple:
    """The states of the three global streams; compare with `same_state`."""
    return torch.get_rng_state(), np.random.get_state(), random.getstate()


def same_state(before: tuple, after: tuple) -> bool:
    """Whether nothing was drawn between two calls of `global_state`."""
    return (
        torch.equal(before[0], after[0])
        and all(np.array_equal(a, b) for a, b in zip(before[1], after[1], strict=True))
        and before[2] == after[2]
    )


def stored_state() -> tuple[dict[str, torch.Tensor], list]:
    """The states of the global streams as tensors and as what JSON can say, for a checkpoint."""
    kind, keys, position, has_gauss, gauss = np.random.get_state()
    tensors = {"torch": torch.get_rng_state(), "numpy": torch.from_numpy(np.asarray(keys, dtype=np.int64))}
    if torch.cuda.is_initialized():
        tensors["cuda"] = torch.stack(torch.cuda.get_rng_state_all())
    version, numbers, following = random.getstate()
    return tensors, [[kind, int(position), has_gauss, gauss], [version, list(numbers), following]]


def restore_state(tensors: dict[str, torch.Tensor], words: list) -> None:
    """Give the global streams the states that `stored_state` told."""
    (kind, position, has_gauss, gauss), (version, numbers, following) = words
    torch.set_rng_state(tensors["torch"])
    np.random.set_state((kind, tensors["numpy"].numpy().astype(np.uint32), position, has_gauss, gauss))
    random.setstate((version, tuple(numbers), following))
    if "cuda" in tensors and torch.cuda.is_initialized():
        torch.cuda.set_rng_state_all(list(tensors["cuda"]))
