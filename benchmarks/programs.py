"""Runs other programs, several side by side, until they are done or a budget of time is spent.

The programs of this repository stop cleanly when they are interrupted, and continue when they are called again. So a
benchmark may stop at any moment, and the same command continues it.
"""

import math
import re
import shlex
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

from tqdm import tqdm

from act import command_line, workers

Options = TypeVar("Options")


class OutOfTime(Exception):
    """The budget is spent, or a program that ran side by side with this one was interrupted."""


@dataclass
class Runner:
    """Runs programs with `threads` cores each until the budget is spent, such as "90m"; "" is no limit."""

    budget: str = ""
    threads: int = workers.available_cores()
    run_program: Callable[..., int] = workers.run_program
    stop: Event = field(default_factory=Event)

    def __post_init__(self) -> None:
        self.deadline = time.monotonic() + seconds(self.budget)

    def run(self, words: Sequence[object], log: Path) -> None:
        """Runs `python words` to its end. Raises RuntimeError when it fails, and OutOfTime at the deadline."""
        self._check_time()
        command = [sys.executable, *map(str, words)]
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as file:
            file.write(f"\n$ {shlex.join(command)}\n".encode())
        environment = {"OMP_NUM_THREADS": str(self.threads), "PYTHONUNBUFFERED": "1"}
        if code := self.run_program(command, log, environment, self._check_time):
            name, last = shlex.join(command[1:3]), log.read_text(errors="replace").strip().splitlines()[-1].strip()
            raise RuntimeError(f"{name} ended with code {code}: {last} (the whole output is in {log})")

    def _check_time(self) -> None:
        if self.stop.is_set() or time.monotonic() >= self.deadline:
            raise OutOfTime(f"the budget of {self.budget} is spent; the same command continues from here")

    def side_by_side(self, jobs: Mapping[str, Callable[[], object]], n: int, unit: str) -> list[str]:
        """Runs `n` jobs at a time in threads of their own; returns the names of those that failed.

        OutOfTime and KeyboardInterrupt leave this function when all programs have ended.
        """
        failed = []
        with tqdm(total=len(jobs), unit=unit, disable=not jobs) as bar, ThreadPoolExecutor(n) as pool:
            names = {pool.submit(job): name for name, job in jobs.items()}
            try:
                for future in as_completed(names):
                    error = future.exception()
                    if error and not isinstance(error, (RuntimeError, ValueError, OSError)):
                        raise error
                    failed += [names[future]] if error else []
                    bar.write(f"{names[future]}: {error or 'done'}", file=sys.stderr)
                    bar.update()
            except BaseException:
                self.stop.set()  # every other thread ends its program
                pool.shutdown(cancel_futures=True)
                raise
        return failed


def seconds(text: str) -> float:
    """Returns the seconds of a budget such as "90m", "1h30m" or "45s", and infinity for "". Raises ValueError."""
    found = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", text)
    if not found:
        raise ValueError(f"--budget {text}: give hours, minutes, seconds, such as 90m, 1h30m or 45s")
    hours, minutes, rest = (int(part or 0) for part in found.groups())
    return 3600 * hours + 60 * minutes + rest if text else math.inf


def check_values(options: Any, at_least_1: Sequence[str], distinct: Sequence[str] = ()) -> None:
    """Raises ValueError for a number below 1, and for a flag that was given no value, or one of them twice."""
    for name in at_least_1:
        if (number := getattr(options, name)) is not None and number < 1:
            raise ValueError(f"--{name} {number}: give at least 1")
    for name in distinct:
        if not (values := getattr(options, name)) or len(set(values)) < len(values):
            raise ValueError(f"--{name} {' '.join(map(str, values))}: name one or more, and each once")


def main(
    name: str,
    options: type[Options],
    work: Callable[[Options], int | None],
    doc: str | None,
    page: str,
    argv: Sequence[str] | None = None,
) -> int:
    """Runs benchmarks.NAME and returns 0: done or out of time, 1: a program failed, 2: wrong input, 130: Ctrl-C."""
    program = f"python -m benchmarks.{name}"
    given = command_line.parse(options, argv, program=program, description=doc or "", example=program, page=page)
    for number in (signal.SIGINT, signal.SIGTERM):  # a background job of a shell script would ignore SIGINT
        signal.signal(number, signal.default_int_handler)
    try:
        return command_line.run(program, lambda: work(given), "what is done is kept", (RuntimeError, OSError), 1)
    except OutOfTime as spent:
        print(f"{program}: {spent}", file=sys.stderr)
        return 0
