"""Leader arms: a person moves them, their motors only measure."""

from typing import Self

import numpy as np

from real_envs.arm import Arm, Reading
from real_envs.motors import EXTENDED_POSITION, TORQUE


class Leader(Arm):
    """A leader arm: its torque is off, so that it can be moved by hand."""

    def mode(self, motor: int) -> int:
        return EXTENDED_POSITION

    def set_up(self) -> None:
        for _, motor in self.description.named():
            self.bus.write(motor, TORQUE, 0)
        self.write_settings()


class LeaderPair:
    """The left and the right leader arm, read side by side. Use it as a context manager.

    Example:
        with LeaderPair(Leader(load(Path("left.yaml"))), Leader(load(Path("right.yaml")))) as leaders:
            print(leaders.read())  # (14,), or None if a motor did not answer
    """

    def __init__(self, left: Leader, right: Leader):
        self.arms = (left, right)
        self.reads = self.missed = 0

    def read(self) -> np.ndarray | None:
        """Joints and grippers (14,) of both arms, or None if a motor did not answer in time.

        Raises HardwareError when an arm is lost.
        """
        for arm in self.arms:
            arm.ask()
        readings: list[Reading] = [arm.reading() for arm in self.arms]
        fresh = all(reading.fresh for reading in readings)
        self.reads, self.missed = self.reads + 1, self.missed + (not fresh)
        return np.concatenate([reading.qpos for reading in readings]) if fresh else None

    def connect(self) -> Self:
        """Connects both arms, or none."""
        try:
            for arm in self.arms:
                arm.connect()
        except BaseException:
            self.disconnect()
            raise
        return self

    def disconnect(self) -> None:
        for arm in self.arms:
            arm.disconnect()

    def __enter__(self) -> Self:
        return self.connect()

    def __exit__(self, *_: object) -> None:
        self.disconnect()
