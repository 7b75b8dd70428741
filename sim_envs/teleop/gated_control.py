"""Who controls the robot in a teleoperation session with a policy: a state machine with three modes.

    AUTONOMOUS --take_over--> PAUSED <--clutch--> CORRECTING
         ^                      |                     |
         +------hand_back-------+------hand_back------+

It is a copy of act/runtime/gated_control.py, since `sim_envs` never imports `act`; a test drives both with the same
commands and compares them.
"""

import enum


class Mode(enum.Enum):
    """Who controls the robot."""

    AUTONOMOUS = "autonomous"  # the policy
    PAUSED = "paused"  # nobody: the arms keep their last targets
    CORRECTING = "correcting"  # the operator


class GatedControl:
    """The mode of one robot. A command that makes no sense in the present mode changes nothing."""

    def __init__(self) -> None:
        self.mode = Mode.AUTONOMOUS

    def take_over(self) -> None:
        """The operator stops the policy; nobody moves the arms until the clutch is engaged."""
        if self.mode is Mode.AUTONOMOUS:
            self.mode = Mode.PAUSED

    def clutch(self, engaged: bool) -> None:
        """Says whether the operator holds the controls; without effect while the policy drives."""
        if self.mode is not Mode.AUTONOMOUS:
            self.mode = Mode.CORRECTING if engaged else Mode.PAUSED

    def hand_back(self) -> None:
        """The policy drives again."""
        self.mode = Mode.AUTONOMOUS
