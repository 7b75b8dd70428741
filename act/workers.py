"""Processes: `Worker`, an object in a process of its own; `run_program`, a whole program; how many cores there are."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

PATIENCE = 2.0  # [s] a worker may take to end before it is killed
PROGRAM_PATIENCE = 60.0  # [s] a program may take to end after Ctrl-C before it is killed
POLL = 0.2  # [s] between two calls of `check` while a program runs
Failure = tuple[type[Exception], str]  # what was raised in a worker: its class here, and its message


class Worker:
    """One object, made by `make` in a spawned process, that answers function calls through a pipe.

    `send(function, *arguments)` calls `function(object, *arguments)` in the process, `receive` waits for the result.
    Calls do not overlap: every `send` needs its `receive`. All that travels must be picklable, `make` included.

    `receive` raises what was raised in the process, also by `make`: a ValueError or an OSError with its own message,
    any other error as a RuntimeError with its traceback, and a process that died as a ChildProcessError. All messages
    begin with `name`, and the worker is closed after any of them.

    The process ignores Ctrl-C, which is the parent's to handle, and ends with its parent. `close` calls the object's
    `close`, if it has one.

    Example:
        with Worker(partial(load_policy, "runs/demo"), "policy process") as worker:
            chunks = worker.call(Policy.predict_chunk, histories)
    """

    def __init__(self, make: Callable[[], Any], name: str):
        context = multiprocessing.get_context("spawn")
        self.name = name
        self._connection, connection_of_child = context.Pipe()
        self._process = context.Process(target=_serve, args=(connection_of_child, make), daemon=True)
        self._process.start()
        connection_of_child.close()

    def send(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Begins a call; `receive` says so if the process is dead."""
        with contextlib.suppress(BrokenPipeError):
            self._connection.send((function, arguments))

    def receive(self, timeout: float | None = None) -> Any:
        """Waits for the result of the last `send`; raises as the class says.

        Raises TimeoutError, and kills the process, when there is no result after `timeout` [s].
        """
        if timeout is not None and not self._connection.poll(timeout):
            self.close(patience=0)
            raise TimeoutError(f"{self.name} gave no answer within {timeout:g} s")
        try:
            result, failure = self._connection.recv()
        except (EOFError, ConnectionResetError):
            self.close()
            raise ChildProcessError(f"{self.name} died: {self._cause_of_death()}") from None
        if failure is not None:
            self.close()
            kind, message = failure
            raise kind(f"{self.name}: {message}")
        return result

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """`send` and `receive` in one."""
        self.send(function, *arguments)
        return self.receive()

    @property
    def exitcode(self) -> int | None:
        """How the process ended, a negative number for a signal; None while it lives."""
        return self._process.exitcode

    def _cause_of_death(self) -> str:
        code = self.exitcode
        if code == -signal.SIGKILL:
            return "it was killed, perhaps because the memory ran out; use fewer processes"
        return f"it ended with exit code {code}; its own message stands above"

    def close(self, patience: float = PATIENCE) -> None:
        """Ends the process: after the call that it is in, but at the latest after `patience` [s], when it is killed."""
        close_all([self], patience)

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def close_all(workers: Sequence[Worker], patience: float = PATIENCE) -> None:
    """Closes several workers at the same time; those that are still alive after `patience` [s] are killed."""
    deadline = time.monotonic() + patience
    for worker in workers:
        worker._connection.close()  # the process finds its end closed, even while it waits to be read
    for worker in workers:
        worker._process.join(timeout=max(0.0, deadline - time.monotonic()))
        if worker._process.is_alive():
            worker._process.kill()
            worker._process.join()


def wait_for_any(workers: Sequence[Worker]) -> Worker:
    """Waits until `receive` of one of the workers would return, or raise, at once; returns that worker."""
    ready = wait([worker._connection for worker in workers])[0]
    return next(worker for worker in workers if worker._connection is ready)


def _serve(connection: Connection, make: Callable[[], Any]) -> None:
    """What the process does: answers (result, None) or (None, failure), after which it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    made, failure = _call(make)
    with contextlib.suppress(EOFError, ConnectionError):  # the parent has closed the pipe
        while True:
            function, arguments = connection.recv()
            result = None
            if failure is None:
                result, failure = _call(function, made, *arguments)
            connection.send((result, failure))
            if failure is not None:
                break
    if hasattr(made, "close"):
        made.close()


def _call(function: Callable[..., Any], *arguments: Any) -> tuple[Any, Failure | None]:
    try:
        return function(*arguments), None
    except Exception as error:
        kind = next((kind for kind in (ValueError, OSError) if isinstance(error, kind)), RuntimeError)
        return None, (kind, str(error) if kind is not RuntimeError else traceback.format_exc().strip())


def end_with_parent() -> None:
    """Ends this process as soon as its parent has ended; else a worker in a long call would outlive the parent."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "only a child process has a parent"
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def run_program(
    command: Sequence[str],
    log: Path,
    environment: Mapping[str, str],
    check: Callable[[], None] = lambda: None,
    patience: float = PROGRAM_PATIENCE,
    folder: Path | None = None,
) -> int:
    """Runs a program to its end and returns its exit code, negative for a signal; its output is appended to `log`.

    `check` is called several times a second. When it raises, or Ctrl-C does, the program gets SIGINT; after `patience`
    [s] it is killed with its own workers. The exception leaves this function when the program has ended.

    Args:
        environment: variables to add to those of this process.
        folder: where the program runs; the current folder by default.
    """
    with log.open("ab") as file:
        program = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env={**os.environ, **environment},
            start_new_session=True,  # because Ctrl-C then reaches only this process, which interrupts it exactly once
        )
    try:
        while True:
            check()
            with contextlib.suppress(subprocess.TimeoutExpired):
                return program.wait(POLL)
    except BaseException:
        program.send_signal(signal.SIGINT)
        try:
            program.wait(patience)
        except subprocess.TimeoutExpired:
            os.killpg(program.pid, signal.SIGKILL)
            program.wait()
        raise


def available_cores() -> int:
    """Processor cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def use_one_core() -> None:
    """Keeps the libraries of this process, one of many, to one core."""
    import cv2  # here, because counting cores needs no OpenCV

    cv2.setNumThreads(1)
    os.environ.setdefault("LP_NUM_THREADS", "1")  # Mesa's software renderer
