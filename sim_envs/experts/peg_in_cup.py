"""Defines the expert for peg in cup: each hand picks up its object, and the peg is turned upright and put in the cup.

The right hand grasps the peg near its tail, steeply from above. Turned up by 90 degrees, it holds the peg tip down.
"""

from typing import ClassVar

import numpy as np

from sim_envs.experts import expert as ex
from sim_envs.experts.expert import Goal, Goals, Phase, Scene
from sim_envs.kinematics import Pose, rotation_matrix, rotation_vector
from sim_envs.robot import SIDES

OBJECTS = {"left": "cup", "right": "peg"}  # object of each hand
OPENINGS = {"left": 0.707, "right": 0.353}  # readings of grippers closed on them
PITCH = {"left": np.radians(28.0), "right": np.radians(75.0)}  # [rad] how far the hands look down when they grasp
GRASP = {"left": np.array([-0.004, 0.0, 0.006]), "right": np.array([-0.03, 0.0, 0.010])}  # [m] in the object's frame
CUP_APPROACH = np.array([0.85, 0.0, -0.53])  # unit vector in the left hand's frame, 32 degrees below its fingers
MEETING = np.array([-0.02, 0.5, 0.12])  # [m] place where the left hand holds the cup
WAITING = np.array([0.09, 0.0, 0.02])  # [m] offset of the waiting peg from its place above the cup
HALF_PEG = 0.06  # [m]
FLOOR = -0.026  # [m] height of the cup's inner floor relative to its middle
CUP_DEPTH = 0.056  # [m] from rim to floor, inside
GAP = 0.02  # [m] between tip and rim while they are aligned
PLAY = (0.005, 0.009)  # [m] alignment error below which the peg goes in, and above which it waits
DOWN = -0.002  # [m] goal height of the tip above the floor
NEAR_FLOOR = (0.006, 0.02)  # [m] height of the tip below which the right hand lets go, and above which it regrasps


