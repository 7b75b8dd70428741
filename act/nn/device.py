"""Chooses the device, the arithmetic (bf16 or fp32) and the number of threads that networks use."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import lru_cache

import torch
from torch import Tensor

ROWS_PER_PASS = 8  # images that a CPU computes at a time, so that activations stay in the cache

_FP32_ONLY: ContextVar[bool] = ContextVar("_FP32_ONLY", default=False)


def choose_device(name: str) -> torch.device:
    """The device called `name`: auto (a GPU if there is one), cpu, cuda or cuda:1.

    Raises ValueError for an unknown name and for a GPU that this machine does not have.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise ValueError(f"unknown --device {name}; available: auto, cpu, cuda, cuda:1")
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise ValueError(f"--device {name}: this machine has {torch.cuda.device_count()} GPUs; use auto or cpu")
    return device


def bf16_is_fast(device: torch.device) -> bool:
    """Whether networks act in bf16 on this device: its hardware multiplies bf16, and `fp32_only` is not in force.

    The hardware of any recent GPU does, and that of a CPU with AVX512-BF16 or AMX.
    """
    if _FP32_ONLY.get():
        return False
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()


@contextmanager
def fp32_only() -> Iterator[None]:
    """Inside, networks in this thread act in fp32, whatever the device can do."""
    token = _FP32_ONLY.set(True)
    try:
        yield
    finally:
        _FP32_ONLY.reset(token)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Inside, torch uses `count` threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def one_core_each(count: int) -> Iterator[ThreadPoolExecutor]:
    """Gives a pool of `count` threads, each of which computes on one core.

    Small pieces of work finish sooner in parallel, one core each, than one after the other on all cores.
    """
    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(before)  # a thread's setting changes the whole process


def over_cores(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """Concatenates `function` of parts of the rows of `inputs`, for networks that look at images.

    On a CPU a part has at most ROWS_PER_PASS rows, and without gradients every part has a thread on a core of its own:
    small convolutions gain little from several threads. A GPU takes all rows at once.
    """
    rows = len(inputs[0])
    if inputs[0].device.type != "cpu":
        return function(*inputs)
    threads = 1 if torch.is_grad_enabled() else torch.get_num_threads()
    size = max(1, min(ROWS_PER_PASS, -(-rows // threads)))
    parts = list(zip(*(rows_of.split(size) for rows_of in inputs), strict=True))
    if threads == 1 or len(parts) == 1:
        return torch.cat([function(*part) for part in parts])
    pool = _lasting_pool(threads)
    futures = [pool.submit(copy_context().run, _without_gradients, function, part) for part in parts]
    try:
        return torch.cat([future.result() for future in futures])
    finally:
        torch.set_num_threads(threads)  # a thread's setting changes the whole process


def _without_gradients(function: Callable[..., Tensor], part: tuple[Tensor, ...]) -> Tensor:
    with torch.no_grad():  # the setting belongs to each thread
        return function(*part)


@lru_cache(maxsize=1)
def _lasting_pool(threads: int) -> ThreadPoolExecutor:
    """A new thread would prepare its convolutions again, which takes as long as a query."""
    return ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
