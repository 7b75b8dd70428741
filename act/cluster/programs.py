"""Runs whole programs on a cluster whose machines share the folder of this repository."""

import shlex
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from act.cluster.calls import TIMEOUT, Calls
from act.workers import POLL, PROGRAM_PATIENCE, run_program

# Runs a program that is killed with the process that started it, even when that process is killed itself (Linux).
DIE_TOGETHER = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.execv(sys.argv[1], sys.argv[1:])"


def run_program_remotely(
    command: Sequence[str],
    log: Path,
    environment: Mapping[str, str],
    check: Callable[[], None] = lambda: None,
    *,
    num_cpus: int = 1,
    num_gpus: float = 0.0,
) -> int:
    """Does what `act.workers.run_program` does, on one machine of the cluster, once that has enough free cores.

    All machines must have this folder under the same path. When the machine dies, the program is started again on
    another one.

    Args:
        log: file for the output, relative to the current folder.
        environment: variables to add to those of the machine.
        num_cpus, num_gpus: what the program occupies.
    """
    calls = Calls(lambda: _run_here, num_cpus, num_gpus)
    calls.submit(shlex.join(command[1:]), list(command), Path.cwd(), log, dict(environment))
    try:
        while (code := calls.next_answer(timeout=POLL)) is None:
            check()
        return code
    except BaseException:
        calls.cancel()
        calls.wait(PROGRAM_PATIENCE + TIMEOUT)
        raise


def _run_here(command: Sequence[str], folder: Path, log: Path, environment: Mapping[str, str]) -> int:
    """Returns the exit code. KeyboardInterrupt, which cancels a call, ends the program first."""
    if not (logs := (folder / log).parent).is_dir():
        raise ValueError(f"{socket.gethostname()} has no folder {logs}; all machines must share the folders of a grid")
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # Ray's processes block it, and children inherit that
    return run_program([sys.executable, "-c", DIE_TOGETHER, *command], folder / log, environment, folder=folder)
