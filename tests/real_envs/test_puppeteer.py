"""Puppeteering without any bus: clutch, approach, limits and watchdog."""

import time

import numpy as np
import pytest

pytest.importorskip("dynamixel_sdk", reason="arms need the SDK of their motors: pip install -e '.[hardware]'")

from act.types import Agent
from real_envs.bus import HardwareError
from real_envs.puppeteer import Clutch, LeaderAgent, LeaderOperator, Limits, Puppeteer
from sim_envs.teleop.operator import Operator
from tests.real_envs.conftest import HOME

BOTH = np.concatenate([HOME, HOME])
OPEN, SHUT = np.array([1.0, 1.0]), np.array([0.02, 0.05])


def posed(pose: np.ndarray = BOTH, grippers: np.ndarray = OPEN) -> np.ndarray:
    pose = pose.copy()
    pose[[6, 13]] = grippers
    return pose


def following(pose: np.ndarray = BOTH) -> tuple[Puppeteer, float]:
    """A puppeteer whose followers are at `pose`, and the time."""
    puppeteer = Puppeteer()
    puppeteer.stand_by(pose)
    puppeteer.engage()
    puppeteer.target(pose, now := 100.0)
    assert puppeteer.together
    return puppeteer, now


class Hands:
    """Leader arms whose readings a test sets; None is a missed one, an exception a lost arm."""

    def __init__(self, *readings: np.ndarray | Exception | None):
        self.readings = list(readings)

    def read(self) -> np.ndarray | None:
        reading = self.readings.pop(0) if len(self.readings) > 1 else self.readings[0]
        if isinstance(reading, Exception):
            raise reading
        return reading


# -- the clutch -------------------------------------------------------------------------------------------------------


def watch(clutch: Clutch, *openings: np.ndarray, every: float = 0.2) -> list[bool]:
    """Whether the clutch is engaged after each pair of openings."""
    states = []
    for k, pair in enumerate(openings):
        clutch.watch(pair, k * every)
        states.append(clutch.engaged)
    return states


def test_squeezing_both_grippers_engages_the_clutch():
    assert watch(Clutch(), OPEN, np.array([0.02, 1.0]), np.array([1.0, 0.02]), SHUT, SHUT, OPEN) == [
        *(False, False, False),
        *(True, True, True),
    ]


def test_grippers_that_were_closed_from_the_start_are_no_squeeze():
    assert watch(Clutch(), SHUT, SHUT) == [False, False]


def test_closing_both_grippers_once_while_working_does_not_release():
    assert watch(Clutch(), OPEN, SHUT, OPEN, *[OPEN] * 6, SHUT, OPEN)[-1]


def test_squeezing_twice_within_a_second_releases():
    assert watch(Clutch(), OPEN, SHUT, OPEN, SHUT, OPEN, SHUT)[2:] == [True, True, True, False]


def test_squeezing_twice_slowly_does_not_release():
    assert watch(Clutch(), OPEN, SHUT, OPEN, SHUT, OPEN, SHUT, every=0.6)[-1]


def test_a_gripper_that_trembles_at_the_threshold_is_one_squeeze():
    tremble = [np.array([0.09, 0.09]), np.array([0.12, 0.12])] * 5
    assert watch(Clutch(), OPEN, *tremble, every=0.02)[1:] == [True] * 10


# -- following --------------------------------------------------------------------------------------------------------


def test_nothing_moves_while_the_clutch_is_released():
    puppeteer = Puppeteer()
    puppeteer.stand_by(BOTH)
    np.testing.assert_allclose(puppeteer.target(posed(BOTH + 1.0), 0.0), BOTH.astype(np.float32))


def test_joints_are_mapped_one_to_one():
    puppeteer, now = following()
    pose = posed(BOTH + 0.04, np.array([0.15, 0.05]))
    np.testing.assert_allclose(puppeteer.target(pose, now + 0.02), pose, atol=1e-6)


def test_after_engaging_the_followers_approach_slowly_and_then_follow():
    puppeteer = Puppeteer()
    puppeteer.stand_by(BOTH)
    puppeteer.engage()
    goal, speeds, before = posed(BOTH + 0.6 * (np.arange(14) == 0), np.array([0.1, 0.1])), [], BOTH
    for k in range(100):
        target = puppeteer.target(goal, 0.02 * k)
        if not puppeteer.together:
            speeds.append(np.abs(target - before).max() / 0.02)
        before = target
    assert len(speeds) > 50 and max(speeds) == pytest.approx(0.5, abs=1e-4), "slow until they are together"
    np.testing.assert_allclose(before, goal, atol=1e-5)


