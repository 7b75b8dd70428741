"""Defines the expert for slide ziploc: the left hand holds the bag at its edge, the right hand pulls the slider."""

from typing import ClassVar

import numpy as np

from sim_envs.experts import expert as ex
from sim_envs.experts.expert import Goal, Goals, Phase, Scene
from sim_envs.kinematics import Pose, rotation_matrix
from sim_envs.robot import SIDES

HELD_BY = {"left": "bag", "right": "slider"}  # object of each hand
OPENINGS = {"left": 0.403, "right": 0.227}  # readings of grippers closed on them
PITCH = {"left": np.radians(45.0), "right": np.radians(60.0)}  # [rad] how far the hands look down when they grasp
GRASP = {"left": np.array([-0.078, 0.0, 0.005]), "right": np.array([0.0, 0.0, 0.029])}  # [m] in the object's frame
HALF_BAG = 0.04  # [m] height of the bag's middle above the table
WAITING = np.array([0.08, 0.0, 0.09])  # [m] offset of the waiting right hand from the tab, in the frame of the bag
END = np.array([0.085, 0.0, 0.04])  # [m] place of the slider in the bag's frame at the end of the rim, past the zip
BEYOND = 0.002  # [m] how much farther the slider is pulled
PULL = 0.12  # [m/s] speed of the pull


class Expert(ex.Expert):
    objects = ("bag", "slider")
    symmetries: ClassVar = {"bag": [np.eye(3)], "slider": [np.eye(3)]}

    def make_phases(self) -> list[Phase]:
        return [
            Phase("grasp", lambda s: True, lambda s: True, self.grasp_bag),
            Phase("pinch", lambda s: self.held(s, "left"), lambda s: self.held(s, "left", 0.1), self.pinch),
            Phase(
                "open", self.ready, lambda s: self.held(s, "left", 0.1) and self.held(s, "right", 0.1), self.open_zip
            ),
        ]

    # -- guards -------------------------------------------------------------------------------------------------------

    def held(self, scene: Scene, side: str, margin: float = 0.04) -> bool:
        """Returns whether a hand holds its object."""
        return ex.grasped(scene, side, self.grasp(scene, side), OPENINGS[side], margin)

    def ready(self, scene: Scene) -> bool:
        """Returns whether the zip can be pulled. A left hand that was pushed may hold the bag with one finger ahead."""
        return self.held(scene, "left", 0.1) and self.held(scene, "right")

    # -- goals --------------------------------------------------------------------------------------------------------

    def grasp(self, scene: Scene, side: str) -> Pose:
        """Returns the pose of a hand that holds its object."""
        pitch = PITCH[side] + 0.5 * (self.variation.pitch - ex.SCRIPTED.pitch)
        shift = self.variation.grasp_shift[SIDES.index(side)] * (0.6 if side == "left" else 0.2)
        offset = GRASP[side] + np.array([shift, 0.0, 0.0])
        return scene.objects[HELD_BY[side]] @ Pose(offset, ex.facing(side, pitch))

    def grasp_bag(self, scene: Scene) -> Goals:
        """Lets the left hand reach for the edge of the bag while the right one waits beside the slider."""
        return {"left": self.reach(scene, "left", self.grasp(scene, "left")), "right": self.wait(scene)}

    def wait(self, scene: Scene) -> Goal:
        above = self.grasp(scene, "right")
        return Goal(Pose(above.position + WAITING + np.array(self.variation.place), above.rotation), 1.0)

    def hold(self, scene: Scene) -> Goal:
        """Keeps the bag where it is, standing on the table."""
        bag = scene.objects["bag"]
        place = Pose(np.array([*bag.position[:2], HALF_BAG]), rotation_matrix(ex.yaw_of(bag.rotation) * ex.UP))
        return ex.carry(scene, "left", bag, place)._replace(load=0.0)

    def pinch(self, scene: Scene) -> Goals:
        return {"left": self.hold(scene), "right": self.reach(scene, "right", self.grasp(scene, "right"))}

    def open_zip(self, scene: Scene) -> Goals:
        """Moves the slider past the zip to the end of the rim, relative to the measured pose of the bag.

        The zip is open 15 mm before that. Shown no more than what success needs, policies stop short of it.
        The goal is beyond the end until the slider is there; a hand that went on pulling would drag the bag along.
        """
        bag, slider = scene.objects["bag"], scene.objects["slider"]
        missing = END[0] - (bag.inverse() @ slider).position[0]
        end = bag @ Pose(END + np.array([BEYOND * ex.ramp(missing, 0.0005, 0.002), 0.0, 0.0]), np.eye(3))
        right = Goal(end @ slider.inverse() @ scene.hands["right"], 0.0, PULL)
        return {"left": self.hold(scene), "right": right}
