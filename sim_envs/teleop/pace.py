"""The deadlines of the 50 Hz loop: waiting for them, measuring them, and the priority to keep them."""

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterator

import numpy as np

from sim_envs.kinematics import CONTROL_TIMESTEP

MEASURED = 3000  # control periods that the statistics are of: one minute


class Pace:
    """A grid of deadlines, one every `period` [s], and the control periods of the last minute.

    Args:
        period: [s] between two deadlines.
        now: tells the time [s]; any monotonic clock.
        sleep: waits for that many seconds.
    """

    def __init__(
        self,
        period: float = CONTROL_TIMESTEP,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ):
        self.period, self.now, self._sleep = period, now, sleep
        self.missed = 0  # deadlines
        self._durations: deque[float] = deque(maxlen=MEASURED)  # [s]
        self.start()

    def start(self) -> None:
        """Begins a control period now."""
        self._last = self.now()
        self.deadline = self._last + self.period  # [s] when the current period should end

    def wait(self) -> float:
        """Sleeps until the deadline and begins the next period; returns how late the call was [s], 0 if it was not.

        Late by more than a period, the grid moves: no actions are sent in a rush to catch up.
        """
        late = self.now() - self.deadline
        if late > 0:
            self.missed += 1
        else:
            self._sleep(-late)
        now = self.now()
        self._durations.append(now - self._last)
        self._last = now
        self.deadline += self.period + (late if late > self.period else 0.0)
        return max(0.0, late)

    def __str__(self) -> str:
        if not self._durations:
            return ""
        p50, p99, longest = 1000 * np.percentile(self._durations, (50, 99, 100))
        return f"control period {p50:.1f} ms, p99 {p99:.1f}, max {longest:.1f} ({self.missed} deadlines missed)"


@contextlib.contextmanager
def real_time_priority() -> Iterator[None]:
    """Lets this thread run before all ordinary ones where the kernel permits it: on Linux, as root or CAP_SYS_NICE.

    The loop sleeps four fifths of its time, but it must never wait for a browser that renders in software.
    """
    if not hasattr(os, "sched_setscheduler"):
        yield
        return
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    try:
        yield
    finally:
        with contextlib.suppress(PermissionError):  # a limit may permit it to raise the priority but not to lower it
            os.sched_setscheduler(0, *before)
