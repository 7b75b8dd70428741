"""Agents that need no simulator: `PolicyAgent` executes a policy's chunks; replay, random and hold are baselines.

All memory between control steps lives in the agents; a policy is stateless.
"""

import math
import time
from collections import deque
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from act.runtime.checks import check_readings, checked_chunks
from act.types import Observation, PolicySpec


class ChunkPolicy(Protocol):
    """What PolicyAgent needs of a policy. Local networks, ONNX policies and the remote client all have this shape."""

    @property
    def chunk_size(self) -> int: ...

    @property
    def n_obs_steps(self) -> int: ...

    @property
    def needs_images(self) -> bool: ...

    def predict_chunk(self, histories: Sequence[Sequence[Observation]]) -> np.ndarray:
        """Chunks (B, K, A) float32 in physical units for B histories of n_obs_steps observations, oldest first.

        A policy with history may also have a method `encode_observations`; `remembered` says what it is for.
        """
        ...


class DescribedPolicy(ChunkPolicy, Protocol):
    """A policy with a `spec` of its inputs and outputs. Every policy that is loaded from a run folder has one."""

    @property
    def spec(self) -> PolicySpec: ...


def spec_of_policy(agent: object) -> PolicySpec | None:
    """The spec of the policy that an agent executes; None for an agent without a policy, or where none describes it."""
    policy = getattr(agent, "policy", None)
    spec = getattr(policy, "spec", None)
    return spec if spec is not None or policy is None else spec_of_policy(policy)


def action_dim_of(policy: ChunkPolicy) -> int | None:
    """A, the numbers in an action of a policy; None where nothing describes the policy."""
    spec = getattr(policy, "spec", None)
    return None if spec is None else spec.action_dim


def remembered(policy: ChunkPolicy, observations: Sequence[Observation]) -> list[Observation]:
    """What is kept in the history: the observations, or `policy.encode_observations(observations)` if it exists.

    The method replaces images by features, so that a policy with history encodes every frame once, not T times.
    """
    encode = getattr(policy, "encode_observations", None)
    return list(observations) if encode is None or policy.n_obs_steps == 1 else encode(observations)


def check_n_action_steps(n_action_steps: int, chunk_size: int) -> None:
    """ValueError unless a policy can be asked every `n_action_steps` control steps."""
    if not 1 <= n_action_steps <= chunk_size:
        raise ValueError(f"n_action_steps={n_action_steps}: must be 1 to the policy's chunk_size, {chunk_size}")


class TemporalEnsemble:
    """Weighted mean of all chunks that cover a control step: w_i = exp(-m i), i = 0 the OLDEST (ACT, section IV.A).

    A negative m gives the newest chunks more weight, as in LeRobot.
    """

    def __init__(self, m: float, chunk_size: int):
        if not math.isfinite(m) or chunk_size < 1:
            raise ValueError(f"ensemble_m {m}, chunk_size {chunk_size}: give a finite m, e.g. 0.01, and a size from 1")
        self.m, self.chunk_size = m, chunk_size
        self._chunks: deque[tuple[int, np.ndarray]] = deque()

    def reset(self) -> None:
        self._chunks.clear()

    def add(self, t: int, chunks: np.ndarray) -> None:
        """Adds chunks (B, K, A) that were predicted at control step t, which must be later than those before.

        Raises ValueError for chunks of another shape than those before, or that are not finite: one such number would
        be in every action that the chunk covers.
        """
        batch, width = chunks.shape[::2] if chunks.ndim == 3 else (0, None)
        if self._chunks:
            batch, _, width = self._chunks[-1][1].shape
        checked_chunks(chunks, batch, self.chunk_size, width)
        self._chunks.append((t, chunks))

    def action(self, t: int) -> np.ndarray:
        """Actions (B, A) for control step t; forgets chunks that end before t. ValueError if no chunk covers t."""
        while self._chunks and self._chunks[0][0] + self.chunk_size <= t:
            self._chunks.popleft()
        covering = [chunks[:, t - start] for start, chunks in self._chunks if start <= t]
        if not covering:
            raise ValueError(f"no chunk covers control step {t}; add one every {self.chunk_size} steps or more often")
        exponents = -self.m * np.arange(len(covering))
        weights = np.exp(exponents - exponents.max())
        return np.tensordot(weights / weights.sum(), np.stack(covering), axes=1).astype(np.float32)


