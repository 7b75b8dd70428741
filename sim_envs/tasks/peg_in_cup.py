"""Defines peg in cup: the left arm picks up a cup; the right arm picks up a peg and stands it in the cup."""

from typing import Any

import mujoco
import numpy as np

from sim_envs.robot import FINGERS
from sim_envs.task import ASSETS, TABLE, BimanualTask, quaternion_matrix, resting_pose

PEG = ("peg",)
FLOOR = ("cup_floor",)
CUP = (*FLOOR, "cup_left", "cup_right", "cup_back", "cup_front")
PEG_REGION = np.array([[0.1, 0.17], [0.4, 0.6]])  # range of x and of y of the peg's middle [m], sampled uniformly
CUP_REGION = np.array([[-0.1, 0.0], [0.4, 0.6]])
MAX_YAW = 0.35  # [rad] largest turn of both objects at the start
INNER = 0.020  # [m] half the cup's inner width
CUP_DEPTH = 0.056  # [m] from rim to floor, inside
HALF_CUP = 0.030  # [m] half the cup's outer height; its floor is 4 mm thick
HALF_PEG = 0.060  # [m] half the peg's length
ABOVE = 0.05  # [m] how far above the rim the tip still counts as over the cup
STANDING = 0.015  # [m] largest height of the tip of a standing peg; the tip of a leaning peg is 4 mm high


class Task(BimanualTask):
    """The stages:

    1 touched    the left hand touches the cup, the right hand the peg
    2 grasp      and neither lies on the table
    3 over       the peg's yellow tip is inside the cup or up to 50 mm above its opening, neither lies on the table
    4 inserted   the peg stands on the cup's floor, inside, neither lies on the table

    Strict success: for the last 0.5 s (25 control steps), the peg stands in the cup, the right hand does not touch it,
    and the left hand holds the cup off the table.
    """

    name = "peg_in_cup"
    scene = ASSETS / "peg_in_cup.xml"
    stage_names = ("touched", "grasp", "over", "inserted")
    objects = ("peg", "cup")
    keypoints = ("peg", "peg_tip", "peg_tail", "cup", "cup_rim", "left/tcp", "right/tcp")
    mirror_plane = 0.5
    episode_len = 500
    strict_steps = 25

    def sample_objects(self, rng: np.random.Generator) -> np.ndarray:
        peg_x, peg_y = rng.uniform(PEG_REGION[:, 0], PEG_REGION[:, 1])
        cup_x, cup_y = rng.uniform(CUP_REGION[:, 0], CUP_REGION[:, 1])
        peg_yaw, cup_yaw = rng.uniform(-MAX_YAW, MAX_YAW, 2)
        return np.concatenate(
            [resting_pose(peg_x, peg_y, 0.01, peg_yaw), resting_pose(cup_x, cup_y, HALF_CUP, cup_yaw)]
        )

    def stage(self, physics: Any) -> int:
        airborne = not self.touching(physics, (*PEG, *CUP), TABLE)
        if airborne and self._over(physics):
            return 4 if self._standing(physics) and self.touching(physics, PEG, FLOOR) else 3
        grasped = self.touching(physics, CUP, FINGERS["left"]) and self.touching(physics, PEG, FINGERS["right"])
        return (2 if airborne else 1) if grasped else 0

    def holds(self, physics: Any) -> bool:
        return (
            self._standing(physics)
            and self.touching(physics, CUP, FINGERS["left"])
            and not self.touching(physics, PEG, FINGERS["right"])
            and not self.touching(physics, (*PEG, *CUP), TABLE)
        )

    def bring_together(self, rng: np.random.Generator, env_state: np.ndarray) -> None:
        """Puts the peg above the opening or inside the cup, nearly upright."""
        peg, cup = env_state[:7], env_state[7:14]
        height = rng.uniform(0.0, CUP_DEPTH + ABOVE) + HALF_PEG + 0.004 - HALF_CUP
        peg[:3] = cup[:3] + quaternion_matrix(cup[3:]) @ np.array([*rng.normal(0, 0.006, 2), height])
        mujoco.mju_mulQuat(peg[3:], cup[3:].copy(), np.array([np.sqrt(0.5), 0.0, np.sqrt(0.5), 0.0]))  # tip down
        peg[3:] += rng.normal(0, 0.03, 4)
        peg[3:] /= np.linalg.norm(peg[3:])

    def _over(self, physics: Any) -> bool:
        x, y, height = tip_in_cup(self.env_state(physics))
        return max(abs(x), abs(y)) < INNER and -0.004 < height < CUP_DEPTH + ABOVE

    def _standing(self, physics: Any) -> bool:
        return self._over(physics) and tip_in_cup(self.env_state(physics))[2] < STANDING


def tip_in_cup(env_state: np.ndarray) -> np.ndarray:
    """Returns the position (3,) [m] of the peg's yellow end in the cup's frame, from the middle of the inner floor."""
    peg, cup = np.asarray(env_state[:7], np.float64), np.asarray(env_state[7:14], np.float64)
    tip = peg[:3] + HALF_PEG * quaternion_matrix(peg[3:])[:, 0]
    return quaternion_matrix(cup[3:]).T @ (tip - cup[:3]) + np.array([0.0, 0.0, CUP_DEPTH - HALF_CUP])
