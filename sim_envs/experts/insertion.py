"""Expert for the insertion: each hand picks up its object, and the peg is aligned with the socket and pushed in."""

from typing import ClassVar

import numpy as np

from sim_envs.experts import expert as ex
from sim_envs.experts.expert import Goal, Goals, Phase, Scene
from sim_envs.kinematics import Pose
from sim_envs.robot import SIDES

OBJECTS = {"left": "socket", "right": "peg"}  # each hand's
OPENINGS = {"left": 0.656, "right": 0.353}  # of grippers closed on them
GRASP_HEIGHT = {"left": 0.0, "right": 0.008}  # [m] of the hand above the object's centre
MEETING = np.array([-0.09, 0.5, 0.15])  # [m] where the socket is held out
REACH = 0.12  # [m] between the centres of peg and socket when the tip is at the mouth
GAP = 0.04  # [m] between tip and mouth while they are being lined up
DEPTH = 0.0208  # [m] the tip inside the mouth in the end; the pin stands at 0.020
DRIVE = 0.002  # [m] how much deeper it is driven until it touches the pin: pressed on for long, things slip
FUNNEL = (0.004, 0.010)  # [m] error of alignment at which the peg goes in to the pin, and at which it waits outside
PUSH = 0.12  # [m/s] of the last centimetres


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
        return ex.grasped(scene, side, self.grasp(scene, side), OPENINGS[side], margin)

    def both_held(self, scene: Scene, margin: float = 0.04) -> bool:
        return all(self.held(scene, side, margin) for side in SIDES)

    # -- goals --------------------------------------------------------------------------------------------------------

    def grasp(self, scene: Scene, side: str) -> Pose:
        """Where the hand should be to hold its object."""
        held = scene.objects[OBJECTS[side]]
        along = self.variation.grasp_shift[SIDES.index(side)] * held.rotation[:, 0]
        rotation = ex.facing(side, self.variation.pitch, yaw=ex.yaw_of(held.rotation))
        return Pose(held.position + along + GRASP_HEIGHT[side] * ex.UP, rotation)

    def places(self, apart: float) -> dict[str, Pose]:
        """Where socket and peg are held out, `apart` [m] from mouth to tip."""
        socket = MEETING + np.array(self.variation.place)
        peg = socket + np.array([REACH + apart, 0.0, 0.0])
        return {"left": Pose(socket, np.eye(3)), "right": Pose(peg, np.eye(3))}

    def bring(self, scene: Scene, side: str, place: Pose) -> Goal:
        return ex.lift(scene, side, scene.objects[OBJECTS[side]], place)

    def pick(self, scene: Scene) -> Goals:
        """Each hand for itself: reach for its object, or hold it out once it has it."""
        places = self.places(2 * GAP)
        return {
            side: self.bring(scene, side, places[side])
            if self.held(scene, side)
            else self.reach(scene, side, self.grasp(scene, side))
            for side in SIDES
        }

    def insert(self, scene: Scene) -> Goals:
        """One object stays; the other is led along a funnel, nearer the better they are in line, to the pin.

        The moving one is placed relative to the measured pose of the other once that has arrived, so that neither
        grasp has to be perfect.
        """
        peg, socket = scene.objects["peg"], scene.objects["socket"]
        local = socket.inverse() @ peg
        turned = float(np.linalg.norm(ex.rotation_vector(local.rotation)))
        beside = float(np.linalg.norm(local.position[1:]))
        depth = REACH - local.position[0]
        inside = ex.ramp(depth, 0.0, 0.006) * ex.ramp(-beside, -0.012, -0.009)
        outside = ex.ramp(beside + 0.05 * turned, *FUNNEL) * (1 - inside)  # once in, it stays in
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
    """Where to expect an object: at the place it is brought to, but where it is measured once it is near."""
    offset = held.position - place.position
    near = 1.0 - ex.ramp(float(np.linalg.norm(offset)), 0.01, 0.04)
    turn = ex.rotation_vector(place.rotation.T @ held.rotation)
    return Pose(place.position + near * offset, place.rotation @ ex.rotation_matrix(near * turn))
