"""Replaces the package `sim_envs`, without physics: its expert fails at every third seed, and one task is broken."""

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np

import sim_envs
from act.recording.scenes import Sampler
from act.types import ACTION_DIM, Agent, Observation
from tests.fakes.toy_env import ToyEnv
from tests.fakes.toy_scenes import DotSampler


class GoalAgent:
    """Moves to the goal, which is in env_state, after a random number of steps; never, if `fails`."""

    def __init__(self, seed: int, fails: bool = False):
        self.seed, self.fails = seed, fails

    def reset(self, num_envs: int) -> None:
        self.wait = int(np.random.default_rng(self.seed).integers(1, 5))
        self.t = 0

    def needs_images(self) -> bool:
        return False

    def select_action(self, observations: Sequence[Observation]) -> np.ndarray:
        actions = np.zeros((len(observations), ACTION_DIM), np.float32)
        self.t += 1
        if self.t > self.wait and not self.fails:
            actions[:, 0] = [obs["env_state"][0] for obs in observations]
        return actions


class LabelledToy(ToyEnv):
    """A ToyEnv whose expert moves to the goal and labels every `label_every`-th step with `chunk_size` actions."""

    chunk_size = label_every = 1

    def _observation(self) -> Observation:
        obs = super()._observation()
        obs["expert_action"] = np.zeros(ACTION_DIM, np.float32)
        obs["expert_action"][0] = self.goal
        if self.label_every and self.t % self.label_every == 0:
            obs["expert_chunk"] = np.tile(obs["expert_action"], (self.chunk_size, 1))
        return obs


# ------------------------------------------------------------------------- the functions of `sim_envs`, same signatures
def available() -> tuple[str, ...]:
    return ("toy", "broken")


def check_task_name(task_name: str) -> None:
    sim_envs.check_task_name(task_name, available())


def make(
    task: str, cameras: tuple[str, ...] = (), image_size: tuple[int, int] = (24, 32), quality: str = "fast"
) -> gymnasium.Env:
    if task == "broken":
        raise ValueError("the toy is broken")
    return ToyEnv(cameras, image_size, episode_len=10)


def make_expert(task: str, style: str, seed: int) -> Agent:
    return GoalAgent(seed, fails=style == "human" or seed % 3 == 1)


def make_with_expert(
    task: str,
    style: str = "scripted",
    chunk_size: int = 1,
    label_every: int = 0,
    cameras: tuple[str, ...] = (),
    image_size: tuple[int, int] = (24, 32),
    quality: str = "fast",
) -> gymnasium.Env:
    env = LabelledToy(cameras, image_size, episode_len=40)
    env.chunk_size, env.label_every = chunk_size, label_every
    return env


def make_scene_sampler(task: str, **view: Any) -> Sampler:
    return DotSampler()
