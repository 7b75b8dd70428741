"""Slot battery has a spring and a lip that hold the battery, counts only an inserted one, and its expert inserts it."""

import numpy as np
import pytest

import sim_envs
from sim_envs.experts import make_agent
from sim_envs.task import resting_pose
from sim_envs.tasks.slot_battery import LIP, SEAT, Task, battery_in_remote, in_seat

REMOTE = resting_pose(-0.1, 0.5, 0.013)


@pytest.fixture(scope="module")
def env():
    env = sim_envs.make("slot_battery", cameras=())
    yield env
    env.close()


def beside_seat(offset=(0.0, 0.0, 0.0), yaw: float = 0.0) -> np.ndarray:
    """Start poses of a battery at an offset (3,) [m] from its seat."""
    x, y, z = REMOTE[:3] + SEAT + offset
    return np.concatenate([resting_pose(x, y, z, yaw), REMOTE])


def hold_still(env, env_state: np.ndarray, control_steps: int) -> tuple[dict, dict, float]:
    obs, info = env.reset(seed=0, options={"env_state": env_state})
    home, reward = np.clip(obs["qpos"], env.action_space.low, env.action_space.high), 0.0
    for _ in range(control_steps):
        obs, reward, _, _, info = env.step(home)
    return obs, info, reward


def test_a_battery_behind_the_lip_stays_there_and_presses_the_spring_by_4_mm(env):
    obs, info, reward = hold_still(env, beside_seat(), 40)
    np.testing.assert_allclose(battery_in_remote(obs["env_state"]), SEAT, atol=1e-3)
    assert env.physics.named.data.qpos["spring"].item() == pytest.approx(0.004, abs=5e-4)
    assert reward == 3
    assert info["strict_success"]


@pytest.mark.parametrize("offset", [(0.007, 0.0, LIP + 0.001), (0.0, 0.0, LIP + 0.012), (0.1, 0.0, -0.009)])
def test_a_battery_on_the_lip_or_on_the_walls_or_beside_the_remote_is_not_inserted(env, offset):
    obs, info, reward = hold_still(env, beside_seat(offset), 40)
    assert not in_seat(obs["env_state"])
    assert reward < 3
    assert not info["success"]
    assert not info["strict_success"]


def test_the_spring_pushes_a_battery_that_lies_on_the_lip_out_again(env):
    state = beside_seat((0.002, 0.0, LIP + 0.001))
    obs, _, _ = hold_still(env, state, 40)
    assert battery_in_remote(obs["env_state"])[0] > battery_in_remote(state)[0] + 0.001


def test_a_battery_the_wrong_way_round_is_not_in_its_seat():
    assert in_seat(beside_seat())
    assert in_seat(beside_seat((0.001, 0.001, 0.001), yaw=0.05))
    assert not in_seat(beside_seat(yaw=np.pi))


def test_the_position_in_the_remote_turns_with_the_remote():
    turned = resting_pose(0.0, 0.5, 0.013, np.pi / 2)
    battery = resting_pose(0.0, 0.53, 0.02)
    np.testing.assert_allclose(battery_in_remote(np.concatenate([battery, turned])), (0.03, 0.0, 0.007), atol=1e-9)


@pytest.mark.parametrize("area", [False, True])
def test_both_objects_start_on_lines_of_15_cm_or_in_areas(area):
    rng = np.random.default_rng(0)
    task = Task(rng)
    task.area = area
    starts = np.stack([task.sample_objects(rng).reshape(2, 7) for _ in range(500)])
    spread = np.ptp(starts, axis=0)
    np.testing.assert_allclose(spread[:, 0], 0.06 if area else 0.0, atol=2e-3)  # [m] in x
    np.testing.assert_allclose(spread[:, 1], 0.18 if area else 0.15, atol=4e-3)  # [m] in y
    assert bool(np.ptp(starts[..., 6]) > 0.2) == area  # turned about the vertical
    assert np.min(starts[:, 0, 0] - starts[:, 1, 0]) > 0.075 + 0.027  # [m] half the remote, half the battery


def test_random_scenes_bring_the_battery_into_or_above_its_seat():
    rng = np.random.default_rng(1)
    task = Task(rng)
    for _ in range(50):
        env_state = task.sample_objects(rng)
        task.bring_together(rng, env_state)
        right, beside, above = battery_in_remote(env_state) - SEAT
        assert 0.0 <= right < 0.013 and abs(beside) < 0.015 and 0.0 <= above < 0.031


@pytest.mark.parametrize(("style", "seed"), [("scripted", 0), ("human", 1)])
def test_the_expert_passes_every_stage_in_order_and_succeeds(env, style: str, seed: int):
    agent = make_agent("slot_battery", style, seed)
    agent.reset(1)
    obs, info = env.reset(seed=seed)
    reached = []
    for _ in range(env.env_spec.episode_len):
        obs, reward, _, _, info = env.step(agent.select_action([obs])[0])
        if reward > max(reached, default=0):
            reached.append(reward)
        if info["strict_success"]:
            break
    assert reached == [1, 2, 3]
    assert info["strict_success"]
