"""Dynamixel motors on a pseudo-terminal: they answer, they move, and they fail on request.

Written from ROBOTIS's e-manual alone (Protocol 2.0: emanual.robotis.com/docs/en/dxl/protocol2; control table of the
XM540-W270: .../dxl/x/xm540-w270), not from the SDK that talks to it, so that the two check each other.
"""

import contextlib
import os
import pty
import random
import select
import threading
import time
import tty
from collections.abc import Iterable, Iterator

from tests.fakes.dynamixel_motor import REGISTERS, Motor

PING, READ, WRITE, SYNC_READ, SYNC_WRITE, STATUS = 0x01, 0x02, 0x03, 0x82, 0x83, 0x55
HEADER = b"\xff\xff\xfd\x00"
BYTE_TIME = 1e-5  # [s] ten bits at 1 Mbit/s
USB_TIME = 1e-3  # [s] that an adapter with a latency timer of 1 ms waits before it passes an answer on
ALERT = 0x80


def crc16(data: bytes) -> int:
    """CRC-16 of a packet: polynomial x^16 + x^15 + x^2 + 1, most significant bit first, from 0."""
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1) ^ 0x8005 if crc & 0x8000 else crc << 1
        crc &= 0xFFFF
    return crc


def packet(motor_id: int, body: bytes) -> bytes:
    """A whole packet around `body`, which is the instruction and what follows it."""
    stuffed = body.replace(b"\xff\xff\xfd", b"\xff\xff\xfd\xfd")
    start = HEADER + bytes([motor_id]) + (len(stuffed) + 2).to_bytes(2, "little") + stuffed
    return start + crc16(start).to_bytes(2, "little")


class EmulatedBus:
    """A bus of motors behind `port`. Use it as a context manager; a thread serves it.

    Args:
        motors: on the bus.
        wire_time: whether answers take as long as on a real bus of 1 Mbit/s behind USB.
        seed: of the faults.

    `drop` and `corrupt` are the shares of packets, in both directions, that are lost or get a wrong CRC. `silent` takes
    the power of all answers, and `unplug` pulls the USB plug. `goals` logs (time, {motor: goal}) of every sync write.
    """

    def __init__(self, motors: Iterable[Motor], *, wire_time: bool = False, seed: int = 0):
        self.motors = {motor.get("id"): motor for motor in motors}
        self.wire_time, self.drop, self.corrupt, self.silent = wire_time, 0.0, 0.0, False
        self.goals: list[tuple[float, dict[int, int]]] = []
        self.lock = threading.RLock()
        self._random, self._buffer, self._plugged = random.Random(seed), bytearray(), True
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self.port = os.ttyname(self._slave)
        self._wake, self._waker = os.pipe()
        self._thread = threading.Thread(target=self._serve, name=f"emulated bus {self.port}", daemon=True)

    def __enter__(self) -> "EmulatedBus":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.unplug()
        os.close(self._wake)

    def unplug(self) -> None:
        """Pulls the USB plug; the motors keep their power."""
        if self._plugged:
            self._plugged = False
            os.write(self._waker, b"x")
            self._thread.join()
            for descriptor in (self._master, self._slave, self._waker):
                os.close(descriptor)

    def positions(self) -> dict[int, float]:
        """The shafts [ticks] at this moment."""
        with self.lock:
            self._update()
            return {motor_id: motor.shaft for motor_id, motor in self.motors.items()}

    def place(self, positions: dict[int, float]) -> None:
        """Turns shafts [ticks], as a hand does."""
        with self.lock:
            for motor_id, position in positions.items():
                self.motors[motor_id].place(position)

    def _update(self) -> None:
        now = time.monotonic()
        for motor in self.motors.values():
            motor.update(now)

    # -- packets ------------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        with contextlib.suppress(PermissionError, AttributeError):  # motors do not share the machine's processors
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(2))
        while self._plugged:
            ready, _, _ = select.select([self._master, self._wake], [], [])
            if self._wake in ready:
                return
            with contextlib.suppress(OSError):  # nobody has opened the port
                self._buffer += os.read(self._master, 4096)
            for motor_id, body in self._packets():
                with self.lock:
                    answer = b"".join(self._answers(motor_id, body))
                if answer and self.wire_time:
                    time.sleep(USB_TIME + BYTE_TIME * (len(body) + 10 + len(answer)))
                if answer:
                    os.write(self._master, answer)

    def _packets(self) -> Iterator[tuple[int, bytes]]:
        """Takes whole instruction packets out of the buffer; what is no packet is skipped."""
        while (start := self._buffer.find(HEADER)) >= 0:
            del self._buffer[:start]
            end = 7 + int.from_bytes(self._buffer[5:7], "little")
            if len(self._buffer) < max(end, 10):
                return
            whole = bytes(self._buffer[:end])
            del self._buffer[:end]
            if crc16(whole[:-2]) == int.from_bytes(whole[-2:], "little") and not self._bad_luck():
                yield whole[4], whole[7:-2].replace(b"\xff\xff\xfd\xfd", b"\xff\xff\xfd")

    def _bad_luck(self) -> bool:
        return self.silent or self._random.random() < self.drop

    def _answers(self, target: int, body: bytes) -> Iterator[bytes]:
        self._update()
        instruction, parameters = body[0], body[1:]
        for motor in self.motors.values():
            motor.instructed = time.monotonic()
        for motor_id, status in self._obey(target, instruction, parameters):
            answer = packet(motor_id, bytes([STATUS]) + status)
            if self._random.random() < self.corrupt:
                answer = answer[:-1] + bytes([answer[-1] ^ 0xFF])
            if not self._bad_luck():
                yield answer

    def _obey(self, target: int, instruction: int, parameters: bytes) -> Iterator[tuple[int, bytes]]:
        """Yields (motor, error and data) of every motor that answers."""
        address, length = int.from_bytes(parameters[:2], "little"), int.from_bytes(parameters[2:4], "little")
        if instruction == SYNC_READ:
            for motor_id in parameters[4:]:
                if motor_id in self.motors:
                    yield motor_id, self._read(motor_id, address, length)
        elif instruction == SYNC_WRITE:
            self._sync_write(address, length, parameters[4:])
        elif target in self.motors:
            if instruction == PING:
                yield target, self._read(target, 0, 2) + b"\x2d"
            elif instruction == READ:
                yield target, self._read(target, address, length)
            elif instruction == WRITE:
                error = self._write(target, address, parameters[2:])
                yield target, bytes([error | self._alert(target)])

    def _alert(self, motor_id: int) -> int:
        return ALERT if self.motors[motor_id].get("error") else 0

    def _read(self, motor_id: int, address: int, length: int) -> bytes:
        return bytes([self._alert(motor_id)]) + bytes(self.motors[motor_id].table[address : address + length])

    def _write(self, target: int, address: int, data: bytes) -> int:
        """Writes to a motor and to those whose secondary ID it is; they obey without an answer."""
        for motor in self.motors.values():
            if motor.get("secondary_id") == target:
                motor.write(address, data)
        return self.motors[target].write(address, data)

    def _sync_write(self, address: int, length: int, parameters: bytes) -> None:
        written = {}
        for start in range(0, len(parameters), 1 + length):
            motor_id, data = parameters[start], parameters[start + 1 : start + 1 + length]
            if motor_id in self.motors:
                self._write(motor_id, address, data)
                written[motor_id] = int.from_bytes(data, "little", signed=True)
        if address == REGISTERS["goal"][0]:
            self.goals.append((time.monotonic(), written))
