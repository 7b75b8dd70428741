"""What a session needs of an agent and of observers: the shapes of act/types.py, which `sim_envs` never imports.

A test compares the fields of `Result` with those of `act.types.RolloutResult`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np

Observation = dict[str, Any]


@dataclass
class Result:
    """The outcome of one episode."""

    seed: int
    length: int  # control steps
    max_reward: float
    episode_return: float
    success: bool
    strict_success: bool
    stages: list[int | None]  # first control step of each stage, None if it was never reached
    env_state0: list[float] = field(default_factory=list)
    clipped: int = 0  # control steps with a target outside the joint limits

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Agent(Protocol):
    """Drives while the operator does not."""

    def reset(self, num_envs: int) -> None: ...
    def needs_images(self) -> bool: ...
    def select_action(self, observations: Sequence[Observation]) -> np.ndarray: ...


class Observer(Protocol):
    """Watches recorded control steps, for example to write them into a file."""

    def needs_images(self) -> bool: ...
    def on_reset(self, index: int, seed: int, obs: Observation, info: Mapping[str, Any]) -> None: ...
    def on_step(
        self,
        index: int,
        t: int,
        obs: Observation,
        action: np.ndarray,
        next_obs: Observation,
        reward: float,
        info: Mapping[str, Any],
    ) -> None: ...
    def on_end(self, index: int, result: Any) -> None: ...
