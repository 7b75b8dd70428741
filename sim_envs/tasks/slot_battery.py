"""Defines slot battery: the left arm holds a remote control; the right arm puts a battery in, against a spring."""

from typing import Any

import numpy as np

from sim_envs.robot import FINGERS
from sim_envs.task import ASSETS, TABLE, BimanualTask, quaternion_matrix, resting_pose

BATTERY, SPRING = ("battery",), ("spring",)
REMOTE = ("remote_handle", "remote_floor")  # what the left hand touches
# Range of x and of y at the start [m], sampled uniformly: lines of 15 cm, as in the paper.
BATTERY_LINE, REMOTE_LINE = (np.array([[x, x], [0.425, 0.575]]) for x in (0.14, -0.11))
BATTERY_AREA, REMOTE_AREA = (np.array([[x - 0.03, x + 0.03], [0.41, 0.59]]) for x in (0.14, -0.11))
AREA_YAW = 0.3  # [rad] largest turn of both objects that start in an area
SEAT = np.array([0.039, 0.0, 0.005])  # [m] of the inserted battery's middle in the frame of the remote
LIP = 0.006  # [m] height of the lip above the floor of the compartment
PLAY = 0.004  # [m] how far the inserted battery may be beside its seat
COMPRESSED = 0.002  # [m] smallest travel of the spring; the seat leaves it 4 mm


class Task(BimanualTask):
    """The stages are those of Table I of the ACT paper.

    1 grasp    the left hand holds the remote, the right hand holds the battery off the table
    2 place    the battery's black end is in the compartment and touches the spring
    3 insert   the battery lies on the compartment's floor behind the lip and compresses the spring

    Strict success: for the last 0.5 s (25 control steps), the battery is inserted, and the right hand is off it.
    """

    name = "slot_battery"
    scene = ASSETS / "slot_battery.xml"
    stage_names = ("grasp", "place", "insert")
    objects = ("battery", "remote")
    keypoints = (
        "battery",
        "battery_pole",
        "battery_foot",
        "remote",
        "remote_end",
        "remote_lip",
        "left/tcp",
        "right/tcp",
    )
    episode_len = 400
    strict_steps = 25

    def sample_objects(self, rng: np.random.Generator) -> np.ndarray:
        battery = self._start(rng, BATTERY_AREA if self.area else BATTERY_LINE, 0.009)
        remote = self._start(rng, REMOTE_AREA if self.area else REMOTE_LINE, 0.013)
        return np.concatenate([battery, remote])

    def stage(self, physics: Any) -> int:
        if self._inserted(physics):
            return 3
        x, y, _ = battery_in_remote(self.env_state(physics)) - SEAT
        if self.touching(physics, BATTERY, SPRING) and abs(y) < 2 * PLAY and x > -2 * PLAY:
            return 2
        holding = self.touching(physics, REMOTE, FINGERS["left"]) and self.touching(physics, BATTERY, FINGERS["right"])
        return 1 if holding and not self.touching(physics, BATTERY, TABLE) else 0

    def holds(self, physics: Any) -> bool:
        return self._inserted(physics) and not self.touching(physics, BATTERY, FINGERS["right"])

    def bring_together(self, rng: np.random.Generator, env_state: np.ndarray) -> None:
        """Puts the battery above its compartment or into it, nearly parallel to it."""
        remote = env_state[7:14]
        offset = SEAT + np.array([rng.uniform(0.0, 0.012), rng.normal(0, 0.003), rng.uniform(0.0, 0.03)])
        env_state[:3] = remote[:3] + quaternion_matrix(remote[3:]) @ offset
        env_state[3:7] = remote[3:] + rng.normal(0, 0.03, 4)
        env_state[3:7] /= np.linalg.norm(env_state[3:7])

    def _start(self, rng: np.random.Generator, region: np.ndarray, height: float) -> np.ndarray:
        """Samples the start pose (7,) of an object whose middle is `height` [m] above the table."""
        x, y = rng.uniform(region[:, 0], region[:, 1])
        return resting_pose(x, y, height, rng.uniform(-AREA_YAW, AREA_YAW) if self.area else 0.0)

    def _inserted(self, physics: Any) -> bool:
        return in_seat(self.env_state(physics)) and physics.named.data.qpos["spring"][0] > COMPRESSED


def battery_in_remote(env_state: np.ndarray) -> np.ndarray:
    """Returns the position (3,) [m] of the battery's middle in the frame of the remote."""
    battery, remote = np.asarray(env_state[:7], np.float64), np.asarray(env_state[7:14], np.float64)
    return quaternion_matrix(remote[3:]).T @ (battery[:3] - remote[:3])


def in_seat(env_state: np.ndarray) -> bool:
    """Returns whether the battery is in its seat: behind the lip, lower than half of it, the right way round."""
    off = battery_in_remote(env_state) - SEAT
    battery, remote = (quaternion_matrix(np.asarray(env_state[k : k + 4], np.float64))[:, 0] for k in (3, 10))
    return bool(np.all(np.abs(off[:2]) < PLAY) and abs(off[2]) < LIP / 2 and battery @ remote > np.cos(0.1))
