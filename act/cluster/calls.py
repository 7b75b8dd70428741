"""The cluster, and calls on it that survive the loss of a process or a machine.

    with connected("auto"):                        "auto", "host:6379", or "local" for one on this machine; "": no Ray
        calls = Calls(make); calls.submit("the third", 3); answer = calls.next_answer()

What is made of them: recording.py, rollouts.py, programs.py.
"""

import importlib
import logging
import os
import secrets
import signal
import socket
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from act.workers import available_cores

TRIES = 5  # processes that one call may take down before it is given up
TIMEOUT = 5  # [s] for the head of a cluster to answer, and for calls to end that are no longer wanted


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Everything inside may use the cluster. ValueError where there is none, or no Ray."""
    if not address:
        yield
        return
    ray = _ray()
    if address not in ("auto", "local"):
        _check_reachable(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ours: dict[str, Any] = {}
    if address == "local":
        ours = {"num_cpus": available_cores(), "include_dashboard": False}
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # Ray would leave one in the home folder
    on_terminate = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **ours)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        told = str(error).split("\n")[0]
        raise ValueError(f"--ray {address}: {told} `ray start --head` starts a cluster") from None
    if on_terminate != signal.SIG_DFL:  # Ray's own handler ends the program, which may have other plans
        signal.signal(signal.SIGTERM, on_terminate)
    try:
        if not core_counts():
            raise ValueError(f"--ray {address}: no machine of this cluster has cores to give; `ray start` adds one")
        yield
    finally:
        ray.shutdown()


def core_counts() -> list[int]:
    """Cores of every machine of the cluster that has any to give."""
    counts = [int(node["Resources"].get("CPU", 0)) for node in _ray().nodes() if node["Alive"]]
    return [count for count in counts if count]


def share(calls: int) -> int:
    """Cores for each of so many calls side by side; no more than the smallest machine has."""
    counts = core_counts()
    return max(1, min(sum(counts) // calls, *counts))


def gpu_share(calls: int) -> float:
    """The part of a GPU, 0 to 1, for each of so many calls side by side."""
    return min(1.0, _ray().cluster_resources().get("GPU", 0) / calls)


def _ray() -> Any:
    try:
        return importlib.import_module("ray")
    except ModuleNotFoundError:
        raise ValueError("--ray needs Ray, on every machine: pip install -e '.[ray]'") from None


def _check_reachable(address: str) -> None:
    """Ray itself would wait for more than a minute, and then end the program."""
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdigit():
        raise ValueError(f"--ray {address}: give auto, local, or HOST:PORT of a cluster's head")
    try:
        socket.create_connection((host, int(port)), TIMEOUT).close()
    except (OSError, OverflowError) as error:
        raise ValueError(f"--ray {address}: nobody answers ({error}); `ray start --head` starts a cluster") from None


class Calls:
    """Calls of the function that `make()` returns; each process of the cluster makes its own once, and keeps it.

    `submit` begins a call, `next_answer` returns what one of them came to, in the order in which they end.
    """

    def __init__(self, make: Callable[[], Callable[..., Any]], num_cpus: int = 1, num_gpus: float = 0.0):
        self._ray = _ray()
        self._call = self._ray.remote(max_retries=0, num_cpus=num_cpus, num_gpus=num_gpus)(_call)
        self._key, self._make = uuid.uuid4().hex, self._ray.put(make)
        self._running: dict[Any, tuple[str, tuple[Any, ...], int]] = {}  # by the reference to their answer

    def __len__(self) -> int:
        """Calls under way."""
        return len(self._running)

    def submit(self, name: str, *arguments: Any, tries: int = 1) -> None:
        reference = self._call.remote(self._key, [self._make], arguments)
        self._running[reference] = name, arguments, tries

    def next_answer(self, timeout: float | None = None) -> Any:
        """An answer, never None; None when there is none within `timeout` [s].

        ValueError and OSError as the function raised it; RuntimeError for any other exception of it; ChildProcessError
        for a call that took `TRIES` processes down.
        """
        while True:
            ended, _ = self._ray.wait(list(self._running), timeout=timeout)
            if not ended:
                return None
            name, arguments, tries = self._running.pop(ended[0])
            try:
                return self._ray.get(ended[0])
            except self._ray.exceptions.RayTaskError as error:
                if isinstance(error.cause, ValueError):
                    raise error.cause from None
                if isinstance(error.cause, OSError):  # no OpenGL, no space left: a sentence of its own
                    raise OSError(str(error.cause)) from None
                raise RuntimeError(f"{name} failed:\n{error}") from None
            except self._ray.exceptions.RayError as error:
                lost = f"{name}: its process or machine died ({type(error).__name__})"
                if tries == TRIES:
                    raise ChildProcessError(f"{lost}, {TRIES} times now; out of memory?") from None
                tqdm.write(f"{lost}; it is done again", file=sys.stderr)
                self.submit(name, *arguments, tries=tries + 1)

    def cancel(self) -> None:
        """Raises KeyboardInterrupt in all calls."""
        for reference in self._running:
            self._ray.cancel(reference)

    def wait(self, patience: float = TIMEOUT) -> None:
        """Until all calls have ended after `cancel`; their processes are killed after `patience` [s]."""
        if self._running:
            _, late = self._ray.wait(list(self._running), num_returns=len(self._running), timeout=patience)
            for reference in late:
                self._ray.cancel(reference, force=True)
        self._running.clear()


_made: dict[str, Callable[..., Any]] = {}  # in a process of the cluster: the function that it calls


def _call(key: str, make: Sequence[Any], arguments: Sequence[Any]) -> Any:
    if key not in _made:
        _made[key] = _ray().get(make[0])()
    return _made[key](*arguments)
