"""Control periods: exactly, with a clock that tests move."""

import numpy as np
import pytest

from act.runtime.agents import PolicyAgent
from act.runtime.envs import SerialEnvs
from act.runtime.pace import Pace
from act.runtime.robot_envs import PacedEnvs, RobotEnvs
from act.runtime.rollout import rollout
from act.types import EnvSpec, Observation
from tests.fakes.late_answers import Clock, K, Plan
from tests.fakes.toy_env import ToyEnv


def test_every_period_ends_on_the_grid_whatever_the_work_in_it():
    clock = Clock()
    pace = Pace(clock)
    for work in (0.0, 0.013, 0.0199):
        clock.time += work
        pace.wait()
    assert clock.time == pytest.approx(100.06) and pace.missed == 0
    np.testing.assert_allclose(pace.durations, 0.02)


def test_a_little_late_shortens_the_next_period_and_much_too_late_moves_the_grid():
    clock = Clock()
    pace = Pace(clock)
    for work in (0.025, 0.0, 0.07, 0.0):
        clock.time += work
        pace.wait()
    np.testing.assert_allclose(pace.durations, [0.025, 0.015, 0.07, 0.02])
    timing = pace.timing()
    assert (timing.missed, timing.periods) == (2, 4) and timing.max_ms == pytest.approx(70)
    assert "2 deadlines missed" in str(timing)


def test_nothing_measured_and_impossible_periods_are_refused():
    with pytest.raises(ValueError, match="no control period has ended"):
        Pace(Clock()).timing()
    with pytest.raises(ValueError, match="period=0 s: must be positive"):
        Pace(Clock(), 0)


class SlowToy(ToyEnv):
    """A toy whose physics takes 5 ms, and 50 ms at t = 3."""

    def __init__(self, clock: Clock):
        super().__init__(episode_len=6)
        self.clock = clock

    def step(self, action: np.ndarray):
        self.clock.time += 0.05 if self.t == 3 else 0.005
        return super().step(action)


def test_a_rollout_in_paced_environments_is_the_same_rollout_in_real_time():
    clock = Clock()
    agent = PolicyAgent(Plan())
    free = list(rollout(SerialEnvs([SlowToy(Clock())]), agent, seeds=[3]))
    paced = PacedEnvs(SerialEnvs([SlowToy(clock)]), clock)
    assert list(rollout(paced, agent, seeds=[3])) == free
    np.testing.assert_allclose(paced.pace.durations, [0.02, 0.02, 0.02, 0.05, 0.02, 0.02])
    assert paced.pace.missed == 1


class Arm:
    """A robot that reaches its targets at once, and notes when they were sent."""

    max_step = 1.0

    def __init__(self, clock: Clock):
        self.clock, self.qpos, self.sent = clock, np.zeros(14, np.float32), []

    def observe(self) -> Observation:
        self.clock.time += 0.004  # reading cameras takes time
        return {"qpos": self.qpos, "qvel": np.zeros(14, np.float32)}

    def act(self, action: np.ndarray) -> None:
        self.sent.append(self.clock.time)
        self.qpos = action


def test_any_robot_gets_its_actions_on_the_grid():
    clock = Clock()
    arm = Arm(clock)
    envs = RobotEnvs(arm, EnvSpec("arm", (), 5), clock)
    (result,) = rollout(envs, PolicyAgent(Plan(), n_action_steps=K), seeds=[0])
    assert result.length == 5 and float(arm.qpos[0]) == 4
    np.testing.assert_allclose(np.diff(arm.sent)[1:], 0.02)  # the first one follows reset at once
    assert envs.pace.missed == 0
