"""How the numbers of a LeRobot device become those of an observation or an action. Everything is declared in a file.

LeRobot's robots and teleoperators give one number per joint, by name, in a unit of their own: degrees, radians, or the
share of a calibrated range from -100 to 100. Here they become joints [rad] and gripper openings [0 closed, 1 open]. No
unit, sign, zero or range is guessed; where LeRobot says itself which unit a motor has, the declaration must agree.
"""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from real_envs.yaml_file import read_mapping

ANY_STEP = math.inf  # of a number that no motor follows
GRIPPER_STEP = 1.0  # a gripper opens and closes within one control step, and its motor follows as it can
CONTROL_TIMESTEP = 0.02  # [s]
UNITS = ("degrees", "radians", "range_m100_100")  # of joints; LeRobot calls the last one RANGE_M100_100


@dataclass(frozen=True)
class Axis:
    """One number of qpos and of an action: (LeRobot's number - zero) * scale. Made by `joint`, `gripper`, `fixed`."""

    feature: str  # LeRobot's name, such as left_elbow_flex.pos; "" for a number that the device does not have
    scale: float  # per unit of LeRobot's number
    zero: float  # LeRobot's number at 0
    low: float  # [rad] or opening
    high: float
    unit: str = ""  # one of UNITS for a joint


def joint(
    feature: str,
    unit: str,
    low: float,
    high: float,
    sign: int = 1,
    zero: float = 0.0,
    radians: Sequence[float] | None = None,
) -> Axis:
    """A joint.

    Args:
        feature: LeRobot's name.
        unit: "degrees", "radians", or "range_m100_100", the share of the range that was found in the calibration.
        low, high: [rad] targets and readings are limited to this.
        sign: -1 where LeRobot counts the other way round.
        zero: LeRobot's number, in its unit, where the joint is at 0 rad.
        radians: only for range_m100_100, in place of sign and zero: the angles [rad] at -100 and at 100.
    """
    if unit not in UNITS:
        raise ValueError(f"{feature} has unit {unit!r}; give one of {', '.join(UNITS)}")
    if (unit == "range_m100_100") != (radians is not None) or (radians is not None and (sign, zero) != (1, 0.0)):
        raise ValueError(f"{feature}: give `radians`, the angles at -100 and 100, for range_m100_100 and only there")
    if not low < high or sign not in (-1, 1):
        raise ValueError(f"{feature} has sign {sign}, low {low}, high {high}; the sign is 1 or -1, and low below high")
    if radians is None:
        scale = sign * (math.pi / 180 if unit == "degrees" else 1.0)
        return Axis(feature, scale, zero, low, high, unit)
    first, last = radians
    if first == last:
        raise ValueError(f"{feature}: radians {list(radians)} are the same at -100 and at 100")
    scale = (last - first) / 200
    return Axis(feature, scale, -100 - first / scale, low, high, unit)


def gripper(feature: str, closed: float, open: float) -> Axis:
    """A gripper; `closed` and `open` are LeRobot's numbers at both ends."""
    if closed == open:
        raise ValueError(f"{feature} is closed and open at {open}; the two must differ")
    return Axis(feature, 1 / (open - closed), closed, 0.0, 1.0)


def fixed(value: float) -> Axis:
    """A number that the device does not have: it reads `value`, and what an action says about it goes nowhere."""
    return Axis("", 1.0, 0.0, value, value)


