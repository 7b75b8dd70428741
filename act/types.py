"""What the two worlds agree on: the observation, drawn once, and the protocols of agents, environments and observers.

An observation is a plain dict (the value of a `gymnasium.spaces.Dict`):

    obs = {
        "qpos":      (14,) float32   left 6 joints [rad], left gripper [0 closed, 1 open], right 6, right gripper
        "qvel":      (14,) float32   the same in [rad/s] and [1/s]
        "env_state": (7n,) float32   privileged poses of the n objects [m, quaternion wxyz]; not for image policies
        "images":    {camera: (H, W, 3) uint8 RGB}   present only at control steps where somebody asked for images
    }

An action is a (14,) array of absolute joint-position targets in the units of qpos. One control step is 0.02 s.
This module imports numpy only: it is what runs beside a robot.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np

SIDES = ("left", "right")
CONTROL_TIMESTEP = 0.02  # [s], 50 Hz
ACTION_DIM = 14
GRIPPERS = (6, 13)  # their places in qpos and action
JOINT_NAMES = tuple(
    f"{side}/{joint}"
    for side in SIDES
    for joint in ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate", "gripper")
)

Observation = dict[str, Any]
Info = Mapping[str, Any]


def task_of(name: str) -> str:
    """The task behind a name: "sim_transfer_cube_scripted" and "transfer_cube" are both transfer_cube."""
    return name.removeprefix("sim_").removesuffix("_scripted").removesuffix("_human")


@dataclass(frozen=True)
class EnvSpec:
    """What a program must know of an environment to run agents in it and to label results."""

    task_name: str  # "transfer_cube"
    stage_names: tuple[str, ...]  # name of stage 1, 2, ..., max_reward
    episode_len: int  # [control steps]
    cameras: tuple[str, ...] = ()
    image_size: tuple[int, int] = (480, 640)  # (H, W)
    objects: tuple[str, ...] = ()  # in the order of env_state

    @property
    def max_reward(self) -> int:
        return len(self.stage_names)


@dataclass(frozen=True)
class PolicySpec:
    """What a policy looks at and what it answers: names and sizes, JSON-able. It needs no torch.

    A policy is built from it, its run folder and the server tell it, and programs choose cameras by it.
    """

    cameras: tuple[str, ...] = ()  # in the order in which the policy takes their images
    image_size: tuple[int, int] = (480, 640)  # (H, W) at which the policy looks
    qpos_dim: int = ACTION_DIM
    action_dim: int = ACTION_DIM
    env_state_dim: int = 0  # 0: the policy does not see the objects' poses
    recorded_size: tuple[int, int] | None = None  # (H, W) of the demonstrations; acting on it is resized as they were

    @property
    def rendered_size(self) -> tuple[int, int]:
        """(H, W) at which an environment must render for this policy: that of its demonstrations."""
        return self.recorded_size or self.image_size

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "PolicySpec":
        return cls(**tuples(values))


def tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same with lists as tuples: JSON knows no tuples, frozen dataclasses want them."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


class Agent(Protocol):
    """Answers at 50 Hz for B environments in lockstep; all memory between control steps lives here."""

    def reset(self, num_envs: int) -> None:
        """Forgets everything; the next call of `select_action` is control step 0 of `num_envs` fresh episodes."""
        ...

    def needs_images(self) -> bool:
        """Whether the next `select_action` will look at images (asked before the observation is made)."""
        ...

    def select_action(self, observations: Sequence[Observation]) -> np.ndarray:
        """Actions (B, 14) for B observations, in the order of the environments."""
        ...


@dataclass
class RolloutResult:
    """What one episode came to. `stages[r]` is the first control step with reward r + 1 or more, None if never."""

    seed: int
    length: int  # control steps taken
    max_reward: float
    episode_return: float  # sum of rewards
    success: bool  # highest stage reached at some t
    strict_success: bool  # the task's own rule, judged at the last t
    stages: list[int | None]
    env_state0: list[float] = field(default_factory=list)  # object poses after reset, (7n,)
    clipped: int = 0  # control steps with a target outside the joint limits

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Observer(Protocol):
    """Watches rollouts: recorder, video, statistics. `index` is the environment's place in the batch."""

    def needs_images(self) -> bool:
        """Whether the images of the next observation will be looked at by this observer."""
        ...

    def on_reset(self, index: int, seed: int, obs: Observation, info: Info) -> None: ...

    def on_step(
        self, index: int, t: int, obs: Observation, action: np.ndarray, next_obs: Observation, reward: float, info: Info
    ) -> None:
        """`obs` is what the agent saw at t, `action` what it did, `next_obs`, `reward`, `info` what came of it."""
        ...

    def on_end(self, index: int, result: RolloutResult) -> None: ...
