"""Runs other programs as processes, several side by side, until they are done or a budget of time is spent.

    runner = Runner(deadline=time.monotonic() + seconds("90m"))
    runner.run([sys.executable, "train.py", ...], log=Path("runs/train.log"))

The programs of this repository stop cleanly when they are interrupted, and continue when they are called again. So a
benchmark may stop at any moment, and the same command continues it.
"""

import math
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

from tqdm import tqdm

from act import command_line
from act.workers import available_cores

PATIENCE = 60.0  # [s] that a program has to stop after SIGINT, before it is killed
POLL = 0.2  # [s]
Options = TypeVar("Options")


class OutOfTime(Exception):
    """The budget is spent, or a program that ran side by side with this one was interrupted."""


class LocalProgram:
    """A process on this machine; its output is appended to `log`. act.cluster.RemoteProgram has the same methods."""

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str]):
        with log.open("ab") as file:
            # In a session of its own, because Ctrl-C then reaches only the runner, which interrupts it exactly once.
            streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": file, "stderr": file}
            self.process = subprocess.Popen(
                command, env={**os.environ, **environment}, start_new_session=True, **streams
            )
        self.poll = self.process.poll

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def wait(self) -> None:
        """Waits for the end after `interrupt`; kills the program and its workers after PATIENCE."""
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@dataclass
class Runner:
    """Runs programs with `threads` cores each until `deadline` (of time.monotonic); `start` starts one of them."""

    deadline: float = math.inf
    threads: int = available_cores()
    start: Callable[..., Any] = LocalProgram
    stop: Event = field(default_factory=Event)

    def run(self, command: Sequence[str], log: Path) -> None:
        """Runs one program to its end.

        Raises RuntimeError when it fails, and OutOfTime at the deadline; the program has ended by then.
        """
        self._check_time()
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as file:
            file.write(f"\n$ {shlex.join(command)}\n".encode())
        program = self.start([*command], log, {"OMP_NUM_THREADS": str(self.threads), "PYTHONUNBUFFERED": "1"})
        code = None
        try:
            while (code := program.poll()) is None:
                self._check_time()
                self.stop.wait(POLL)
        finally:
            if code is None:
                program.interrupt()
                program.wait()
        if code:
            lines = [line for line in re.split(r"[\r\n]+", log.read_text(errors="replace")) if line.strip()]
            last = f"{lines[-1].strip()} (the whole output is in {log})"
            raise RuntimeError(f"{shlex.join(command[1:3])} ended with code {code}: {last}")

    def _check_time(self) -> None:
        if self.stop.is_set() or time.monotonic() >= self.deadline:
            raise OutOfTime

    def side_by_side(self, jobs: Mapping[str, Callable[[], object]], n: int, unit: str) -> dict[str, str]:
        """Runs `n` jobs at a time in threads of their own; returns the names of those that failed, and why.

        OutOfTime and KeyboardInterrupt leave this function when all programs have ended.
        """
        failures: dict[str, str] = {}
        bar = tqdm(total=len(jobs), unit=unit, dynamic_ncols=True, disable=not jobs)
        with bar, ThreadPoolExecutor(n) as pool:
            running = {pool.submit(job): name for name, job in jobs.items()}
            try:
                while running:
                    for future in wait(running, POLL, FIRST_COMPLETED).done:  # not longer: then Ctrl-C is noticed
                        name, outcome = running.pop(future), "done"
                        try:
                            future.result()
                        except (RuntimeError, ValueError, OSError) as error:
                            outcome = failures[name] = str(error)
                        bar.write(f"{name}: {outcome}", file=sys.stderr)
                        bar.update()
            except BaseException:
                self.stop.set()  # every other thread ends its program
                pool.shutdown(cancel_futures=True)
                raise
        return failures


def seconds(text: str) -> float:
    """Returns the seconds of a budget such as "90m", "1h30m" or "45s", and infinity for "". Raises ValueError."""
    found = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", text)
    if not found:
        raise ValueError(f"--budget {text}: give hours, minutes, seconds, such as 90m, 1h30m or 45s")
    hours, minutes, rest = (int(part or 0) for part in found.groups())
    return 3600 * hours + 60 * minutes + rest if text else math.inf


def check_values(options: Any, at_least_1: Sequence[str], distinct: Sequence[str] = ()) -> None:
    """Raises ValueError for a number below 1, and for a flag that was given a value twice."""
    for name in at_least_1:
        if (number := getattr(options, name)) is not None and number < 1:
            raise ValueError(f"--{name} {number}: give at least 1")
    for name in distinct:
        if len(set(values := getattr(options, name))) < len(values):
            raise ValueError(f"--{name} {' '.join(map(str, values))}: name each once")


def main(
    name: str,
    options_class: type[Options],
    work: Callable[[Options], int | None],
    description: str | None,
    page: str,
    argv: Sequence[str] | None,
    stopped: str = "the same command continues from here",
) -> int:
    """Runs `python -m benchmarks.NAME`; returns 0: done, 1: a program failed, 2: wrong input, 130: Ctrl-C."""
    program = f"python -m benchmarks.{name}"
    options = command_line.parse(
        options_class, argv, program=program, description=description or "", example=program, page=page
    )
    for number in (signal.SIGINT, signal.SIGTERM):  # a background job of a shell script would ignore SIGINT
        signal.signal(number, signal.default_int_handler)
    return command_line.run(program, lambda: work(options), stopped, (RuntimeError, OSError), failure_code=1)