def test_a_jump_of_a_leader_is_followed_at_the_limit_and_a_larger_one_slowly():
    for jump, speed in ((0.4, np.pi), (1.5, 0.5)):
        puppeteer, now = following()
        target = puppeteer.target(BOTH + jump * (np.arange(14) == 3), now + 0.02)
        assert (target - BOTH)[3] == pytest.approx(speed * 0.02, rel=1e-3)


def test_targets_stay_within_the_limits_and_the_limit_per_step_whatever_the_leaders_do():
    rng, limits, puppeteer = np.random.default_rng(0), Limits(), Puppeteer()
    puppeteer.stand_by(BOTH)
    before = BOTH
    for k in range(5000):
        reading = None if rng.random() < 0.1 else rng.uniform(-7, 7, 14) * rng.choice([0.01, 1])
        if rng.random() < 0.1:
            (puppeteer.engage if rng.random() < 0.7 else puppeteer.release)()
        target = puppeteer.target(reading, 0.02 * k)
        most = np.where(np.isin(np.arange(14), [6, 13]), limits.gripper_speed, limits.speed) * 0.02
        assert np.all(np.abs(target - before) <= most + 1e-6)
        assert np.all(target >= limits.joints[:, 0] - 1e-6) and np.all(target <= limits.joints[:, 1] + 1e-6)
        before = target


def test_silent_leaders_hold_the_followers_at_once_and_release_the_clutch_after_three_steps():
    puppeteer, now = following()
    held = puppeteer.target(BOTH + 0.02, now + 0.02)
    for k in range(2, 4):
        np.testing.assert_array_equal(puppeteer.target(None, now + 0.02 * k), held)
        assert puppeteer.engaged and puppeteer.drives(now + 0.02 * k)
    np.testing.assert_array_equal(puppeteer.target(None, now + 0.1), held)
    assert not puppeteer.engaged


# -- the agent --------------------------------------------------------------------------------------------------------


def test_the_agent_waits_for_a_squeeze_and_begins_at_the_robots_pose():
    said: list[str] = []
    leaders = Hands(posed(grippers=OPEN), posed(grippers=OPEN), posed(grippers=SHUT), BOTH + 0.01)
    agent: Agent = LeaderAgent(leaders, say=said.append)
    agent.reset(1)
    assert len(said) == 1 and not agent.needs_images() and len(leaders.readings) == 1
    action = agent.select_action([{"qpos": BOTH.astype(np.float32)}])
    assert action.shape == (1, 14) and action.dtype == np.float32
    np.testing.assert_allclose(action[0], BOTH + 0.01, atol=1e-6)


def test_the_agent_drives_one_environment():
    with pytest.raises(ValueError, match="2 environments: leader arms drive one at a time"):
        LeaderAgent(Hands(BOTH)).reset(2)


def test_the_agent_raises_what_a_lost_arm_says():
    agent = LeaderAgent(Hands(HardwareError("left leader is gone")), wait=False)
    agent.reset(1)
    with pytest.raises(HardwareError, match="left leader is gone"):
        agent.select_action([{"qpos": BOTH}])


# -- the operator of the page -----------------------------------------------------------------------------------------


def test_the_leaders_are_an_operator_as_the_mouse_is():
    public = {name for name in dir(Operator) if not name.startswith("_")} | {"engaged", "openings"}
    assert public - set(dir(LeaderOperator)) == set()


def test_the_operator_of_the_page_follows_the_leaders():
    leaders = Hands(posed(BOTH, OPEN), posed(BOTH, SHUT), posed(BOTH + 0.3, np.array([0.1, 0.1])))
    operator = LeaderOperator(leaders, hands=lambda qpos: {"left": qpos[0]})
    operator.stand_by(BOTH)
    operator.aim("left", None, 0.0)
    operator.grip("left", 1.0, 0.0)
    assert operator.openings == {"left": pytest.approx(0.1), "right": pytest.approx(0.1)}, "its keys do nothing"
    engaged, action = [], BOTH
    for k in range(3):
        action = operator.action(BOTH, 0.02 * k)
        engaged.append(operator.engaged)
    assert engaged == [False, True, True] and operator.drives(0.05) and operator.present(0.05)
    assert action[0] == pytest.approx(np.pi * 0.02), "the limit per step"
    operator.release()
    operator.engage(BOTH, 0.1)
    assert operator.engaged and operator.goals(BOTH) == {"left": 0.0}


def test_a_session_that_waits_for_the_first_move_sees_a_squeeze_although_it_asks_for_no_action():
    operator = LeaderOperator(Hands(posed(grippers=OPEN), posed(grippers=SHUT)), hands=lambda qpos: {})
    operator.stand_by(BOTH)
    for _ in range(2):
        operator.goals(BOTH)
        assert operator.openings["left"] == pytest.approx(0.1), "nothing moves meanwhile"
        time.sleep(0.03)
    assert operator.engaged
