"""The state machine of human-gated control: its rules, and its two copies compared."""

from collections.abc import Sequence

import numpy as np
import pytest

from act.runtime.gated_control import GatedControl, Mode
from sim_envs.teleop import gated_control as of_teleoperation

COMMANDS = (("take_over",), ("clutch", True), ("clutch", False), ("hand_back",))
AUTONOMOUS, PAUSED, CORRECTING = Mode


def modes(control: GatedControl | of_teleoperation.GatedControl, commands: Sequence[tuple]) -> list[str]:
    """The mode after every command."""
    values = []
    for name, *arguments in commands:
        getattr(control, name)(*arguments)
        values.append(control.mode.value)
    return values


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (AUTONOMOUS, (PAUSED, AUTONOMOUS, AUTONOMOUS, AUTONOMOUS)),
        (PAUSED, (PAUSED, CORRECTING, PAUSED, AUTONOMOUS)),
        (CORRECTING, (CORRECTING, CORRECTING, PAUSED, AUTONOMOUS)),
    ],
)
def test_every_command_in_every_mode(before: Mode, after: Sequence[Mode]) -> None:
    for command, expected in zip(COMMANDS, after, strict=True):
        control = GatedControl()
        control.mode = before
        assert modes(control, [command]) == [expected.value]


@pytest.mark.parametrize("seed", range(20))
def test_both_copies_go_through_the_same_modes(seed: int) -> None:
    commands = [COMMANDS[k] for k in np.random.default_rng(seed).integers(len(COMMANDS), size=200)]
    visited = modes(GatedControl(), commands)
    assert visited == modes(of_teleoperation.GatedControl(), commands)
    assert set(visited) == {mode.value for mode in Mode}
