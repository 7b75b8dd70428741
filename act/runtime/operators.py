"""Who watches a policy in human-gated DAgger: the protocol, two intervention scores, and a stand-in for a person.

An intervention score is a function of the observation and of what the policy would do; dagger.py says what happens
when an operator wants to drive.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from act.runtime.agents import ChunkPolicy
from act.types import GRIPPERS, Observation


class Operator(Protocol):
    """Whoever watches environment `index`: wants to drive now or not, and how. Asked at every control step."""

    def needs_images(self) -> bool: ...
    def reset(self, num_envs: int) -> None: ...
    def wants_control(self, index: int, obs: Observation, intended: np.ndarray) -> bool:
        """`intended` (14,): what the policy would do now."""
        ...

    def action(self, index: int, obs: Observation) -> np.ndarray:
        """(14,)"""
        ...


InterventionScore = Callable[[Observation, np.ndarray], float]  # (obs, what the policy would do) -> how bad that is


def distance_to_expert(obs: Observation, intended: np.ndarray) -> float:
    """Largest difference [rad] between what policy and expert would do now; an opening counts a tenth (SafeDAgger:
    Zhang and Cho 2017, arXiv 1605.06450)."""
    difference = np.abs(intended - obs["expert_action"])
    difference[list(GRIPPERS)] *= 0.1
    return float(difference.max())


class EnsembleDisagreement:
    """HG-DAgger's disagreement: norm of the standard deviations [rad] of what policies trained apart would do next.

    The mean over the first `n_action_steps` of their chunks, asked at the present observation.
    """

    def __init__(self, policies: Sequence[ChunkPolicy], n_action_steps: int = 1):
        if len(policies) < 2 or any(policy.n_obs_steps > 1 for policy in policies):
            raise ValueError(f"{len(policies)} policies: disagreement needs at least two, all with n_obs_steps 1")
        self.policies, self.n_action_steps = policies, n_action_steps

    @property
    def needs_images(self) -> bool:
        return any(policy.needs_images for policy in self.policies)

    def __call__(self, obs: Observation, intended: np.ndarray) -> float:
        chunks = np.stack([policy.predict_chunk([[obs]])[0, : self.n_action_steps] for policy in self.policies])
        return float(np.linalg.norm(chunks.std(axis=0), axis=-1).mean())


@dataclass
class SimulatedOperator:
    """A stand-in for a person who watches the policy.

    They take over `delay` control steps after the score has risen above `take_over` and stayed above `hand_back`, drive
    as the expert does, and hand back when the score has been below `hand_back` for `calm` control steps.
    """

    score: InterventionScore
    take_over: float
    hand_back: float
    delay: int = 15  # 0.3 s, a quick person
    calm: int = 25

    def __post_init__(self) -> None:
        if not 0 <= self.hand_back <= self.take_over or self.delay < 0 or self.calm < 1:
            raise ValueError(
                f"take_over {self.take_over}, hand_back {self.hand_back}, delay {self.delay}, calm {self.calm}: "
                "0 <= hand_back <= take_over, 0 <= delay and 1 <= calm are due"
            )
        self.reset(0)

    def needs_images(self) -> bool:
        """Whether the score looks at images."""
        return getattr(self.score, "needs_images", False)

    def reset(self, num_envs: int) -> None:
        self._driving = [False] * num_envs
        self._above_since: list[int | None] = [None] * num_envs  # control steps since the score rose
        self._safe = [0] * num_envs  # control steps in a row

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