class PolicyAgent:
    """Executes a policy's chunks: asks it every `n_action_steps` control steps for all environments at once.

    Args:
        policy: predicts chunks; the agent keeps the history of observations for it.
        n_action_steps: 1 to chunk_size. Default: chunk_size (open loop), or 1 if `ensemble_m` is given.
        ensemble_m: executes the weighted mean of overlapping chunks with this m (0.01 in the paper) instead of one
            chunk after the other.

    `latencies` collects the duration of every query [s]. A ValueError ends the rollout when the policy answers anything
    but finite chunks (B, K, A), and before it gets an observation with a number that is not finite.

    Example:
        agent = PolicyAgent(load_policy("runs/demo"), ensemble_m=0.01)
        results = list(rollout(envs, agent, seeds=range(50)))
    """

    def __init__(self, policy: ChunkPolicy, n_action_steps: int | None = None, ensemble_m: float | None = None):
        chunk_size = policy.chunk_size
        if n_action_steps is None:
            n_action_steps = chunk_size if ensemble_m is None else 1
        check_n_action_steps(n_action_steps, chunk_size)
        self.policy, self.n_action_steps = policy, n_action_steps
        self.ensemble = None if ensemble_m is None else TemporalEnsemble(ensemble_m, chunk_size)
        self.latencies: list[float] = []
        self.reset(0)

    def reset(self, num_envs: int) -> None:
        self._histories: list[deque[Observation]] = [deque(maxlen=self.policy.n_obs_steps) for _ in range(num_envs)]
        self.replan()

    def replan(self) -> None:
        """Forgets the chunks but not the history, so that the next `select_action` asks the policy."""
        self._t = 0
        self._chunks: np.ndarray | None = None
        if self.ensemble is not None:
            self.ensemble.reset()

    def needs_images(self) -> bool:
        return self.policy.needs_images and (self._query_due or self.policy.n_obs_steps > 1)

    @property
    def _query_due(self) -> bool:
        return self._t % self.n_action_steps == 0

    def select_action(self, observations: Sequence[Observation]) -> np.ndarray:
        start = time.perf_counter()
        if self._query_due or self.policy.n_obs_steps > 1:
            check_readings(observations)
        for history, obs in zip(self._histories, remembered(self.policy, observations), strict=True):
            history.extend([obs] if history else [obs] * self.policy.n_obs_steps)
        t = self._t
        if self._query_due:
            self._chunks = self._query()
            self.latencies.append(time.perf_counter() - start)
            if self.ensemble is not None:
                self.ensemble.add(t, self._chunks)
        self._t += 1
        if self.ensemble is not None:
            return self.ensemble.action(t)
        assert self._chunks is not None  # the first call of an episode is a query
        return self._chunks[:, t % self.n_action_steps]

    def _query(self) -> np.ndarray:
        answer = self.policy.predict_chunk([list(history) for history in self._histories])
        return checked_chunks(answer, len(self._histories), self.policy.chunk_size, action_dim_of(self.policy))


class ReplayAgent:
    """Plays actions (B, T, A) back in B environments, from the start after every reset; then holds the last one."""

    def __init__(self, actions: np.ndarray):
        self.actions = np.asarray(actions, np.float32)
        if self.actions.ndim != 3 or self.actions.shape[1] == 0:
            raise ValueError(f"actions of shape {self.actions.shape}, expected (B, T, A)")
        self._t = 0

    def reset(self, num_envs: int) -> None:
        if num_envs > len(self.actions):
            raise ValueError(f"{num_envs} environments, but actions of {len(self.actions)} episodes to replay")
        self._t = 0

    def needs_images(self) -> bool:
        return False

    def select_action(self, observations: Sequence[Observation]) -> np.ndarray:
        t = min(self._t, self.actions.shape[1] - 1)
        self._t += 1
        return self.actions[: len(observations), t]


class RandomAgent:
    """Draws uniform actions between `low` and `high`; every reset restarts the same sequence.

    low, high: (A,), or scalars, and actions are then as wide as qpos.
    """

    def __init__(self, low: np.ndarray | float, high: np.ndarray | float, seed: int = 0):
        self.low, self.high, self.seed = low, high, seed
        self._rng = np.random.default_rng(seed)

    def reset(self, num_envs: int) -> None:
        self._rng = np.random.default_rng(self.seed)

    def needs_images(self) -> bool:
        return False

    def select_action(self, observations: Sequence[Observation]) -> np.ndarray:
        width = np.broadcast_shapes(np.shape(self.low), np.shape(self.high)) or np.shape(observations[0]["qpos"])
        return self._rng.uniform(self.low, self.high, (len(observations), *width)).astype(np.float32)


class HoldAgent:
    """Holds the joint positions with which the episode began."""

    def __init__(self) -> None:
        self._home: np.ndarray | None = None

    def reset(self, num_envs: int) -> None:
        self._home = None

    def needs_images(self) -> bool:
        return False

    def select_action(self, observations: Sequence[Observation]) -> np.ndarray:
        if self._home is None:
            self._home = np.stack([obs["qpos"] for obs in observations])
        return self._home
