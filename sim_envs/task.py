"""Defines what a task is: a scene, objects and their start, stages that become the reward, and strict success.

A new task is one file in `sim_envs/tasks/` with a class `Task(BimanualTask)`; docs/adding_a_task.md explains the steps.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import mujoco
import numpy as np
from dm_control.suite import base

from sim_envs.objects import place, pose_in
from sim_envs.robot import Robot


def assets_folder() -> Path:
    """The folder of the MJCF files: inside this package once it is installed, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    return package / "assets" if (package / "assets").is_dir() else package.parent / "assets"


ASSETS = assets_folder()
HOME_KEY = 0  # index of the keyframe `home` in every scene
TABLE = ("table",)
FALLEN = -0.05  # [m] height of an object that has fallen off the table, whose top is at 0


class BimanualTask(base.Task):
    """The base class of tasks for two arms, on dm_control.

    Subclasses define the class variables and the methods `sample_objects`, `stage` and `holds`.
    """

    name: ClassVar[str]  # the name of the file
    scene: ClassVar[Path]  # MJCF file
    stage_names: ClassVar[tuple[str, ...]]  # names of the stages with reward 1, 2, ...; the last one is success
    objects: ClassVar[tuple[str, ...]]  # names of the bodies, in the order of env_state; a part follows its carrier
    keypoints: ClassVar[tuple[str, ...]]  # sites whose pixels random scenes have as labels
    episode_len: ClassVar[int] = 400  # [control steps]
    mirror_plane: ClassVar[float | None] = None  # y [m] of a plane in which scene, objects and task are symmetrical
    strict_steps: ClassVar[int] = 1  # consecutive control steps at the end for which `holds` must be true

    def __init__(self, rng: np.random.Generator):
        super().__init__(random=0)  # the generator of dm_control is never used
        self.rng = rng
        self.env_state0: np.ndarray | None = None  # start poses (7n,) of the caller; None samples them
        self.area = False  # tasks that start their objects along a line spread them over an area instead

    # -- to be filled in ------------------------------------------------------------------------------------------

    def sample_objects(self, rng: np.random.Generator) -> np.ndarray:
        """Returns start poses (7n,) [m, quaternion wxyz] of objects that rest on the table."""
        raise NotImplementedError

    def stage(self, physics: Any) -> int:
        """Returns the stage of the current state, 0 to len(stage_names)."""
        raise NotImplementedError

    def holds(self, physics: Any) -> bool:
        """Returns whether the current state fulfils the strict rule in the docstring of the task."""
        raise NotImplementedError

    def bring_together(self, rng: np.random.Generator, env_state: np.ndarray) -> None:
        """Moves objects (7n,) in place to a random moment just before the goal. Only random scenes use it."""

    # -- dm_control's contract ------------------------------------------------------------------------------------

    def initialize_episode(self, physics: Any) -> None:
        """Puts the arms at home and the objects at their start poses."""
        physics.reset(keyframe_id=HOME_KEY)
        self.robot = Robot(physics.model.ptr)
        env_state = self.sample_objects(self.rng) if self.env_state0 is None else self.env_state0
        for k, body in enumerate(self.objects):
            place(physics.model.ptr, physics.data.ptr, body, env_state[7 * k : 7 * k + 7])
        self._geoms: dict[tuple[str, ...], np.ndarray] = {}
        self.best_stage = self.streak = 0
        super().initialize_episode(physics)

    def before_step(self, action: np.ndarray, physics: Any) -> None:
        """Sends joint targets (14,) to the actuators."""
        physics.set_control(self.robot.to_ctrl(action))

    def after_step(self, physics: Any) -> None:
        """Updates the stage, the best stage so far, and the number of consecutive steps for which `holds` was true."""
        self.current_stage = self.stage(physics)
        self.best_stage = max(self.best_stage, self.current_stage)
        self.streak = self.streak + 1 if self.holds(physics) else 0

    def get_observation(self, physics: Any) -> Any:
        """Returns qpos (14,), qvel (14,) and env_state (7n,), all float32."""
        return {
            "qpos": self.robot.qpos(physics.data),
            "qvel": self.robot.qvel(physics.data),
            "env_state": self.env_state(physics),
        }

    def get_reward(self, physics: Any) -> Any:
        """Returns the current stage."""
        return float(self.current_stage)

    # -- what tasks and environments ask -------------------------------------------------------------------------------

    @property
    def success(self) -> bool:
        """Whether the highest stage was reached at any control step so far."""
        return self.best_stage == len(self.stage_names)

    @property
    def strict_success(self) -> bool:
        """Whether `holds` has been true for the last `strict_steps` control steps."""
        return self.streak >= self.strict_steps

    def fallen(self, physics: Any) -> bool:
        """Returns whether an object has fallen off the table."""
        return any(pose_in(physics.model.ptr, physics.data.ptr, body)[2] < FALLEN for body in self.objects)

    def env_state(self, physics: Any) -> np.ndarray:
        """Returns the poses (7n,) float32 of the objects [m, quaternion wxyz]."""
        poses = [pose_in(physics.model.ptr, physics.data.ptr, body) for body in self.objects]
        return np.concatenate(poses).astype(np.float32)

    def touching(self, physics: Any, a: Sequence[str], b: Sequence[str]) -> bool:
        """Returns whether any geom named in `a` touches any geom named in `b`."""
        pairs = physics.data.contact.geom
        in_a, in_b = self._members(physics, a)[pairs], self._members(physics, b)[pairs]
        return bool(np.any((in_a[:, 0] & in_b[:, 1]) | (in_b[:, 0] & in_a[:, 1])))

    def _members(self, physics: Any, names: Sequence[str]) -> np.ndarray:
        """Returns (n_geoms + 1,) bool: the named geoms. The last entry is for index -1, a flex instead of a geom."""
        key = tuple(names)
        if key not in self._geoms:
            self._geoms[key] = np.zeros(physics.model.ngeom + 1, dtype=bool)
            self._geoms[key][[physics.model.name2id(name, "geom") for name in key]] = True
        return self._geoms[key]


def resting_pose(x: float, y: float, z: float, yaw: float = 0.0) -> np.ndarray:
    """Returns the pose (7,) of an object at (x, y, z) [m], turned by `yaw` [rad] about the vertical."""
    return np.array([x, y, z, np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)])


def quaternion_matrix(quaternion: np.ndarray) -> np.ndarray:
    """Returns the rotation matrix (3, 3) of a quaternion (4,) wxyz, which need not have unit length."""
    matrix = np.empty(9)
    mujoco.mju_quat2Mat(matrix, quaternion / np.linalg.norm(quaternion))
    return matrix.reshape(3, 3)
