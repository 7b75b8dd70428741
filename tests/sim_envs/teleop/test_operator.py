"""The control core of teleoperation: clutch, limits, watchdog, grippers; and numbers that are no pose."""

import itertools

import numpy as np
import pytest

import sim_envs
from sim_envs.kinematics import Kinematics, Pose, rotation_matrix, rotation_vector
from sim_envs.robot import SIDES
from sim_envs.teleop.operator import WORKSPACE, Operator, checked_opening, checked_pose

DT = 0.02
HOME = np.array([0, -0.96, 1.16, 0, -0.3, 0, 0.1] * 2)
ARMS = np.delete(np.arange(14), [6, 13])
SQUARE = (1.0, 0.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def kinematics():
    return Kinematics()


@pytest.fixture(scope="module")
def env():
    return sim_envs.make("transfer_cube", cameras=())


class Trial:
    """An operator, two arms at home, and a clock that moves with every step."""

    def __init__(self, env, kinematics):
        self.env, self.kinematics, self.now = env, kinematics, 0.0
        self.obs, _ = env.reset(seed=0)
        self.operator = Operator(kinematics)
        self.operator.stand_by(self.obs["qpos"])

    def step(self, count=1, heard=True):
        """The hands after every one of `count` control steps."""
        hands = [self.hands()]
        for _ in range(count):
            if heard:
                self.operator.hear(self.now)
            self.obs = self.env.step(self.operator.action(self.obs["qpos"], self.now))[0]
            self.now += DT
            hands.append(self.hands())
        return hands

    def hands(self):
        return self.kinematics.hands(self.obs["qpos"])

    def ahead(self, side, offset, turn=(0, 0, 0)):
        """A pose that many metres and radians from the hand."""
        hand = self.hands()[side]
        return Pose(hand.position + offset, hand.rotation @ rotation_matrix(np.array(turn, float)))


@pytest.fixture
def trial(env, kinematics):
    return Trial(env, kinematics)


def travel(hands, side="right"):
    return np.linalg.norm(np.diff([hand[side].position for hand in hands], axis=0), axis=1)


def test_nothing_moves_while_the_clutch_is_released(trial):
    trial.operator.aim("right", trial.ahead("right", (0.2, 0, 0)), trial.now)
    assert travel(trial.step(50)).sum() < 0.002


def test_engaging_starts_at_the_hands_wherever_the_gizmos_were_before(trial):
    trial.operator.engage(trial.obs["qpos"], trial.now)
    trial.operator.aim("right", trial.ahead("right", (0, 0.1, 0)), trial.now)
    trial.step(10)
    trial.operator.release()
    trial.step(10)
    trial.operator.engage(trial.obs["qpos"], trial.now)
    for side in SIDES:
        goal, hand = trial.operator.goals(trial.obs["qpos"])[side], trial.hands()[side]
        np.testing.assert_allclose(goal.position, hand.position, atol=1e-9)
        np.testing.assert_allclose(goal.rotation, hand.rotation, atol=1e-9)
    assert travel(trial.step(25)).sum() < 0.004


def test_a_hand_goes_to_its_wanted_pose_no_faster_than_its_limits(trial):
    trial.operator.engage(trial.obs["qpos"], trial.now)
    goal = trial.ahead("right", (-0.05, 0.1, -0.08), (0, 0.5, 0))
    trial.operator.aim("right", goal, trial.now)
    hands = trial.step(150)
    reached = hands[-1]["right"]
    np.testing.assert_allclose(reached.position, goal.position, atol=0.003)
    assert np.linalg.norm(rotation_vector(reached.rotation.T @ goal.rotation)) < 0.03
    assert travel(hands).max() < 0.3 * DT * 1.2
    assert travel(hands, "left").sum() < 0.01
    turns = [rotation_vector(a["right"].rotation.T @ b["right"].rotation) for a, b in itertools.pairwise(hands)]
    assert np.linalg.norm(turns, axis=1).max() < 2.0 * DT * 1.2


def test_a_hand_stays_within_the_workspace(trial):
    trial.operator.engage(trial.obs["qpos"], trial.now)
    trial.operator.aim("left", Pose(np.array([-1.5, 0.5, -1.0]), np.eye(3)), trial.now)
    goal = trial.operator.goals(trial.obs["qpos"])["left"].position
    assert np.all((goal >= WORKSPACE[:, 0]) & (goal <= WORKSPACE[:, 1]))


def test_silence_stops_the_arms_and_they_go_on_after_a_short_silence(trial):
    trial.operator.engage(trial.obs["qpos"], trial.now)
    trial.operator.aim("right", trial.ahead("right", (0, 0.25, 0)), trial.now)
    assert travel(trial.step(20)).sum() > 0.02
    moving = travel(trial.step(10, heard=False))  # 0.2 s
    assert moving[1:9].min() > 0.0005
    assert travel(trial.step(20, heard=False))[1:].sum() < 0.002
    assert travel(trial.step(20)).sum() > 0.02


def test_a_second_of_silence_releases_the_clutch(trial):
    trial.operator.engage(trial.obs["qpos"], trial.now)
    trial.operator.aim("right", trial.ahead("right", (0, 0.25, 0)), trial.now)
    trial.step(60, heard=False)
    assert not trial.operator.engaged
    assert travel(trial.step(20)).sum() < 0.002


def test_time_in_which_the_loop_did_not_listen_is_no_silence(trial):
    trial.operator.engage(trial.obs["qpos"], trial.now)
    trial.now += 0.35
    assert not trial.operator.drives(trial.now)
    trial.operator.excuse(0.33)
    assert trial.operator.drives(trial.now)


def test_a_loop_that_is_late_all_the_time_does_not_drive_unwatched(trial):
    trial.operator.engage(trial.obs["qpos"], trial.now)
    driven = 0.0
    while trial.operator.drives(trial.now) and driven < 5:
        driven += 0.3
        trial.now += 0.3
        trial.operator.excuse(0.28)
    assert driven < 0.7


def test_grips_move_the_grippers_and_nothing_else(trial):
    trial.operator.grip("left", 1.0, trial.now)
    hands = trial.step(60)
    assert trial.obs["qpos"][6] > 0.9
    assert trial.obs["qpos"][13] < 0.2
    assert travel(hands, "left").sum() < 0.003


def test_taking_over_keeps_the_openings_of_the_driver_before(trial):
    before = HOME.copy()
    before[[6, 13]] = 0.0, 0.7
    trial.operator.stand_by(before)
    np.testing.assert_allclose(trial.operator.action(trial.obs["qpos"], trial.now)[[6, 13]], (0.0, 0.7), atol=1e-6)


def test_holding_still_is_one_constant_action(trial):
    first = trial.operator.action(trial.obs["qpos"], 0.0)
    later = trial.operator.action(trial.obs["qpos"] + np.float32(0.001), 1.0)
    np.testing.assert_array_equal(first, later)


@pytest.mark.parametrize(
    ("position", "wxyz", "reason"),
    [
        ((np.nan, 0.5, 0.2), SQUARE, "finite"),
        ((0.0, 0.5, np.inf), SQUARE, "finite"),
        ((0.0, 0.5, 1e6), SQUARE, "more than 2.0 m away"),
        ((0.0, 0.5, 0.2), (0, 0, 0, 0), "unit quaternion"),
        ((0.0, 0.5, 0.2), (1, 1, 1, 1e9), "unit quaternion"),
        ((0.0, 0.5), SQUARE, "seven finite numbers"),
        (("a", "b", "c"), SQUARE, "seven finite numbers"),
        (None, SQUARE, "seven finite numbers"),
        (({}, [], 0), SQUARE, "seven finite numbers"),
    ],
)
def test_numbers_that_are_no_pose_are_refused_with_their_value(position, wxyz, reason):
    with pytest.raises(ValueError, match=reason):
        checked_pose(position, wxyz)


@pytest.mark.parametrize("opening", [np.nan, -0.1, 1.1, "1", None, True, [1]])
def test_values_that_are_no_opening_are_refused(opening):
    with pytest.raises(ValueError, match="from 0 to 1"):
        checked_opening(opening)


def test_a_valid_pose_keeps_its_numbers():
    pose = checked_pose((0.1, 0.5, 0.2), (0.0, 0.0, 0.0, 1.0))
    np.testing.assert_allclose(pose.position, (0.1, 0.5, 0.2))
    np.testing.assert_allclose(pose.rotation, np.diag([-1.0, -1.0, 1.0]), atol=1e-12)
