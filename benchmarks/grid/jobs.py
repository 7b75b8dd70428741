"""Jobs of several programs, one after the other, some jobs side by side, here or on a cluster.

Every program is a process of its own that stops when it is interrupted and goes on when it is called again.
"""

import os
import re
import shlex
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from act import cluster
from benchmarks.grid.cells import Cell, Options

PATIENCE = 60  # [s] a program has to stop after SIGINT before it is killed
POLL = 0.2  # [s]


@dataclass
class Stage:
    """One program to run."""

    name: str
    command: list[str]
    progress: Callable[[], float] = lambda: 0.0  # 0..1, asked while it runs
    finish: Callable[[], None] = lambda: None  # called once it ended well
    done: Callable[[], bool] = lambda: False  # whether it need not run at all


class Program(Protocol):
    """One that was started, here or on a cluster."""

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""
        ...

    def interrupt(self) -> None: ...

    def wait(self) -> None:
        """Until it has ended after `interrupt`; one that does not within PATIENCE is killed with all its workers."""
        ...


Start = Callable[[list[str], Path, dict[str, str]], Program]  # of a command, the log, environment variables


class LocalProgram:
    """A process of this machine."""

    def __init__(self, command: list[str], log: Path, environment: dict[str, str]):
        with log.open("ab") as file:
            # A session of its own: Ctrl-C reaches this process alone, which then asks its programs to stop, once each.
            # Descriptors stay open so that the lock lives as long as any of the programs.
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env={**os.environ, **environment},
                start_new_session=True,
                close_fds=False,
            )

    def poll(self) -> int | None:
        return self.process.poll()

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def wait(self) -> None:
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def program_starter(options: Options) -> Start:
    """How programs are started: here, or with --ray on the cluster."""
    if not options.ray:
        return LocalProgram
    num_gpus = cluster.gpu_share(options.jobs)
    return partial(cluster.RemoteProgram, patience=PATIENCE, num_cpus=options.threads, num_gpus=num_gpus)


@dataclass
class Job:
    """Programs to run one after the other; what they print goes to `log`."""

    name: str
    stages: list[Stage]
    log: Path
    cell: Cell | None = None
    done: int = field(default=0, init=False)  # stages
    failure: str = field(default="", init=False)
    program: Program | None = field(default=None, init=False)

    @property
    def ended(self) -> bool:
        return bool(self.failure) or self.done == len(self.stages)

    @property
    def fraction(self) -> float:
        """Share of the stages that is done."""
        part = self.stages[self.done].progress() if self.done < len(self.stages) else 0.0
        return (self.done + part) / len(self.stages)

    def poll(self, start: Start, threads: int) -> None:
        """Looks after the program that runs, and starts the next; `failure` keeps the last words of one that failed."""
        if self.program is not None:
            try:
                code = self.program.poll()
            except (RuntimeError, OSError) as error:  # on a cluster
                self.failure = str(error)
                return
            if code is None:
                return
            self.program = None
            if code:
                self.failure = f"{self.stages[self.done].name} ended with code {code}: {_last_words(self.log)}"
                return
            self._finish()
        while not self.ended and self.stages[self.done].done():
            self._finish()
        if not self.ended:
            self._start(start, self.stages[self.done].command, threads)

    def _finish(self) -> None:
        self.stages[self.done].finish()
        self.done += 1

    def _start(self, start: Start, command: list[str], threads: int) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            log.write(f"\n$ {shlex.join(command)}\n".encode())
        self.program = start(command, self.log, {"OMP_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1"})


def _last_words(log: Path) -> str:
    lines = [line for line in re.split(r"[\r\n]+", log.read_text(errors="replace")) if line.strip()]
    return f"{lines[-1].strip()} (all of it: {log})"


class OutOfBudget(Exception):
    """The time is up."""


def run_jobs(jobs: Sequence[Job], options: Options, deadline: float, tell: Callable[[list[Job]], None]) -> None:
    """Runs the jobs, `options.jobs` at a time; one that fails is left where it is.

    OutOfBudget at `deadline` (of time.monotonic) and KeyboardInterrupt come out after all programs have stopped.
    """
    waiting, running = deque(jobs), []
    start, threads = program_starter(options), options.threads
    try:
        while waiting or running:
            while waiting and len(running) < options.jobs:
                running.append(waiting.popleft())
            for job in running:
                job.poll(start, threads)
            running = [job for job in running if not job.ended]
            tell(running)
            if time.monotonic() >= deadline:
                raise OutOfBudget
            time.sleep(POLL)
    finally:
        programs = [job.program for job in running if job.program is not None]
        for program in programs:
            program.interrupt()
        for program in programs:
            program.wait()
