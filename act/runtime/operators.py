"""Operators in human-gated DAgger: the protocol, two intervention scores, and a simulated operator.

An intervention score says how bad it would be to let the policy go on; act/runtime/dagger.py executes what the operator
decides.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from act.runtime.agents import ChunkPolicy, action_dim_of
from act.runtime.checks import checked_chunks
from act.runtime.limits import grippers
from act.types import Observation


class Operator(Protocol):
    """Watches every environment, decides at every control step who should drive it, and drives it."""

    def needs_images(self) -> bool:
        """Whether the next observations must have images."""
        ...

    def reset(self, num_envs: int) -> None:
        """`num_envs` episodes begin."""
        ...

    def wants_control(self, index: int, obs: Observation, intended: np.ndarray) -> bool:
        """Whether the operator wants to drive environment `index` now; `intended` (A,) is the policy's action."""
        ...

    def action(self, index: int, obs: Observation) -> np.ndarray:
        """The operator's action (A,) in environment `index`."""
        ...


class InterventionScore(Protocol):
    """How much an intervention is needed, 0 and up."""

    def needs_images(self) -> bool:
        """Whether the observations must have images."""
        ...

    def __call__(self, obs: Observation, intended: np.ndarray) -> float:
        """The score [rad] at an observation at which the policy would do `intended` (A,)."""
        ...


class DistanceToExpert:
    """Largest difference [rad] between the actions of policy and expert; a gripper's counts a tenth.

    As in SafeDAgger (Zhang and Cho 2017, arXiv 1605.06450). It needs `obs["expert_action"]`.
    """

    def needs_images(self) -> bool:
        return False

    def __call__(self, obs: Observation, intended: np.ndarray) -> float:
        difference = np.abs(intended - obs["expert_action"])
        difference[grippers(len(difference))] *= 0.1
        return float(difference.max())


class EnsembleDisagreement:
    """HG-DAgger's disagreement [rad] of several policies: the norm of the standard deviations of their actions.

    It is the mean over the first `n_action_steps` of their chunks, all predicted at the present observation.
    """

    def __init__(self, policies: Sequence[ChunkPolicy], n_action_steps: int = 1):
        if len(policies) < 2 or any(policy.n_obs_steps > 1 for policy in policies):
            raise ValueError(f"{len(policies)} policies: disagreement needs at least two, all with n_obs_steps 1")
        self.policies, self.n_action_steps = policies, n_action_steps

    def needs_images(self) -> bool:
        return any(policy.needs_images for policy in self.policies)

    def __call__(self, obs: Observation, intended: np.ndarray) -> float:
        answers = [
            checked_chunks(policy.predict_chunk([[obs]]), 1, policy.chunk_size, action_dim_of(policy))
            for policy in self.policies
        ]
        chunks = np.stack([answer[0, : self.n_action_steps] for answer in answers])
        return float(np.linalg.norm(chunks.std(axis=0), axis=-1).mean())


@dataclass
class SimulatedOperator:
    """Stands in for a person who watches the policy, and drives as the expert does.

    The operator takes over `delay` control steps after the score has risen above `take_over` and has stayed above
    `hand_back`. The operator hands back when the score has been below `hand_back` for `calm` control steps in a row.
    """

    score: InterventionScore
    take_over: float  # [rad]
    hand_back: float  # [rad]
    delay: int = 15  # [control steps] 0.3 s, a quick person
    calm: int = 25  # [control steps]

    def __post_init__(self) -> None:
        if not 0 <= self.hand_back <= self.take_over or self.delay < 0 or self.calm < 1:
            raise ValueError(
                f"take_over {self.take_over}, hand_back {self.hand_back}, delay {self.delay}, calm {self.calm}: "
                "must be 0 <= hand_back <= take_over, delay >= 0 and calm >= 1"
            )
        self.reset(0)

    def needs_images(self) -> bool:
        return self.score.needs_images()

    def reset(self, num_envs: int) -> None:
        self._driving = [False] * num_envs
        self._above_since: list[int | None] = [None] * num_envs  # control steps since the score rose
        self._safe = [0] * num_envs  # control steps in a row below hand_back

    def wants_control(self, index: int, obs: Observation, intended: np.ndarray) -> bool:
        score = self.score(obs, intended)
        if self._driving[index]:
            self._safe[index] = self._safe[index] + 1 if score < self.hand_back else 0
            self._driving[index] = self._safe[index] < self.calm
            return self._driving[index]
        since = self._above_since[index]
        if since is None:
            since = 0 if score > self.take_over else None
        else:
            since = since + 1 if score >= self.hand_back else None
        if since is not None and since >= self.delay:
            self._driving[index], self._safe[index], since = True, 0, None
        self._above_since[index] = since
        return self._driving[index]

    def action(self, index: int, obs: Observation) -> np.ndarray:
        return obs["expert_action"]
