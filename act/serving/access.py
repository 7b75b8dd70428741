"""Who may stay at the port of a server: connections that have not shown the token yet, and a log of refusals."""

import logging
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

MOST_UNKNOWN = 32  # connections at once that have not shown the token yet
MOST_PER_ADDRESS = 8  # of them from one address
LOGGED = 10  # refusals per LOG_PERIOD that are logged one by one
LOG_PERIOD = 60.0  # [s]


class Lobby:
    """The connections that have not shown the token yet. They take no places away from those that have.

    When one more comes than there is room for, the oldest is closed: first the oldest from the same address. A client
    with the token is in here for a moment only, so silent connections cannot keep it out.

    refused: is called with a format and its values for every connection that is closed.
    """

    def __init__(self, refused: Callable[..., None]):
        self._refused = refused
        self._waiting: dict[socket.socket, str] = {}  # in the order of arrival; the value is the host of the other side
        self._lock = threading.Lock()

    def enter(self, connection: socket.socket, host: str) -> None:
        """Adds a connection, and closes the oldest one where there is no room for both."""
        with self._lock:
            same = [other for other, its_host in self._waiting.items() if its_host == host]
            crowd = same if len(same) >= MOST_PER_ADDRESS else list(self._waiting)
            full = len(same) >= MOST_PER_ADDRESS or len(crowd) >= MOST_UNKNOWN
            oldest = crowd[0] if full else None
            evicted = None if oldest is None else self._waiting.pop(oldest)
            self._waiting[connection] = host
        if oldest is not None:
            self._refused("closed a connection from %s that had shown no token, because others came", evicted)
            with suppress(OSError):
                oldest.shutdown(socket.SHUT_RDWR)  # its thread closes it

    def close(self) -> None:
        """Closes all connections that are here."""
        with self._lock:
            for connection in self._waiting:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def leave(self, connection: socket.socket) -> bool:
        """Removes a connection: it has shown the token, got its answer, or is gone. Returns whether it was here."""
        with self._lock:
            return self._waiting.pop(connection, None) is not None


class RefusalLog:
    """Logs refusals, but no more than LOGGED in LOG_PERIOD: strangers must not fill a disk. The others are counted."""

    def __init__(self, log: logging.Logger, clock: Callable[[], float] = time.monotonic):
        self._log, self._clock = log, clock
        self._lock = threading.Lock()
        self._began, self._logged, self._left_out = clock(), 0, 0

    def __call__(self, message: str, *values: Any, level: int = logging.WARNING, exc_info: bool = False) -> None:
        """Logs the message, or counts it."""
        with self._lock:
            if self._clock() - self._began >= LOG_PERIOD:
                self._count()
            self._logged += 1
            if self._logged > LOGGED:
                self._left_out += 1
                return
        self._log.log(level, message, *values, exc_info=exc_info)

    def close(self) -> None:
        """Says how many refusals were not logged; one that comes later, while the server stops, is not logged."""
        with self._lock:
            self._count()
            self._logged = LOGGED

    def _count(self) -> None:
        if self._left_out:
            self._log.warning("%d more refusals were not logged", self._left_out)
        self._began, self._logged, self._left_out = self._clock(), 0, 0
