"""Defines the insertion: the right arm picks up a peg, the left arm a socket, and the peg is pushed in in mid-air."""

from typing import Any

import numpy as np

from sim_envs.robot import FINGERS
from sim_envs.task import ASSETS, TABLE, BimanualTask, resting_pose

PEG, PIN = ("peg",), ("pin",)
WALLS = ("socket_bottom", "socket_top", "socket_back", "socket_front")
PEG_REGION = np.array([[0.1, 0.2], [0.4, 0.6]])  # range of x and of y of the peg [m], sampled uniformly
SOCKET_REGION = np.array([[-0.2, -0.1], [0.4, 0.6]])
DEPTH = 0.015  # [m] depth of the peg for strict success; the pin is 0.020 m inside the mouth


class Task(BimanualTask):
    """The stages are those of the paper's Table I. Either finger of a hand counts; the original code checks one finger.

    1 touched   the left hand touches the socket, the right hand the peg
    2 grasp     and neither lies on the table
    3 contact   the peg touches the socket, neither lies on the table
    4 insert    the peg touches the pin inside the socket, neither lies on the table

    Strict success: at the end, the peg touches the pin or is at least 15 mm inside the mouth between the walls, and
    neither object lies on the table.
    """

    name = "insertion"
    scene = ASSETS / "insertion.xml"
    stage_names = ("touched", "grasp", "contact", "insert")
    objects = ("peg", "socket")
    keypoints = ("peg", "peg_left", "peg_right", "socket", "socket_left", "socket_right", "left/tcp", "right/tcp")
    mirror_plane = 0.5
    strict_steps = 1

    def sample_objects(self, rng: np.random.Generator) -> np.ndarray:
        peg_x, peg_y = rng.uniform(PEG_REGION[:, 0], PEG_REGION[:, 1])
        socket_x, socket_y = rng.uniform(SOCKET_REGION[:, 0], SOCKET_REGION[:, 1])
        return np.concatenate([resting_pose(peg_x, peg_y, 0.01), resting_pose(socket_x, socket_y, 0.022)])

    def stage(self, physics: Any) -> int:
        airborne = not self._on_table(physics)
        if airborne and self.touching(physics, PEG, PIN):
            return 4
        if airborne and self.touching(physics, PEG, WALLS):
            return 3
        grasped = self.touching(physics, WALLS, FINGERS["left"]) and self.touching(physics, PEG, FINGERS["right"])
        return (2 if airborne else 1) if grasped else 0

    def holds(self, physics: Any) -> bool:
        inside = self.touching(physics, PEG, PIN) or insertion_depth(self.env_state(physics)) >= DEPTH
        return inside and not self._on_table(physics)

    def bring_together(self, rng: np.random.Generator, env_state: np.ndarray) -> None:
        socket = env_state[7:14]
        offset = np.array([rng.uniform(0.09, 0.22), *rng.normal(0, 0.006, 2)])  # peg before or just inside the mouth
        env_state[:3] = socket[:3] + _rotation(socket[3:]) @ offset
        env_state[3:7] = socket[3:] + rng.normal(0, 0.02, 4)
        env_state[3:7] /= np.linalg.norm(env_state[3:7])

    def _on_table(self, physics: Any) -> bool:
        return self.touching(physics, (*PEG, *WALLS, *PIN), TABLE)


def insertion_depth(env_state: np.ndarray) -> float:
    """Returns how far [m] the peg's left end is inside the socket's right mouth.

    The depth is negative outside of the mouth and -inf beside the opening.
    """
    peg, socket = np.asarray(env_state[:7], np.float64), np.asarray(env_state[7:14], np.float64)
    tip = peg[:3] + _rotation(peg[3:]) @ np.array([-0.06, 0.0, 0.0])
    local = _rotation(socket[3:]).T @ (tip - socket[:3])
    if np.any(np.abs(local[1:]) > 0.018):
        return -np.inf
    return float(0.06 - local[0])


def _rotation(quat: np.ndarray) -> np.ndarray:
    """Returns the rotation matrix (3, 3) of a quaternion (4,) wxyz.

    It differs from task.quaternion_matrix in the last bits, so replacing it would change recorded random scenes.
    """
    w, x, y, z = quat / np.linalg.norm(quat)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
