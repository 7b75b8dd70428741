"""Environments as other projects write them, without physics: names, units and habits of gym-aloha and aloha_sim."""

from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np

from act.types import ACTION_DIM

REACH = 0.05  # [rad] within which the goal counts as reached


class AgentPosEnv(gymnasium.Env):
    """Speaks as LeRobot's environments do: agent_pos, pixels, is_success, and an action space that is not true.

    Joints jump to their targets. The goal of joint 0 is 2 to 3 rad, beyond the declared Box(-1, 1). The episode does
    not end by itself.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 50}  # noqa: RUF012
    picture_shape: tuple[int, ...] = (24, 32, 3)

    def __init__(self, render_mode: str | None = None):
        self.render_mode = render_mode
        self.action_space = gymnasium.spaces.Box(-1, 1, (ACTION_DIM,), np.float32)
        self.observation_space = gymnasium.spaces.Dict()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.goal, self.qpos = float(self.np_random.uniform(2, 3)), np.zeros(ACTION_DIM)
        return self.observed(), {"is_success": False}

    def step(self, action: np.ndarray) -> Any:
        self.qpos = np.array(action, np.float64)
        reached = bool(abs(self.qpos[0] - self.goal) < REACH)
        return self.observed(), float(reached), False, False, {"is_success": reached}

    def observed(self) -> Any:
        goal = np.array([self.goal, 0, 0, 1, 0, 0, 0])
        return {"agent_pos": self.qpos, "environment_state": goal, "pixels": {"top": self.render()}}

    def render(self) -> Any:
        return np.full(self.picture_shape, 40, np.uint8)


class WithoutPictures(AgentPosEnv):
    """Has pictures only from `render`."""

    def observed(self) -> Any:
        return {key: value for key, value in super().observed().items() if key != "pixels"}


class Slow(AgentPosEnv):
    metadata: dict[str, Any] = {"render_fps": 30}  # noqa: RUF012


class Silent(AgentPosEnv):
    """Says nothing of success."""

    def step(self, action: np.ndarray) -> Any:
        return (*super().step(action)[:4], {})


class Unnamed(AgentPosEnv):
    def observed(self) -> Any:
        return {"joints": self.qpos}


class Vector(AgentPosEnv):
    def observed(self) -> Any:
        return self.qpos


class ChannelsFirst(AgentPosEnv):
    picture_shape = (3, 24, 32)


class Wide(AgentPosEnv):
    picture_shape = (24, 64, 3)


def make_viewed(cameras: tuple[str, ...], image_size: tuple[int, int]) -> AgentPosEnv:
    """An environment that renders what it is asked for."""
    env = AgentPosEnv()
    env.picture_shape = (*image_size, 3)
    env.asked = cameras, image_size  # type: ignore[attr-defined]
    return env


def make_nothing() -> None:
    """Forgets to return its environment."""


# ----------------------------------------------------------------------------------------------------------- gym-aloha
class Physics:
    """The few parts of dm_control's Physics that an adapter of gym-aloha touches."""

    def __init__(self, n_objects: int):
        self.data = SimpleNamespace(qpos=np.zeros(16 + 7 * n_objects))
        cameras = ("top", "angle", "front_close")
        self.model = SimpleNamespace(ncam=len(cameras), id2name=lambda index, kind: cameras[index])
        self.rendered: list[str] = []

    def forward(self) -> None:
        """Computes what follows from qpos, here nothing."""

    def render(self, height: int, width: int, camera_id: str) -> np.ndarray:
        self.rendered.append(camera_id)
        return np.zeros((height, width, 3), np.uint8)


class GymAlohaTask:
    """As gym_aloha.tasks.sim has it: every observation renders three cameras."""

    def get_qpos(self, physics: Physics) -> np.ndarray:
        arms = physics.data.qpos[:16]
        return np.concatenate([arms[:7], arms[8:15]])

    def get_qvel(self, physics: Physics) -> np.ndarray:
        return np.zeros(ACTION_DIM)

    def get_env_state(self, physics: Physics) -> np.ndarray:
        return physics.data.qpos[16:].copy()

    def get_observation(self, physics: Physics) -> Any:
        raise AssertionError("the adapter replaces this slow method")


class GymAlohaEnv(gymnasium.Env):
    """As gym_aloha.env has it: `_env` is dm_control's, observations are picked by `_format_raw_obs`, reward 4 ends."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 50}  # noqa: RUF012

    def __init__(self, task: str, obs_type: str = "pixels", render_mode: str = "rgb_array"):
        assert obs_type == "pixels_agent_pos"
        self.render_mode = render_mode
        self.action_space = gymnasium.spaces.Box(-1, 1, (ACTION_DIM,), np.float32)
        self.observation_space = gymnasium.spaces.Dict()
        physics = Physics({"transfer_cube": 1, "insertion": 2}[task])
        self._env = SimpleNamespace(task=GymAlohaTask(), physics=physics)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        qpos = self._env.physics.data.qpos
        qpos[:] = 0
        qpos[16:19] = self.np_random.uniform(0, 0.2), 0.5, 0.05
        self._env.physics.rendered.clear()
        return self._format_raw_obs(self._env.task.get_observation(self._env.physics)), {"is_success": False}

    def step(self, action: np.ndarray) -> Any:
        assert action.ndim == 1
        self._env.physics.data.qpos[:7], self._env.physics.data.qpos[8:15] = action[:7], action[7:]
        reward = min(int(abs(action[0])), 4)
        obs = self._format_raw_obs(self._env.task.get_observation(self._env.physics))
        return obs, reward, reward == 4, False, {"is_success": reward == 4}

    def _format_raw_obs(self, raw: Any) -> Any:
        raise AssertionError("the adapter takes everything")


# ----------------------------------------------------------------------------------------------------------- aloha_sim
class AlohaSimEnv:
    """dm_control's side of one aloha_sim task; done as soon as the left gripper is commanded fully open (1.5155)."""

    def __init__(self, time_limit: float, cameras: tuple[str, ...], control_timestep: float):
        self.steps, self.cameras = round(time_limit / control_timestep), cameras
        self.random_state = np.random.RandomState(0)
        self.closed = False

    def reset(self) -> Any:
        self.t, self.joints = 0, np.full(14, self.random_state.uniform(0, 0.1))
        self.joints[[6, 13]] = -0.06135
        return self.now(None, None)

    def step(self, action: np.ndarray) -> Any:
        self.t, self.joints = self.t + 1, action
        done = bool(action[6] >= 1.5155)
        return self.now(float(done), 0.0 if done else 1.0, last=done or self.t >= self.steps)

    def now(self, reward: float | None, discount: float | None, last: bool = False) -> Any:
        pictures = {camera: np.zeros((480, 848, 3), np.uint8) for camera in self.cameras}
        observation = {"joints_pos": self.joints, "joints_vel": np.arange(16.0), **pictures}
        return SimpleNamespace(reward=reward, discount=discount, last=lambda: last, observation=observation)

    def close(self) -> None:
        self.closed = True


def create_task_env(task_name: str, time_limit: float, cameras: tuple[str, ...], control_timestep: float) -> Any:
    """As aloha_sim.task_suite has it."""
    assert task_name in TASK_FACTORIES
    return AlohaSimEnv(time_limit, cameras, control_timestep)


TASK_FACTORIES = {"HandOverPen": None, "DrawerOpen": None}
