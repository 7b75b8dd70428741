"""LeRobot's robots as the `robot` of RobotEnvs: within limits, slowly to a start pose, holding on errors."""

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np

from real_envs.errors import HardwareError, holding_on_errors
from real_envs.lerobot_body import CONTROL_TIMESTEP, Body
from real_envs.lerobot_part import FAILURES, Part

SLOW = 0.3  # [rad/s] on the way to a start or rest pose
ARRIVED = 0.05  # [rad] from a goal at which a slow move has ended
LONGEST_MOVE = 20.0  # [s] of a slow move


class LeRobotRobot:
    """One or several of LeRobot's robots and their cameras. Whatever goes wrong, they get their present pose as target.

    Args:
        parts: (robot, body) of each; qpos and actions hold their numbers one after another.
        start: the pose (A,) to which `reset` moves slowly; None leaves the robot where it is.
        rest: the pose (A,) to which the robot moves slowly when everything ends well.
        say: gets one sentence when LeRobot sends other targets than it got.

    Leaving the context disconnects the robots, and by LeRobot's default their torque goes off then; a robot that shall
    hold needs `disable_torque_on_disconnect=False` in its configuration.

    Example:
        with LeRobotRobot((BiSOFollower(config), load(Path("followers.yaml")))) as robot:
            envs = RobotEnvs(robot, EnvSpec("my_task", (), episode_len=400, cameras=("cam_high",)))
            list(rollout(envs, agent, [recorder], seeds=[0]))
    """

    def __init__(
        self,
        *parts: tuple[Any, Body],
        start: np.ndarray | None = None,
        rest: np.ndarray | None = None,
        say: Callable[[str], None] = print,
    ):
        self.parts = [Part(robot, body, robot.action_features, robot.get_observation) for robot, body in parts]
        bodies = [part.body for part in self.parts]
        self.limits = np.concatenate([body.limits for body in bodies])  # (A, 2)
        self.max_step = np.concatenate([body.max_step for body in bodies])  # (A,), which RobotEnvs obeys, too
        self._ends = np.cumsum([len(body.axes) for body in bodies])[:-1]
        self.start, self.rest = (None if pose is None else self._checked(pose, "pose") for pose in (start, rest))
        self.say, self._said = say, False
        self._blind = False  # whether a robot did not answer the last time
        self._numbers: list[Mapping[str, Any]] = []  # what LeRobot gave last, by part
        self._obs: dict[str, Any] | None = None  # the last observation and its time
        self._target = np.zeros(len(self.limits))  # what was sent last
        self._check_cameras()

    def connect(self) -> Self:
        """Connects all robots or none. Raises HardwareError or ValueError, in one sentence, if one does not fit."""
        try:
            for part in self.parts:
                part.connect()
            self._numbers, self._obs = [], None
            self._target = self.observe()["qpos"].astype(np.float64)
        except BaseException:
            self.close()
            raise
        return self

    # -- what RobotEnvs calls -----------------------------------------------------------------------------------------

    def observe(self) -> dict[str, Any]:
        """qpos (A,), qvel (A,) from differences of qpos, and the newest image of every declared camera.

        If a robot does not answer, the last observation comes again. Raises HardwareError when that lasts `SILENCE`.
        """
        with holding_on_errors(self.hold):
            read = [part.read() for part in self.parts]
            self._blind = any(numbers is None for numbers in read)
            if not self._blind:
                self._obs = self._observation(read)
            elif self._obs is None:
                raise HardwareError("a robot did not answer its first question; check the cables and the power supply")
        return {name: value for name, value in self._obs.items() if name != "time"}

    def act(self, action: np.ndarray) -> None:
        """Sends targets (A,), within their limits; none after an observation that failed."""
        self._approach(self._checked(action, "action"), self.max_step)

    def reset(self) -> None:
        """Moves slowly to the start pose, if there is one; targets begin where the robot is."""
        self._target = self.observe()["qpos"].astype(np.float64)
        if self.start is not None:
            self.move_slowly(self.start)

    def close(self) -> None:
        """Disconnects the robots."""
        for part in self.parts:
            part.disconnect()

    # -- further moves ------------------------------------------------------------------------------------------------

    def move_slowly(self, pose: np.ndarray) -> None:
        """Moves to a pose (A,) at `SLOW` rad/s; returns when the joints are there, or after 20 s at the latest."""
        joints = np.array([axis.unit != "" for part in self.parts for axis in part.body.axes])
        step = np.where(joints, SLOW * CONTROL_TIMESTEP, self.max_step)
        deadline = time.monotonic() + LONGEST_MOVE
        while time.monotonic() < deadline:
            far = np.abs(self.observe()["qpos"] - pose)[joints]
            self._approach(pose, step)
            if far.max() < ARRIVED:
                return
            time.sleep(CONTROL_TIMESTEP)

    def hold(self) -> None:
        """Makes every robot that still answers stay where it was read last."""
        for part, numbers in zip(self.parts, self._numbers, strict=False):  # none before the first observation
            with contextlib.suppress(*FAILURES):
                part.send(part.body.values(numbers))

    # -- inside -------------------------------------------------------------------------------------------------------

    def _observation(self, read: list[Any]) -> dict[str, Any]:
        now, self._numbers = time.monotonic(), read
        values = [part.body.values(numbers) for part, numbers in zip(self.parts, read, strict=True)]
        qpos, qvel = np.concatenate(values).astype(np.float32), np.zeros(len(self.limits), np.float32)
        if self._obs is not None and now > self._obs["time"]:
            qvel = ((qpos - self._obs["qpos"]) / (now - self._obs["time"])).astype(np.float32)
        images = {
            name: np.array(numbers[feature])  # a copy: LeRobot may write into its own
            for part, numbers in zip(self.parts, read, strict=True)
            for name, feature in part.body.cameras.items()
        }
        return {"qpos": qpos, "qvel": qvel, "images": images, "time": now}

    def _approach(self, goal: np.ndarray, step: np.ndarray) -> None:
        if self._blind:
            return
        goal = np.clip(goal, *self.limits.T)
        self._target = self._target + np.clip(goal - self._target, -step, step)
        with holding_on_errors(self.hold):
            for part, values in zip(self.parts, np.split(self._target, self._ends), strict=True):
                if not part.send(values) and not self._said:
                    self._said = True
                    self.say(f"{part.name} changes targets (max_relative_target?); recordings hold those before that")

    def _checked(self, values: np.ndarray, what: str) -> np.ndarray:
        values = np.asarray(values, np.float64)
        if values.shape != (len(self.limits),) or not np.isfinite(values).all():
            raise ValueError(f"{what} has shape {values.shape}; expected ({len(self.limits)},) finite joint targets")
        return values

    def _check_cameras(self) -> None:
        names = [name for part in self.parts for name in part.body.cameras]
        if len(set(names)) < len(names):
            raise ValueError(f"cameras {names}; give every camera a name of its own")
        for part in self.parts:
            shapes = {name: kind for name, kind in part.device.observation_features.items() if isinstance(kind, tuple)}
            for feature in part.body.cameras.values():
                if len(shapes.get(feature, ())) != 3 or shapes[feature][2] != 3:
                    raise ValueError(f"{part.name} has no colour camera {feature!r}; it has {shapes or 'none'}")

    def __enter__(self) -> Self:
        return self.connect()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is not None:
                self.hold()
            elif self.rest is not None:
                self.move_slowly(self.rest)
        finally:
            self.close()
