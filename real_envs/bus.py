"""A bus of Dynamixel motors: reads and writes with a bounded number of attempts, and counts what gets lost.

The packets are those of ROBOTIS's SDK. Its own waiting is replaced, because it polls, and because it waits 34 ms for a
lost answer, which is longer than a control step.
"""

import contextlib
import termios
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import serial
from dynamixel_sdk import COMM_SUCCESS, PortHandler, Protocol2PacketHandler

from real_envs.errors import HardwareError
from real_envs.motors import Register

ANSWER_TIME = 0.004  # [s] by default; USB adapters wait 1 ms
POLL = 0.001  # [s] that one read of the port waits
ATTEMPTS = 3  # of every question
LATE = 0.01  # [s] that an answer may come after its question was given up
ERROR_CODES = {1: "result fail", 2: "instruction error", 3: "CRC error", 4: "data range error"}
ERROR_CODES |= {5: "data length error", 6: "data limit error", 7: "access error"}
ALERT = 0x80  # bit of a status packet's error: see the motor's HARDWARE_ERROR
MEASURED = 100  # questions of which the losses are counted
STATUS_BYTES = 11  # of a status packet without data
MOTOR, STATUS_ERROR, DATA = 4, 8, 9  # places in a status packet


class Port(PortHandler):
    """The SDK's serial port, with a deadline that fits into a control step; reads sleep instead of polling."""

    def __init__(self, port_name: str, answer_time: float):
        super().__init__(port_name)
        self._answer_time = answer_time

    def setupPort(self, cflag_baud: int) -> bool:  # type: ignore[override]
        self.ser = serial.Serial(self.port_name, self.baudrate, timeout=POLL)
        self.is_open, self.tx_time_per_byte = True, 1e4 / self.baudrate  # [ms]
        return True

    def setPacketTimeout(self, packet_length: int) -> None:
        self.setPacketTimeoutMillis(self.tx_time_per_byte * packet_length + 1e3 * self._answer_time)

    def setPacketTimeoutMillis(self, msec: float) -> None:
        self._deadline = time.monotonic() + 1e-3 * msec

    def isPacketTimeout(self) -> bool:
        return time.monotonic() > self._deadline


class Losses:
    """Counts, among the last `MEASURED` questions to all motors, those to which answers were lost at first."""

    def __init__(self) -> None:
        self._recent: deque[bool] = deque(maxlen=MEASURED)

    def add(self, lost: bool) -> None:
        self._recent.append(lost)

    @property
    def asked(self) -> int:
        return len(self._recent)

    @property
    def lost(self) -> int:
        return sum(self._recent)