class Expert(ex.Expert):
    objects = ("peg", "cup")
    symmetries: ClassVar = {"peg": ex.symmetry_group({"x": np.pi / 2}), "cup": ex.symmetry_group({"z": np.pi / 2})}

    def make_phases(self) -> list[Phase]:
        return [
            Phase("pick", lambda s: True, lambda s: True, self.pick),
            Phase("stand", self.both_held, lambda s: self.both_held(s, 0.1), self.stand),
            Phase(
                "release",
                lambda s: self.inside(s, NEAR_FLOOR[0]),
                lambda s: self.inside(s, NEAR_FLOOR[1]),
                self.release,
            ),
        ]

    # -- guards -------------------------------------------------------------------------------------------------------

    def held(self, scene: Scene, side: str, margin: float = 0.04) -> bool:
        """Returns whether a hand holds its object."""
        return ex.grasped(scene, side, self.grasp(scene, side), OPENINGS[side], margin)

    def both_held(self, scene: Scene, margin: float = 0.04) -> bool:
        return all(self.held(scene, side, margin) for side in SIDES)

    def inside(self, scene: Scene, height: float) -> bool:
        """Returns whether the left hand holds the cup with the tip in it, below `height` [m] above its floor."""
        x, y, z = self.tip(scene)
        return max(abs(x), abs(y)) < 0.02 and abs(z) < height and self.held(scene, "left", 0.1)

    def tip(self, scene: Scene) -> np.ndarray:
        """Returns the position (3,) [m] of the peg's tip relative to the middle of the cup's inner floor."""
        local = scene.objects["cup"].inverse() @ scene.objects["peg"]
        return local.position + HALF_PEG * local.rotation[:, 0] - FLOOR * ex.UP

    # -- goals --------------------------------------------------------------------------------------------------------

    def grasp(self, scene: Scene, side: str) -> Pose:
        """Returns the pose of a hand that holds its object. It is fixed to the object, so it turns with the peg."""
        shift = self.variation.grasp_shift[SIDES.index(side)] * (0.3 if side == "left" else 1.0)
        pitch = PITCH[side] + 0.4 * (self.variation.pitch - ex.SCRIPTED.pitch)
        offset = GRASP[side] + np.array([shift, 0.0, 0.0])
        return scene.objects[OBJECTS[side]] @ Pose(offset, ex.facing(side, pitch))

    def cup_place(self) -> Pose:
        return Pose(MEETING + np.array(self.variation.place), np.eye(3))

    def peg_waits(self) -> Pose:
        """Returns the waiting pose of the peg, upright beside its place above the cup."""
        above = self.cup_place() @ standing(CUP_DEPTH + GAP)
        return Pose(above.position + WAITING, above.rotation)

    def pick(self, scene: Scene) -> Goals:
        """Lets each hand reach for its object, and bring it to its place once it holds it."""
        places = {"left": self.cup_place(), "right": self.peg_waits()}
        return {
            side: self.bring(scene, side, places[side]) if self.held(scene, side) else self.approach(scene, side)
            for side in SIDES
        }

    def approach(self, scene: Scene, side: str) -> Goal:
        """Reaches for the peg from above, and for the cup steeply, because a flat approach would fold the elbow.

        The cup leaves the fingers only 10 mm on either side, so the left hand must be well centred before it goes down.
        """
        grasp = self.grasp(scene, side)
        if side == "right":
            return self.reach(scene, side, grasp)
        off_centre = abs(float((grasp.inverse() @ scene.hands[side]).position[1]))
        return self.reach(scene, side, grasp, grasp.rotation @ CUP_APPROACH, 0.02 * ex.ramp(off_centre, 0.004, 0.010))

    def bring(self, scene: Scene, side: str, place: Pose) -> Goal:
        """Lifts an object straight up first. The peg turns as it rises, so its tip stays off the table."""
        held = scene.objects[OBJECTS[side]]
        if side == "right":
            place = Pose(place.position, place.rotation @ turn(ex.ramp(held.position[2], 0.03, 0.10) - 1.0))
        return ex.lift(scene, side, held, place)

    def stand(self, scene: Scene) -> Goals:
        """Moves the peg above the cup when both are ready, and down to the floor when they are aligned.

        The place of the peg is relative to the measured pose of the cup, so neither grasp must be exact.
        """
        peg, cup = scene.objects["peg"], scene.objects["cup"]
        x, y, height = self.tip(scene)
        tilt = float(np.linalg.norm(rotation_vector((cup.rotation @ turn(1.0)).T @ peg.rotation)))
        beside = float(np.hypot(x, y))
        outside = ex.ramp(beside + 0.03 * tilt, *PLAY)
        between = standing(outside * (CUP_DEPTH + GAP) + (1 - outside) * DOWN)
        away = float(np.linalg.norm(cup.position - self.cup_place().position))
        low = ex.ramp(CUP_DEPTH + GAP / 2 - height, 0.0, GAP / 2) * ex.ramp(beside, 0.012, 0.02)
        unready = max(ex.ramp(away, 0.01, 0.04), ex.ramp(tilt, 0.2, 0.5), low)
        above, waits = cup @ between, self.peg_waits()
        place = Pose(above.position + unready * (waits.position - above.position), above.rotation)
        return {"left": self.bring(scene, "left", self.cup_place()), "right": self.bring(scene, "right", place)}

    def release(self, scene: Scene) -> Goals:
        """Keeps the cup in its place with the left hand; the right hand opens, then backs away from the peg."""
        cup = ex.carry(scene, "left", scene.objects["cup"], self.cup_place())
        free = ex.ramp(scene.openings["right"], 0.6, 0.8)
        back = Pose(MEETING + np.array([0.2, 0.0, 0.12]), ex.facing("right"))
        return {"left": cup, "right": Goal(back, 1.0, 0.6 * ex.SPEED * free)}


def turn(share: float) -> np.ndarray:
    """Returns the rotation (3, 3) of the peg for a share from lying (0) to standing on its tip (1)."""
    return rotation_matrix(np.array([0.0, share * np.pi / 2, 0.0]))


def standing(height: float) -> Pose:
    """Returns the pose of the upright peg in the cup's frame, with its tip `height` [m] above the inner floor."""
    return Pose(np.array([0.0, 0.0, FLOOR + height + HALF_PEG]), turn(1.0))
