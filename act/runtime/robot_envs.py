"""Environments on the wall clock: a simulator that runs in real time, and a robot as an environment."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from act.runtime.envs import Change, Envs, Start
from act.runtime.pace import Clock, Pace
from act.types import CONTROL_TIMESTEP, EnvSpec, Observation


class PacedEnvs:
    """Simulated environments in real time: `step` returns at the end of its control period, not before."""

    def __init__(self, envs: Envs, clock: Clock | None = None, period: float = CONTROL_TIMESTEP):
        self.envs, self.pace = envs, Pace(clock, period)
        self.num_envs, self.env_spec = envs.num_envs, envs.env_spec

    def reset(
        self, seeds: Sequence[int], options: Sequence[dict | None] | None = None, images_due: bool = True
    ) -> list[Start]:
        starts = self.envs.reset(seeds, options, images_due)
        self.pace.start()
        return starts

    def step(self, actions: np.ndarray, images_due: bool = True) -> list[Change]:
        changes = self.envs.step(actions, images_due)
        self.pace.wait()
        return changes

    def close(self) -> None:
        self.envs.close()


class Robot(Protocol):
    """What RobotEnvs needs of a robot. Methods `reset()` and `close()` are called too, if the robot has them."""

    def observe(self) -> Observation:
        """The present observation (act/types.py), in arrays that the robot does not write into again."""
        ...

    def act(self, action: np.ndarray) -> None:
        """Sends joint targets (14,) and returns at once."""
        ...


class RobotEnvs:
    """One robot as an environment: the action goes out, the control period passes, the observation is taken.

    Rewards are 0, since nothing here can judge whether a robot succeeded. An episode ends after `env_spec.episode_len`
    control steps.
    """

    num_envs = 1

    def __init__(self, robot: Robot, env_spec: EnvSpec, clock: Clock | None = None, period: float = CONTROL_TIMESTEP):
        self.robot, self.env_spec, self.pace = robot, env_spec, Pace(clock, period)
        self._t = 0

    def reset(
        self, seeds: Sequence[int], options: Sequence[dict | None] | None = None, images_due: bool = True
    ) -> list[Start]:
        if hasattr(self.robot, "reset"):
            self.robot.reset()  # type: ignore[attr-defined]
        self._t = 0
        observation = self.robot.observe()
        self.pace.start()
        return [(observation, {})]

    def step(self, actions: np.ndarray, images_due: bool = True) -> list[Change]:
        self.robot.act(actions[0])
        self.pace.wait()
        self._t += 1
        return [(self.robot.observe(), 0.0, False, self._t >= self.env_spec.episode_len, {})]

    def close(self) -> None:
        if hasattr(self.robot, "close"):
            self.robot.close()  # type: ignore[attr-defined]
