"""Defines the expert for the insertion: each hand picks up its object, and the peg is aligned and pushed in."""

from typing import ClassVar

import numpy as np

from sim_envs.experts import expert as ex
from sim_envs.experts.expert import Goal, Goals, Phase, Scene
from sim_envs.kinematics import Pose
from sim_envs.robot import SIDES

OBJECTS = {"left": "socket", "right": "peg"}  # object of each hand
OPENINGS = {"left": 0.656, "right": 0.353}  # readings of grippers closed on them
GRASP_HEIGHT = {"left": 0.0, "right": 0.008}  # [m] of the hand above the object's centre
MEETING = np.array([-0.09, 0.5, 0.15])  # [m] place where the left hand holds the socket
REACH = 0.12  # [m] between the centres of peg and socket when the tip is at the mouth
GAP = 0.04  # [m] between tip and mouth while they are aligned
DEPTH = 0.0208  # [m] final depth of the tip inside the mouth; the pin is at 0.020
DRIVE = 0.002  # [m] how much deeper the peg is driven until it touches the pin; pressing for long makes it slip
FUNNEL = (0.004, 0.010)  # [m] alignment error below which the peg goes in, and above which it waits outside
PUSH = 0.12  # [m/s] largest speed in the last centimetres


class Expert(ex.Expert):
    objects = ("peg", "socket")
    symmetries: ClassVar = dict.fromkeys(objects, ex.symmetry_group({"x": np.pi / 2, "z": np.pi}))

    def make_phases(self) -> list[Phase]:
        return [
            Phase("pick", lambda s: True, lambda s: True, self.pick),
            Phase("insert", self.both_held, lambda s: self.both_held(s, 0.1), self.insert),
        ]

    # -- guards -------------------------------------------------------------------------------------------------------

    def held(self, scene: Scene, side: str, margin: float = 0.04) -> bool:
        """Returns whether a hand holds its object."""
        return ex.grasped(scene, side, self.grasp(scene, side), OPENINGS[side], margin)

    def both_held(self, scene: Scene, margin: float = 0.04) -> bool:
        return all(self.held(scene, side, margin) for side in SIDES)

    # -- goals --------------------------------------------------------------------------------------------------------

    def grasp(self, scene: Scene, side: str) -> Pose:
        """Returns the pose of a hand that holds its object."""
        held = scene.objects[OBJECTS[side]]
        along = self.variation.grasp_shift[SIDES.index(side)] * held.rotation[:, 0]
        rotation = ex.facing(side, self.variation.pitch, yaw=ex.yaw_of(held.rotation))
        return Pose(held.position + along + GRASP_HEIGHT[side] * ex.UP, rotation)

    def places(self, apart: float) -> dict[str, Pose]:
        """Returns the places of socket and peg in the air, `apart` [m] from mouth to tip."""
        socket = MEETING + np.array(self.variation.place)
        peg = socket + np.array([REACH + apart, 0.0, 0.0])
        return {"left": Pose(socket, np.eye(3)), "right": Pose(peg, np.eye(3))}

    def bring(self, scene: Scene, side: str, place: Pose) -> Goal:
        return ex.lift(scene, side, scene.objects[OBJECTS[side]], place)

    def pick(self, scene: Scene) -> Goals:
        """Lets each hand reach for its object, and bring it to its place once it holds it."""
        places = self.places(2 * GAP)
        return {
            side: self.bring(scene, side, places[side])
            if self.held(scene, side)
            else self.reach(scene, side, self.grasp(scene, side))
            for side in SIDES
        }

    def insert(self, scene: Scene) -> Goals:
        """Holds one object still and moves the other towards the pin, nearer the better they are aligned.

        The place of the moving object is relative to the measured pose of the other once that has arrived, so neither
        grasp must be exact.
        """
        peg, socket = scene.objects["peg"], scene.objects["socket"]
        local = socket.inverse() @ peg
        turned = float(np.linalg.norm(ex.rotation_vector(local.rotation)))
        beside = float(np.linalg.norm(local.position[1:]))
        depth = REACH - local.position[0]
        inside = ex.ramp(depth, 0.0, 0.006) * ex.ramp(-beside, -0.012, -0.009)
        outside = ex.ramp(beside + 0.05 * turned, *FUNNEL) * (1 - inside)  # the peg stays in once it is in
        deep = DEPTH + DRIVE * ex.ramp(-depth, -0.0199, -0.0193)
        apart = np.array([REACH + outside * GAP - (1 - outside) * deep, 0.0, 0.0])
        places = self.places(-DEPTH)
        if self.variation.variant > 0:
            moving, places["right"] = "right", arrived(socket, places["left"]) @ Pose(apart, np.eye(3))
        else:
            moving, places["left"] = "left", arrived(peg, places["right"]) @ Pose(-apart, np.eye(3))
        goals = {side: self.bring(scene, side, places[side]) for side in SIDES}
        if local.position[0] < REACH + 1.5 * GAP:
            goals[moving] = goals[moving]._replace(speed=PUSH)
        return goals


def arrived(held: Pose, place: Pose) -> Pose:
    """Returns the expected pose of an object: the place it is brought to, and its measured pose once it is near."""
    offset = held.position - place.position
    near = 1.0 - ex.ramp(float(np.linalg.norm(offset)), 0.01, 0.04)
    turn = ex.rotation_vector(place.rotation.T @ held.rotation)
    return Pose(place.position + near * offset, place.rotation @ ex.rotation_matrix(near * turn))
