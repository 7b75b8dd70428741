"""Whole programs on a cluster whose machines share the folder they run in."""

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from act.cluster.calls import TIMEOUT, Calls

POLL = 0.1  # [s]
# Runs a program that dies with the process that started it, also when that one has no time to say so (Linux).
DIE_TOGETHER = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.execv(sys.argv[1], sys.argv[1:])"


class RemoteProgram:
    """A program on some machine of the cluster, which must see this folder under the same name.

    What it prints is added to `log`. When its machine dies, it is started again on another one.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str],
        patience: float,
        num_cpus: int = 1,
        num_gpus: float = 0.0,
    ):
        self._patience = patience
        self._calls = Calls(lambda: _run_program, num_cpus, num_gpus)
        self._calls.submit(shlex.join(command[1:]), list(command), Path.cwd(), log, dict(environment), patience)

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs or waits for a machine with free cores."""
        return self._calls.next_answer(timeout=0)

    def interrupt(self) -> None:
        self._calls.cancel()

    def wait(self) -> None:
        """Until it has ended after `interrupt`; after `patience` [s] it is killed with all its workers."""
        self._calls.wait(self._patience + TIMEOUT)


def _run_program(
    command: Sequence[str], folder: Path, log: Path, environment: Mapping[str, str], patience: float
) -> int:
    """The exit code; on KeyboardInterrupt (a call that is cancelled) it ends the program first."""
    if not (folder / log).parent.is_dir():
        where = (folder / log).parent
        raise ValueError(f"{socket.gethostname()} sees no {where}; all machines must share the folders of a grid")
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # blocked in Ray's processes, and in their children
    with (folder / log).open("ab") as file:
        program = subprocess.Popen(
            [sys.executable, "-c", DIE_TOGETHER, *command],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env={**os.environ, **environment},
            start_new_session=True,
        )
    try:
        while program.poll() is None:
            time.sleep(POLL)
    except KeyboardInterrupt:
        program.send_signal(signal.SIGINT)
        try:
            program.wait(patience)
        except subprocess.TimeoutExpired:
            os.killpg(program.pid, signal.SIGKILL)
            program.wait()
        raise
    return program.returncode
