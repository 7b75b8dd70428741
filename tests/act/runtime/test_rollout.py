"""The one loop: waves, early ends, images only when due, and worker processes that make no difference."""

import multiprocessing
import os
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest

from act.evaluation.evaluate import evaluate
from act.runtime.agents import HoldAgent
from act.runtime.envs import Envs, ParallelEnvs, SerialEnvs
from act.runtime.rollout import rollout
from act.types import ACTION_DIM, Observation, RolloutResult
from tests.fakes.toy_env import ToyEnv
from tests.fakes.toy_world import GoalAgent


class ImpatientEnv(ToyEnv):
    """Ends as soon as the goal is reached, and may not be stepped afterwards."""

    over = True

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        self.over = False
        return super().reset(seed=seed, options=options)

    def step(self, action: np.ndarray) -> Any:
        assert not self.over
        obs, reward, _, truncated, info = super().step(action)
        self.over = truncated or reward == 2
        return obs, reward, reward == 2, truncated, info


class BrokenEnv(ToyEnv):
    def step(self, action: np.ndarray) -> Any:
        raise ValueError("action of joint 3 is not finite")


class LooseEnv(ToyEnv):
    """Its success does not last, and every target is beyond the limits."""

    def step(self, action: np.ndarray) -> Any:
        obs, reward, terminated, truncated, info = super().step(action)
        return obs, reward, terminated, truncated, {**info, "success": True, "strict_success": False, "clipped": 3}


class Brief(ToyEnv):
    """Says `is_success` as other projects do, and only at control step 3."""

    def step(self, action: np.ndarray) -> Any:
        return (*super().step(action)[:4], {"is_success": self.t == 3})


