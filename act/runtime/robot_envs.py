"""Environments on the wall clock: a simulator that runs in real time, and a robot as an environment."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from act.runtime.checks import wrong_reading
from act.runtime.envs import Change, Envs, Start
from act.runtime.limits import TargetGuard, declared_max_step
from act.runtime.pace import Clock, Pace
from act.types import CONTROL_TIMESTEP, EnvSpec, Observation, camera_named

FIRST_READINGS = 50  # tries, one per control period, for a sound reading at the start of an episode


class PacedEnvs:
    """Simulated environments in real time: `step` returns at the end of its control period, not before."""

    def __init__(self, envs: Envs, clock: Clock | None = None, period: float = CONTROL_TIMESTEP):
        self.envs, self.pace = envs, Pace(clock, period)
        self.num_envs, self.env_spec = envs.num_envs, envs.env_spec
        self.action_dim: int | None = getattr(envs, "action_dim", None)

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
    """What RobotEnvs needs of a robot. Methods `reset()` and `close()` are called too, if the robot has them.

    A robot may declare `max_step`: how far a target may be from the last one per control step, as one number or as one
    for each number of an action (A,). Without it the limits of act.runtime.limits.default_max_step hold.
    """

    def observe(self) -> Observation:
        """The present observation (act/types.py), in arrays that the robot does not write into again."""
        ...

    def act(self, action: np.ndarray) -> None:
        """Sends joint targets (A,), as wide as qpos or as `max_step`, and returns at once."""
        ...


class RobotEnvs:
    """One robot as an environment: the action goes out, the control period passes, the observation is taken.

    Rewards are 0, since nothing here can judge whether a robot succeeded. An episode ends after `env_spec.episode_len`
    control steps.

    This is the last place before hardware, so it trusts no agent. A target that act.runtime.limits.TargetGuard holds
    back is not sent: the robot gets its last target again. Readings that are not finite go to nobody: the observation
    before is repeated, and the robot gets its last target, too. `held`, `limited` and `unread` list the control steps
    of the episode in which a target was held back or limited, and in which a reading was bad. `say` gets one sentence
    about the first of each. The info of a step holds "sent", the target (A,) that went to the robot; observers get it
    in place of the action. `env_spec` may call a camera by its other name (act.types.camera_named).
    """

    num_envs = 1

    def __init__(
        self,
        robot: Robot,
        env_spec: EnvSpec,
        clock: Clock | None = None,
        period: float = CONTROL_TIMESTEP,
        say: Callable[[str], None] = print,
    ):
        self.robot, self.env_spec, self.pace, self.say = robot, env_spec, Pace(clock, period), say
        self._t, self._guard = 0, TargetGuard(np.zeros(0), say)  # `reset` makes the one that counts
        self.unread: list[int] = []

    @property
    def held(self) -> list[int]:
        return self._guard.held

    @property
    def limited(self) -> list[int]:
        return self._guard.limited

    @property
    def action_dim(self) -> int | None:
        """A; None before the first reset."""
        return len(self._guard.max_step) or None

    def reset(
        self, seeds: Sequence[int], options: Sequence[dict | None] | None = None, images_due: bool = True
    ) -> list[Start]:
        """Begins an episode. Raises ValueError if the readings stay bad for FIRST_READINGS control periods."""
        if hasattr(self.robot, "reset"):
            self.robot.reset()  # type: ignore[attr-defined]
        self._t, self._sound, self.unread = 0, True, []
        self._obs = self._first_reading()
        qpos = np.asarray(self._obs["qpos"])
        self._guard = TargetGuard(declared_max_step(getattr(self.robot, "max_step", None), qpos), self.say)
        self._guard.start(qpos)
        self.pace.start()
        return [(self._obs, {})]

    def step(self, actions: np.ndarray, images_due: bool = True) -> list[Change]:
        sent = self._guard.target(self._t, actions[0]) if self._sound else self._guard.hold(self._t)
        self.robot.act(sent)
        self.pace.wait()
        self._t += 1
        self._obs = self._reading()
        info = {"sent": sent, "clipped": len(self.limited) + len(self.held)}
        return [(self._obs, 0.0, False, self._t >= self.env_spec.episode_len, info)]

    def _first_reading(self) -> Observation:
        wrong = ""
        for _ in range(FIRST_READINGS):
            obs = self._observe()
            wrong = wrong_reading(obs)
            if not wrong:
                return obs
            self.pace.clock.sleep(self.pace.period)
        raise ValueError(f"the robot gives no reading that can be used: {wrong}, {FIRST_READINGS} times in a row")

    def _reading(self) -> Observation:
        """The present observation, or the last sound one in its place."""
        obs = self._observe()
        wrong = wrong_reading(obs, like=self._obs)
        self._sound = not wrong
        if self._sound:
            return obs
        if not self.unread:
            self.say(
                f"control step {self._t}: {wrong}; the agent gets the last reading, the robot its last target again"
            )
        self.unread.append(self._t)
        return self._obs

    def _observe(self) -> Observation:
        """The robot's observation, with its images also under the names that `env_spec` has for these cameras."""
        obs = self.robot.observe()
        images = obs.get("images", {})
        wanted = [(camera, camera_named(camera, images)) for camera in self.env_spec.cameras if camera not in images]
        other = {camera: images[name] for camera, name in wanted if name is not None}
        return obs | {"images": images | other} if other else obs

    def close(self) -> None:
        if hasattr(self.robot, "close"):
            self.robot.close()  # type: ignore[attr-defined]
