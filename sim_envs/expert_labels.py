"""Adds the expert's actions to every observation: labels for DAgger, and what a simulated operator compares with."""

import copy
from typing import Any

import gymnasium
import mujoco
import numpy as np
from dm_control.rl import control

from sim_envs import experts
from sim_envs.env import CONTROL_TIMESTEP, BimanualEnv


class ExpertLabels(gymnasium.Wrapper):
    """Adds obs["expert_action"] (14,), and at every `label_every`-th control step obs["expert_chunk"] (K, 14).

    The chunk holds the actions that the closed-loop expert takes in the next K control steps if it drives from here.
    They are found in a second MjData, so the environment itself is never touched. A chunk takes 2.2 ms per action.

    Args:
        style: of the expert, "scripted" or "human".
        chunk_size: K, the actions in a chunk.
        label_every: 0 gives no chunks. A state from which the simulation diverges gets none either.

    Example:
        env = ExpertLabels(sim_envs.make("transfer_cube", cameras=()), "scripted", chunk_size=60, label_every=20)
        obs, info = env.reset(seed=0)
        assert obs["expert_chunk"].shape == (60, 14)
    """

    def __init__(self, env: BimanualEnv, style: str, chunk_size: int = 1, label_every: int = 0):
        super().__init__(env)
        self.bimanual, self.style, self.chunk_size, self.label_every = env, style, chunk_size, label_every
        self._ahead = env.physics.copy(share_model=True)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        obs, info = self.env.reset(seed=seed, options=options)
        self._agent = experts.make_agent(self.bimanual.env_spec.task_name, self.style, seed or 0)
        self._agent.reset(1)
        self._t = 0
        return self._with_labels(obs), info

    def step(self, action: np.ndarray) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, info = self.env.step(action)
        self._t += 1
        return self._with_labels(obs), reward, terminated, truncated, info

    def _with_labels(self, obs: dict[str, Any]) -> dict[str, Any]:
        labels = {}
        if self.label_every and self._t % self.label_every == 0 and (chunk := self._look_ahead()) is not None:
            labels["expert_chunk"] = chunk
        return {**obs, **labels, "expert_action": self._agent.select_action([obs])[0]}

    def _look_ahead(self) -> np.ndarray | None:
        """(K, 14) float32, or None if the simulation diverges. A copy of the expert drives, because it has a memory."""
        physics, task = self._ahead, self.bimanual.task
        mujoco.mj_copyData(physics.data.ptr, physics.model.ptr, self.bimanual.physics.data.ptr)
        expert, chunk = copy.copy(self._agent.experts[0]), []
        try:
            for _ in range(self.chunk_size):
                chunk.append(expert.action(task.get_observation(physics)))
                task.before_step(chunk[-1], physics)
                physics.step(round(CONTROL_TIMESTEP / physics.timestep()))
        except control.PhysicsError:
            return None
        return np.stack(chunk)
