"""Defines the cube transfer: the right arm picks up a 40 mm cube and hands it to the left arm."""

from typing import Any

import numpy as np

from sim_envs.robot import FINGERS
from sim_envs.task import ASSETS, TABLE, BimanualTask, resting_pose

CUBE = ("cube",)
REGION = np.array([[0.0, 0.2], [0.4, 0.6]])  # range of x and of y of the cube [m], sampled uniformly


class Task(BimanualTask):
    """The stages are those of the paper's Table I. Either finger of a hand counts; the original code checks one finger.

    1 touched   the right hand touches the cube          3 received  the left hand touches it
    2 lifted    and it is off the table                  4 transfer  and it is off the table

    Strict success: at the end, the left hand alone has held the cube off the table for 0.5 s (25 control steps).
    """

    name = "transfer_cube"
    scene = ASSETS / "transfer_cube.xml"
    stage_names = ("touched", "lifted", "received", "transfer")
    objects = ("cube",)
    keypoints = ("cube", "left/tcp", "right/tcp")
    mirror_plane = 0.5
    strict_steps = 25

    def sample_objects(self, rng: np.random.Generator) -> np.ndarray:
        x, y = rng.uniform(REGION[:, 0], REGION[:, 1])
        return resting_pose(x, y, 0.02)

    def stage(self, physics: Any) -> int:
        on_table = self.touching(physics, CUBE, TABLE)
        if self.touching(physics, CUBE, FINGERS["left"]):
            return 3 if on_table else 4
        if self.touching(physics, CUBE, FINGERS["right"]):
            return 1 if on_table else 2
        return 0

    def holds(self, physics: Any) -> bool:
        return (
            self.touching(physics, CUBE, FINGERS["left"])  # either finger: one may lift off in a vertical grip
            and not self.touching(physics, CUBE, FINGERS["right"])
            and not self.touching(physics, CUBE, TABLE)
        )
