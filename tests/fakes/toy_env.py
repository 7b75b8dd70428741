"""An environment with two arms and no physics, in which tests run in milliseconds."""

from typing import Any

import gymnasium
import numpy as np

from act.types import ACTION_DIM, EnvSpec, Observation


class ToyEnv(gymnasium.Env):
    """Joints jump to their targets; stage 1 when joint 0 passes half of `goal`, stage 2 within 0.05 rad of it.

    env_state carries the goal as an object pose (7,); images are uint8 noise with the goal as one bright column.
    """

    metadata = {"render_modes": [], "render_fps": 50}  # noqa: RUF012

    def __init__(self, cameras: tuple[str, ...] = (), image_size: tuple[int, int] = (24, 32), episode_len: int = 20):
        self.spec_ = EnvSpec("toy", ("half", "there"), episode_len, cameras, image_size)
        self.images_due = True
        box = gymnasium.spaces.Box
        spaces: dict[str, gymnasium.Space] = {
            "qpos": box(-10, 10, (ACTION_DIM,), np.float32),
            "qvel": box(-np.inf, np.inf, (ACTION_DIM,), np.float32),
            "env_state": box(-10, 10, (7,), np.float32),
        }
        if cameras:
            image = box(0, 255, (*image_size, 3), np.uint8)
            spaces["images"] = gymnasium.spaces.Dict(dict.fromkeys(cameras, image))
        self.observation_space = gymnasium.spaces.Dict(spaces)
        self.action_space = box(-3, 3, (ACTION_DIM,), np.float32)

    @property
    def env_spec(self) -> EnvSpec:
        return self.spec_

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        self.goal = float((options or {}).get("goal", self.np_random.uniform(0.5, 1.0)))
        self.qpos = np.zeros(ACTION_DIM, np.float32)
        self.t = 0
        return self._observation(), {"stage": 0, "success": False, "strict_success": False, "clipped": 0}

    def sample_start(self, seed: int) -> np.ndarray:
        self.reset(seed=seed)
        return self._observation()["env_state"]

    def step(self, action: np.ndarray):
        self.qpos = np.clip(np.asarray(action, np.float32), -3, 3)
        self.t += 1
        x = float(self.qpos[0])
        stage = 2 if abs(x - self.goal) < 0.05 else int(x > self.goal / 2)
        info = {"stage": stage, "success": stage == 2, "strict_success": stage == 2, "clipped": 0}
        return self._observation(), float(stage), False, self.t >= self.spec_.episode_len, info

    def _observation(self) -> Observation:
        env_state = np.array([self.goal, 0, 0, 1, 0, 0, 0], np.float32)
        obs: Observation = {"qpos": self.qpos.copy(), "qvel": np.zeros(ACTION_DIM, np.float32), "env_state": env_state}
        if self.spec_.cameras and self.images_due:
            height, width = self.spec_.image_size
            image = np.full((height, width, 3), 40, np.uint8)
            image[:, int(self.goal * (width - 1))] = 255
            obs["images"] = {camera: image.copy() for camera in self.spec_.cameras}
        return obs
