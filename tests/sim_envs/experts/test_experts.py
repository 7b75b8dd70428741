"""Scripted experts succeed, act in any state, recover, and depend only on their seed."""

import dataclasses

import numpy as np
import pytest

import sim_envs
from sim_envs import experts
from sim_envs.experts import expert as ex
from sim_envs.kinematics import Pose

TASKS = experts.available()


def run(task, agent, seed, options=None, before_step=None, length=None):
    """Runs one episode; `before_step(t, env, expert, action)` may disturb it and returns the executed action."""
    env = sim_envs.make(task, cameras=())
    agent.reset(1)
    obs, info = env.reset(seed=seed, options=options)
    actions = []
    for t in range(length or env.env_spec.episode_len):
        action = agent.select_action([obs])[0]
        actions.append(action)
        if before_step is not None:
            action = before_step(t, env, agent.experts[0], action)
        obs, _, _, _, info = env.step(action)
    return info, np.array(actions)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("style", experts.STYLES)
def test_an_expert_succeeds_strictly_with_smooth_actions_within_limits(task, style):
    info, actions = run(task, experts.make_agent(task, style, seed=11), seed=11)
    assert info["success"]
    assert info["strict_success"]
    assert info["clipped"] == 0
    assert actions.dtype == np.float32
    arm = np.delete(np.arange(14), [6, 13])
    assert np.abs(np.diff(actions, axis=0))[:, arm].max() < 0.25  # [rad] per control step
    assert np.abs(np.diff(actions[-10:], axis=0))[:, arm].max() < 0.03  # at rest in the end


def test_variations_do_not_depend_on_the_start_poses():
    env, agents = sim_envs.make("transfer_cube", cameras=()), [make_human(seed) for seed in range(100)]
    starts = [env.reset(seed=seed)[0]["env_state"][:2] for seed in range(100)]
    variations = [agent.experts[0].variation for agent in agents]
    for n_pauses in (0, 1, 2):
        chosen = [i for i, variation in enumerate(variations) if len(variation.pauses) == n_pauses]
        numbers = [(*starts[i], variations[i].speed, variations[i].pitch, variations[i].clearance) for i in chosen]
        between = np.corrcoef(np.transpose(numbers))[:2, 2:]
        assert len(chosen) > 20 and np.abs(between).max() < 0.6


def make_human(seed):
    agent = experts.make_agent("transfer_cube", "human", seed)
    agent.reset(1)
    return agent


@pytest.mark.parametrize("task", TASKS)
def test_an_expert_that_is_reset_at_every_control_step_succeeds(task):
    def forget(t, env, expert, action):
        expert.reset()
        return action

    assert run(task, experts.make_agent(task), seed=12, before_step=forget)[0]["strict_success"]


@pytest.mark.parametrize("task", TASKS)
def test_an_expert_recovers_from_a_pushed_object_and_from_opened_hands(task):
    def disturb(t, env, expert, action):
        if t == 70:
            env.push(env.task.objects[0], np.array([0.3, -0.4, 0.0]))
        if 150 <= t < 180:
            action[[6, 13]] = 1.0
        return action

    assert run(task, experts.make_agent(task), seed=13, before_step=disturb)[0]["success"]


def test_a_turned_cube_is_grasped_by_its_nearest_faces():
    yaw = 2.0
    state = np.array([0.1, 0.5, 0.02, np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)])
    info, _ = run("transfer_cube", experts.make_agent("transfer_cube"), seed=0, options={"env_state": state})
    assert info["strict_success"]


def test_human_episodes_depend_only_on_their_seed():
    def start(seed):
        return run("transfer_cube", experts.make_agent("transfer_cube", "human", seed), seed=5, length=20)[1]

    np.testing.assert_array_equal(start(1), start(1))
    assert np.abs(start(1) - start(2)).max() > 1e-3


def test_every_reset_and_every_environment_has_its_own_variation():
    agent = experts.make_agent("insertion", "human", seed=3)
    variations = []
    for _ in range(2):
        agent.reset(2)
        variations += [expert.variation for expert in agent.experts]
    assert len({variation.speed for variation in variations}) == 4


def test_a_batch_acts_like_its_environments_one_by_one():
    env = sim_envs.make("transfer_cube", cameras=())
    observations = [env.reset(seed=seed)[0] for seed in (1, 2, 3)]
    agent = experts.make_agent("transfer_cube")
    agent.reset(3)
    together = agent.select_action(observations)
    agent.reset(1)
    alone = np.concatenate([agent.select_action([obs]) for obs in observations])
    np.testing.assert_array_equal(together, alone)
    assert not agent.needs_images()


def test_both_variants_of_the_human_style_occur():
    variations = [ex.HumanVariation.sample(np.random.default_rng(seed)) for seed in range(50)]
    assert {variation.variant for variation in variations} == {-1, 1}
    assert all(0.75 <= variation.speed <= 1.45 for variation in variations)


def test_the_scripted_style_is_the_default_variation():
    assert dataclasses.asdict(ex.SCRIPTED) == dataclasses.asdict(ex.HumanVariation())


def test_a_task_without_an_expert_is_refused_by_name():
    with pytest.raises(ValueError, match="task 'juggling' has no expert; available: insertion, "):
        experts.make_agent("juggling")


def test_an_unknown_style_is_refused_by_name():
    with pytest.raises(ValueError, match="unknown style 'robotic'; available: scripted, human"):
        experts.make_agent("insertion", "robotic")


def test_a_cube_has_24_symmetries_and_a_square_bar_8():
    assert len(ex.symmetry_group({"x": np.pi / 2, "z": np.pi / 2})) == 24
    assert len(ex.symmetry_group({"x": np.pi / 2, "z": np.pi})) == 8


def test_goals_of_both_sides_mirror_each_other():
    half_turn = ex.facing("right")
    np.testing.assert_allclose(ex.facing("right", 1.0, 0.2), half_turn @ ex.facing("left", 1.0, 0.2), atol=1e-12)


def test_a_step_is_limited_in_speed_and_ends_at_the_goal():
    start, goal = Pose(np.zeros(3), np.eye(3)), Pose(np.array([0.5, 0, 0]), np.eye(3))
    assert np.isclose(ex.step(start, ex.Goal(goal, 1.0)).position[0], 0.02 * ex.SPEED)
    pose = start
    for _ in range(200):
        pose = ex.step(pose, ex.Goal(goal, 1.0))
    np.testing.assert_allclose(pose.position, goal.position, atol=1e-4)
