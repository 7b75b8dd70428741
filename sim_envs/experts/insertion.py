"""Expert for the insertion: each hand picks up its object, and the peg is aligned with the socket and pushed in."""

import numpy as np

from sim_envs.experts import expert as ex
from sim_envs.experts.expert import Goal, Goals, Grip, Phase, Scene
from sim_envs.kinematics import Pose

OBJECTS = {"left": "socket", "right": "peg"}  # whose each is
GRIPS = {"left": Grip(opening=0.656), "right": Grip(opening=0.353)}
GRASP_HEIGHT = {"left": 0.0, "right": 0.008}  # [m] of the tool centre point above the object's centre
PITCH = np.radians(60.0)  # of both hands, nose down
PLACE = Pose(np.array([-0.09, 0.5, 0.15]), np.eye(3))  # where the socket is held out
MOUTH, TIP = 0.06, 0.06  # [m] from the centre of the socket to its mouth, of the peg to its tip
GAP = 0.04  # [m] between tip and mouth while the peg is being lined up
DEPTH = 0.0215  # [m] the tip inside the mouth; the pin stands at 0.020
SPEED = 0.3  # [m/s]
DOWN = -ex.UP


class Expert(ex.Expert):
    objects = ("peg", "socket")
    symmetries = {"peg": ex.symmetry_group("xzz"), "socket": ex.symmetry_group("xzz")}

    def make_phases(self) -> list[Phase]:
        return [
            Phase("pick", lambda s: True, lambda s: True, self.pick),
            Phase("insert", self.both_held, lambda s: self.both_held(s, 0.1), self.insert),
        ]

    # -- guards --

    def held(self, scene: Scene, side: str, margin: float = 0.04) -> bool:
        return ex.grasped(scene, side, self.grasp(scene, side), GRIPS[side], margin)

    def both_held(self, scene: Scene, margin: float = 0.04) -> bool:
        return all(self.held(scene, side, margin) for side in OBJECTS)

    # -- goals --

    def grasp(self, scene: Scene, side: str) -> Pose:
        held = scene.objects[OBJECTS[side]]
        return Pose(held.position + GRASP_HEIGHT[side] * ex.UP, ex.facing(side, PITCH, yaw=ex.yaw_of(held.rotation)))

    def pick(self, scene: Scene) -> Goals:
        """Each hand for itself: reach for its object, or hold it out once it has it."""
        return {
            side: self.hold_out(scene, side) if self.held(scene, side) else self.reach(scene, side) for side in OBJECTS
        }

    def reach(self, scene: Scene, side: str) -> Goal:
        return ex.pick(scene, side, self.grasp(scene, side), DOWN, 0.08)

    def hold_out(self, scene: Scene, side: str) -> Goal:
        place = PLACE if side == "left" else PLACE @ Pose(np.array([MOUTH + GAP + 0.04 + TIP, 0, 0]), np.eye(3))
        return self.lift(scene, side, place)

    def lift(self, scene: Scene, side: str, place: Pose) -> Goal:
        """Up first, then to the place."""
        held = scene.objects[OBJECTS[side]]
        lifted = ex.ramp(held.position[2], 0.03, 0.06)
        position = held.position + lifted * (place.position - held.position)
        position[2] = place.position[2]
        return ex.carry(scene, side, held, Pose(position, place.rotation), SPEED)

    def insert(self, scene: Scene) -> Goals:
        """The socket stays; the peg waits before its mouth until it is in line, then goes in to the pin."""
        peg, socket = scene.objects["peg"], scene.objects["socket"]
        local = socket.inverse() @ peg
        turned = float(np.linalg.norm(ex.rotation_vector(local.rotation)))
        error = float(np.linalg.norm(local.position[1:])) + 0.06 * turned
        outside = ex.ramp(error, 0.003, 0.008)
        gap = outside * GAP - (1 - outside) * DEPTH
        place = socket @ Pose(np.array([MOUTH + TIP + gap, 0.0, 0.0]), np.eye(3))
        return {"left": self.lift(scene, "left", PLACE), "right": self.lift(scene, "right", place)}
