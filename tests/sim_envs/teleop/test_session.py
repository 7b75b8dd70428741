"""The 50 Hz loop without a page: the life of an episode, who drives, what observers see, deadlines."""

import functools

import numpy as np
import pytest

import sim_envs
from act.types import RolloutResult
from sim_envs.robot import SIDES
from sim_envs.teleop.operator import Operator, checked_pose
from sim_envs.teleop.pace import Pace
from sim_envs.teleop.protocols import Result
from sim_envs.teleop.session import Session, SessionPlan, numbers_of


class Mailbox:
    """A link without a page: `say` leaves a command for the next control step."""

    def __init__(self):
        self.waiting, self.states = [], []

    def say(self, *command):
        self.waiting.append(command)

    def commands(self):
        commands, self.waiting = [*self.waiting, ("beat",)], []
        return commands

    def show(self, state):
        self.states.append(state)


class Silent(Mailbox):
    def commands(self):
        return []


class Clock:
    """Time that moves only by sleeping."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


class Watcher:
    """An observer that remembers everything."""

    def __init__(self):
        self.resets, self.steps, self.results = [], [], []

    def after_step(self):
        """A test may replace it, to look at something after every step."""

    def needs_images(self):
        return False

    def on_reset(self, index, seed, obs, info):
        self.resets.append({"seed": seed, "obs": obs})
        self.steps = []

    def on_step(self, index, t, obs, action, next_obs, reward, info):
        self.steps.append({"t": t, "obs": obs, "action": action, "reward": reward})
        self.after_step()

    def on_end(self, index, result):
        self.results.append(result)


class Policy:
    """Moves the right waist a little at every step; wants images at the first step after every reset."""

    def __init__(self, with_images=False):
        self.resets, self.with_images, self.seen = 0, with_images, []

    def reset(self, num_envs):
        self.resets, self.t = self.resets + 1, 0

    def needs_images(self):
        return self.with_images and self.t == 0

    def select_action(self, observations):
        self.seen.append("images" in observations[0])
        self.t += 1
        action = observations[0]["qpos"].copy()
        action[7] += 0.05
        return action[None]


@pytest.fixture(scope="module")
def operator():
    return Operator()


class SessionInSteps(Session):
    """A session with a mailbox, a watcher and a clock of its own."""

    def __init__(self, operator, cameras=(), agent=None, **plan):
        env = sim_envs.make("transfer_cube", cameras=cameras, image_size=(24, 32))
        self.time, self.mailbox, self.watcher = Clock(), Mailbox(), Watcher()
        operator.release()
        settings = {"agent": agent, "operator": operator, "pace": Pace(now=self.time, sleep=self.time.sleep)}
        super().__init__(env, self.mailbox, [self.watcher], plan=SessionPlan(**plan), **settings)

    def step(self, *command, count=1):
        """Says the command, then lets `count` control steps pass."""
        if command:
            self.mailbox.say(*command)
        for _ in range(count):
            self.tick(self.time() + 0.02)
            self.time.sleep(0.02)


@pytest.fixture
def make_session(operator):
    return functools.partial(SessionInSteps, operator)


def test_an_episode_waits_for_the_first_move_and_begins_at_the_reset(make_session):
    session = make_session()
    session.step(count=5)
    session.step("record")
    assert session.mode == "ready"
    start = session.obs
    session.step(count=5)
    assert session.watcher.steps == []
    session.step("engage")
    assert session.mode == "recording"
    np.testing.assert_array_equal(session.watcher.steps[0]["obs"]["qpos"], start["qpos"])
    np.testing.assert_array_equal(session.watcher.resets[-1]["obs"]["qpos"], start["qpos"])


def test_what_is_recorded_repeats_from_its_seed(make_session):
    session = make_session(seeds=range(7, 8))
    session.step("record")
    session.step("engage")
    hand = numbers_of(session.operator.goals(session.obs["qpos"])["right"])
    pose = checked_pose(hand[:3] + (-0.05, 0.05, -0.1), hand[3:])
    session.step("aim", "right", pose)
    session.step("grip", "left", 1.0, count=30)
    env = sim_envs.make("transfer_cube", cameras=())
    obs, _ = env.reset(seed=7)
    for step in session.watcher.steps:
        np.testing.assert_array_equal(step["obs"]["qpos"], obs["qpos"])
        assert step["action"].dtype == np.float32
        obs = env.step(step["action"])[0]
    np.testing.assert_array_equal(session.obs["env_state"], obs["env_state"])


def test_failures_are_saved_only_if_the_plan_keeps_them(make_session):
    for keep, ended in ((False, 0), (True, 1)):
        session = make_session(keep_failures=keep)
        session.step("record")
        session.step("engage")
        session.step("save")
        assert (session.mode, session.saved, len(session.watcher.results)) == ("idle", ended, ended)
    result = session.watcher.results[0]
    assert (result.seed, result.length, result.success, result.stages) == (0, 1, False, [None] * 4)


def test_discarding_forgets_the_episode_and_goes_on_to_the_next_seed(make_session):
    session = make_session(seeds=range(3, 5))
    session.step("record")
    session.step("engage", count=3)
    session.step("discard")
    session.step("record")
    assert [reset["seed"] for reset in session.watcher.resets] == [3, 4]
    assert session.watcher.results == []


def test_redo_begins_the_same_episode_again(make_session):
    session = make_session(seeds=range(3, 5))
    session.step("record")
    session.step("engage", count=3)
    session.step("redo")
    assert (session.mode, session.t) == ("ready", 0)
    assert [reset["seed"] for reset in session.watcher.resets] == [3, 3]


def test_an_episode_ends_at_its_time_limit(make_session):
    session = make_session(keep_failures=True)
    session.env.env_spec = type(session.env.env_spec)(**{**vars(session.env.env_spec), "episode_len": 5})
    session.step("record")
    session.step("engage", count=10)
    assert [result.length for result in session.watcher.results] == [5]


def test_a_result_has_the_fields_that_observers_know():
    assert list(Result.__dataclass_fields__) == list(RolloutResult.__dataclass_fields__)


# -- with an agent ----------------------------------------------------------------------------------------------------


def test_the_agent_drives_until_the_operator_takes_over_and_again_after_the_hand_back(make_session):
    policy = Policy()
    session = make_session(agent=policy)
    modes = []
    for command in (("record",), ("take_over",), ("engage",), ("release",), ("engage",), ("hand_back",)):
        session.step(*command, count=3)
        modes.append(session.mode)
    assert modes == ["autonomous", "paused", "correcting", "paused", "correcting", "autonomous"]
    assert policy.resets == 2  # its chunk is from before the correction


def test_only_corrected_steps_count_as_interventions(make_session):
    session = make_session(agent=Policy())
    driven = []
    session.watcher.after_step = lambda: driven.append(bool(session.intervention[0]))
    for command in (("record",), ("take_over",), ("engage",), ("hand_back",)):
        session.step(*command, count=2)
    assert driven == [False] * 4 + [True] * 2 + [False] * 2


def test_nothing_jumps_when_the_operator_takes_over(make_session):
    session = make_session(agent=Policy())
    session.step("record", count=20)
    session.step("take_over")
    before = session.obs["qpos"].copy()
    for side in SIDES:
        shown = session.mailbox.states[-1].gizmos[side]
        hand = numbers_of(session.operator.goals(session.obs["qpos"])[side])
        np.testing.assert_allclose(shown[:3], hand[:3], atol=0.01)
    session.step("engage", count=20)
    assert np.abs(session.obs["qpos"] - before).max() < 0.01


def test_the_agent_does_not_drive_unwatched(make_session):
    session = make_session(agent=Policy())
    session.step("record", count=3)
    session.link = Silent()
    session.step(count=5)
    assert session.mode == "autonomous"
    session.step(count=8)
    assert session.mode == "paused"


def test_an_agent_gets_images_when_it_needs_some(make_session):
    policy = Policy(with_images=True)
    session = make_session(agent=policy, cameras=("cam_high",))
    session.step("record", count=2)
    session.step("take_over")
    session.step("hand_back", count=2)
    assert policy.seen == [True, False, True, False]


def test_the_operator_cannot_touch_the_arms_while_the_agent_drives(make_session):
    session = make_session(agent=Policy())
    session.step("record")
    session.step("engage")
    session.step("grip", "left", 1.0)
    assert not session.operator.engaged
    assert session.operator.openings["left"] < 0.5


# -- time -------------------------------------------------------------------------------------------------------------


def test_the_loop_keeps_its_deadlines_and_does_not_catch_up_in_a_burst(make_session):
    session = make_session(wanted=1)
    clock, starts = session.time, []

    def tick(deadline):
        starts.append(clock())
        clock.sleep(0.05 if len(starts) == 10 else 0.004)  # one step takes too long
        session.saved = int(len(starts) >= 20)

    session.tick = tick
    session.run()
    periods = np.diff(starts)
    np.testing.assert_allclose(np.delete(periods, 9), 0.02, atol=1e-9)
    assert periods[9] == pytest.approx(0.05)
    assert session.pace.missed == 1


def test_the_pace_says_what_it_measured():
    clock = Clock()
    pace = Pace(now=clock, sleep=clock.sleep)
    assert str(pace) == ""
    for k in range(10):
        clock.sleep(0.05 if k == 9 else 0.01)
        pace.wait()
    assert str(pace) == "control period 20.0 ms, p99 47.3, max 50.0 (1 deadlines missed)"


def test_the_page_is_sent_the_state_with_stages_and_gizmos(make_session):
    session = make_session()
    session.step("record")
    session.step("engage", count=3)
    state = session.mailbox.states[-1]
    assert (state.mode, state.engaged, state.stage) == ("recording", True, 0)
    assert state.qpos.shape == (23,)
    assert {gizmo.shape for gizmo in state.gizmos.values()} == {(7,)}
