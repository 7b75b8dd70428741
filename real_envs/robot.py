"""ALOHA's robot: two follower arms and cameras, as the `robot` of act.runtime.robot_envs.RobotEnvs."""

import time
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from real_envs.cameras import Camera
from real_envs.errors import holding_on_errors
from real_envs.follower import CONTROL_TIMESTEP, SLOW, Follower

HOME = np.array([0.0, -0.96, 1.16, 0.0, -0.3, 0.0, 0.1])  # of one arm: where the simulated episodes begin, too
ARRIVED = 0.05  # [rad] from a goal at which a slow move has ended
LONGEST_MOVE = 20.0  # [s] of a slow move


class AlohaRobot:
    """Two follower arms and cameras. Whatever goes wrong, the arms hold where they are, with torque on.

    Args:
        left, right: the arms.
        cameras: their images are in every observation.
        start: the pose (14,) to which `reset` moves slowly; None leaves the arms where they are.

    `connect` (or `with`) comes first. Leaving the context after an error or Ctrl-C makes the arms hold; leaving it in
    peace lays them down and switches their torque off.

    Example:
        with AlohaRobot(left, right, [Camera("cam_high", "/dev/CAM_HIGH")]) as robot:
            envs = RobotEnvs(robot, EnvSpec("my_task", (), episode_len=400, cameras=("cam_high",)))
            list(rollout(envs, agent, [recorder], seeds=[0]))
    """

    def __init__(
        self,
        left: Follower,
        right: Follower,
        cameras: Sequence[Camera] = (),
        start: np.ndarray | None = np.concatenate([HOME, HOME]),  # noqa: B008 (nobody writes into it)
    ):
        self.arms, self.cameras, self.start = (left, right), list(cameras), start
        self._blind = False  # whether a motor did not answer the last time

    def connect(self) -> Self:
        """Connects both arms, which then hold where they are, and starts the cameras; all of it or nothing."""
        try:
            for camera in self.cameras:
                camera.start()
            for arm in self.arms:
                arm.connect()
            self.wake()
        except BaseException:
            self.close()
            raise
        return self

    # -- what RobotEnvs calls -----------------------------------------------------------------------------------------

    def observe(self) -> dict[str, Any]:
        """qpos (14,), qvel (14,), the newest image of every camera, and `image_times` [s of time.monotonic()].

        Raises HardwareError when an arm or a camera is lost; both arms hold then.
        """
        with holding_on_errors(self.hold):
            for arm in self.arms:
                arm.ask()
            readings = [arm.reading() for arm in self.arms]
            self._blind = not all(reading.fresh for reading in readings)
            images = {camera.name: camera.latest() for camera in self.cameras}
        return {
            "qpos": np.concatenate([reading.qpos for reading in readings]).astype(np.float32),
            "qvel": np.concatenate([reading.qvel for reading in readings]).astype(np.float32),
            "images": {name: image.pixels for name, image in images.items()},
            "image_times": {name: image.time for name, image in images.items()},
        }

    def act(self, action: np.ndarray) -> None:
        """Moves both arms one control step towards action (14,), within their limits.

        After an observation that an arm did not answer in time, both arms hold for this control step.
        """
        self._send(action, speed=None)

    def reset(self) -> None:
        """Wakes the arms up, if their watchdogs have stopped them, and moves slowly to the start pose."""
        self.wake()
        if self.start is not None:
            self.move_slowly(self.start)

    def close(self) -> None:
        """Makes the arms hold where they are without this program, and closes ports and cameras."""
        for arm in self.arms:
            arm.hold_for_good()
            arm.disconnect()
        for camera in self.cameras:
            camera.close()

    # -- further moves ------------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Starts the watchdogs of both arms."""
        with holding_on_errors(self.hold):
            for arm in self.arms:
                arm.wake()

    def hold(self) -> None:
        """Makes both arms stay where they are; a lost arm's own watchdog does it."""
        for arm in self.arms:
            arm.hold()

    def move_slowly(self, pose: np.ndarray) -> None:
        """Moves to a pose (14,) at `SLOW` rad/s; returns when the joints are there, or after 20 s at the latest."""
        deadline = time.monotonic() + LONGEST_MOVE
        while time.monotonic() < deadline:
            qpos = self.observe()["qpos"]
            self._send(pose, SLOW)
            if np.abs(np.delete(qpos - pose, [6, 13])).max() < ARRIVED:
                return
            time.sleep(CONTROL_TIMESTEP)

    def lie_down(self) -> None:
        """Moves slowly to the rest poses and switches the torque off."""
        grippers = self.observe()["qpos"][[6, 13]]
        poses = [[*arm.description.rest, grip] for arm, grip in zip(self.arms, grippers, strict=True)]
        self.move_slowly(np.concatenate(poses))
        for arm in self.arms:
            arm.let_go()

    def _send(self, action: np.ndarray, speed: float | None) -> None:
        with holding_on_errors(self.hold):
            action = np.asarray(action)
            if action.shape != (14,):
                raise ValueError(f"action has shape {action.shape}; expected (14,) joint targets")
            for arm, target in zip(self.arms, np.split(action, 2), strict=True):
                if not self._blind:
                    arm.aim(target, speed)
            for arm in self.arms:
                arm.send()

    def __enter__(self) -> Self:
        return self.connect()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.wake()
                self.lie_down()
        finally:
            self.close()
