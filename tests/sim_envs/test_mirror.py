"""Mirrored joints move the hands as in a mirror, and tasks that say they are symmetrical start symmetrically."""

import numpy as np
import pytest

import sim_envs
from sim_envs.kinematics import Kinematics
from sim_envs.mirror import Mirror, mirror_of
from sim_envs.task import resting_pose
from tests.sim_envs.test_kinematics import HOME

SYMMETRICAL = [task for task in sim_envs.available() if sim_envs.load(task).mirror_plane is not None]
PLANE = Mirror(0.5)


def test_mirrored_joints_bring_the_hands_to_mirrored_places():
    kinematics, rng = Kinematics(), np.random.default_rng(0)
    np.testing.assert_allclose(PLANE.joints(HOME), HOME, atol=1e-12)
    flip = np.diag([1.0, -1.0, 1.0])
    for _ in range(20):
        joints = HOME + rng.uniform(-0.5, 0.5, 14)
        before, after = kinematics.hands(joints), kinematics.hands(PLANE.joints(joints))
        for side in ("left", "right"):
            x, y, z = before[side].position
            np.testing.assert_allclose(after[side].position, (x, 1 - y, z), atol=1e-6)
            np.testing.assert_allclose(after[side].rotation, flip @ before[side].rotation @ flip, atol=1e-5)


def test_mirrored_poses_turn_the_other_way_and_mirroring_twice_changes_nothing():
    poses = np.concatenate([resting_pose(0.1, 0.45, 0.02, yaw=0.3), resting_pose(-0.1, 0.6, 0.02, yaw=-1.0)])
    expected = np.concatenate([resting_pose(0.1, 0.55, 0.02, yaw=-0.3), resting_pose(-0.1, 0.4, 0.02, yaw=1.0)])
    np.testing.assert_allclose(PLANE.poses(poses), expected, atol=1e-12)
    np.testing.assert_allclose(PLANE.poses(PLANE.poses(poses)), poses, atol=1e-12)


@pytest.mark.parametrize("task", SYMMETRICAL)
def test_mirrored_starts_are_starts_of_the_task(task: str):
    mirror, kind, rng = mirror_of(task), sim_envs.load(task), np.random.default_rng(0)
    starts = np.stack([kind(rng).sample_objects(rng) for _ in range(200)])
    mirrored = np.stack([mirror.poses(start) for start in starts])
    np.testing.assert_allclose(mirrored.min(0), starts.min(0), atol=0.03)
    np.testing.assert_allclose(mirrored.max(0), starts.max(0), atol=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("task", SYMMETRICAL)
def test_an_expert_s_episode_succeeds_strictly_in_the_mirror(task: str):
    env, expert, mirror = sim_envs.make(task, cameras=()), sim_envs.make_expert(task, seed=0), mirror_of(task)
    obs, _ = env.reset(seed=0)
    start, actions, info, ended = obs["env_state"], [], {}, False
    expert.reset(1)
    while not ended:
        actions.append(expert.select_action([obs])[0])
        obs, _, terminated, ended, info = env.step(actions[-1])
        assert not terminated
    assert info["strict_success"]
    obs, _ = env.reset(seed=0, options={"env_state": mirror.poses(start)})
    np.testing.assert_allclose(obs["env_state"], mirror.poses(start), atol=1e-6)
    for action in actions:
        *_, info = env.step(mirror.joints(action))
    assert info["strict_success"]


def test_a_task_that_does_not_say_it_is_symmetrical_has_no_mirror():
    assert {"transfer_cube", "insertion", "peg_in_cup"} <= set(SYMMETRICAL)
    others = set(sim_envs.available()) - set(SYMMETRICAL)
    for task in others:
        with pytest.raises(ValueError, match=rf"task '{task}' is not symmetrical; episodes of these are: .*insertion"):
            mirror_of(task)
    with pytest.raises(ValueError, match="unknown task 'pour'"):
        mirror_of("pour")