class Bus:
    """A serial port with motors on it. One thread at a time may use it.

    Args:
        port: for example /dev/ttyDXL_master_left.
        baudrate: of all motors on it.
        answer_time: [s] that an answer may take beyond its transmission.

    `alerts` are the motors whose last answer reported a hardware error. `losses` counts lost ones.

    Raises HardwareError if the port cannot be opened, and ValueError for a baud rate that the SDK does not know.

    Example:
        bus = Bus("/dev/ttyDXL_master_left")
        bus.ask([1, 2, 4], PRESENT_POSITION)
        positions = bus.answers()  # {1: b"...", ...}, without motors that did not answer
    """

    def __init__(self, port: str, baudrate: int = 1_000_000, answer_time: float = ANSWER_TIME):
        check_latency(port)
        self.port, self.alerts, self.losses = port, set[int](), Losses()
        self._port, self._packets = Port(port, answer_time), Protocol2PacketHandler()
        self._asked: tuple[tuple[int, ...], Register] = ((), Register(0, 0))
        try:
            if not self._port.setBaudRate(baudrate):
                raise ValueError(f"baudrate {baudrate} of {port} is unknown; ALOHA's arms have 1000000")
        except OSError as error:
            raise HardwareError(
                f"{port} cannot be opened ({error}); plug the arm in, and give yourself access: "
                "sudo adduser $USER dialout"
            ) from None

    def close(self) -> None:
        if self._port.is_open:
            with contextlib.suppress(OSError, termios.error):
                self._port.closePort()

    # -- one motor, with an acknowledgement ---------------------------------------------------------------------------

    def ping(self, motor: int) -> int:
        """The model number of a motor; HardwareError if it does not answer."""
        return self._question(motor, lambda: self._packets.ping(self._port, motor))

    def read(self, motor: int, register: Register) -> int:
        """The value of a register, unsigned."""
        question = lambda: self._packets.readTxRx(self._port, motor, *register)  # noqa: E731
        return int.from_bytes(bytes(self._question(motor, question)), "little")

    def write(self, motor: int, register: Register, value: int) -> None:
        """Writes a register; returns when the motor has confirmed it."""
        data = list(to_bytes(value, register.size))
        self._question(motor, lambda: (None, *self._packets.writeTxRx(self._port, motor, *register, data)))

    def _question(self, motor: int, question: Callable[[], tuple[Any, int, int]]) -> Any:
        for _ in range(ATTEMPTS):
            with self._errors_of_the_port():
                answer, result, error = question()
            if result == COMM_SUCCESS:
                if code := error & ~ALERT:
                    raise HardwareError(f"motor {motor} on {self.port} refused: {ERROR_CODES.get(code, code)}")
                return answer
            time.sleep(LATE)  # an answer that comes late must not be taken for that to the next question
            self._port.clearPort()
        raise HardwareError(
            f"motor {motor} on {self.port} does not answer; check the power supply, the cables and the motor's id"
        )

    # -- all motors at once -------------------------------------------------------------------------------------------

    def ask(self, motors: Sequence[int], register: Register) -> None:
        """Asks motors for a register and returns at once; `answers` waits. So two buses can answer side by side."""
        self._asked = tuple(motors), register
        self._ask(motors)

    def answers(self) -> dict[int, bytes]:
        """The answers to `ask`, by motor. Motors that did not answer after all attempts are missing.

        A bus on which nobody answers gets one attempt less: it costs 11 ms, not 16.
        """
        missing, found = list(self._asked[0]), {}
        for attempt in range(ATTEMPTS):
            if attempt:
                self._ask(missing)
            found |= self._collect(missing)
            missing = [motor for motor in missing if motor not in found]
            if not attempt:
                self.losses.add(bool(missing))
            if not missing or (attempt == ATTEMPTS - 2 and not found):
                break
        return found

    def sync_write(self, register: Register, values: Mapping[int, int]) -> None:
        """Writes a register of several motors with one packet. Nobody confirms it."""
        data = [byte for motor, value in values.items() for byte in (motor, *to_bytes(value, register.size))]
        with self._errors_of_the_port():
            self._packets.syncWriteTxOnly(self._port, *register, data, len(data))

    def set_all(self, register: Register, values: Mapping[int, int]) -> None:
        """Writes a register of several motors and reads it back; HardwareError if a motor has not taken its value."""
        waiting = dict(values)
        for _ in range(ATTEMPTS):
            self.sync_write(register, waiting)
            self.ask(list(waiting), register)
            answers = self.answers()
            expected = {motor: to_bytes(value, register.size) for motor, value in waiting.items()}
            waiting = {motor: waiting[motor] for motor in waiting if answers.get(motor) != expected[motor]}
            if not waiting:
                return
        motors = ", ".join(map(str, waiting))
        raise HardwareError(f"motors {motors} on {self.port} do not take a new value; check the cables")

    def _ask(self, motors: Sequence[int]) -> None:
        register = self._asked[1]
        with self._errors_of_the_port():
            self._packets.syncReadTx(self._port, *register, list(motors), len(motors), False)
        self._port.setPacketTimeout(len(motors) * (STATUS_BYTES + register.size))

    def _collect(self, motors: Sequence[int]) -> dict[int, bytes]:
        """What these motors answer until the deadline. Damaged packets are skipped."""
        found: dict[int, bytes] = {}
        while len(found) < len(motors):
            with self._errors_of_the_port():
                packet, result = self._packets.rxPacket(self._port, False)
            if result == COMM_SUCCESS and packet[MOTOR] in motors:
                motor = packet[MOTOR]
                found[motor] = bytes(packet[DATA : DATA + self._asked[1].size])
                (self.alerts.add if packet[STATUS_ERROR] & ALERT else self.alerts.discard)(motor)
            elif result != COMM_SUCCESS and self._port.isPacketTimeout():
                break
        return found

    @contextlib.contextmanager
    def _errors_of_the_port(self) -> Iterator[None]:
        self._port.is_using = False  # an earlier call may have been interrupted
        try:
            yield
        except (OSError, termios.error) as error:
            raise HardwareError(f"{self.port} is gone ({error}); check the USB cable") from None


def to_bytes(value: int, size: int) -> bytes:
    """A number as a motor keeps it: little-endian, negative ones in two's complement."""
    return (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")


def check_latency(port: str) -> None:
    """HardwareError if a USB adapter keeps answers back for longer than 1 ms, as FTDI's do by default (16 ms)."""
    name = Path(port).resolve().name
    timer = Path(f"/sys/bus/usb-serial/devices/{name}/latency_timer")
    if timer.exists() and (latency := int(timer.read_text())) > 1:
        raise HardwareError(
            f"{port} keeps answers back for {latency} ms, which is too long for 50 Hz: echo 1 | sudo tee {timer}"
        )
