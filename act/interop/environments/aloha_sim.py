"""aloha_sim (github.com/google-deepmind/aloha_sim): DeepMind's tasks for ALOHA 2, as an environment here.

    python eval.py runs/hand_over --env aloha_sim/HandOverBanana

Joints and their order are the same as here, and control steps are 0.02 s long. What differs:

- Grippers are in units of the follower's motor; here they are 0 closed, 1 open.
- `joints_pos` is 0.1 s old, and images are 0.3 s old, as on the robot. They stay that old.
- The reward is 1 when the task is done, which also ends the episode, and 0 before.
- The poses of the objects are not observed, so policies of preset `state` cannot run there.
- Images have 480x848 pixels, from the cameras of CAMERAS, and only from those that the policy looks through, because
  each is rendered in every control step. A policy without cameras has no videos there.
"""

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np

from act.interop.environments.adapted import AdaptedEnv, View, slug
from act.interop.environments.opening import imported
from act.types import ACTION_DIM, CONTROL_TIMESTEP, GRIPPERS, EnvSpec, Observation

INSTALL = "clone github.com/google-deepmind/aloha_sim and pip install it"
CAMERAS = ("overhead_cam", "worms_eye_cam", "wrist_cam_left", "wrist_cam_right")
IMAGE_SIZE = (480, 848)  # (H, W) [pixels]
EPISODE_LEN = 4000  # [control steps]: 80 s, the limit of its own evaluation
CLOSED, OPEN = -0.06135, 1.5155  # [rad] of the follower's gripper motor
SLIDE = 0.037 - 0.0078  # [m] that a finger slides from closed to open
ONE_FINGER = (0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14)  # of joints_vel, which has both fingers of a hand


def make(name: str, view: View) -> AdaptedEnv:
    """The environment of a name such as aloha_sim/HandOverBanana. Raises ValueError for unknown tasks and cameras."""
    if unknown := [camera for camera in view.cameras if camera not in CAMERAS]:
        raise ValueError(f"the policy looks through camera {unknown[0]!r}, but {name} has {', '.join(CAMERAS)}")
    suite = imported("aloha_sim.task_suite", INSTALL)
    task = name.partition("/")[2]
    if task not in suite.TASK_FACTORIES:
        known = ", ".join(f"aloha_sim/{known}" for known in suite.TASK_FACTORIES)
        raise ValueError(f"--env {name} is unknown; choose one of {known}")
    limit = EPISODE_LEN * CONTROL_TIMESTEP
    env = suite.create_task_env(task, time_limit=limit, cameras=view.cameras, control_timestep=CONTROL_TIMESTEP)
    spec = EnvSpec(slug(name), ("done",), EPISODE_LEN, view.cameras, IMAGE_SIZE)
    return AdaptedEnv(DmControlEnv(env, view.cameras), name, view, spec)


class DmControlEnv(gymnasium.Env):
    """A dm_control environment of aloha_sim with Gymnasium's methods and the units of act/types.py."""

    def __init__(self, env: Any, cameras: tuple[str, ...]):
        self.env, self.cameras = env, cameras
        self.action_space = gymnasium.spaces.Box(-np.inf, np.inf, (ACTION_DIM,), np.float32)
        self.observation_space = gymnasium.spaces.Dict()  # nothing reads it
        self.render_mode = None

    def reset(self, *, seed: int | None = None, options: Mapping[str, Any] | None = None) -> Any:
        if seed is not None:
            self.env.random_state.seed(seed)
        return self._observation(self.env.reset()), {}

    def step(self, action: np.ndarray) -> Any:
        target = np.array(action, np.float64)
        target[list(GRIPPERS)] = CLOSED + target[list(GRIPPERS)] * (OPEN - CLOSED)
        now = self.env.step(target)
        ended, reward = now.last(), float(now.reward or 0.0)
        terminated = ended and now.discount == 0  # it is 1 where only the time is over
        return self._observation(now), reward, terminated, ended and not terminated, {"is_success": reward >= 1}

    def close(self) -> None:
        self.env.close()

    def _observation(self, now: Any) -> Observation:
        given = now.observation
        qpos, qvel = np.array(given["joints_pos"]), np.array(given["joints_vel"])[list(ONE_FINGER)]
        qpos[list(GRIPPERS)] = (qpos[list(GRIPPERS)] - CLOSED) / (OPEN - CLOSED)
        qvel[list(GRIPPERS)] /= SLIDE
        return {"qpos": qpos, "qvel": qvel, "images": {camera: given[camera] for camera in self.cameras}}
