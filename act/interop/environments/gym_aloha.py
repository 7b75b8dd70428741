"""gym-aloha (github.com/huggingface/gym-aloha): LeRobot's packaging of the ALOHA simulation, as an environment here.

    python eval.py runs/demo --env gym_aloha/AlohaTransferCube-v0

Arms, table, objects, gains, the order and the units of qpos and action are the same as here. What differs:

- The action space says Box(-1, 1); actions are radians, and grippers 0 to 1. Nothing clips them.
- Its observations lack qvel and the poses of the objects; both are read from its dm_control task.
- It renders three cameras in every control step, which takes longer than everything else. Here, only the cameras that
  are wanted are rendered, when they are wanted, through the same renderer.
- Gymnasium's registration ends an episode after 300 control steps. Here it has 400, as in the original code and in
  LeRobot's evaluation. It ends at the first control step with the highest reward, which is success.
- Objects start 3 cm above the table and fall. `options={"env_state": poses}` places them elsewhere, e.g. at rest.
"""

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np

from act.interop.environments.adapted import AdaptedEnv, View, slug
from act.interop.environments.opening import imported
from act.types import EnvSpec, Observation

INSTALL = "pip install 'act-aloha[gym-aloha]', or pip install --no-deps gym-aloha"
EPISODE_LEN = 400  # [control steps]
VIDEO_CAMERAS, VIDEO_SIZE = ("top",), (240, 320)  # for policies that see no images
# The reward counts these; the names of the objects are in the order of env_state.
TASKS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "AlohaTransferCube-v0": (("touched", "lifted", "received", "transfer"), ("cube",)),
    "AlohaInsertion-v0": (("touched", "grasp", "contact", "insert"), ("peg", "socket")),
}
ARMS = 16  # numbers of both arms in MuJoCo's qpos, where the objects come after them


def make(name: str, view: View) -> "GymAlohaEnv":
    """The environment of an id such as gym_aloha/AlohaInsertion-v0. Raises ValueError for unknown ids and cameras."""
    task = name.partition("/")[2]
    if task not in TASKS:
        raise ValueError(f"--env {name} is unknown; choose one of {', '.join(f'gym_aloha/{known}' for known in TASKS)}")
    imported("gym_aloha", INSTALL)
    return GymAlohaEnv(name, view if view.cameras else View(VIDEO_CAMERAS, VIDEO_SIZE))


class GymAlohaEnv(AdaptedEnv):
    """One task of gym-aloha with observations qpos, qvel, env_state, and images of any camera of its MJCF model.

    physics: dm_control's Physics of the task.
    """

    def __init__(self, name: str, view: View):
        stages, objects = TASKS[name.partition("/")[2]]
        env = gymnasium.make(name, obs_type="pixels_agent_pos", max_episode_steps=EPISODE_LEN, disable_env_checker=True)
        spec = EnvSpec(slug(name), stages, EPISODE_LEN, view.cameras, view.image_size, objects)
        super().__init__(env, name, view, spec)
        inner: Any = env.unwrapped
        self._task, self.physics = inner._env.task, inner._env.physics
        self._check_cameras()
        self._task.get_observation = self._observe  # its own renders three cameras
        inner._format_raw_obs = dict  # its own would take only qpos and the camera `top` of this

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Starts an episode. `options={"env_state": (7n,)}` places the objects [m, quaternion wxyz] where it says.

        Raises ValueError for other options, and for an env_state of another size.
        """
        if unknown := set(options or {}) - {"env_state"}:
            raise ValueError(f"unknown options {sorted(unknown)}; available: env_state")
        due, self.images_due = self.images_due, self.images_due and not options  # else rendered twice
        obs, info = super().reset(seed=seed)
        self.images_due = due
        if options:
            self._place(np.asarray(options["env_state"], np.float64))
            obs = self._observation(self._observe(self.physics))
        return obs, info

    def _place(self, env_state: np.ndarray) -> None:
        if env_state.shape != (7 * len(self.env_spec.objects),):
            raise ValueError(f"env_state has shape {env_state.shape}; expected ({7 * len(self.env_spec.objects)},)")
        self.physics.data.qpos[ARMS:] = env_state
        self.physics.forward()

    def _observe(self, physics: Any) -> Observation:
        height, width = self.env_spec.image_size
        cameras = self.env_spec.cameras if self.images_due else ()
        return {
            "qpos": self._task.get_qpos(physics),
            "qvel": self._task.get_qvel(physics),
            "env_state": self._task.get_env_state(physics),
            "images": {camera: physics.render(height, width, camera_id=camera) for camera in cameras},
        }

    def _check_cameras(self) -> None:
        model = self.physics.model
        known = [model.id2name(index, "camera") for index in range(model.ncam)]
        unknown = [camera for camera in self.env_spec.cameras if camera not in known]
        if unknown:
            raise ValueError(
                f"the policy looks through camera {unknown[0]!r}, but {self.name} has {', '.join(known)}: train one on "
                "demonstrations recorded there"
            )
