"""Validation while training: the success rate of a policy on a few seeds, always the same ones."""

from functools import partial
from typing import Any

import numpy as np
import pytest

from act.evaluation.validation import ValidationRollouts
from act.seeds import VALIDATION_SEEDS
from act.types import ACTION_DIM, PolicySpec
from tests.fakes.toy_env import ToyEnv


class Policy:
    """Jumps to the goal where the goal is below `reach`, otherwise stays where it is."""

    chunk_size, n_obs_steps, needs_images = 5, 1, False

    def __init__(self, reach: float):
        self.reach = reach

    def predict_chunk(self, histories: Any) -> np.ndarray:
        chunks = np.zeros((len(histories), self.chunk_size, ACTION_DIM), np.float32)
        goals = np.array([history[-1]["env_state"][0] for history in histories])
        chunks[:, :, 0] = np.where(goals < self.reach, goals, 0)[:, None]
        return chunks


def test_the_success_rate_of_several_policies_in_the_same_environments():
    seeds = VALIDATION_SEEDS[:20]
    goals = []
    for seed in seeds:
        env = ToyEnv()
        env.reset(seed=seed)
        goals.append(env.goal)
    median = float(np.median(goals))
    with ValidationRollouts(partial(ToyEnv, episode_len=5), seeds, num_workers=1) as success_rate:
        assert [success_rate(Policy(reach)) for reach in (0.0, median, 2.0)] == [0.0, 0.5, 1.0]
        assert success_rate(Policy(median)) == 0.5


def test_no_seeds_are_refused():
    with pytest.raises(ValueError, match="no seeds to validate on"):
        ValidationRollouts(ToyEnv, [])


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        (PolicySpec(qpos_dim=7, action_dim=7), "the policy sees qpos of 7 numbers, but toy has 14"),
        (PolicySpec(action_dim=16), "the policy answers actions of 16 numbers, but toy has 14"),
        (PolicySpec(env_state_dim=14), "the policy sees an env_state of 14 numbers, but toy has 7"),
        (PolicySpec(cameras=("wrist",)), "the policy needs camera 'wrist', but toy has top"),
    ],
)
def test_what_does_not_fit_is_said_before_any_rollout(spec: PolicySpec, sentence: str):
    with ValidationRollouts(partial(ToyEnv, ("top",)), VALIDATION_SEEDS[:2], num_workers=1) as success_rate:
        success_rate.check(PolicySpec(cameras=("top",), env_state_dim=7))
        with pytest.raises(ValueError) as caught:
            success_rate.check(spec)
    assert str(caught.value) == sentence
