"""Defines the environment: Gymnasium outside, dm_control inside, 50 Hz control, 2 ms physics steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from dm_control import mujoco
from dm_control.rl import control
from gymnasium.utils.seeding import np_random

from sim_envs.camera import QUALITIES, shared_renderer
from sim_envs.checks import check_action, check_options, check_seed, is_sound
from sim_envs.objects import carrier
from sim_envs.randomize import Randomizer
from sim_envs.robot import ACTION_DIM, Robot
from sim_envs.task import BimanualTask

CONTROL_TIMESTEP = 0.02  # [s]
DEFAULT_CAMERAS = ("cam_high", "cam_low", "cam_left_wrist", "cam_right_wrist")  # those of the real ALOHA
LARGEST_SIDE = 4096  # [pixels] largest height and width of an image
MJCF_CAMERAS = {
    "cam_left_wrist": "left/wrist",
    "cam_right_wrist": "right/wrist",
    "left_wrist": "left/wrist",  # the names of act++
    "right_wrist": "right/wrist",
}  # name here -> in MJCF
CAMERAS = (*DEFAULT_CAMERAS, "top", "angle", "left_wrist", "right_wrist")


@dataclass(frozen=True)
class EnvSpec:
    """Describes an environment. It has the same fields as act.types.EnvSpec, because sim_envs never imports act."""

    task_name: str
    stage_names: tuple[str, ...]
    episode_len: int  # [control steps]
    cameras: tuple[str, ...]
    image_size: tuple[int, int]  # (H, W)
    objects: tuple[str, ...]  # names, in the order of env_state

    @property
    def max_reward(self) -> int:
        return len(self.stage_names)


def check_view(cameras: tuple[str, ...], image_size: tuple[int, int], quality: str) -> None:
    """Raises ValueError, naming the value and the choices, for a view that cannot be rendered."""
    if not all(1 <= side <= LARGEST_SIDE for side in image_size):
        raise ValueError(f"image_size {tuple(image_size)}: height and width must be 1 to {LARGEST_SIDE} pixels")
    unknown = [camera for camera in cameras if camera not in CAMERAS]
    if unknown:
        raise ValueError(f"unknown camera {unknown[0]!r}; available: {', '.join(CAMERAS)}")
    if quality not in QUALITIES:
        raise ValueError(f"unknown quality {quality!r}; available: {', '.join(QUALITIES)}")


class BimanualEnv(gymnasium.Env):
    """Simulates two ViperX arms and a task. The reward is the task's stage.

    Observations and actions (14,) have the form and units of act/types.py: joints [rad], grippers [0 closed, 1 open].

    Example:
        env = sim_envs.make("transfer_cube", cameras=("cam_high",), image_size=(240, 320))
        obs, info = env.reset(seed=0)
        obs, reward, terminated, truncated, info = env.step(obs["qpos"])      # holds still for 0.02 s
        image = obs["images"]["cam_high"]                                     # (240, 320, 3) uint8

    Args:
        task: class of the task.
        cameras: which images observations have; an empty tuple renders nothing.
        image_size: (H, W) of every image [pixels].
        quality: "fast" (no shadows, no multisampling) or "pretty".
        render_mode: "rgb_array" makes `render()` return the image of the camera `angle`.
        randomize: what differs between episodes besides the start poses; names of `sim_envs.randomize.KINDS`.

    Attributes:
        env_spec: describes the environment (EnvSpec).
        images_due: False makes the next `reset` or `step` leave the images out. The rollout loop sets it, so that
            cameras are rendered only when an agent or an observer needs images.

    Raises ValueError for unknown cameras, qualities and randomizations, and for image sizes that cannot be rendered.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 50}  # noqa: RUF012 (Gymnasium's own form)

    def __init__(
        self,
        task: type[BimanualTask],
        cameras: tuple[str, ...] = DEFAULT_CAMERAS,
        image_size: tuple[int, int] = (480, 640),
        quality: str = "fast",
        render_mode: str | None = None,
        randomize: Sequence[str] = (),
    ):
        if isinstance(cameras, str):
            raise ValueError(f"cameras {cameras!r}: give a tuple, ({cameras!r},)")
        cameras = tuple(cameras)
        check_view(cameras, image_size, quality)
        self.render_mode = render_mode
        self.quality = quality
        self.images_due = True
        self._observation: Any = None
        size = (image_size[0], image_size[1])
        self.env_spec = EnvSpec(task.name, task.stage_names, task.episode_len, cameras, size, task.objects)
        self._task = task(np.random.default_rng(0))  # reset(seed) replaces this generator
        physics = mujoco.Physics.from_xml_path(str(task.scene))
        self._control = control.Environment(physics, self._task, control_timestep=CONTROL_TIMESTEP, legacy_step=True)
        self._randomizer = Randomizer(physics.model.ptr, task.objects, randomize)
        self._task.area = "area" in self._randomizer.kinds
        self._limits = Robot(physics.model.ptr).limits
        self.action_space = gymnasium.spaces.Box(*self._limits.T.astype(np.float32), dtype=np.float32)
        self.observation_space = self._declared = self._make_observation_space()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Starts an episode. `options={"env_state": (7n,)}` places the objects instead of sampling their poses.

        Raises ValueError for a seed that is none, unknown options, and poses that are not finite, are outside the
        observation space or have a zero quaternion; the state is then unchanged.
        """
        seed, space = check_seed(seed), self._declared["env_state"]
        env_state0 = check_options(options, self._task.objects, space)
        super().reset(seed=seed)
        self._task.rng = self.np_random
        self._task.env_state0 = env_state0
        values = self._randomizer.sample(seed, self.np_random)
        self._observation = self._control.reset().observation
        self._randomizer.record(self.physics.data.ptr)
        self._t = self._clipped = 0
        randomization = {"randomization": values} if values else {}
        return self._with_images(self._observation), {**self._info(stage=0), **randomization}

    def sample_start(self, seed: int) -> np.ndarray:
        """The poses of all objects (7n,) with which `reset(seed=seed)` starts an episode; nothing is simulated."""
        rng, _ = np_random(seed)
        return self._task.sample_objects(rng)

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Simulates one control step of 0.02 s towards absolute joint targets (14,).

        The episode is truncated at the task's episode_len. It is terminated when success has become impossible: an
        object has fallen off the table, or the physics has diverged, as when arms are driven hard into each other:
        MuJoCo says so, or a number is outside the observation space.
        After a divergence the observation is the last sound one, the reward is 0 and `info["diverged"]` is True.

        Raises ValueError for an action of another shape or type, or not finite, and leaves the state unchanged;
        raises gymnasium's ResetNeeded before the first `reset`.
        """
        if self._observation is None:
            raise gymnasium.error.ResetNeeded("call reset() before step()")
        action = check_action(action, ACTION_DIM)
        target = np.clip(action, self._limits[:, 0], self._limits[:, 1])
        self._clipped += bool(np.any(np.abs(target - action) > 1e-6))
        diverged = not self._simulate(target)
        stage = 0 if diverged else self._task.current_stage
        self._t += 1
        self._randomizer.record(self.physics.data.ptr)
        truncated = self._t >= self.env_spec.episode_len
        terminated = diverged or self._task.fallen(self.physics)
        info = {**self._info(stage), "diverged": diverged}
        return self._with_images(self._observation), float(stage), terminated, truncated, info

    def _simulate(self, target: np.ndarray) -> bool:
        """Simulates one control step. After a divergence it goes back to the state before, and returns False."""
        state, best_stage = self.physics.get_state(), self._task.best_stage
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # of a diverged state's numbers in float32
                observation = self._control.step(target).observation
            if is_sound(self._declared, observation):
                self._observation = observation
                return True
        except control.PhysicsError:
            pass
        self.physics.set_state(state)
        self.physics.forward()
        self._task.best_stage, self._task.streak = best_stage, 0
        return False

    def render(self) -> np.ndarray | None:
        """Returns the image of the camera `angle`, or None without render_mode "rgb_array"."""
        return self.render_camera("angle") if self.render_mode == "rgb_array" else None

    def render_camera(self, camera: str, image_size: tuple[int, int] | None = None) -> np.ndarray:
        """Returns an image (H, W, 3) uint8 of any camera, also of one that observations do not have."""
        return self._render(self.physics.data.ptr, camera, image_size or self.env_spec.image_size)

    def _render(self, data: Any, camera: str, image_size: tuple[int, int]) -> np.ndarray:
        renderer = shared_renderer(self._task.scene, image_size, self.quality)
        return renderer.render(data, MJCF_CAMERAS.get(camera, camera), self._randomizer.appearance)

    def _observed(self, camera: str) -> np.ndarray:
        """Returns what a camera shows, which may be late."""
        data = self._randomizer.seen(self.physics.data.ptr, MJCF_CAMERAS.get(camera, camera))
        return self._render(data, camera, self.env_spec.image_size)

    def push(self, body: str, velocity: np.ndarray) -> None:
        """Gives an object, or what carries a part, a velocity (3,) [m/s], a disturbance for tests of recovery."""
        self.physics.named.data.qvel[carrier(self.physics.model.ptr, body)][:3] = velocity

    @property
    def physics(self) -> Any:
        return self._control.physics

    @property
    def task(self) -> BimanualTask:
        return self._task

    def _make_observation_space(self) -> gymnasium.spaces.Dict:
        """Returns spaces with wide bounds, because joint limits are soft: colliding arms push joints well past them."""
        box = gymnasium.spaces.Box
        n = len(self._task.objects)
        pose = np.tile(np.array([100.0] * 3 + [1.01] * 4, np.float32), n)
        spaces: dict[str, gymnasium.Space] = {
            "qpos": box(-100.0, 100.0, (ACTION_DIM,), np.float32),
            "qvel": box(-1000.0, 1000.0, (ACTION_DIM,), np.float32),
            "env_state": box(-pose, pose, dtype=np.float32),
        }
        if self.env_spec.cameras:
            image = box(0, 255, (*self.env_spec.image_size, 3), np.uint8)
            spaces["images"] = gymnasium.spaces.Dict(dict.fromkeys(self.env_spec.cameras, image))
        return gymnasium.spaces.Dict(spaces)

    def _with_images(self, observation: Any) -> dict[str, Any]:
        observation = dict(observation)
        if self.env_spec.cameras and self.images_due:
            observation["images"] = {camera: self._observed(camera) for camera in self.env_spec.cameras}
        return observation

    def _info(self, stage: int) -> dict[str, Any]:
        return {
            "stage": stage,
            "success": self._task.success,
            "strict_success": self._task.strict_success,
            "clipped": self._clipped,
        }
