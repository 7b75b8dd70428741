"""Defines the expert for open cup: the right hand tips the cup into the left one and prises the lid open.

The right hand stays closed. With its finger tips, it pushes the cup below the tab of the lid until the cup leans to the
left. Then the left hand closes and lifts the cup, and the finger tips lift the tab along an arc around the hinge.
"""

from typing import ClassVar

import numpy as np

from sim_envs.experts import expert as ex
from sim_envs.experts.expert import Goal, Goals, Phase, Scene
from sim_envs.kinematics import Pose, rotation_matrix, rotation_vector

OPENING = 0.606  # reading of the left gripper closed on the cup
GRASP = np.array([-0.004, 0.0, 0.002])  # [m] of the left hand in the frame of the cup
GRASP_PITCH = np.radians(30.0)  # [rad] how far the left hand looks down relative to the cup
APPROACH = np.array([0.85, 0.0, -0.53])  # unit vector in the left hand's frame; flatter, the elbow would fold
PITCH = np.radians(30.0)  # [rad] how far the right hand looks down
TIPS = np.array([0.0187, 0.0, 0.002])  # [m] middle of the finger tips in the frame of a hand
TOUCH = np.array([0.020, 0.0, 0.013])  # [m] where the finger tips push the cup, below the tab
READY = 0.05  # [m] distance from there at which they wait
LEAN = 0.24  # [rad] to which the cup is tipped
CLOSING = (0.16, 0.20)  # [rad] lean at which the left hand begins to close, and at which it may be closed
TIPPING = 0.04  # [m/s] largest speed of the finger tips while they push
MEETING = np.array([-0.03, 0.5, 0.065])  # [m] place where the left hand holds the cup
HINGE = np.array([-0.020, 0.0, 0.028])  # [m] of the lid in the frame of the cup
TAB_END = 0.054  # [m] from the hinge to the end of the tab
ARM = 0.046  # [m] from the hinge to the finger tips under the tab
BELOW = 0.008  # [m] of the finger tips' middle below the lid's when they touch
LEAD = 0.35  # [rad] how far the finger tips are ahead of the lid
WEIGHT = 0.03  # [kg] of the cup with its lid
OPENED = (1.40, 1.34)  # [rad] lid angle at which the right hand goes away, and below which it comes back; open is 1.05
PRISING = 0.08  # [m/s] largest speed of the finger tips at the lid
BACK = np.array([0.13, 0.5, 0.15])  # [m] where the right hand ends


