"""Several processes that train one policy, on one host or many:   accelerate launch --num_processes 8 train.py ...

Hugging Face's Accelerate starts them, says who is who and wraps torch's DistributedDataParallel; alone, nothing here
does anything. Each process draws its own part of a batch that is larger by their number. Gradients are averaged, and so
are the numbers of real actions that mean losses divide by: the loss is that of one process with the whole batch.
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

PATIENCE = timedelta(hours=2)  # others wait so long while the first one caches images or evaluates
Loss = Callable[[Any], dict[str, Tensor]]  # of a batch


@dataclass(frozen=True)
class Processes:
    """Those that train together, seen from one of them."""

    rank: int = 0
    size: int = 1
    accelerator: Any = None  # of Accelerate, where there are several

    @property
    def is_main(self) -> bool:
        """Whether this is the one that writes files and talks."""
        return self.rank == 0

    def loss_of(self, policy: Any) -> Loss:
        """policy.loss, with gradients that are means over all processes after each backward pass."""
        if self.size == 1 or not any(parameter.requires_grad for parameter in policy.parameters()):
            return policy.loss
        return self.accelerator.prepare_model(_Loss(policy))

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """What the first process leaves on the disk is there for the others."""
        if self.size == 1:
            yield
            return
        with self.accelerator.main_process_first():
            yield


ALONE = Processes()


class _Loss(nn.Module):
    """The loss as the forward pass, which is where DistributedDataParallel listens."""

    def __init__(self, policy: Any):
        super().__init__()
        self.policy = policy

    def forward(self, batch: Any) -> dict[str, Tensor]:
        return self.policy.loss(batch)


@contextmanager
def joined(device: str) -> Iterator[tuple[Processes, str]]:
    """The processes that `accelerate launch` began, and the device of this one; alone, `device` is what was asked for.

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
    """The mean of x over the processes that train together; x where there is one. No gradient flows through it."""
    if not (dist.is_available() and dist.is_initialized()):
        return x
    total = x.detach().to(torch.float32, copy=True)
    dist.all_reduce(total)
    return total / dist.get_world_size()


def processes_here() -> int:
    """How many of the processes share this host's cores and memory."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
