"""Hand poses become joint targets and back."""

import numpy as np
import pytest

import sim_envs
from sim_envs.kinematics import Kinematics, Pose, pose_of, rotation_matrix, rotation_vector
from sim_envs.robot import SIDES

HOME = np.array([0, -0.96, 1.16, 0, -0.3, 0, 0.1] * 2)
HALF_TURN = rotation_matrix(np.array([0.0, 0.0, np.pi]))  # about the vertical through the middle of the table
MIDDLE = np.array([0.0, 0.5, 0.0])


@pytest.fixture(scope="module")
def kinematics():
    return Kinematics()


def test_a_rotation_vector_survives_the_matrix():
    for vector in np.random.default_rng(0).uniform(-1.5, 1.5, (20, 3)):
        np.testing.assert_allclose(rotation_vector(rotation_matrix(vector)), vector, atol=1e-9)


def test_a_pose_times_its_inverse_is_the_identity():
    pose = pose_of(np.array([0.1, 0.2, 0.3, 0.5, -0.5, 0.1, 0.7]))
    both = pose @ pose.inverse()
    np.testing.assert_allclose(both.position, 0, atol=1e-12)
    np.testing.assert_allclose(both.rotation, np.eye(3), atol=1e-12)


def test_solve_brings_both_hands_to_reachable_poses(kinematics):
    rng = np.random.default_rng(1)
    for _ in range(10):
        wanted = HOME + 0.4 * rng.uniform(-1, 1, 14)
        goals = kinematics.hands(wanted)
        reached = kinematics.hands(kinematics.solve(HOME, goals, iterations=40))
        for side in SIDES:
            np.testing.assert_allclose(reached[side].position, goals[side].position, atol=1e-3)
            np.testing.assert_allclose(reached[side].rotation, goals[side].rotation, atol=5e-3)


def test_the_right_arm_is_the_left_one_turned_by_half(kinematics):
    joints = np.array([0.3, -0.7, 0.9, 0.2, 0.4, -0.5, 0.5])
    hands = kinematics.hands(np.concatenate([joints, joints]))
    left = Pose(HALF_TURN @ (hands["left"].position - MIDDLE) + MIDDLE, HALF_TURN @ hands["left"].rotation)
    np.testing.assert_allclose(hands["right"].position, left.position, atol=1e-6)
    np.testing.assert_allclose(hands["right"].rotation, left.rotation, atol=1e-6)


def test_mirrored_goals_have_the_same_joints(kinematics):
    left = Pose(np.array([-0.1, 0.55, 0.2]), rotation_matrix(np.array([0.0, 0.8, 0.1])))
    right = Pose(HALF_TURN @ (left.position - MIDDLE) + MIDDLE, HALF_TURN @ left.rotation)
    solution = kinematics.solve(HOME, {"left": left, "right": right})
    np.testing.assert_allclose(solution[:7], solution[7:], atol=1e-5)


def test_solve_leaves_grippers_and_the_other_arm_alone(kinematics):
    goal = Pose(np.array([0.1, 0.5, 0.2]), HALF_TURN)
    solution = kinematics.solve(HOME, {"right": goal})
    np.testing.assert_allclose(solution[:7], HOME[:7], atol=1e-6)
    assert solution[13] == HOME[13]


def test_a_goal_out_of_reach_gives_finite_joints_within_their_limits(kinematics):
    goal = Pose(np.array([2.0, 0.5, 0.2]), np.eye(3))
    solution = kinematics.solve(HOME, {"left": goal}, iterations=60)
    env = sim_envs.make("transfer_cube", cameras=())
    assert env.action_space.contains(solution.astype(np.float32))


def test_targets_move_the_arms_as_far_as_asked(kinematics):
    env = sim_envs.make("transfer_cube", cameras=())
    speed = np.array([0.3, -0.3, 0.4, 0.4, -0.5, 0.5, 0.0] * 2)  # [rad/s]
    obs, _ = env.reset(seed=0)
    before = obs["qpos"]
    for _ in range(10):
        before = obs["qpos"].astype(np.float64)
        obs = env.step(kinematics.targets(before, before + 0.02 * speed))[0]
    moved = (obs["qpos"] - before) / 0.02
    arm = np.delete(np.arange(14), [6, 13])
    np.testing.assert_allclose(moved[arm], speed[arm], rtol=0.25)  # the last joint is light and overshoots


def test_targets_hold_still_against_gravity(kinematics):
    env = sim_envs.make("transfer_cube", cameras=())
    start = env.reset(seed=0)[0]["qpos"].astype(np.float64)
    obs = env.reset(seed=0)[0]
    for _ in range(50):
        obs = env.step(kinematics.targets(obs["qpos"], obs["qpos"]))[0]
    arm = np.delete(np.arange(14), [6, 13])
    np.testing.assert_allclose(obs["qpos"][arm], start[arm], atol=2e-3)


def test_targets_slow_a_whole_arm_down_and_keep_its_direction(kinematics):
    near, far = HOME + 1e-3 * np.arange(14), HOME + np.arange(14.0)
    still = kinematics.targets(HOME, HOME)
    small, large = (kinematics.targets(HOME, goal) - still for goal in (near, far))
    assert np.abs(large[:6]).max() < 0.2
    elbow_to_wrist = slice(2, 6)  # joints that stay in the linear range
    ratio = large[elbow_to_wrist] / small[elbow_to_wrist]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-6)
