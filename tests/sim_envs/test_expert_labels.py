"""Labels are the actions that the expert then takes, and making them changes nothing."""

import numpy as np
import pytest

import sim_envs
from sim_envs.expert_labels import ExpertLabels

K = 12


@pytest.mark.parametrize(("task", "style"), [("transfer_cube", "scripted"), ("insertion", "human")])
def test_the_chunk_is_what_the_expert_does_when_it_drives_on(task: str, style: str):
    env = ExpertLabels(sim_envs.make(task, cameras=()), style, K, label_every=20)
    obs, _ = env.reset(seed=5)
    rng = np.random.default_rng(0)
    for _ in range(20):  # another agent drives
        obs, *_ = env.step(obs["expert_action"] + rng.normal(0, 0.02, 14))
    chunk = obs["expert_chunk"]
    done = [obs["expert_action"]]
    for _ in range(K - 1):
        obs, *_ = env.step(done[-1])
        assert "expert_chunk" not in obs
        done.append(obs["expert_action"])
    np.testing.assert_array_equal(chunk, np.stack(done))


def test_looking_ahead_leaves_the_environment_alone():
    ends = []
    for label_every in (0, 5):
        env = ExpertLabels(sim_envs.make("transfer_cube", cameras=()), "scripted", K, label_every)
        obs, _ = env.reset(seed=1)
        for _ in range(15):
            obs, *_ = env.step(obs["expert_action"])
        ends.append(np.concatenate([obs["qpos"], obs["qvel"], obs["env_state"], obs["expert_action"]]))
    np.testing.assert_array_equal(*ends)
