"""Runs calls on a Ray cluster and repeats those whose process or machine dies.

    with connected("auto"):
        calls = Calls(make)
        calls.submit("attempt 3", 3)
        answer = calls.next_answer()

recording.py, rollouts.py and programs.py are built on these calls.
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

TRIES = 5  # processes that one call may lose before it is given up
TIMEOUT = 5  # [s] for the head of a cluster to answer, and for cancelled calls to end


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Connects this program to a cluster; code inside may use it.

    `address` is "auto" (the cluster of this machine), "HOST:PORT" of a head, "local" (a new cluster of this machine
    only) or "" (no cluster). Raises ValueError when Ray is not installed, no cluster answers or no machine gives cores.
    """
    if not address:
        yield
        return
    ray = _ray()
    if address not in ("auto", "local"):
        _check_reachable(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    settings: dict[str, Any] = {}
    if address == "local":
        settings = {"num_cpus": available_cores(), "include_dashboard": False}
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # otherwise Ray writes one to the home folder
    on_terminate = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **settings)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        reason = str(error).split("\n")[0]
        raise ValueError(f"--ray {address}: {reason} `ray start --head` starts a cluster") from None
    if on_terminate != signal.SIG_DFL:  # Ray replaces the handler of the program
        signal.signal(signal.SIGTERM, on_terminate)
    try:
        if not core_counts():
            raise ValueError(f"--ray {address}: no machine of this cluster gives cores; `ray start` adds one")
        yield
    finally:
        ray.shutdown()


def core_counts() -> list[int]:
    """Returns the number of cores of every machine of the cluster that gives any."""
    counts = [int(node["Resources"].get("CPU", 0)) for node in _ray().nodes() if node["Alive"]]
    return [count for count in counts if count]


def share(calls: int) -> int:
    """Returns how many cores each of `calls` parallel calls may use, at most those of the smallest machine."""
    counts = core_counts()
    return max(1, min(sum(counts) // calls, *counts))


def gpu_share(calls: int) -> float:
    """Returns the part of a GPU, 0 to 1, that each of `calls` parallel calls may use."""
    return min(1.0, _ray().cluster_resources().get("GPU", 0) / calls)


def _ray() -> Any:
    try:
        return importlib.import_module("ray")
    except ModuleNotFoundError:
        raise ValueError("--ray needs Ray on every machine: pip install -e '.[ray]'") from None


def _check_reachable(address: str) -> None:
    """Raises ValueError when no cluster answers. Ray itself would wait for a minute and then end the program."""
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdigit():
        raise ValueError(f"--ray {address}: give auto, local, or HOST:PORT of a cluster's head")
    try:
        socket.create_connection((host, int(port)), TIMEOUT).close()
    except (OSError, OverflowError) as error:
        raise ValueError(f"--ray {address}: no cluster answers ({error}); `ray start --head` starts one") from None


class Calls:
    """Calls the function that `make()` returns, in processes of the cluster; each process calls `make` once.

    `submit` starts a call. `next_answer` returns the answer of the next call that ends.

    Args:
        make: returns the function; it and the function's arguments and answers must be picklable.
        num_cpus, num_gpus: what each call occupies; GPUs may be a fraction.
    """

    def __init__(self, make: Callable[[], Callable[..., Any]], num_cpus: int = 1, num_gpus: float = 0.0):
        self._ray = _ray()
        self._call = self._ray.remote(max_retries=0, num_cpus=num_cpus, num_gpus=num_gpus)(_call)
        self._key, self._make = uuid.uuid4().hex, self._ray.put(make)
        # reference to the answer -> name, arguments, tries
        self._running: dict[Any, tuple[str, tuple[Any, ...], int]] = {}

    def __len__(self) -> int:
        """Returns the number of calls that have not been answered."""
        return len(self._running)

    def submit(self, name: str, *arguments: Any, tries: int = 1) -> None:
        """Starts a call with `arguments`. `name` is used in messages; `tries` counts this try."""
        reference = self._call.remote(self._key, [self._make], arguments)
        self._running[reference] = name, arguments, tries

    def next_answer(self, timeout: float | None = None) -> Any:
        """Returns the next answer, or None when no call ends within `timeout` [s] (None: waits without limit).

        Raises the function's ValueError or OSError, RuntimeError for its other exceptions, and ChildProcessError for a
        call whose process died `TRIES` times.
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
                if isinstance(error.cause, OSError):  # e.g. no OpenGL or a full disk: its message is a sentence
                    raise OSError(str(error.cause)) from None
                raise RuntimeError(f"{name} failed:\n{error}") from None
            except self._ray.exceptions.RayError as error:
                lost = f"{name}: its process or machine died ({type(error).__name__})"
                if tries == TRIES:
                    raise ChildProcessError(f"{lost}, {TRIES} times in a row; is there enough memory?") from None
                tqdm.write(f"{lost}; the call is repeated", file=sys.stderr)
                self.submit(name, *arguments, tries=tries + 1)

    def cancel(self) -> None:
        """Raises KeyboardInterrupt in all running calls."""
        for reference in self._running:
            self._ray.cancel(reference)

    def wait(self, patience: float = TIMEOUT) -> None:
        """Waits until all calls have ended after `cancel`; kills their processes after `patience` [s]."""
        if self._running:
            _, late = self._ray.wait(list(self._running), num_returns=len(self._running), timeout=patience)
            for reference in late:
                self._ray.cancel(reference, force=True)
        self._running.clear()


_made: dict[str, Callable[..., Any]] = {}  # in a process of the cluster: the function of each Calls, by its key


def _call(key: str, make: Sequence[Any], arguments: Sequence[Any]) -> Any:
    if key not in _made:
        _made[key] = _ray().get(make[0])()
    return _made[key](*arguments)
