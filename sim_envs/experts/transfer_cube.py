"""Expert for the cube transfer: the right hand picks the cube up and holds it out, the left hand takes it."""

import numpy as np

from sim_envs.experts import expert as ex
from sim_envs.experts.expert import Goal, Goals, Grip, Phase, Scene
from sim_envs.kinematics import Pose

CUBE = Grip(opening=0.606)
MEETING = np.array([0.0, 0.5, 0.23])  # [m] where the cube changes hands
PITCH = np.radians(60.0)  # of the right hand, nose down
SPEED = 0.3  # [m/s]
DOWN, ACROSS = -ex.UP, np.array([1.0, 0.0, 0.0])


class Expert(ex.Expert):
    objects = ("cube",)
    symmetries = {"cube": ex.symmetry_group("xz")}

    def make_phases(self) -> list[Phase]:
        return [
            Phase("pick", lambda s: True, lambda s: True, self.pick),
            Phase("offer", lambda s: self.held(s, "right"), lambda s: self.held(s, "right", 0.1), self.offer),
            Phase("release", lambda s: self.held(s, "left"), lambda s: self.held(s, "left", 0.1), self.release),
            Phase("rest", lambda s: self.alone(s, 0.09), lambda s: self.alone(s, 0.06, 0.1), self.rest),
        ]

    # -- guards --

    def held(self, scene: Scene, side: str, margin: float = 0.04) -> bool:
        return ex.grasped(scene, side, self.grasp(scene, side), CUBE, margin)

    def alone(self, scene: Scene, distance: float, margin: float = 0.04) -> bool:
        """Whether the left hand holds the cube and the right hand is farther than `distance` [m] from it."""
        apart = np.linalg.norm(scene.hands["right"].position - scene.objects["cube"].position)
        return self.held(scene, "left", margin) and bool(apart > distance)

    # -- goals --

    def grasp(self, scene: Scene, side: str) -> Pose:
        """Where the hand should be to hold the cube."""
        cube = scene.objects["cube"]
        yaw = ex.yaw_of(cube.rotation)
        if side == "right":
            return Pose(cube.position + 0.012 * ex.UP, ex.facing(side, PITCH, yaw=yaw))
        return Pose(cube.position + 0.01 * ACROSS, ex.facing(side, roll=np.pi / 2, yaw=yaw))

    def waiting(self) -> Goal:
        return Goal(Pose(MEETING - 0.12 * ACROSS, ex.facing("left", roll=np.pi / 2)), 1.0)

    def pick(self, scene: Scene) -> Goals:
        return {"left": self.waiting(), "right": ex.pick(scene, "right", self.grasp(scene, "right"), DOWN, 0.08)}

    def offer(self, scene: Scene) -> Goals:
        cube = scene.objects["cube"]
        away = float(np.linalg.norm(cube.position - MEETING))
        take = ex.pick(scene, "left", self.grasp(scene, "left"), ACROSS, 0.12, hurdle=max(0.0, away - 0.01))
        left = take if away < 0.05 else self.waiting()
        return {"left": left, "right": self.bring(scene, "right")}

    def bring(self, scene: Scene, side: str) -> Goal:
        cube = scene.objects["cube"]
        lifted = ex.ramp(cube.position[2], 0.02, 0.05)
        position = cube.position + lifted * (MEETING - cube.position)
        position[2] = MEETING[2]
        return ex.carry(scene, side, cube, Pose(position, np.eye(3)))

    def release(self, scene: Scene) -> Goals:
        """The left hand keeps the cube where it is; the right one opens, then backs away."""
        open_ = ex.ramp(scene.openings["right"], 0.7, 0.85)
        return {
            "left": ex.carry(scene, "left", scene.objects["cube"], Pose(MEETING, np.eye(3))),
            "right": Goal(self.retreat(), 1.0, SPEED * open_),
        }

    def rest(self, scene: Scene) -> Goals:
        return {"left": Goal(Pose(MEETING - 0.1 * ACROSS, ex.facing("left")), 0.0), "right": Goal(self.retreat(), 1.0)}

    def retreat(self) -> Pose:
        return Pose(MEETING + np.array([0.13, 0.0, 0.05]), ex.facing("right", PITCH))
