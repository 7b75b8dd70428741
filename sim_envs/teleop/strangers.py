"""Strangers at the port of the page: how many connections may wait there, and how often a refusal is logged.

act/serving/access.py is the same for the threads of the policy server: act and sim_envs never import each other.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

MOST_UNKNOWN = 32  # connections at once whose request has not come yet
MOST_PER_ADDRESS = 8  # of them from one address; a browser opens 6
LOGGED = 10  # refusals per LOG_PERIOD that are logged one by one
LOG_PERIOD = 60.0  # [s]


class RefusalLog:
    """Logs refusals, but no more than LOGGED in LOG_PERIOD: strangers must not fill a disk. The others are counted."""

    def __init__(self, log: logging.Logger, clock: Callable[[], float] = time.monotonic):
        self._log, self._clock = log, clock
        self._lock = threading.Lock()
        self._began, self._logged, self._left_out = clock(), 0, 0

    def __call__(self, message: str, *values: Any) -> None:
        """Logs the message, or counts it."""
        with self._lock:
            if self._clock() - self._began >= LOG_PERIOD:
                self._say_count()
            self._logged += 1
            if self._logged > LOGGED:
                self._left_out += 1
                return
        self._log.warning(message, *values)

    def close(self) -> None:
        """Says how many refusals were not logged."""
        with self._lock:
            self._say_count()

    def _say_count(self) -> None:
        if self._left_out:
            self._log.warning("%d more refusals were not logged", self._left_out)
        self._began, self._logged, self._left_out = self._clock(), 0, 0


class Lobby:
    """The connections whose request has not come yet. They take no places away from those that are forwarded.

    When one more comes than there is room for, the oldest is closed: first the oldest from the same address. Whoever
    knows the token is in here for a moment only, so silent connections cannot keep them out.
    """

    def __init__(self, refused: RefusalLog):
        self._refused = refused
        self._waiting: dict[asyncio.StreamWriter, str] = {}  # in the order of arrival; the value is the host

    def enter(self, writer: asyncio.StreamWriter, host: str) -> None:
        """Adds a connection, and closes the oldest one where there is no room for both."""
        same = [other for other, its_host in self._waiting.items() if its_host == host]
        crowd = same if len(same) >= MOST_PER_ADDRESS else list(self._waiting)
        if len(same) >= MOST_PER_ADDRESS or len(crowd) >= MOST_UNKNOWN:
            its_host = self._waiting.pop(crowd[0])
            crowd[0].transport.abort()
            self._refused("closed a connection from %s that had sent no request, because others came", its_host)
        self._waiting[writer] = host

    def leave(self, writer: asyncio.StreamWriter) -> None:
        """Removes a connection: its request has come, or it is gone."""
        self._waiting.pop(writer, None)
