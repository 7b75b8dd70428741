"""Deadlines at 50 Hz: a clock, a grid of deadlines to wait for, and how well they were kept."""

import time
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from act.types import CONTROL_TIMESTEP


class Clock(Protocol):
    """Tells the time [s] and waits; tests bring a clock of their own."""

    def now(self) -> float: ...

    def sleep(self, seconds: float) -> None: ...


class WallClock:
    """The machine's monotonic clock."""

    def now(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


@dataclass(frozen=True)
class Timing:
    """Measured control periods [ms], and how many of them ended late because the work in them took too long."""

    periods: int  # how many were measured
    due_ms: float  # what each should have taken
    p50_ms: float
    p99_ms: float
    max_ms: float
    missed: int

    def __str__(self) -> str:
        return (
            f"{self.periods} control periods of {self.due_ms:g} ms: p50 {self.p50_ms:.2f}, p99 {self.p99_ms:.2f}, "
            f"max {self.max_ms:.2f} ms; {self.missed} deadlines missed"
        )


class Pace:
    """A grid of deadlines, one every `period` [s]; `wait` sleeps until the next one.

    If `wait` is called late by less than half a period, the next period is shorter and the grid stays. If it is called
    later than that, the grid moves: a robot must never get several actions in a rush to catch up.
    """

    def __init__(self, clock: Clock | None = None, period: float = CONTROL_TIMESTEP):
        if period <= 0:
            raise ValueError(f"period={period} s: must be positive, e.g. {CONTROL_TIMESTEP}")
        self.clock, self.period = clock or WallClock(), period
        self.durations: list[float] = []  # [s] of all control periods so far
        self.missed = 0
        self.start()

    def start(self) -> None:
        """Begins a period now; earlier measurements are kept."""
        self._last = self.clock.now()
        self._due = self._last + self.period

    def wait(self) -> None:
        """Returns at the deadline of the current period, or at once if it has passed, and begins the next period."""
        late = self.clock.now() - self._due
        if late > 0:
            self.missed += 1
        else:
            self.clock.sleep(-late)
        now = self.clock.now()
        self.durations.append(now - self._last)
        self._last = now
        self._due = self._due + self.period if late < self.period / 2 else now + self.period

    def timing(self) -> Timing:
        """Statistics of all periods so far; ValueError if none has ended yet."""
        if not self.durations:
            raise ValueError("no control period has ended yet, so there is no timing; call wait() first")
        ms = 1e3 * np.asarray(self.durations)
        p50, p99, longest = (float(value) for value in np.percentile(ms, (50, 99, 100)))
        return Timing(len(ms), 1e3 * self.period, p50, p99, longest, self.missed)
