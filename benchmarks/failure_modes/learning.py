"""Demonstrations, DART and DAgger in the small worlds, and the policies of act/policies trained on them.

Training is that of this repository: episodes -> EpisodeDataset -> Trainer -> PolicyAgent.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from act import policies
from act.data.dataset import EpisodeDataset, Sampling
from act.data.episodes import Episode
from act.policies.base.policy import Policy
from act.runtime.agents import ChunkPolicy, PolicyAgent
from act.training.config import TrainConfig
from act.training.preparation import make_policy
from act.training.trainer import Trainer
from act.types import PolicySpec
from benchmarks.failure_modes.worlds import Array, World


@dataclass(frozen=True)
class Drive:
    """What happened in n episodes side by side; `action` holds the expert's answers, whoever drove."""

    states: Array  # (n, T + 1, S)
    qpos: Array  # (n, T, Q)
    env_state: Array  # (n, T, E)
    action: Array  # (n, T, A)
    alive: Array  # (n, T) bool: not failed before t
    executed: Array  # (n, T, A)

    def _until_failure(self, *columns: Array) -> list[list[Array]]:
        return [[row[ok].astype(np.float32) for row in rows] for *rows, ok in zip(*columns, self.alive, strict=True)]

    def episodes(self) -> list[Episode]:
        """Returns episodes, each up to its failure."""
        cut = self._until_failure(self.qpos, self.env_state, self.action)
        return [Episode(Path("in_memory"), q, np.zeros_like(q), a, e, None, (), False, {}) for q, e, a in cut]

    def labelled(self, world: World, chunk_size: int) -> list[Episode]:
        """Returns the episodes that a learner drove, with a chunk of the expert from every state, because the
        expert's single answers to the states on the learner's way are no plan of anybody."""
        if chunk_size == 1:
            return self.episodes()
        plans = [_plan(world, self.states[:, t], t, chunk_size) for t in range(self.action.shape[1])]
        found, cut = [], self._until_failure(self.executed, np.stack(plans, axis=1))
        for episode, (executed, chunks) in zip(self.episodes(), cut, strict=True):
            kept = replace(episode, executed_action=executed, intervention=np.zeros(len(episode), bool))
            found.append(replace(kept, action_chunk=chunks, action_chunk_t=np.arange(len(kept), dtype=np.int32)))
        return found


def _plan(world: World, state: Array, t: int, chunk_size: int) -> Array:
    """Returns what the expert would do from here on (n, K, A), in a world without noise."""
    actions, unused = [], np.random.default_rng(0)
    for i in range(chunk_size):
        actions.append(world.expert(state, t + i))
        state = world.step(state, actions[-1], 0.0, unused)
    return np.stack(actions, axis=1)


def drive(
    world: World,
    agent: PolicyAgent | None,
    n: int,
    rng: np.random.Generator,
    noise: float | None = None,
    jitter: float = 0.0,
    history: int = 1,
    episode_len: int | None = None,
) -> Drive:
    """Drives n episodes with the agent, or with the expert if it is None.

    noise: disturbs the world; by default as much as `world.noise`.
    jitter: added to what is executed and not to what is recorded (DART: Laskey et al. 2017, arXiv 1703.09327).
    history: observations in env_state, where past ones are additional sensors.
    """
    state = world.reset(n, rng)
    if agent is not None:
        agent.reset(n)
    noise = world.noise if noise is None else noise
    past = [np.concatenate(world.observe(state, 0), axis=1)] * (history - 1)
    frames, states = [], [state]
    for t in range(world.episode_len if episode_len is None else episode_len):
        qpos, env_state = world.observe(state, t)
        past = [*past, np.concatenate([qpos, env_state], axis=1)]
        env_state = np.concatenate([env_state, *past[len(past) - history : -1]], axis=1)
        action = label = world.expert(state, t)
        failed = world.failed(state)
        if agent is not None:
            action = agent.select_action([{"qpos": q, "env_state": e} for q, e in zip(qpos, env_state, strict=True)])
        frames.append((qpos, env_state, label, ~failed, action))
        moved = world.step(state, action + jitter * rng.standard_normal(action.shape), noise, rng)
        state = np.where(failed[:, None], state, moved)
        states.append(state)
    return Drive(np.stack(states, 1), *(np.stack(column, 1) for column in zip(*frames, strict=True)))


@dataclass(frozen=True)
class Head:
    """A policy of act/policies and how long it is trained."""

    name: str
    options: dict[str, Any]
    steps: int
    lr: float = 3e-3
    ema_decay: float = 0.0

    def train(self, episodes: Sequence[Episode], chunk_size: int, seed: int) -> Policy:
        """Returns a policy that was trained on the episodes."""
        options = {"chunk_size": chunk_size, "use_images": False, "use_env_state": True, **self.options}
        config = policies.load(self.name).Config(**options)
        dataset = EpisodeDataset(episodes, Sampling(config.chunk_size, config.n_obs_steps, use_env_state=True))
        assert dataset.env_state is not None
        dims = (dataset.qpos.shape[1], dataset.action.shape[1], dataset.env_state.shape[1])
        how: dict[str, Any] = {"batch_size": 128, "schedule": "cosine", "grad_clip": 1.0, "precision": "fp32"}
        how |= {"seed": seed, "steps": self.steps, "lr": self.lr, "ema_decay": self.ema_decay, "device": "cpu"}
        run = TrainConfig("toy", config, self.name, **how)
        learner = make_policy(run, dataset, PolicySpec((), (1, 1), *dims))
        learner.before_training(dataset)
        trainer = Trainer(learner, run)
        for batch in dataset.batches(seed, 0, run.steps, run.batch_size):
            trainer.train_step(batch)
        return trainer.deployed


def imitation_error(policy: ChunkPolicy, demos: Drive) -> float:
    """Returns the root mean square of (first action of the chunk - the expert's) over all frames [units of action]."""
    qpos, env_state, action = (x.reshape(-1, x.shape[-1]) for x in (demos.qpos, demos.env_state, demos.action))
    chunks = policy.predict_chunk([[{"qpos": q, "env_state": e}] for q, e in zip(qpos, env_state, strict=True)])
    return float(np.sqrt(np.mean((chunks[:, 0] - action) ** 2)))