@dataclass(frozen=True)
class Body:
    """The numbers of qpos and of an action, in their order, and the cameras of a LeRobot robot or teleoperator.

    Args:
        axes: one per number.
        speed: [rad/s] largest speed of a target.
        cameras: our name of a camera -> LeRobot's; others are not looked at.
        unused: features of LeRobot's action that shall get no target.

    Example:
        arm = Body((joint("elbow_flex.pos", "degrees", -1.6, 1.6), gripper("gripper.pos", closed=0, open=100)), speed=2)
        print(arm.values({"elbow_flex.pos": 90.0, "gripper.pos": 50.0}))  # [1.57, 0.5]
    """

    axes: tuple[Axis, ...]
    speed: float
    cameras: Mapping[str, str] = field(default_factory=dict)
    unused: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = [axis.feature for axis in self.axes if axis.feature]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"the features are {names}; name at least one, and each once")
        if not 0 < self.speed <= 2 * math.pi:
            raise ValueError(f"speed {self.speed}; give 0 to 6.28 rad/s")

    @property
    def limits(self) -> np.ndarray:
        """The limits (n, 2): [rad], of a gripper 0 to 1."""
        return np.array([(axis.low, axis.high) for axis in self.axes])

    @property
    def max_step(self) -> np.ndarray:
        """How far a target may be from the last one per control step, (n,)."""
        per_step = self.speed * CONTROL_TIMESTEP
        return np.array([per_step if a.unit else GRIPPER_STEP if a.feature else ANY_STEP for a in self.axes])

    def values(self, numbers: Mapping[str, Any]) -> np.ndarray:
        """LeRobot's numbers by name as values (n,) float64: [rad], openings, and what is fixed."""
        read = [(float(numbers[a.feature]) - a.zero) * a.scale if a.feature else a.low for a in self.axes]
        return np.array(read)

    def numbers(self, values: np.ndarray) -> dict[str, float]:
        """Values (n,) as LeRobot's numbers by name; those of fixed axes are left out."""
        pairs = zip(self.axes, np.asarray(values, np.float64), strict=True)
        return {axis.feature: float(value / axis.scale + axis.zero) for axis, value in pairs if axis.feature}

    def check(self, device: Any, features: Mapping[str, Any]) -> None:
        """Raises ValueError, in one sentence, if LeRobot's `features` and units of a device are not as declared."""
        joints = {name for name, kind in features.items() if not isinstance(kind, tuple)}
        declared = {axis.feature for axis in self.axes if axis.feature} | set(self.unused)
        name = getattr(device, "name", type(device).__name__)
        if unknown := sorted(declared - joints):
            raise ValueError(f"{name} has no joint {unknown[0]!r}; it has {', '.join(sorted(joints))}")
        if forgotten := sorted(joints - declared):
            raise ValueError(f"nobody declared {forgotten[0]!r} of {name}; add it to the axes, or to `unused`")
        units = units_of(device)
        for axis in self.axes:
            actual = units.get(axis.feature, axis.unit)
            if axis.unit and actual != axis.unit:
                raise ValueError(f"{axis.feature} of {name} has unit {actual!r}, not {axis.unit!r} as declared")

    def check_reading(self, values: np.ndarray) -> None:
        """Raises ValueError, in one sentence, if a joint is where it must not be: a sign of a wrong unit or zero."""
        for axis, value in zip(self.axes, values, strict=True):
            if axis.unit and not axis.low - 0.1 <= value <= axis.high + 0.1:
                raise ValueError(
                    f"{axis.feature} is at {value:.2f} rad, outside of {axis.low} to {axis.high}; move it there by "
                    f"hand, or correct its unit ({axis.unit}), sign, zero or limits"
                )


def units_of(device: Any) -> dict[str, str]:
    """The unit of every motor of a device, as far as LeRobot says it, by the name of its feature."""
    arms = {"": device, "left_": getattr(device, "left_arm", None), "right_": getattr(device, "right_arm", None)}
    found = {}
    for prefix, arm in arms.items():
        motors = getattr(getattr(arm, "bus", None), "motors", {})
        for motor, about in motors.items() if isinstance(motors, Mapping) else ():
            found[f"{prefix}{motor}.pos"] = str(getattr(about.norm_mode, "value", about.norm_mode))
    return found


# -- YAML -------------------------------------------------------------------------------------------------------------


def load(path: Path) -> Body:
    """Reads a declaration; docs/real_robot.md shows one. Raises ValueError, which names the file, if it is none."""
    try:
        values = read_mapping(path)
        if not isinstance(values.get("axes"), list):
            raise ValueError("there is no list `axes`")
        axes = tuple(_axis(item) for item in values.pop("axes"))
        cameras, unused = values.get("cameras") or {}, values.get("unused") or []
        if not isinstance(cameras, dict) or not all(isinstance(name, str) for pair in cameras.items() for name in pair):
            raise ValueError(f"cameras {cameras!r:.80}: give a mapping of our names to LeRobot's, or leave it out")
        if not isinstance(unused, list):
            raise ValueError(f"unused {unused!r:.80}: give a list of features, or leave it out")
        return _called(Body, {**values, "axes": axes, "cameras": cameras, "unused": tuple(unused)})
    except (OSError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}; docs/real_robot.md shows a file that works") from None


def _axis(item: Any) -> Axis:
    if not isinstance(item, dict):
        raise ValueError(f"the axis {item!r:.80} is no mapping")
    if "fixed" in item:
        return _called(fixed, {"value" if name == "fixed" else name: value for name, value in item.items()})
    return _called(joint if "unit" in item else gripper, item)


def _called(function: Callable[..., Any], values: Mapping[str, Any]) -> Any:
    """The function's answer; ValueError that names what is unknown or missing among its keyword arguments."""
    parameters = inspect.signature(function).parameters
    if unknown := sorted(set(values) - set(parameters)):
        raise ValueError(f"unknown {unknown[0]!r} for {function.__name__}; known are {', '.join(parameters)}")
    needed = [name for name, about in parameters.items() if about.default is about.empty]
    if missing := [name for name in needed if name not in values]:
        raise ValueError(f"{values.get('feature', function.__name__)} needs {missing[0]!r}")
    return function(**values)