class NamedEnv(ToyEnv):
    """Says in which process it lives."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        obs, info = super().reset(seed=seed, options=options)
        return obs, {**info, "process": os.getpid()}


class Staggered(GoalAgent):
    """Environment b starts moving at t = b + 1; needs images at even t."""

    def __init__(self) -> None:
        super().__init__(0)

    def needs_images(self) -> bool:
        return self.t % 2 == 0

    def select_action(self, observations: Sequence[Observation]) -> np.ndarray:
        if self.t % 2 == 0:
            assert all("images" in obs for obs in observations)
        actions = np.zeros((len(observations), ACTION_DIM), np.float32)
        for b, obs in enumerate(observations):
            actions[b, 0] = obs["env_state"][0] if self.t > b else 0
        self.t += 1
        return actions


class Notes:
    """An observer that notes every call."""

    def __init__(self, images: bool = False):
        self.images, self.steps, self.ends, self.resets = images, [], [], []
        self.had_images: list[bool] = []

    def needs_images(self) -> bool:
        return self.images

    def on_reset(self, index: int, seed: int, obs: Observation, info: Any) -> None:
        self.resets.append((index, seed))

    def on_step(self, index: int, t: int, obs, action, next_obs, reward, info) -> None:
        self.steps.append((index, t))
        self.had_images.append("images" in obs)

    def on_end(self, index: int, result: RolloutResult) -> None:
        self.ends.append((index, result.seed, result.length))


def toys(number: int, kind: type[ToyEnv] = ToyEnv, **kwargs: Any) -> Envs:
    return SerialEnvs([kind(**kwargs) for _ in range(number)])


def test_results_come_in_the_order_of_the_seeds_whatever_the_batch() -> None:
    seeds = list(range(7))
    alone = [r.to_json() for r in rollout(toys(1), GoalAgent(0), seeds=seeds)]
    batched = [r.to_json() for r in rollout(toys(3), GoalAgent(0), seeds=seeds)]
    assert alone == batched and [r["seed"] for r in alone] == seeds
    assert all(r["success"] and r["max_reward"] == 2 and r["length"] == 20 for r in alone)


def test_stages_say_when_each_reward_was_first_reached() -> None:
    (result,) = rollout(toys(1), GoalAgent(0), seeds=[0])
    wait = int(np.random.default_rng(0).integers(1, 5))
    assert result.stages == [wait, wait] and result.episode_return == 2 * (20 - wait)
    (result,) = rollout(toys(1), HoldAgent(), seeds=[0])
    assert result.stages == [None, None] and not result.success and not result.strict_success


def test_success_strict_success_and_clipped_targets_are_what_the_environment_says() -> None:
    (result,) = rollout(toys(1, LooseEnv), HoldAgent(), seeds=[0])
    assert (result.success, result.strict_success, result.clipped) == (True, False, 3)
    summary = evaluate(toys(1, LooseEnv), HoldAgent(), [0, 1], progress=False)
    assert (summary.success.rate, summary.strict_success.rate, summary.clipped) == (1.0, 0.0, 3.0)


def test_is_success_counts_like_success_and_must_hold_at_the_end_for_strict_success() -> None:
    (result,) = rollout(toys(1, Brief), HoldAgent(), seeds=[0])
    assert (result.success, result.strict_success) == (True, False)
    (short,) = rollout(toys(1, Brief, episode_len=3), HoldAgent(), seeds=[0])
    assert (short.success, short.strict_success) == (True, True)


def test_an_episode_that_ends_early_is_not_stepped_until_the_wave_ends() -> None:
    notes = Notes()
    envs = toys(3, ImpatientEnv, cameras=("top",))
    results = list(rollout(envs, Staggered(), [notes], seeds=[4, 5, 6]))
    lengths = [r.length for r in results]
    assert lengths == sorted(lengths) and lengths[0] < lengths[2] < 20
    assert notes.ends == [(b, 4 + b, lengths[b]) for b in range(3)]
    assert sorted(notes.steps) == [(b, t) for b in range(3) for t in range(lengths[b])]


def test_images_are_rendered_only_when_somebody_needs_them() -> None:
    notes = Notes()
    list(rollout(toys(1, cameras=("top",)), GoalAgent(0), [notes], seeds=[0]))
    assert not any(notes.had_images)
    list(rollout(toys(1, cameras=("top",)), Staggered(), [notes := Notes()], seeds=[0]))
    assert notes.had_images == [t % 2 == 0 for t in range(20)]
    list(rollout(toys(1, cameras=("top",)), GoalAgent(0), [notes := Notes(images=True)], seeds=[0]))
    assert all(notes.had_images)


def test_options_reach_the_reset_of_their_episode() -> None:
    goals = [0.6, 0.7, 0.8]
    results = rollout(toys(2), GoalAgent(0), seeds=[0, 1, 2], options=[{"goal": goal} for goal in goals])
    assert [round(r.env_state0[0], 3) for r in results] == goals
    with pytest.raises(ValueError, match="1 options for 2 seeds"):
        list(rollout(toys(1), GoalAgent(0), seeds=[0, 1], options=[None]))


def test_worker_processes_give_the_same_results() -> None:
    seeds = list(range(5))
    serial = [r.to_json() for r in rollout(toys(3, cameras=("top",)), Staggered(), seeds=seeds)]
    with ParallelEnvs(partial(ToyEnv, cameras=("top",)), num_envs=3, num_workers=2) as envs:
        assert envs.env_spec.task_name == "toy" and envs.num_envs == 3
        assert [r.to_json() for r in rollout(envs, Staggered(), seeds=seeds)] == serial
        with pytest.raises(ValueError, match="4 seeds for 3 environments"):
            envs.reset([1, 2, 3, 4])


def test_a_few_active_environments_keep_all_processes_busy() -> None:
    with ParallelEnvs(NamedEnv, num_envs=6, num_workers=2) as envs:
        for active in (1, 2, 3, 6):
            first, *others = [info["process"] for _, info in envs.reset(range(active))]
            assert [process == first for process in others] == [index % 2 == 0 for index in range(1, active)]


def test_an_error_in_a_worker_is_raised_here_with_its_message() -> None:
    envs = ParallelEnvs(BrokenEnv, num_envs=1, num_workers=1)
    with pytest.raises(ValueError, match=r"^environment worker 0: action of joint 3 is not finite$"):
        list(rollout(envs, HoldAgent(), seeds=[0]))
    assert multiprocessing.active_children() == []
