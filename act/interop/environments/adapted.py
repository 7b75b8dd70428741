"""AdaptedEnv: any Gymnasium environment with the observations, the info and the description of act/types.py."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import gymnasium
import numpy as np

from act.runtime.envs import spec_of
from act.types import CONTROL_TIMESTEP, EnvSpec, Observation

# The names by which other projects call the parts of an observation; the first one that exists is taken.
VECTORS = {
    "qpos": ("qpos", "agent_pos", "observation.state"),
    "qvel": ("qvel", "agent_vel", "observation.velocity"),
    "env_state": ("env_state", "environment_state", "observation.environment_state"),
}
PICTURES = ("images", "pixels")
ONLY_CAMERA, RENDERED = "pixels", "render"  # names of an image without a name, and of what `render()` returns
SUCCESS = ("success", "is_success")
EPISODE_LEN = 400  # [control steps] of an environment without a limit of its own, as in ALOHA's simulated tasks
RATE = 1 / CONTROL_TIMESTEP  # [Hz]


@dataclass(frozen=True)
class View:
    """What a policy looks at: cameras, and the (H, W) [pixels] of the images that it was trained on."""

    cameras: tuple[str, ...] = ()
    image_size: tuple[int, int] = (480, 640)

    def check(self, images: Mapping[str, np.ndarray], name: str) -> None:
        """Raises ValueError where a camera is missing, or has images of another shape than width to height.

        Images of another size are no reason: a policy resizes them.
        """
        for camera in self.cameras:
            if camera not in images:
                has = ", ".join(images) or "no images"
                raise ValueError(f"the policy looks through camera {camera!r}, but {name} has {has}")
            (height, width), (here_height, here_width) = self.image_size, images[camera].shape[:2]
            if abs(height * here_width - width * here_height) > 0.02 * height * here_width:
                raise ValueError(
                    f"the policy was trained on images of {height}x{width} pixels, but camera {camera!r} of {name} "
                    f"gives {here_height}x{here_width}, which is another shape: let the environment crop them"
                )


class AdaptedEnv(gymnasium.Env):
    """Wraps an environment for the rollout loop. Actions (A,) pass unchanged: they are joint targets, never clipped.

    The action space says only how many numbers an action has, because many environments declare bounds that do not
    hold: gym-aloha's Box(-1, 1) takes radians.

    Args:
        env: an environment whose observations are dictionaries, with any of the keys in VECTORS and PICTURES.
        name: the environment's name in errors, and in results unless the environment has an `env_spec` of its own.
        view: what the policy looks at, which the first observation must have.
        env_spec: describes the environment; by default, what it says of itself.

    Raises ValueError, in one sentence: for an environment that does not run at 50 Hz by its metadata's `render_fps`; in
    `reset` and `step`, for an observation that has no qpos, and for images that are not (H, W, 3) uint8; at the end of
    an episode, for an environment that never says whether the episode succeeded.
    """

    def __init__(self, env: gymnasium.Env, name: str, view: View | None = None, env_spec: EnvSpec | None = None):
        check_rate(name, (env.metadata or {}).get("render_fps"))
        self.env, self.name, self.view = env, name, view or View()
        self.env_spec = env_spec or _described(env, name)
        self.action_space, self.observation_space = env.action_space, env.observation_space
        self._images_due = True
        self._t, self._judged = 0, bool(self.env_spec.stage_names)

    @property
    def images_due(self) -> bool:
        """Whether the next observation shall have images; environments that can leave them out are asked to."""
        return self._images_due

    @images_due.setter
    def images_due(self, due: bool) -> None:
        self._images_due = due
        inner: Any = self.env.unwrapped
        if hasattr(inner, "images_due"):
            inner.images_due = due

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        given, info = self.env.reset(seed=seed, options=options)
        self._t = 0
        return self._observation(given), info

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        given, reward, terminated, truncated, info = self.env.step(np.asarray(action))
        self._t += 1
        truncated = bool(truncated) or self._t >= self.env_spec.episode_len
        self._judged |= any(key in info for key in SUCCESS)
        if (terminated or truncated) and not self._judged:
            raise ValueError(
                f"{self.name} never says whether an episode succeeded: put success (or is_success) into the info that "
                "step returns"
            )
        if self.env_spec.stage_names:
            info = {"stage": int(float(reward)), **info}
        return self._observation(given), float(reward), bool(terminated), truncated, info

    def close(self) -> None:
        self.env.close()

    def _observation(self, given: Any) -> Observation:
        obs = vectors_of(given, self.name)
        if not self._images_due:
            return obs
        images = images_of(given, self.name)
        if not images and self.env.render_mode == "rgb_array":
            images = {RENDERED: np.asarray(self.env.render())}
        self.view.check(images, self.name)
        return obs | ({"images": images} if images else {})


def vectors_of(given: Any, name: str) -> Observation:
    """The vectors of an observation by their names here, float32. Raises ValueError where there is no qpos."""
    if not isinstance(given, Mapping):
        raise ValueError(
            f"{name} observes {type(given).__name__}, expected a dictionary with qpos (or agent_pos) and images "
            "(or pixels): return one"
        )
    found = {ours: next((key for key in keys if key in given), None) for ours, keys in VECTORS.items()}
    if found["qpos"] is None:
        raise ValueError(
            f"{name} observes {', '.join(map(str, given)) or 'nothing'}, but no joint positions: name them qpos or "
            "agent_pos"
        )
    return {ours: np.asarray(given[key], np.float32) for ours, key in found.items() if key is not None}


def images_of(given: Mapping[str, Any], name: str) -> dict[str, np.ndarray]:
    """The images by camera, (H, W, 3) uint8; {} where there are none. Raises ValueError for images of another kind."""
    pictures = next((given[key] for key in PICTURES if key in given), {})
    pictures = pictures if isinstance(pictures, Mapping) else {ONLY_CAMERA: pictures}
    images = {str(camera): np.asarray(image) for camera, image in pictures.items()}
    for camera, image in images.items():
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(
                f"camera {camera!r} of {name} gives images of shape {image.shape} and type {image.dtype}, expected "
                "(height, width, 3) and uint8"
            )
    return images


def check_rate(name: str, fps: float | None) -> None:
    """Raises ValueError unless control steps are 0.02 s long, or nobody says how long they are."""
    if fps is not None and abs(fps - RATE) > 0.01 * RATE:
        raise ValueError(
            f"{name} runs at {fps:g} Hz (render_fps of its metadata), but policies answer {RATE:g} actions a second: "
            f"take as many control steps of it per action as make {RATE:g} Hz, and say so in the metadata"
        )


def _described(env: gymnasium.Env, name: str) -> EnvSpec:
    """The environment's own env_spec; else its name, and its limit of control steps or EPISODE_LEN."""
    spec = spec_of(env)
    if hasattr(env.unwrapped, "env_spec"):
        return spec
    limited = env.spec is not None and env.spec.max_episode_steps is not None
    return replace(spec, task_name=slug(name), episode_len=spec.episode_len if limited else EPISODE_LEN)


def slug(name: str) -> str:
    """The name in characters that are safe in the name of a file: "gym_aloha_AlohaInsertion-v0"."""
    return "".join(letter if letter.isalnum() or letter in "-._" else "_" for letter in name)
