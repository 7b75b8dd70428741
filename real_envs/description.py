"""What an arm is made of: ids of motors, signs, zeros, limits. It is kept as YAML, which `real_envs.calibrate` writes.

Ids, signs and joint limits of the two arms are those of their maker's configuration files (Interbotix vx300s.yaml and
wx250s.yaml; a motor with drive mode 1 has sign -1 here). Gripper ranges are those of the original code
(github.com/tonyzhaozh/act, constants.py). Currents and the speed are choices of ours that no real arm has tested.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from real_envs.motors import RAD_PER_TICK, TICKS
from real_envs.yaml_file import read_mapping

JOINTS = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate")  # and then the gripper
GRIPPER = 6  # place of the gripper among the seven values of an arm


@dataclass(frozen=True)
class Joint:
    """A joint of an arm and its motor."""

    motor: int  # id
    sign: int = 1  # of radians per tick
    zero: int = TICKS // 2  # [ticks] at 0 rad
    low: float = -math.pi  # [rad]
    high: float = math.pi  # [rad]
    shadow: int | None = None  # id of a second motor that faces the first one on the same axis
    current: int = 1000  # [mA] limit of a follower's motor


@dataclass(frozen=True)
class Gripper:
    """A gripper and its motor: 0 is closed, 1 is open."""

    motor: int
    closed: int  # [ticks]
    open: int  # [ticks]
    current: int = 500  # [mA] limit of a follower's motor


@dataclass(frozen=True)
class ArmDescription:
    """An arm of six joints and a gripper.

    Example:
        arm = replace(VIPERX_300S, name="left follower", port="/dev/ttyDXL_puppet_left")
        save(arm, Path("left_follower.yaml"))
    """

    name: str
    port: str
    joints: tuple[Joint, ...]  # in the order of JOINTS
    gripper: Gripper
    baudrate: int = 1_000_000
    speed: float = 3.0  # [rad/s] largest speed of a follower's motors; 30 rev/min is what the maker allows
    p_gain: int = 800  # of a follower's position control; the motors' own default
    i_gain: int = 0
    d_gain: int = 0
    rest: tuple[float, ...] = (0.0, -1.8, 1.55, 0.0, -1.57, 0.0)  # [rad] pose in which a follower may lose its torque

    @property
    def motors(self) -> tuple[int, ...]:
        """The ids of the seven motors that are read, without shadows."""
        return (*(joint.motor for joint in self.joints), self.gripper.motor)

    @property
    def shadows(self) -> dict[int, int]:
        """The shadows: id of a shadow -> place of its joint."""
        return {joint.shadow: place for place, joint in enumerate(self.joints) if joint.shadow is not None}

    @property
    def limits(self) -> np.ndarray:
        """The limits (7, 2) [rad], of the gripper 0 to 1."""
        return np.array([*((joint.low, joint.high) for joint in self.joints), (0.0, 1.0)])

    def named(self) -> Iterator[tuple[str, int]]:
        """Yields the name and id of every motor."""
        for name, motor in zip((*JOINTS, "gripper"), self.motors, strict=True):
            yield name, motor
        for motor, place in self.shadows.items():
            yield f"{JOINTS[place]} shadow", motor

    def check(self) -> None:
        """Raises ValueError, which names the value and what would work, for a description that is no arm."""
        ids = [motor for _, motor in self.named()] if len(self.joints) == len(JOINTS) else []
        if not ids:
            raise ValueError(f"{self.name}: {len(self.joints)} joints; give {len(JOINTS)}: {', '.join(JOINTS)}")
        if len(set(ids)) < len(ids) or not all(0 <= motor <= 252 for motor in ids):
            raise ValueError(f"{self.name}: motors {ids}; give every motor an id of its own, from 0 to 252")
        for name, joint in zip(JOINTS, self.joints, strict=True):
            if joint.sign not in (-1, 1) or not joint.low < joint.high:
                raise ValueError(
                    f"{self.name}: {name} has sign {joint.sign}, low {joint.low}, high {joint.high}; "
                    "the sign must be 1 or -1, and low must be below high"
                )
        if abs(self.gripper.open - self.gripper.closed) < 100:
            raise ValueError(
                f"{self.name}: the gripper is closed at {self.gripper.closed} and open at {self.gripper.open} ticks; "
                "they must be at least 100 apart"
            )
        if not 0 < self.speed <= 2 * math.pi or len(self.rest) != len(JOINTS):
            raise ValueError(f"{self.name}: speed {self.speed}, rest {self.rest}; give 0 to 6.28 rad/s and 6 joints")


def _ticks(angle: float) -> int:
    return TICKS // 2 + round(angle / RAD_PER_TICK)


VIPERX_300S = ArmDescription(
    "follower",
    "/dev/ttyDXL_puppet",
    (
        Joint(1),
        Joint(2, -1, low=-1.85005, high=1.25664, shadow=3, current=2500),
        Joint(4, -1, low=-1.76278, high=1.6057, shadow=5, current=2500),
        Joint(6),
        Joint(7, -1, low=-1.8675, high=2.23402),
        Joint(8),
    ),
    Gripper(9, closed=_ticks(-0.6213), open=_ticks(1.4910)),
)
WIDOWX_250S = ArmDescription(
    "leader",
    "/dev/ttyDXL_master",
    (
        Joint(1),
        Joint(2, low=-1.88, high=1.99, shadow=3),
        Joint(4, low=-2.15, high=1.605, shadow=5),
        Joint(6),
        Joint(7, -1, low=-1.745, high=2.146),
        Joint(8),
    ),
    Gripper(9, closed=_ticks(-0.6842), open=_ticks(0.3083)),
)


class Scale:
    """Converts the ticks of an arm's seven motors to radians and gripper opening, and back.

    Args:
        arm: its zeros and signs.
        ticks: where the motors are now (7,). A motor that has just got its power does not know which turn it is in, so
            a value counts as within half a turn of the middle of its range.
    """

    def __init__(self, arm: ArmDescription, ticks: np.ndarray):
        span = arm.gripper.open - arm.gripper.closed
        self.unit = np.array([*(RAD_PER_TICK * joint.sign for joint in arm.joints), 1 / span])  # per tick
        zero = np.array([*(joint.zero for joint in arm.joints), arm.gripper.closed], np.float64)
        middle = zero + np.array([0.0] * GRIPPER + [span / 2])
        self.zero = zero + TICKS * np.round((np.asarray(ticks) - middle) / TICKS)

    def values(self, ticks: np.ndarray) -> np.ndarray:
        """Six joints [rad] and the gripper's opening, (7,)."""
        return (np.asarray(ticks) - self.zero) * self.unit

    def ticks(self, values: np.ndarray) -> np.ndarray:
        """Ticks (7,), not rounded."""
        return np.asarray(values) / self.unit + self.zero


