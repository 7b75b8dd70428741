"""Defines the expert for the cube transfer: the right hand picks the cube up, and the left hand takes it."""

from typing import ClassVar

import numpy as np

from sim_envs.experts import expert as ex
from sim_envs.experts.expert import Goal, Goals, Phase, Scene
from sim_envs.kinematics import Pose
from sim_envs.robot import SIDES

OPENING = 0.606  # reading of a gripper closed on the cube
MEETING = np.array([0.0, 0.5, 0.23])  # [m] place where the left hand takes the cube
TAKING = 0.07  # [m/s] of the left hand on its way to the cube; at higher speeds it rises by 1 cm
LIFTING = 0.1  # [m/s] while both hands hold the cube
RAISE = 0.03  # [m] how far both hands lift the cube before the right one lets go
GRASP_HEIGHT = 0.006  # [m] of the right hand above the cube's centre
ACROSS = np.array([1.0, 0.0, 0.0])  # direction in which the left hand approaches


class Expert(ex.Expert):
    objects = ("cube",)
    symmetries: ClassVar = {"cube": ex.symmetry_group({"x": np.pi / 2, "z": np.pi / 2})}

    def make_phases(self) -> list[Phase]:
        self.meeting = MEETING + np.array(self.variation.place)
        return [
            Phase("pick", lambda s: True, lambda s: True, self.pick),
            Phase("offer", lambda s: self.held(s, "right"), lambda s: self.held(s, "right", 0.1), self.offer),
            Phase("release", lambda s: self.held(s, "left"), lambda s: self.held(s, "left", 0.1), self.release),
            Phase("rest", lambda s: self.alone(s, 0.09), lambda s: self.alone(s, 0.06, 0.1), self.rest),
        ]

    # -- guards -------------------------------------------------------------------------------------------------------

    def held(self, scene: Scene, side: str, margin: float = 0.04) -> bool:
        """Returns whether a hand holds the cube. The finger that is read sags by 0.08 when it is the lower one."""
        sag = 0.08 if side == "left" and self.variation.variant < 0 else 0.0
        return ex.grasped(scene, side, self.grasp(scene, side), OPENING, margin + sag)

    def alone(self, scene: Scene, distance: float, margin: float = 0.04) -> bool:
        """Returns whether the left hand holds the cube and the right hand is farther than `distance` [m] from it."""
        apart = float(np.linalg.norm(scene.hands["right"].position - scene.objects["cube"].position))
        return self.held(scene, "left", margin) and apart > distance

    # -- goals --------------------------------------------------------------------------------------------------------

    def grasp(self, scene: Scene, side: str) -> Pose:
        """Returns the pose of a hand that holds the cube."""
        cube, (left, right) = scene.objects["cube"], self.variation.grasp_shift
        yaw = ex.yaw_of(cube.rotation)
        if side == "right":
            above = np.array([0.5 * right, 0.0, GRASP_HEIGHT])
            return Pose(cube.position + above, ex.facing(side, self.variation.pitch, yaw=yaw))
        return Pose(cube.position + 0.5 * left * ACROSS, ex.facing(side, roll=self.roll(), yaw=yaw))

    def roll(self) -> float:
        return self.variation.variant * np.pi / 2

    def pick(self, scene: Scene) -> Goals:
        return {"left": self.wait(), "right": self.reach(scene, "right", self.grasp(scene, "right"))}

    def wait(self) -> Goal:
        return Goal(Pose(self.meeting - 0.12 * ACROSS, ex.facing("left", roll=self.roll())), 1.0)

    def offer(self, scene: Scene) -> Goals:
        """Lets the right hand bring the cube; when it is near its place, the left hand comes to take it."""
        cube = scene.objects["cube"]
        away = float(np.linalg.norm(cube.position - self.meeting))
        take = self.reach(scene, "left", self.grasp(scene, "left"), ACROSS, hurdle=max(0.0, away - 0.01))
        take = take._replace(speed=TAKING)
        missing = float(np.linalg.norm(scene.hands["left"].position - self.grasp(scene, "left").position))
        right = self.bring(scene, "right")._replace(speed=ex.SPEED * ex.ramp(missing, 0.0, 0.04))
        return {"left": take if away < 0.05 else self.wait(), "right": right}

    def bring(self, scene: Scene, side: str, higher: float = 0.0) -> Goal:
        return ex.lift(scene, side, scene.objects["cube"], Pose(self.meeting + higher * ex.UP, np.eye(3)))

    def release(self, scene: Scene) -> Goals:
        """Lets both hands lift the cube; then the right one opens and backs away.

        The lift extends the time between the left hand's grasp and the right hand's release from 3 to 15 control steps.
        A policy that imitates hands which react to each other at once drops the cube.
        """
        raised = ex.ramp(scene.objects["cube"].position[2] - self.meeting[2], 0.6 * RAISE, 0.8 * RAISE)
        free = ex.ramp(scene.openings["right"], 0.7, 0.85)
        goals = {side: self.bring(scene, side, RAISE)._replace(speed=LIFTING) for side in SIDES}
        if max(raised, free) > 0:
            goals["right"] = Goal(self.retreat(), max(raised, free), ex.SPEED * free)
        return goals

    def rest(self, scene: Scene) -> Goals:
        left = Goal(Pose(MEETING - 0.1 * ACROSS, ex.facing("left")), 0.0, load=ex.PAYLOAD)
        return {"left": left, "right": Goal(self.retreat(), 1.0)}

    def retreat(self) -> Pose:
        return Pose(MEETING + np.array([0.13, 0.0, 0.05]), ex.facing("right", ex.SCRIPTED.pitch))
