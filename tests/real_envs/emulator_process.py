"""Emulated buses in a process of their own, as motors have processors of their own."""

import multiprocessing as mp
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection
from typing import Any, Self

from tests.fakes.dynamixel_bus import EmulatedBus
from tests.fakes.dynamixel_motor import Motor

Shafts = Mapping[int, float]  # id of a motor -> its shaft [ticks]


class BusProcess:
    """One bus per element of `shafts`, with answers that take as long as real ones. Use it as a context manager.

    `ports` are those of the buses.
    """

    def __init__(self, shafts: Sequence[Shafts]):
        context = mp.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, [dict(s) for s in shafts]), daemon=True)

    def __enter__(self) -> Self:
        self._process.start()
        self.ports: list[str] = self._connection.recv()
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.send(None)
        self._process.join(10)

    def call(self, bus: int, method: str, *arguments: Any) -> Any:
        """The result of a method of a bus, e.g. call(0, "place", {1: 2048})."""
        self._connection.send((bus, method, arguments))
        return self._connection.recv()

    def set(self, bus: int, name: str, value: Any) -> None:
        """Sets an attribute of a bus, e.g. set(0, "drop", 0.05)."""
        self.call(bus, "__setattr__", name, value)


def _serve(connection: Connection, shafts: Sequence[Shafts]) -> None:
    with ExitStack() as stack:
        motors = [[Motor(motor, position) for motor, position in positions.items()] for positions in shafts]
        buses = [stack.enter_context(EmulatedBus(some, wire_time=True, seed=k)) for k, some in enumerate(motors)]
        connection.send([bus.port for bus in buses])
        while (message := connection.recv()) is not None:
            bus, method, arguments = message
            connection.send(getattr(buses[bus], method)(*arguments))
