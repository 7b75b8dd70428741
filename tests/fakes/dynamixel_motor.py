"""A Dynamixel motor: its control table, how its shaft moves, and its faults (dynamixel_bus.py puts motors on a bus).

Written from ROBOTIS's e-manual alone (control table of the XM540-W270: emanual.robotis.com/docs/en/dxl/x/xm540-w270).
"""

import time
from collections.abc import Sequence

ACCESS_ERROR, RANGE_ERROR = 0x07, 0x04
EEPROM_END = 64  # addresses below keep their values without power and are locked while torque is on
SPEED_UNIT = 0.229 / 60 * 4096  # [ticks/s]
OVERLOAD_TIME = 2.0  # [s] that a stalled motor pushes before it gives up

# name -> (address, size)
REGISTERS = {
    "model": (0, 2),
    "id": (7, 1),
    "return_delay": (9, 1),
    "drive_mode": (10, 1),
    "mode": (11, 1),
    "secondary_id": (12, 1),
    "homing_offset": (20, 4),
    "current_limit": (38, 2),
    "velocity_limit": (44, 4),
    "torque": (64, 1),
    "error": (70, 1),
    "d_gain": (80, 2),
    "i_gain": (82, 2),
    "p_gain": (84, 2),
    "watchdog": (98, 1),
    "goal_current": (102, 2),
    "acceleration": (108, 4),
    "velocity": (112, 4),
    "goal": (116, 4),
    "present_velocity": (128, 4),
    "present": (132, 4),
    "temperature": (146, 1),
}
GOALS = (100, 102, 104, 116)  # addresses that are locked after the bus watchdog has stopped the motor


class Motor:
    """A motor: its control table, its shaft, and its faults.

    Args:
        motor_id: 0 to 252.
        position: of the shaft [ticks].
        model: 1120 is an XM540-W270.

    `stalled` keeps the shaft where it is, `heat()` makes the motor overheat, and `place()` is a hand that turns it.
    """

    def __init__(self, motor_id: int, position: float = 2048, model: int = 1120):
        self.table = bytearray(256)
        self.shaft, self.stalled = float(position), False
        self.instructed = self.updated = time.monotonic()
        self._pushing = 0.0  # [s] against an obstacle
        for name, value in {
            "model": model,
            "id": motor_id,
            "return_delay": 250,
            "mode": 3,
            "secondary_id": 255,
        }.items():
            self.set(name, value)
        for name, value in {"velocity_limit": 131, "current_limit": 2047, "p_gain": 800, "temperature": 35}.items():
            self.set(name, value)
        self.set("goal", round(position))

    def get(self, name: str) -> int:
        address, size = REGISTERS[name]
        signed = size == 4 or name == "watchdog"
        return int.from_bytes(self.table[address : address + size], "little", signed=signed)

    def set(self, name: str, value: int) -> None:
        address, size = REGISTERS[name]
        self.table[address : address + size] = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")

    def place(self, position: float) -> None:
        """Turns the shaft, as a hand does."""
        self.shaft = float(position)

    def heat(self) -> None:
        """Makes the motor overheat: it lets go and reports it."""
        self.set("temperature", 85)
        self._fail(0b100)

    def _fail(self, error: int) -> None:
        self.set("error", error)
        self.set("torque", 0)

    def update(self, now: float) -> None:
        """Moves the shaft towards the goal until `now`, or until the bus watchdog stopped it."""
        watchdog, until = self.get("watchdog"), now
        if watchdog > 0 and self.get("torque"):
            until = min(now, self.instructed + 0.02 * watchdog)
        moving = self.get("torque") and watchdog >= 0
        before = self.shaft
        if moving:
            self._move(max(0.0, until - self.updated))
        if moving and until < now:
            self.set("watchdog", -1)
        span = now - self.updated
        self.set("present_velocity", round((self.shaft - before) / span / SPEED_UNIT) if span > 0 else 0)
        reverse = self.get("drive_mode") & 1
        self.set("present", round(4096 - self.shaft if reverse else self.shaft) + self.get("homing_offset"))
        self.updated = now

    def _move(self, seconds: float) -> None:
        error = self.get("goal") - self.shaft
        if self.stalled and abs(error) > 20:
            self._pushing += seconds
            if self._pushing > OVERLOAD_TIME:
                self._fail(0b100000)
        elif not self.stalled:
            profile, limit = self.get("velocity"), self.get("velocity_limit")
            speed = (min(profile, limit) if profile else limit) * SPEED_UNIT
            self.shaft += max(-speed * seconds, min(speed * seconds, error))

    def write(self, address: int, data: bytes) -> int:
        """Returns the error of the status packet."""
        torque, watchdog = self.get("torque"), self.get("watchdog")
        if address < EEPROM_END and torque:
            return ACCESS_ERROR
        if address in GOALS and watchdog < 0:
            return RANGE_ERROR
        self.table[address : address + len(data)] = data
        if address == REGISTERS["torque"][0] and not torque:
            self.set("goal", round(self.shaft))
        return 0


def arm(positions: Sequence[float] = (2048,) * 9, models: Sequence[int] = (1120,) * 9) -> list[Motor]:
    """The nine motors of a ViperX or WidowX, ids 1 to 9, with their shafts at `positions` [ticks]."""
    return [Motor(k + 1, position, model) for k, (position, model) in enumerate(zip(positions, models, strict=True))]
