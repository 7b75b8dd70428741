"""Slide ziploc starts on the lecture's line, counts only a zip that is pulled, and its expert passes all stages."""

import numpy as np
import pytest

import sim_envs
from sim_envs.experts import make_agent
from sim_envs.task import resting_pose
from sim_envs.tasks.slide_ziploc import CLOSED, HALF_BAG, OPEN, TRAVEL, Task, opening


@pytest.fixture(scope="module")
def env():
    env = sim_envs.make("slide_ziploc", cameras=())
    yield env
    env.close()


def start(slid: float, yaw: float = 0.0) -> np.ndarray:
    """Returns the poses of a bag in the middle of the table whose slider has moved by `slid` [m]."""
    bag, slider = resting_pose(0.02, 0.5, HALF_BAG, yaw), resting_pose(0.02, 0.5, HALF_BAG, yaw)
    along = CLOSED[0] + slid
    slider[:3] += (along * np.cos(yaw), along * np.sin(yaw), CLOSED[2])
    return np.concatenate([bag, slider])


def hold_still(env, obs: dict, control_steps: int) -> tuple[dict, dict, float]:
    """Keeps the arms at home; returns the last observation and info, and the highest reward."""
    home, best, info = np.clip(obs["qpos"], env.action_space.low, env.action_space.high), 0.0, {}
    for _ in range(control_steps):
        obs, reward, _, _, info = env.step(home)
        best = max(best, reward)
    return obs, info, best


@pytest.mark.parametrize("yaw", [0.0, 0.3])
@pytest.mark.parametrize("slid", [0.0, 0.05, TRAVEL])
def test_the_opening_is_the_way_of_the_slider_however_the_bag_is_turned(env, slid: float, yaw: float):
    obs, _ = env.reset(seed=0, options={"env_state": start(slid, yaw)})
    assert opening(obs["env_state"]) == pytest.approx(slid, abs=1e-6)


def test_the_bag_starts_closed_on_a_line_of_15_cm_and_over_an_area_on_request():
    task, rng = Task(np.random.default_rng(0)), np.random.default_rng(0)
    line = np.stack([task.sample_objects(rng) for _ in range(300)])
    task.area = True
    area = np.stack([task.sample_objects(rng) for _ in range(300)])
    assert np.ptp(line[:, 0]) == pytest.approx(0.15, abs=2e-3)  # [m]
    assert np.ptp(line[:, 1]) == np.ptp(line[:, 6]) == 0, "the line is straight, and the bag lies along it"
    assert np.ptp(area[:, 1]) == pytest.approx(0.20, abs=3e-3)
    assert np.abs(area[:, 6]).max() > 0.1, "the bag is turned"
    for starts in (line, area):
        np.testing.assert_allclose([opening(state) for state in starts], 0.0, atol=1e-9)


def test_a_zip_that_is_open_from_the_start_counts_for_nothing(env):
    obs, _ = env.reset(seed=0, options={"env_state": start(TRAVEL)})
    obs, info, best = hold_still(env, obs, 40)
    assert opening(obs["env_state"]) > OPEN
    assert best == 0
    assert not info["success"]
    assert not info["strict_success"]


def test_a_slider_that_is_hit_instead_of_pulled_counts_for_nothing(env):
    obs, _ = env.reset(seed=0, options={"env_state": start(0.0)})
    env.physics.named.data.qvel["slider"] = 8.0  # [m/s]
    obs, _, best = hold_still(env, obs, 25)
    assert opening(obs["env_state"]) > 0.02
    assert env.task.pulled == 0
    assert best == 0


def test_a_bag_that_nobody_holds_comes_along_with_the_slider(env):
    obs, _ = env.reset(seed=0, options={"env_state": start(0.0)})
    env.physics.named.data.xfrc_applied["slider"][0] = 0.7  # [N] between the friction of the table and that of the zip
    after, _, _ = hold_still(env, obs, 15)
    dragged = after["env_state"][0] - obs["env_state"][0]
    assert dragged > 0.03  # [m]
    assert opening(after["env_state"]) < dragged / 3


def test_the_way_counts_backwards_too_and_only_while_both_hands_grip(env, monkeypatch):
    env.reset(seed=0, options={"env_state": start(0.0)})
    task, slider, gripping = env.task, env.physics.named.data.qpos, {"left", "right"}
    monkeypatch.setattr(task, "_grips", lambda physics, side: side in gripping)
    ways = []
    for at, gripping in ((0.05, {"left", "right"}), (0.04, {"left", "right"}), (0.09, {"left"}), (0.13, {"right"})):  # noqa: B007
        slider["slider"] = at
        task.after_step(env.physics)
        ways.append(task.pulled)
    np.testing.assert_allclose(ways, [0.05, 0.04, 0.04, 0.04])
    assert not task.success, "the zip is open, but was not pulled open"


def test_the_expert_passes_every_stage_in_order_and_an_opened_hand_loses_its_stage(env):
    agent = make_agent("slide_ziploc")
    agent.reset(1)
    obs, info = env.reset(seed=0)
    rewards = []
    while not info["strict_success"] and len(rewards) < env.env_spec.episode_len:
        obs, reward, _, _, info = env.step(agent.select_action([obs])[0])
        rewards.append(reward)
    assert info["strict_success"]
    assert [rewards.index(stage) for stage in (1, 2, 3)] == sorted(rewards.index(stage) for stage in (1, 2, 3))
    opened = agent.select_action([obs])[0]
    opened[[6, 13]] = 1.0
    for _ in range(15):
        info = env.step(opened)[4]
    assert info["stage"] == 0
    assert info["success"]
    assert not info["strict_success"]
