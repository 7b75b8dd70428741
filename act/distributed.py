"""Several processes train one policy, on one host or many:   accelerate launch --num_processes 8 train.py ...

Hugging Face's Accelerate starts them, numbers them and wraps torch's DistributedDataParallel. With one process, nothing
here has an effect. Each process draws its part of a batch that is `size` times larger. Gradients are averaged, and so
are the numbers of actions by which losses are divided, so the loss is that of one process with the whole batch.
"""

import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

PATIENCE = timedelta(hours=2)  # how long the others wait while the first process caches images or evaluates
Loss = Callable[[Any], dict[str, Tensor]]  # of a batch


@dataclass(frozen=True)
class Processes:
    """The processes that train together, seen from one of them."""

    rank: int = 0
    size: int = 1
    accelerator: Any = None  # accelerate.Accelerator, if there are several processes

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes files and prints."""
        return self.rank == 0

    def loss_of(self, policy: Any) -> Loss:
        """policy.loss, such that each backward pass averages the gradients over all processes."""
        if self.size == 1 or not any(parameter.requires_grad for parameter in policy.parameters()):
            return policy.loss
        return self.accelerator.prepare_model(_Loss(policy))

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """The first process runs the block before the others, which then find its files on the disk."""
        if self.size == 1:
            yield
            return
        with self.accelerator.main_process_first():
            yield


ALONE = Processes()


class _Loss(nn.Module):
    """Computes the loss as a forward pass, because DistributedDataParallel averages gradients of those only."""

    def __init__(self, policy: Any):
        super().__init__()
        self.policy = policy

    def forward(self, batch: Any) -> dict[str, Tensor]:
        return self.policy.loss(batch)


@contextmanager
def joined(device: str) -> Iterator[tuple[Processes, str]]:
    """The processes that `accelerate launch` started, and the device of this one; a single process gets `device`.

    Raises ValueError when Accelerate is not installed.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE, device
        return
    try:
        accelerate = importlib.import_module("accelerate")
    except ImportError:
        raise ValueError("several processes train through Accelerate: pip install -e '.[accelerate]'") from None
    patience = accelerate.InitProcessGroupKwargs(timeout=PATIENCE)
    accelerator = accelerate.Accelerator(cpu=device == "cpu", mixed_precision="no", kwargs_handlers=[patience])
    try:
        yield Processes(accelerator.process_index, accelerator.num_processes, accelerator), str(accelerator.device)
    finally:
        dist.destroy_process_group()


def averaged(x: Tensor) -> Tensor:
    """The mean of x over the processes that train together, without a gradient; x itself if there is one process."""
    if not (dist.is_available() and dist.is_initialized()):
        return x
    total = x.detach().to(torch.float32, copy=True)
    dist.all_reduce(total)
    return total / dist.get_world_size()


def processes_here() -> int:
    """How many of the processes share the cores and the memory of this host."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
