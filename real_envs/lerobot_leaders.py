"""LeRobot's teleoperators as the leader arms of real_envs.puppeteer.LeaderAgent."""

from typing import Any, Self

import numpy as np

from real_envs.lerobot_body import Body
from real_envs.lerobot_part import Part

PUPPETEERING = 14  # numbers of two arms: six joints and a gripper each


class LeRobotLeaders:
    """One or several of LeRobot's teleoperators in the place of a LeaderPair.

    Args:
        parts: (teleoperator, body) of each. Together they have 14 numbers: six joints and a gripper of the left arm,
            then of the right one. What a teleoperator does not have is declared as fixed, also a whole arm.

    Example:
        with LeRobotLeaders((SO101Leader(left), left_body), (SO101Leader(right), right_body)) as leaders:
            list(rollout(envs, LeaderAgent(leaders), [recorder], seeds=[0]))
    """

    def __init__(self, *parts: tuple[Any, Body]):
        self.parts = [Part(leader, body, leader.action_features, leader.get_action) for leader, body in parts]
        self.reads = self.missed = 0
        if (numbers := sum(len(part.body.axes) for part in self.parts)) != PUPPETEERING:
            raise ValueError(
                f"the leaders have {numbers} numbers; two arms have {PUPPETEERING}, six joints and a gripper each: "
                "declare what a leader does not have as fixed"
            )

    def read(self) -> np.ndarray | None:
        """Joints [rad] and openings (14,) of both arms, or None if a leader did not answer this time.

        Raises HardwareError, in one sentence, when a leader is lost.
        """
        read = [part.read() for part in self.parts]
        self.reads += 1
        if any(numbers is None for numbers in read):
            self.missed += 1
            return None
        return np.concatenate([part.body.values(numbers) for part, numbers in zip(self.parts, read, strict=True)])  # type: ignore[arg-type]

    def __enter__(self) -> Self:
        try:
            for part in self.parts:
                part.connect()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for part in self.parts:
            part.disconnect()
