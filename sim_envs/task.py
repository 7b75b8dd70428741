"""What a task is: a scene, its objects and where they start, stages that become the reward, a rule for strict success.

A new task is one file in `sim_envs/tasks/` with a class `Task(BimanualTask)`; docs/adding_a_task.md walks through one.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from dm_control.suite import base

from sim_envs.robot import Robot


def assets_folder() -> Path:
    """The folder of the MJCF files: inside this package once it is installed, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    return package / "assets" if (package / "assets").is_dir() else package.parent / "assets"


ASSETS = assets_folder()
HOME_KEY = 0  # the keyframe `home` of every scene
TABLE = ("table",)
FALLEN = -0.05  # [m] below the table's top: nothing that lies there is reached again


class BimanualTask(base.Task):
    """A dm_control task for two arms. Subclasses fill in the class variables and `sample_objects`, `stage`, `holds`."""

    name: ClassVar[str]  # the file's name
    scene: ClassVar[Path]  # MJCF
    stage_names: ClassVar[tuple[str, ...]]  # of reward 1, 2, ...
    objects: ClassVar[tuple[str, ...]]  # free bodies, in the order of env_state
    keypoints: ClassVar[tuple[str, ...]]  # sites a vision system should find
    episode_len: ClassVar[int] = 400  # [control steps]
    strict_steps: ClassVar[int] = 1  # control steps in a row that `holds` must have been true

    def __init__(self, rng: np.random.Generator):
        super().__init__(random=0)  # dm_control's own generator is never used
        self.rng = rng
        self.env_state0: np.ndarray | None = None  # (7n,) poses asked for by the caller, else sampled

    # -- to be filled in ------------------------------------------------------------------------------------------

    def sample_objects(self, rng: np.random.Generator) -> np.ndarray:
        """Start poses (7n,) [m, quaternion wxyz], at rest on the table."""
        raise NotImplementedError

    def stage(self, physics: Any) -> int:
        """Index of the stage the scene is in now, 0 to len(stage_names)."""
        raise NotImplementedError

    def holds(self, physics: Any) -> bool:
        """Whether the result is there now, by the stricter rule of the task's docstring."""
        raise NotImplementedError

    def bring_together(self, rng: np.random.Generator, env_state: np.ndarray) -> None:
        """Moves objects (7n,), in place, to a random moment just before the goal; used to draw random scenes."""

    # -- dm_control's contract ------------------------------------------------------------------------------------

    def initialize_episode(self, physics: Any) -> None:
        physics.reset(keyframe_id=HOME_KEY)
        self.robot = Robot(physics.model.ptr)
        env_state = self.sample_objects(self.rng) if self.env_state0 is None else self.env_state0
        for k, body in enumerate(self.objects):
            physics.named.data.qpos[body] = env_state[7 * k : 7 * k + 7]
        self._geoms: dict[tuple[str, ...], np.ndarray] = {}
        self.best_stage = self.streak = 0
        super().initialize_episode(physics)

    def before_step(self, action: np.ndarray, physics: Any) -> None:
        physics.set_control(self.robot.to_ctrl(action))

    def after_step(self, physics: Any) -> None:
        self.current_stage = self.stage(physics)
        self.best_stage = max(self.best_stage, self.current_stage)
        self.streak = self.streak + 1 if self.holds(physics) else 0

    def get_observation(self, physics: Any) -> Any:
        return {
            "qpos": self.robot.qpos(physics.data),
            "qvel": self.robot.qvel(physics.data),
            "env_state": self.env_state(physics),
        }

    def get_reward(self, physics: Any) -> Any:
        return float(self.current_stage)

    # -- the questions tasks ask ----------------------------------------------------------------------------------

    @property
    def success(self) -> bool:
        """The highest stage was reached at some control step so far."""
        return self.best_stage == len(self.stage_names)

    @property
    def strict_success(self) -> bool:
        return self.streak >= self.strict_steps

    def fallen(self, physics: Any) -> bool:
        """Whether an object has fallen off the table."""
        return any(physics.named.data.qpos[body][2] < FALLEN for body in self.objects)

    def env_state(self, physics: Any) -> np.ndarray:
        """Object poses (7n,) float32 [m, quaternion wxyz]."""
        return np.concatenate([physics.named.data.qpos[body] for body in self.objects]).astype(np.float32)

    def touching(self, physics: Any, a: Sequence[str], b: Sequence[str]) -> bool:
        """Whether any geom named in `a` is in contact with any named in `b`."""
        pairs = physics.data.contact.geom
        in_a, in_b = self._members(physics, a)[pairs], self._members(physics, b)[pairs]
        return bool(np.any((in_a[:, 0] & in_b[:, 1]) | (in_b[:, 0] & in_a[:, 1])))

    def _members(self, physics: Any, names: Sequence[str]) -> np.ndarray:
        """(n + 1,) bool over all geoms: those named. The last entry is for -1, a flex in place of a geom."""
        key = tuple(names)
        if key not in self._geoms:
            self._geoms[key] = np.zeros(physics.model.ngeom + 1, dtype=bool)
            self._geoms[key][[physics.model.name2id(name, "geom") for name in key]] = True
        return self._geoms[key]


def resting_pose(x: float, y: float, z: float, yaw: float = 0.0) -> np.ndarray:
    """Pose (7,) of an object lying on the table, turned by `yaw` [rad] about the vertical."""
    return np.array([x, y, z, np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)])
