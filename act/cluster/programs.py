"""Runs whole programs on a cluster whose machines share the folder of this repository."""

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
# Runs a program that is killed with the process that started it, even when that process is killed itself (Linux).
DIE_TOGETHER = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.execv(sys.argv[1], sys.argv[1:])"


class RemoteProgram:
    """Runs a program on one machine of the cluster; all machines must have this folder under the same path.

    The output is appended to `log`. When the machine dies, the program is started again on another one.

    Args:
        command: the program and its arguments.
        log: file for the output, relative to the current folder.
        environment: variables to add to those of the machine.
        patience: how long the program may take to end after `interrupt` [s].
        num_cpus, num_gpus: what the program occupies.
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
        """Returns the exit code, negative for a signal; None while it runs or waits for free cores."""
        return self._calls.next_answer(timeout=0)

    def interrupt(self) -> None:
        """Sends the program SIGINT, as Ctrl-C does."""
        self._calls.cancel()

    def wait(self) -> None:
        """Waits until the program has ended after `interrupt`; after `patience` [s] it is killed with its workers."""
        self._calls.wait(self._patience + TIMEOUT)


def _run_program(
    command: Sequence[str], folder: Path, log: Path, environment: Mapping[str, str], patience: float
) -> int:
    """Returns the exit code. On KeyboardInterrupt, which cancels a call, it ends the program first."""
    if not (logs := (folder / log).parent).is_dir():
        raise ValueError(f"{socket.gethostname()} has no folder {logs}; all machines must share the folders of a grid")
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # Ray's processes block it, and children inherit that
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
