"""The processes that train one network together under torchrun; without it, one process that is alone."""

import atexit
import os
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Workers:
    """This process's place among `size` processes. Everything here does nothing when `size` is 1."""

    rank: int = 0
    size: int = 1

    @classmethod
    def join(cls) -> "Workers":
        """Meet the other processes that torchrun started, once per process."""
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls()
        import torch.distributed as distributed

        if not distributed.is_initialized():
            if torch.cuda.is_available():
                torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
            distributed.init_process_group()  # gloo for tensors on the CPU, NCCL for those on a GPU
            atexit.register(_leave)
        return cls(distributed.get_rank(), distributed.get_world_size())

    def device(self, device: torch.device | str) -> torch.device:
        """The device of this process: of several on one machine, each has its own GPU."""
        device = torch.device(device)
        if device.type == "cuda" and device.index is None and self.size > 1:
            return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        return device

    def share(self, rows: Tensor) -> Tensor:
        """The rows of a batch that this process works on."""
        return rows if self.size == 1 else rows[self.rank :: self.size]

    def add_up(self, tensor: Tensor) -> Tensor:
        """`tensor`, replaced by its sum over all processes."""
        if self.size > 1:
            torch.distributed.all_reduce(tensor)
        return tensor

    def agree(self, tensor: Tensor) -> Tensor:
        """`tensor`, replaced by what the first process holds."""
        if self.size > 1:
            torch.distributed.broadcast(tensor, 0)
        return tensor


def _leave() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
