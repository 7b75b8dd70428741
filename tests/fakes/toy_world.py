"""A world (attempts.World) without physics: its expert fails at every third seed, and can be told to break."""

from collections.abc import Sequence

import gymnasium
import numpy as np

from act.types import ACTION_DIM, Agent, Observation
from tests.fakes.toy_env import ToyEnv


class GoalAgent:
    """Goes to the goal that env_state tells, after a random number of waiting steps; or never."""

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


def available() -> tuple[str, ...]:
    return ("toy", "broken")


def make_env(task: str, cameras: tuple[str, ...], image_size: tuple[int, int], quality: str) -> gymnasium.Env:
    if task == "broken":
        raise ValueError("the toy is broken")
    return ToyEnv(cameras, image_size, episode_len=10)


def make_expert(task: str, style: str, seed: int) -> Agent:
    return GoalAgent(seed, fails=style == "human" or seed % 3 == 1)


class TeachingToy(ToyEnv):
    """A toy whose expert goes to the goal, and at every `label_every`-th step says so `chunk_size` steps ahead."""

    chunk_size = label_every = 1

    def _observation(self) -> Observation:
        obs = super()._observation()
        obs["expert_action"] = np.zeros(ACTION_DIM, np.float32)
        obs["expert_action"][0] = self.goal
        if self.label_every and self.t % self.label_every == 0:
            obs["expert_chunk"] = np.tile(obs["expert_action"], (self.chunk_size, 1))
        return obs


def make_env_with_expert(
    task: str,
    style: str,
    cameras: tuple[str, ...],
    image_size: tuple[int, int],
    quality: str,
    chunk_size: int,
    label_every: int,
) -> gymnasium.Env:
    env = TeachingToy(cameras, image_size, episode_len=40)
    env.chunk_size, env.label_every = chunk_size, label_every
    return env
