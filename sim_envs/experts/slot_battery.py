"""Defines the expert for slot battery: the left hand holds the remote down, and the right hand inserts the battery.

The battery slides over the lip, against the spring, and 8 to 9 mm farther than it must; then the hand presses it down.
Policies that imitate this stop 3 mm short or more, so without the margin most of them leave the battery on the lip.
"""

from typing import ClassVar

import numpy as np

from sim_envs.experts import expert as ex
from sim_envs.experts.expert import Goal, Goals, Phase, Scene
from sim_envs.kinematics import Pose, rotation_vector
from sim_envs.robot import SIDES

OBJECTS = {"left": "remote", "right": "battery"}  # object of each hand
OPENINGS = {"left": 0.631, "right": 0.328}  # readings of grippers closed on them
GRASP = {"left": np.array([-0.045, 0.0, 0.010]), "right": np.array([0.0, 0.0, 0.009])}  # [m] in the object's frame
HOLDING = np.array([-0.11, 0.013])  # [m] x and height of the remote while the left hand holds it; y stays as it is
SEAT = np.array([0.039, 0.0, 0.005])  # [m] of the inserted battery in the remote's frame
ENTRY = 0.007  # [m] to the right of the seat: there the battery comes down before the spring
SLIDE = 0.0075  # [m] height above the seat at which the battery slides over the lip, which is 6 mm high
GAP = 0.03  # [m] height above SLIDE at which the battery is lined up
DRIVE = 0.011  # [m] how far behind the lip the battery is driven
ROOM = (0.0075, 0.009)  # [m] behind the lip: above the first it begins to go down, above the second it goes all the way
FUNNEL = (0.0015, 0.004)  # [m] alignment error below which the battery comes down, and above which it waits
PUSH = 0.05  # [m/s] largest speed in the last centimetres
BACK = np.array([0.16, 0.0, 0.14])  # [m] from the remote to where the right hand ends; its fingers point back
WAITING = np.array([0.09, 0.0, 0.07])  # [m] place in the remote's frame where the battery waits for the left hand


class Expert(ex.Expert):
    objects = ("battery", "remote")
    symmetries: ClassVar = {"battery": ex.symmetry_group({"x": np.pi / 2}), "remote": [np.eye(3)]}

    def make_phases(self) -> list[Phase]:
        return [
            Phase("pick", lambda s: True, lambda s: True, self.pick),
            Phase("insert", self.both_held, lambda s: self.both_held(s, 0.1), self.insert),
            Phase("release", lambda s: seated(s, 0.0015), lambda s: seated(s, 0.003), self.release),
        ]

    # -- guards -------------------------------------------------------------------------------------------------------

    def held(self, scene: Scene, side: str, margin: float = 0.04) -> bool:
        """Returns whether a hand holds its object."""
        return ex.grasped(scene, side, self.grasp(scene, side), OPENINGS[side], margin)

    def both_held(self, scene: Scene, margin: float = 0.04) -> bool:
        return all(self.held(scene, side, margin) for side in SIDES)

    # -- goals --------------------------------------------------------------------------------------------------------

    def grasp(self, scene: Scene, side: str) -> Pose:
        """Returns the pose of a hand that holds its object. It is fixed to the object."""
        shift = self.variation.grasp_shift[SIDES.index(side)] * (1.0 if side == "left" else 0.3)
        pitch = ex.SCRIPTED.pitch + 0.5 * (self.variation.pitch - ex.SCRIPTED.pitch)
        return scene.objects[OBJECTS[side]] @ Pose(GRASP[side] + np.array([shift, 0.0, 0.0]), ex.facing(side, pitch))

    def pick(self, scene: Scene) -> Goals:
        """Lets each hand reach for its object; the battery waits in the air for the other hand."""
        left, right = (
            None if self.held(scene, side) else self.reach(scene, side, self.grasp(scene, side)) for side in SIDES
        )
        return {"left": left or self.keep(scene), "right": right or self.bring(scene, WAITING)}

    def keep(self, scene: Scene) -> Goal:
        """Returns the goal of the left hand that holds the remote flat on the table, and against the spring's push."""
        remote, x = scene.objects["remote"], HOLDING[0] + 0.5 * self.variation.place[0]
        flat = Pose(np.array([x, remote.position[1], HOLDING[1]]), np.eye(3))
        return ex.carry(scene, "left", remote, flat)._replace(load=0.0, speed=PUSH)

    def bring(self, scene: Scene, place: np.ndarray) -> Goal:
        """Returns the goal of the right hand that brings the battery to a place (3,) [m] in the remote's frame."""
        return ex.lift(scene, "right", scene.objects["battery"], scene.objects["remote"] @ Pose(place, np.eye(3)))

    def insert(self, scene: Scene) -> Goals:
        """Lines the battery up above the entry, slides it over the lip against the spring, and presses it down."""
        battery, remote = scene.objects["battery"], scene.objects["remote"]
        local = remote.inverse() @ battery
        place = insertion_place(local)
        near = float(np.linalg.norm(local.position - SEAT)) < 0.06
        goal = ex.carry(scene, "right", battery, remote @ Pose(SEAT + place, np.eye(3)))
        return {"left": self.keep(scene), "right": goal._replace(speed=PUSH if near else ex.SPEED)}

    def release(self, scene: Scene) -> Goals:
        """Keeps the remote in place with the left hand; the right hand opens, then backs away from the battery."""
        free = ex.ramp(scene.openings["right"], 0.5, 0.7)
        back = Pose(scene.objects["remote"].position + BACK, self.grasp(scene, "right").rotation)
        return {"left": self.keep(scene), "right": Goal(back, 1.0, 0.6 * ex.SPEED * free)}


def insertion_place(local: Pose) -> np.ndarray:
    """Returns the next place (3,) [m] of a battery that is at `local` in the remote's frame, both from the seat."""
    right, beside, above = local.position - SEAT
    off = abs(beside) + 0.05 * float(np.linalg.norm(rotation_vector(local.rotation)))
    outside = max(right - ENTRY, -DRIVE - right)  # of the stretch that the battery slides along
    over = ex.ramp(-outside, -0.02, -0.012) * ex.ramp(-abs(beside), -0.012, -0.008)
    # `low` is 1 in the compartment, at the height of the lip or below; `fits` is 1 when there is room behind the lip.
    low = over * ex.ramp(SLIDE + 0.008 - above, 0.0, 0.005)
    fits = low * ex.ramp(-right, *ROOM)
    inside = low * ex.ramp(SLIDE - 0.002 - above, 0.0, 0.001) * ex.ramp(-right, -0.002, -0.001)
    down, misaligned = max(fits, inside), ex.ramp(off, *FUNNEL) * (1 - low)
    raised = max(over, ex.ramp(above, 0.5 * GAP, GAP))  # 0 beside the remote, where the battery must rise first
    high = max(misaligned, 1 - over)
    height = (1 - down) * SLIDE - 0.001 * down + high * GAP
    lies = ex.ramp(-above, -0.003, -0.001)  # then the hand lets the spring push the battery against the lip
    goal_right = raised * (ENTRY - low * (ENTRY + (1 - lies) * DRIVE)) + (1 - raised) * right
    return np.array([goal_right, (1 - raised) * beside, height])


def seated(scene: Scene, height: float) -> bool:
    """Returns whether the battery is behind the lip and within `height` [m] of its seat."""
    right, beside, above = (scene.objects["remote"].inverse() @ scene.objects["battery"]).position - SEAT
    return abs(above) < height and abs(beside) < 0.004 and -0.004 < right < 0.001
