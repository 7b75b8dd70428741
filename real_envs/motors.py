"""Facts about Dynamixel X motors, from ROBOTIS's e-manual (emanual.robotis.com/docs/en/dxl/x/).

Positions are counted in ticks, 4096 of them per turn; 2048 is the middle. All registers here have the same addresses in
all models of the X series except the XL-320.
"""

import math
from typing import NamedTuple

TICKS = 4096  # per turn
RAD_PER_TICK = 2 * math.pi / TICKS
VELOCITY_UNIT = 0.229 / 60 * TICKS  # [ticks/s] of one unit of a velocity register, 0.229 rev/min
WATCHDOG_UNIT = 0.02  # [s] of one unit of BUS_WATCHDOG
EXTENDED_POSITION, CURRENT_BASED_POSITION = 4, 5  # operating modes


class Register(NamedTuple):
    """A value in a motor's control table: its address and its size [bytes]."""

    address: int
    size: int


RETURN_DELAY = Register(9, 1)  # [2 us] before an answer
DRIVE_MODE = Register(10, 1)  # 0: counter-clockwise is positive, profiles are velocities
OPERATING_MODE = Register(11, 1)
SECONDARY_ID = Register(12, 1)  # 255: none
HOMING_OFFSET = Register(20, 4)  # [ticks]
CURRENT_LIMIT = Register(38, 2)
VELOCITY_LIMIT = Register(44, 4)
TORQUE = Register(64, 1)
HARDWARE_ERROR = Register(70, 1)
POSITION_D, POSITION_I, POSITION_P = Register(80, 2), Register(82, 2), Register(84, 2)
BUS_WATCHDOG = Register(98, 1)  # [20 ms] without an instruction after which the motor stops; 0: off, 255: has stopped
GOAL_CURRENT = Register(102, 2)
PROFILE_ACCELERATION = Register(108, 4)
PROFILE_VELOCITY = Register(112, 4)
GOAL_POSITION = Register(116, 4)
VELOCITY_AND_POSITION = Register(128, 8)  # PRESENT_VELOCITY and PRESENT_POSITION side by side, read at once
PRESENT_POSITION = Register(132, 4)

HARDWARE_ERRORS = {  # bit of HARDWARE_ERROR -> what the motor reports
    0: "a wrong input voltage",
    2: "overheating",
    3: "a broken encoder",
    4: "an electrical shock",
    5: "an overload",
}


class Model(NamedTuple):
    """A model of motor: its name and, if it can limit its current, the unit [mA] and the largest current [units]."""

    name: str
    current_unit: float | None = None
    largest_current: int = 0


MODELS = {  # model number -> model
    1020: Model("XM430-W350", 2.69, 1193),
    1030: Model("XM430-W210", 2.69, 1193),
    1060: Model("XL430-W250"),
    1120: Model("XM540-W270", 2.69, 2047),
    1130: Model("XM540-W150", 2.69, 2047),
}


def reported(error: int) -> str:
    """What a motor reports with a value of HARDWARE_ERROR, in words."""
    return " and ".join(words for bit, words in HARDWARE_ERRORS.items() if error >> bit & 1) or f"error {error}"
