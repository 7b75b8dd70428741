"""LeRobot's Robot and Teleoperator as tests pretend them: joints that follow at once, and faults on demand."""

from types import SimpleNamespace
from typing import Any

import numpy as np

JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll")  # of SO-101, and then a gripper


class Device:
    """What LeRobot's robots and teleoperators share.

    Args:
        numbers: the joints and where they are, in LeRobot's units, by name without `.pos`.
        modes: LeRobot's unit of each; degrees, and range_0_100 of a gripper, by default.

    `failing` is raised by every reading while it is set.
    """

    name = "fake_arm"

    def __init__(self, numbers: dict[str, float], modes: dict[str, str] | None = None):
        self.numbers, self.is_connected, self.is_calibrated = {f"{k}.pos": v for k, v in numbers.items()}, False, True
        units = {k: "range_0_100" if k.endswith("gripper") else "degrees" for k in numbers} | (modes or {})
        self.bus = SimpleNamespace(motors={k: SimpleNamespace(norm_mode=unit) for k, unit in units.items()})
        self.failing: Exception | None = None

    @property
    def action_features(self) -> dict[str, Any]:
        return dict.fromkeys(self.numbers, float)

    def connect(self, calibrate: bool = True) -> None:
        assert not calibrate, "a program must not ask for poses unexpectedly"
        self.is_connected = True

    def disconnect(self) -> None:
        self.is_connected = False

    def _read(self) -> dict[str, Any]:
        assert self.is_connected, "LeRobot raises DeviceNotConnectedError"
        if self.failing is not None:
            raise self.failing
        return dict(self.numbers)


class FakeRobot(Device):
    """A robot that is where it was last sent, with a camera `front`; `sent` holds all targets.

    `clip` stands for LeRobot's max_relative_target: how far a target may be from the present number.
    """

    def __init__(self, numbers: dict[str, float], modes: dict[str, str] | None = None):
        super().__init__(numbers, modes)
        self.sent: list[dict[str, float]] = []
        self.clip = np.inf
        self.image = np.full((4, 6, 3), 7, np.uint8)

    @property
    def observation_features(self) -> dict[str, Any]:
        return {**self.action_features, "front": (4, 6, 3), "front_depth": (4, 6, 1)}

    def get_observation(self) -> dict[str, Any]:
        return {**self._read(), "front": self.image}

    def send_action(self, action: dict[str, float]) -> dict[str, float]:
        assert set(action) <= set(self.numbers)
        clipped = {
            k: self.numbers[k] + float(np.clip(v - self.numbers[k], -self.clip, self.clip)) for k, v in action.items()
        }
        self.sent.append(clipped)
        self.numbers |= clipped
        return clipped


class FakeLeader(Device):
    """A teleoperator."""

    def get_action(self) -> dict[str, float]:
        return self._read()


def so101(prefix: str = "") -> dict[str, float]:
    """The joints of an SO-101 [degrees], all at 0, and its gripper half open [%]."""
    return {**{f"{prefix}{name}": 0.0 for name in JOINTS}, f"{prefix}gripper": 50.0}
