"""Peg in cup has the right geometry, counts only real success, and its expert passes all stages."""

import numpy as np
import pytest

import sim_envs
from sim_envs.experts import make_agent
from sim_envs.task import resting_pose
from sim_envs.tasks.peg_in_cup import CUP_DEPTH, INNER, Task, tip_in_cup

UPRIGHT = np.array([np.sqrt(0.5), 0.0, np.sqrt(0.5), 0.0])  # the peg, tip down
CUP = resting_pose(0.0, 0.5, 0.03)


@pytest.fixture(scope="module")
def env():
    env = sim_envs.make("peg_in_cup", cameras=())
    yield env
    env.close()


def hold_still(env, env_state: np.ndarray, control_steps: int) -> tuple[dict, dict, float]:
    obs, info = env.reset(seed=0, options={"env_state": env_state})
    home, best = obs["qpos"], 0.0
    for _ in range(control_steps):
        obs, reward, _, _, info = env.step(np.clip(home, env.action_space.low, env.action_space.high))
        best = max(best, reward)
    return obs, info, best


def test_an_upright_peg_on_the_cups_floor_has_its_tip_at_the_origin():
    peg = np.array([0.0, 0.5, 0.03 - 0.026 + 0.06, *UPRIGHT])
    np.testing.assert_allclose(tip_in_cup(np.concatenate([peg, CUP])), 0.0, atol=1e-9)
    peg[:3] += (0.01, -0.02, 0.05)
    np.testing.assert_allclose(tip_in_cup(np.concatenate([peg, CUP])), (0.01, -0.02, 0.05), atol=1e-9)


def test_a_peg_let_go_above_a_cup_on_the_table_falls_in_and_scores_nothing(env):
    peg = np.array([0.005, 0.505, 0.075, *UPRIGHT])
    obs, info, best = hold_still(env, np.concatenate([peg, CUP]), 50)
    x, y, height = tip_in_cup(obs["env_state"])
    assert max(abs(x), abs(y)) < INNER
    assert abs(height) < 0.005  # [m] standing, or leaning a little
    assert best == 0
    assert not info["success"]
    assert not info["strict_success"]


def test_objects_never_start_against_each_other():
    rng = np.random.default_rng(0)
    starts = np.stack([Task(rng).sample_objects(rng) for _ in range(200)])
    assert np.min(starts[:, 0] - starts[:, 7]) > 0.061 + 0.031  # [m] half the peg, half the turned cup


def test_random_scenes_bring_the_tip_into_or_above_the_cup():
    rng = np.random.default_rng(1)
    task = Task(rng)
    for _ in range(50):
        env_state = task.sample_objects(rng)
        task.bring_together(rng, env_state)
        x, y, height = tip_in_cup(env_state)
        assert max(abs(x), abs(y)) < 0.045
        assert -0.01 < height < CUP_DEPTH + 0.06


@pytest.mark.parametrize(("style", "seed"), [("scripted", 0), ("human", 1)])
def test_the_expert_passes_every_stage_in_order_and_succeeds(env, style: str, seed: int):
    agent = make_agent("peg_in_cup", style, seed)
    agent.reset(1)
    obs, info = env.reset(seed=seed)
    reached = []
    for _ in range(env.env_spec.episode_len):
        obs, reward, _, _, info = env.step(agent.select_action([obs])[0])
        if reward > max(reached, default=0):
            reached.append(reward)
        if info["strict_success"]:
            break
    assert reached[-3:] == [2, 3, 4]  # 1 is passed only when the second hand touches before it lifts
    assert info["strict_success"]
