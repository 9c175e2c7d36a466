"""Several processes that train one network, started by torchrun; a single process is the case of one.

Every process makes the same draws from the same seed and takes its share of every batch, so how many there are changes
neither what happens to a picture nor the batches, but for a last one too small to be shared.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn


@dataclass(frozen=True)
class Processes:
    """Which of `count` processes this one is."""

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Only the first process writes files and speaks."""
        return self.rank == 0

    def share(self, rows: Tensor) -> Tensor:
        """The rows of a batch that this process works on; every row belongs to one process."""
        return rows[self.rank :: self.count]

    def total(self, values: Tensor) -> Tensor:
        """The sum of `values` over all processes, in each of them."""
        if self.count == 1:
            return values
        summed = values.clone()
        dist.all_reduce(summed)
        return summed

    @contextmanager
    def first_goes_ahead(self) -> Iterator[None]:
        """The first process does it alone (a download, a cache), and then the others find it done."""
        if not self.is_first:
            self.wait()
        yield
        if self.is_first:
            self.wait()

    def wait(self) -> None:
        """Until every process has come this far."""
        if self.count > 1:
            dist.barrier()

    def follow_first(self, network: nn.Module) -> None:
        """Give every process the first one's buffers (the statistics of batch norm)."""
        if self.count > 1:
            for buffer in network.buffers():
                dist.broadcast(buffer, src=0)


SINGLE = Processes()


def wrap(network: nn.Module, device: torch.device) -> nn.Module:
    """The network with gradients averaged over all processes."""
    ids = [device] if device.type == "cuda" else None
    return nn.parallel.DistributedDataParallel(network, device_ids=ids)


def is_first() -> bool:
    """Whether this process is torchrun's first one, or the only one; also before and after they are joined."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def joined(device: torch.device) -> Iterator[tuple[Processes, torch.device]]:
    """Join torchrun's processes where there are any: NCCL on CUDA, one device each; gloo elsewhere."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield SINGLE, device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Processes(dist.get_rank(), count), device
    finally:
        dist.destroy_process_group()