# -- YAML -------------------------------------------------------------------------------------------------------------


def save(arm: ArmDescription, path: Path) -> None:
    """Writes the description as YAML; the file is the old one or the new one, never half of it."""
    import yaml  # here: who only needs the limits of an arm has no YAML

    arm.check()
    values = asdict(arm)
    values["joints"] = {name: asdict(joint) for name, joint in zip(JOINTS, arm.joints, strict=True)}
    values["rest"] = list(arm.rest)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(str(yaml.safe_dump(values, sort_keys=False)), encoding="utf-8")
    partial.replace(path)


def load(path: Path) -> ArmDescription:
    """Reads a description. ValueError, which names the file and the value, if it is none."""
    try:
        values = read_mapping(path)
        joints = _fields(dict, values.pop("joints"))
        if set(joints) != set(JOINTS):
            raise ValueError(f"joints {sorted(joints)}; give {', '.join(JOINTS)}")
        built = tuple(Joint(**_fields(Joint, joints[name])) for name in JOINTS)
        gripper = Gripper(**_fields(Gripper, values.pop("gripper")))
        rest = tuple(values.pop("rest", VIPERX_300S.rest))
        arm = ArmDescription(**_fields(ArmDescription, values), joints=built, gripper=gripper, rest=rest)
        arm.check()
    except (OSError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path}: {error}; write it with: python -m real_envs.calibrate") from None
    return arm


def _fields(kind: type, values: Any) -> dict[str, Any]:
    """The values as keyword arguments; ValueError for a name that `kind` does not have."""
    if not isinstance(values, Mapping):
        raise ValueError(f"{values!r:.80} is no mapping")
    known = {field.name for field in fields(kind)} if kind is not dict else set(values)
    if unknown := set(values) - known:
        raise ValueError(f"unknown {sorted(unknown)}; known are {', '.join(sorted(known))}")
    return dict(values)


def renamed(arm: ArmDescription, name: str, port: str) -> ArmDescription:
    """The same arm under another name, on another port."""
    return replace(arm, name=name, port=port)