class Expert(ex.Expert):
    objects = ("cup", "lid")
    symmetries: ClassVar = {"cup": [np.eye(3)], "lid": [np.eye(3)]}

    def make_phases(self) -> list[Phase]:
        self.meeting = Pose(MEETING + np.array(self.variation.place) * (0.5, 1.0, 0.3), tipped(LEAN))
        return [
            Phase("tip", lambda s: True, lambda s: True, self.tip),
            Phase("open", self.held, lambda s: self.held(s, 0.1), self.open_lid),
            Phase("rest", lambda s: self.opened(s, OPENED[0]), lambda s: self.opened(s, OPENED[1], 0.1), self.rest),
        ]

    # -- guards -------------------------------------------------------------------------------------------------------

    def held(self, scene: Scene, margin: float = 0.04) -> bool:
        """Returns whether the left hand holds the cup."""
        return ex.grasped(scene, "left", self.grasp(scene), OPENING, margin)

    def opened(self, scene: Scene, angle: float, margin: float = 0.04) -> bool:
        """Returns whether the left hand holds the cup and its lid is open by more than `angle` [rad]."""
        return self.held(scene, margin) and lid_angle(scene) > angle

    # -- goals --------------------------------------------------------------------------------------------------------

    def grasp(self, scene: Scene) -> Pose:
        """Returns the pose of the left hand that holds the cup. It is fixed to the cup, so it leans with it."""
        shift = np.array([0.3 * self.variation.grasp_shift[0], 0.0, 0.0])
        return scene.objects["cup"] @ Pose(GRASP + shift, ex.facing("left", GRASP_PITCH))

    def tips_at(self, scene: Scene, point: np.ndarray) -> Pose:
        """Returns the pose of the right hand whose finger tips are at a point (3,) [m] in the frame of the cup."""
        cup = scene.objects["cup"]
        pitch = PITCH + 0.4 * (self.variation.pitch - ex.SCRIPTED.pitch)
        rotation = ex.facing("right", pitch, yaw=ex.yaw_of(cup.rotation))
        return Pose(cup.position + cup.rotation @ point - rotation @ TIPS, rotation)

    def tips(self, scene: Scene) -> np.ndarray:
        """Returns where the right finger tips are (3,) [m] in the frame of the cup."""
        return (scene.objects["cup"].inverse() @ scene.hands["right"] @ Pose(TIPS, np.eye(3))).position

    def tip(self, scene: Scene) -> Goals:
        """Lets the left hand come around the cup; then the right one tips the cup, and the left one closes."""
        lean, grasp = lean_of(scene.objects["cup"]), self.grasp(scene)
        left = self.reach(scene, "left", grasp, grasp.rotation @ APPROACH, self.off_centre(scene, grasp))
        left = left._replace(opening=max(left.opening, 1.0 - ex.ramp(lean, *CLOSING)))
        waiting = ex.ramp(float(np.linalg.norm(scene.hands["left"].position - grasp.position)), 0.012, 0.03)
        return {"left": left, "right": self.push(scene, lean, waiting)}

    def push(self, scene: Scene, lean: float, waiting: float) -> Goal:
        """Returns the goal of the right hand: beside the cup, then to it unless `waiting` is 1, then onwards.

        A hand that has been opened around the cup backs out before it closes.
        """
        off = self.tips(scene) - TOUCH
        ajar = ex.ramp(scene.openings["right"], 0.2, 0.3)
        outside = max(waiting, ajar, ex.ramp(abs(off[2]), 0.004, 0.010) * ex.ramp(off[0], 0.012, 0.020))
        onwards = 0.012 * ex.ramp(LEAN - lean, 0.0, 0.10)
        pose = self.tips_at(scene, TOUCH + np.array([outside * READY - (1 - outside) * onwards, 0.0, 0.0]))
        fast = max(ajar, ex.ramp(float(np.linalg.norm(off)), 0.02, 0.06))
        slow = TIPPING / max(1.0, self.variation.speed)  # a cup that is pushed faster falls over
        return Goal(pose, float(ajar > 0 and off[0] < 0.02), slow + fast * (ex.SPEED - slow))

    def off_centre(self, scene: Scene, grasp: Pose) -> float:
        """Returns the hurdle [m] of the left hand: the cup leaves its fingers 14 mm on either side."""
        return 0.02 * ex.ramp(abs(float((grasp.inverse() @ scene.hands["left"]).position[1])), 0.005, 0.012)

    def hold(self, scene: Scene) -> Goal:
        return ex.carry(scene, "left", scene.objects["cup"], self.meeting)._replace(speed=0.15, load=WEIGHT)

    def open_lid(self, scene: Scene) -> Goals:
        """Lets the left hand lift the cup; when it has arrived, the right finger tips lift the tab around the hinge."""
        cup = scene.objects["cup"]
        away = ex.ramp(float(np.linalg.norm(cup.position - self.meeting.position)), 0.01, 0.03)
        point = prise(self.tips(scene), lid_angle(scene), 1.0 - away)
        return {"left": self.hold(scene), "right": Goal(self.tips_at(scene, point), 0.0, PRISING + away * 0.1)}

    def rest(self, scene: Scene) -> Goals:
        """Keeps the cup in its place; the right hand goes straight back, then up."""
        hand = scene.hands["right"]
        far = ex.ramp(float(np.linalg.norm(hand.position - scene.objects["cup"].position)), 0.08, 0.11)
        back = Pose(np.array([BACK[0], hand.position[1], hand.position[2]]), hand.rotation)
        end = Pose(back.position + far * (BACK - back.position), hand.rotation)
        return {"left": self.hold(scene), "right": Goal(end, 0.0, 0.15)}


def tipped(angle: float) -> np.ndarray:
    """Returns the rotation (3, 3) of a cup that leans to the left by `angle` [rad]."""
    return rotation_matrix(np.array([0.0, -angle, 0.0]))


def lean_of(cup: Pose) -> float:
    """Returns by how much [rad] a cup leans to its left."""
    upright = rotation_matrix(np.array([0.0, 0.0, ex.yaw_of(cup.rotation)]))
    return -float(rotation_vector(upright.T @ cup.rotation)[1])


def lid_angle(scene: Scene) -> float:
    """Returns by how much [rad] the lid is open."""
    x, _, z = scene.objects["cup"].rotation.T @ scene.objects["lid"].rotation[:, 0]
    return float(np.arctan2(z, x))


def along_lid(angle: float, out: float, up: float) -> np.ndarray:
    """Returns a point (3,) [m] in the cup's frame: `out` from the hinge along a lid at `angle`, `up` above the lid."""
    x, z = np.cos(angle), np.sin(angle)
    return HINGE + np.array([out * x - up * z, 0.0, out * z + up * x])


def prise(tips: np.ndarray, angle: float, ready: float) -> np.ndarray:
    """Returns the next place (3,) [m] of the finger tips, which are at `tips`, both in the frame of the cup.

    They go around the end of the tab first unless they are below it. They wait there while `ready` is 0, because the
    cup is on its way, and while they are beside the tab. Then they lift it.
    """
    x, beside, z = tips - HINGE
    out, up = np.cos(angle) * x + np.sin(angle) * z, np.cos(angle) * z - np.sin(angle) * x
    inside = ex.ramp(TAB_END - out, 0.0, 0.004)
    below = max(inside * ex.ramp(-up, 0.002, 0.005), ex.ramp(-up, 0.005, 0.008))
    ready *= 1.0 - ex.ramp(abs(beside), 0.004, 0.008)
    # They lift only once they are in: a mixture of both ways could stop in front of the tab.
    lifting = ready * ex.ramp(TAB_END - 0.004 - out, 0.0, 0.002)
    lift = along_lid(angle + LEAD * lifting, ARM + 0.008 * (1 - ready), -BELOW - 0.004 * (1 - lifting))
    around = along_lid(min(angle, 0.5), TAB_END + 0.012, -0.016)
    return below * lift + (1 - below) * around
