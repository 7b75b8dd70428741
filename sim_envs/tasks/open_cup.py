"""Defines open cup: the right arm tips a cup up against the left hand, which holds it, and prises the lid open."""

from typing import Any

import mujoco
import numpy as np

from sim_envs.robot import FINGERS
from sim_envs.task import ASSETS, BimanualTask, quaternion_matrix, resting_pose

BODY = ("cup",)
CUP = ("cup", "lid_plate", "lid_tab")
# Range of x and of y at the start [m], sampled uniformly: a line of 15 cm, as in the paper.
LINE = np.array([[-0.03, -0.03], [0.425, 0.575]])
AREA = np.array([[-0.06, 0.0], [0.41, 0.59]])
AREA_YAW = 0.3  # [rad] largest turn of a cup that starts in the area
HALF_CUP = 0.03  # [m] half the height of the closed cup
HALF_SIZE = np.array([0.02, 0.02, HALF_CUP])  # [m] half the size of the closed cup
LID = np.array([0.0, 0.0, 0.028])  # [m] middle of the closed lid in the frame of the cup
TIPPED = np.radians(10.0)  # [rad] from here on the cup counts as tipped
NEAR = 0.003  # [m] a finger this near to the cup pushes it; a contact may last less than a control step
LIFTED = 0.003  # [m] from here on the cup counts as off the table
OPEN = np.radians(60.0)  # [rad] from here on the lid counts as open


class Task(BimanualTask):
    """The stages are those of Open Cup in the ACT paper.

    1 tip        the right hand has pushed the cup, which now leans by 10 degrees or more
    2 grasp      the cup has been tipped so, and the left hand holds it off the table
    3 open lid   and the lid is open by 60 degrees or more

    Strict success: for the last 0.5 s (25 control steps), the left hand has held the tipped cup off the table, the lid
    has been open, and the right hand has touched neither.
    """

    name = "open_cup"
    scene = ASSETS / "open_cup.xml"
    stage_names = ("tip", "grasp", "open lid")
    objects = ("cup", "lid")
    keypoints = ("cup", "cup_base", "cup_rim", "lid", "lid_tab", "left/tcp", "right/tcp")
    episode_len = 450
    strict_steps = 25

    def initialize_episode(self, physics: Any) -> None:
        """Starts with a cup that has been neither pushed nor tipped."""
        self.pushed = self.tipped = False
        super().initialize_episode(physics)

    def after_step(self, physics: Any) -> None:
        """Remembers whether the right hand has pushed the cup, and whether the cup has leaned since then."""
        self.pushed = self.pushed or self._pushing(physics)
        self.tipped = self.tipped or (self.pushed and lean(self.env_state(physics)) > TIPPED)
        super().after_step(physics)

    def sample_objects(self, rng: np.random.Generator) -> np.ndarray:
        region = AREA if self.area else LINE
        x, y = rng.uniform(region[:, 0], region[:, 1])
        yaw = rng.uniform(-AREA_YAW, AREA_YAW) if self.area else 0.0
        return np.concatenate([resting_pose(x, y, z, yaw) for z in (HALF_CUP, HALF_CUP + LID[2])])

    def stage(self, physics: Any) -> int:
        if self.tipped and self._held(physics):
            return 3 if lid_angle(self.env_state(physics)) > OPEN else 2
        return 1 if self.tipped and lean(self.env_state(physics)) > TIPPED else 0

    def holds(self, physics: Any) -> bool:
        is_open = lid_angle(self.env_state(physics)) > OPEN
        return self.tipped and is_open and self._held(physics) and not self.touching(physics, CUP, FINGERS["right"])

    def bring_together(self, rng: np.random.Generator, env_state: np.ndarray) -> None:
        """Puts the cup into the air, tipped to the left."""
        env_state[2] += rng.uniform(0.0, 0.06)
        tipped = np.empty(4)
        mujoco.mju_axisAngle2Quat(tipped, np.array([0.0, 1.0, 0.0]), -rng.uniform(0.0, 0.5))
        mujoco.mju_mulQuat(env_state[3:7], env_state[3:7].copy(), tipped)

    def _pushing(self, physics: Any) -> bool:
        model, data = physics.model.ptr, physics.data.ptr
        fingers, cup = (model.geom(name).id for name in FINGERS["right"]), model.geom("cup").id
        return any(mujoco.mj_geomDistance(model, data, finger, cup, 2 * NEAR, None) < NEAR for finger in fingers)

    def _held(self, physics: Any) -> bool:
        return self.touching(physics, BODY, FINGERS["left"]) and clearance(self.env_state(physics)) > LIFTED


def clearance(env_state: np.ndarray) -> float:
    """Returns the height [m] of the lowest corner of the cup above the table."""
    downwards = np.abs(quaternion_matrix(np.asarray(env_state[3:7], np.float64))[2])
    return float(env_state[2] - downwards @ HALF_SIZE)


def lean(env_state: np.ndarray) -> float:
    """Returns the angle [rad] between the axis of the cup and the vertical."""
    return float(np.arccos(np.clip(quaternion_matrix(np.asarray(env_state[3:7], np.float64))[2, 2], -1.0, 1.0)))


def lid_angle(env_state: np.ndarray) -> float:
    """Returns by how much [rad] the lid is open, 0 to 1.92."""
    cup, lid = (quaternion_matrix(np.asarray(env_state[k : k + 4], np.float64)) for k in (3, 10))
    x, _, z = cup.T @ lid[:, 0]
    return float(np.arctan2(z, x))
