"""Defines what both worlds share: observations, actions, and the protocols of agents, environments and observers.

An observation is a plain dict (the value of a `gymnasium.spaces.Dict`):

    obs = {
        "qpos":      (14,) float32   left 6 joints [rad], left gripper [0 closed, 1 open], right 6, right gripper
        "qvel":      (14,) float32   the same in [rad/s] and [1/s]
        "env_state": (7n,) float32   privileged poses of the n objects [m, quaternion wxyz]; not for image policies
        "images":    {camera: (H, W, 3) uint8 RGB}   present only at control steps for which images were requested
    }

An action is a (14,) array of absolute joint-position targets in the units of qpos. One control step is 0.02 s.
This module imports only numpy, because it also runs on robots.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np

SIDES = ("left", "right")
CONTROL_TIMESTEP = 0.02  # [s], 50 Hz
ACTION_DIM = 14
MOST_CAMERAS, MOST_NUMBERS, LONGEST_SIDE = 256, 100_000, 8192  # of a policy: cameras, vectors, images [pixels]
GRIPPERS = (6, 13)  # indices of the grippers in qpos and action
JOINT_NAMES = tuple(
    f"{side}/{joint}"
    for side in SIDES
    for joint in ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate", "gripper")
)
_WRISTS = {f"{side}_wrist": f"cam_{side}_wrist" for side in SIDES}  # names of act++ -> those of ALOHA
CAMERA_ALIASES = _WRISTS | {aloha: plus for plus, aloha in _WRISTS.items()}  # sim_envs/env.py knows both names, too

Observation = dict[str, Any]
Info = Mapping[str, Any]


def camera_named(name: str, available: Collection[str]) -> str | None:
    """Returns which of the available cameras `name` means: that camera, or the same one under its other name.

    act++ calls the wrist cameras "left_wrist", ALOHA and this project "cam_left_wrist". None where there is neither.
    """
    wanted = (name, CAMERA_ALIASES.get(name, ""))
    return next((camera for want in wanted for camera in available if camera == want), None)


def known_camera(name: str, available: Collection[str], where: object) -> str:
    """Returns `camera_named`. Raises ValueError, which begins with `where` (a path), when there is no such camera."""
    if (known := camera_named(name, available)) is None:
        raise ValueError(f"{where}: unknown camera {name!r}; available: {', '.join(available) or 'none'}")
    return known


def task_of(name: str) -> str:
    """Returns the task of a name: "sim_transfer_cube_scripted" and "transfer_cube" both give "transfer_cube"."""
    return name.removeprefix("sim_").removesuffix("_scripted").removesuffix("_human")


@dataclass(frozen=True)
class EnvSpec:
    """Describes an environment: what a program needs to run agents in it and to label results."""

    task_name: str  # "transfer_cube"
    stage_names: tuple[str, ...]  # names of stages 1, 2, ..., max_reward
    episode_len: int  # [control steps]
    cameras: tuple[str, ...] = ()
    image_size: tuple[int, int] = (480, 640)  # (H, W)
    objects: tuple[str, ...] = ()  # names, in the order of env_state

    @property
    def max_reward(self) -> int:
        return len(self.stage_names)


@dataclass(frozen=True)
class PolicySpec:
    """Describes the inputs and outputs of a policy by names and sizes. It converts to JSON and needs no torch.

    A policy is built from its spec. The run folder stores the spec, a policy server sends it to clients, and programs
    choose the cameras of an environment by it.
    """

    cameras: tuple[str, ...] = ()  # in the order in which the policy takes images
    image_size: tuple[int, int] = (480, 640)  # (H, W) of the images that the policy takes
    qpos_dim: int = ACTION_DIM
    action_dim: int = ACTION_DIM
    env_state_dim: int = 0  # 0: the policy does not use the poses of the objects
    recorded_size: tuple[int, int] | None = None  # (H, W) of the demonstrations, before they are resized to image_size

    @property
    def rendered_size(self) -> tuple[int, int]:
        """Returns the (H, W) at which an environment must render for this policy: that of its demonstrations."""
        return self.recorded_size or self.image_size

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "PolicySpec":
        """The spec that `to_json` wrote. Raises TypeError for unknown fields, and for values that no policy has."""
        spec = cls(**tuples(values))
        names, sizes = spec.cameras, [spec.image_size] + [spec.recorded_size] * (spec.recorded_size is not None)
        if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
            raise TypeError(f"cameras {names!r}: expected a list of names")
        if len(set(names)) < len(names) or len(names) > MOST_CAMERAS:
            raise TypeError(f"{len(names)} cameras: expected at most {MOST_CAMERAS}, each once")
        for dim in (spec.qpos_dim, spec.action_dim, spec.env_state_dim):
            if type(dim) is not int or not 0 <= dim <= MOST_NUMBERS:
                raise TypeError(f"a vector of {dim!r} numbers: expected 0 to {MOST_NUMBERS}")
        for size in sizes:
            if not isinstance(size, tuple) or len(size) != 2 or not all(_is_side(side) for side in size):
                raise TypeError(f"images of {size!r} pixels: expected height and width, 1 to {LONGEST_SIDE}")
        return spec


def _is_side(side: Any) -> bool:
    return type(side) is int and 1 <= side <= LONGEST_SIDE


def tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the mapping with lists as tuples, because JSON has no tuples and frozen dataclasses need them."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


class Agent(Protocol):
    """Chooses actions at 50 Hz for B environments in lockstep. All memory between control steps is in the agent."""

    def reset(self, num_envs: int) -> None:
        """Forgets everything. The next call of `select_action` is control step 0 of `num_envs` new episodes."""
        ...

    def needs_images(self) -> bool:
        """Returns whether the next `select_action` needs images. It is called before the observation is made."""
        ...

    def select_action(self, observations: Sequence[Observation]) -> np.ndarray:
        """Returns actions (B, 14) for B observations, in the order of the environments."""
        ...


@dataclass
class RolloutResult:
    """Summarises one episode. `stages[r]` is the first control step with reward r + 1 or more, or None."""

    seed: int
    length: int  # control steps taken
    max_reward: float
    episode_return: float  # sum of rewards
    success: bool  # the highest stage was reached at some t
    strict_success: bool  # the stricter rule of the task, judged at the last t
    stages: list[int | None]
    env_state0: list[float] = field(default_factory=list)  # object poses after reset, (7n,)
    clipped: int = 0  # control steps with a target outside the joint limits

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Observer(Protocol):
    """Receives every step of rollouts: recorder, video, statistics. `index` is the environment's place in the batch."""

    def needs_images(self) -> bool:
        """Returns whether this observer needs the images of the next observation."""
        ...

    def on_reset(self, index: int, seed: int, obs: Observation, info: Info) -> None: ...

    def on_step(
        self, index: int, t: int, obs: Observation, action: np.ndarray, next_obs: Observation, reward: float, info: Info
    ) -> None:
        """Receives `obs` and `action` of control step t, and the resulting `next_obs`, `reward` and `info`."""
        ...

    def on_end(self, index: int, result: RolloutResult) -> None: ...
