"""Emulated arms for the tests of real_envs."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import numpy as np
import pytest

from real_envs.description import VIPERX_300S, WIDOWX_250S, ArmDescription, Scale, renamed
from sim_envs.teleop.pace import real_time_priority
from tests.fakes.dynamixel_bus import EmulatedBus
from tests.fakes.dynamixel_motor import arm

PATIENT = 0.05  # [s] answer time for tests that must pass on a busy machine
HOME = np.array([0.0, -0.96, 1.16, 0.0, -0.3, 0.0, 0.1])  # of one arm


def shafts(description: ArmDescription, qpos: np.ndarray) -> dict[int, float]:
    """Where the motors' shafts are [ticks] when the arm is at qpos (7,); shadows mirror their partners."""
    middle = np.array([*(joint.zero for joint in description.joints), description.gripper.closed])
    ticks = Scale(description, middle).ticks(qpos)
    positions = dict(zip(description.motors, map(float, ticks), strict=True))
    return positions | {shadow: 4100 - ticks[place] for shadow, place in description.shadows.items()}


def motors_at(description: ArmDescription, qpos: np.ndarray = HOME):
    positions = shafts(description, qpos)
    return arm([positions[motor] for motor in range(1, 10)])


@pytest.fixture
def emulate() -> Iterator[Callable[..., tuple[ArmDescription, EmulatedBus]]]:
    """Makes an emulated arm: its description, with the port, and its bus."""
    with ExitStack() as stack:

        def make(
            description: ArmDescription, name: str = "left follower", qpos: np.ndarray = HOME, **options: float
        ) -> tuple[ArmDescription, EmulatedBus]:
            bus = stack.enter_context(EmulatedBus(motors_at(description, qpos), **options))  # type: ignore[arg-type]
            return renamed(description, name, bus.port), bus

        yield make


@pytest.fixture
def prompt() -> Iterator[None]:
    """Lets a test that measures tenths of a second, or whose motors must answer in time, run before other programs."""
    with real_time_priority():
        yield


__all__ = ["HOME", "PATIENT", "VIPERX_300S", "WIDOWX_250S", "motors_at", "shafts"]
