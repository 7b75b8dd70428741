"""The 50 Hz loop without a page: the life of an episode, who drives, what observers are told, deadlines."""

import functools

import numpy as np
import pytest

import sim_envs
from act.types import RolloutResult
from sim_envs.robot import SIDES
from sim_envs.teleop.operator import Operator, checked_pose
from sim_envs.teleop.session import Result, Session, Timing, seven_of


class Mailbox:
    """A link without a page: `say` leaves a command for the next control step."""

    def __init__(self):
        self.waiting, self.views = [], []

    def say(self, *command):
        self.waiting.append(command)

    def commands(self):
        heard, self.waiting = [*self.waiting, ("beat",)], []
        return heard

    def show(self, view):
        self.views.append(view)


class Silent(Mailbox):
    def commands(self):
        return []


class Clock:
    """Time that moves only when somebody sleeps."""

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

    def told(self):
        """Called after every step; replace it to look at something at that moment."""

    def needs_images(self):
        return False

    def on_reset(self, index, seed, obs, info):
        self.resets.append({"seed": seed, "obs": obs})
        self.steps = []

    def on_step(self, index, t, obs, action, next_obs, reward, info):
        self.steps.append({"t": t, "obs": obs, "action": action, "reward": reward})
        self.told()

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


class Sitting(Session):
    """A session with a mailbox, a watcher and a clock of its own."""

    def __init__(self, operator, cameras=(), **settings):
        env = sim_envs.make("transfer_cube", cameras=cameras, image_size=(24, 32))
        self.time, self.mailbox, self.watcher = Clock(), Mailbox(), Watcher()
        operator.release()
        waiting = {"clock": self.time, "sleep": self.time.sleep}
        super().__init__(env, self.mailbox, [self.watcher], operator=operator, **waiting, **settings)

    def step(self, *command, count=1):
        """Says the command, then lets `count` control steps pass."""
        if command:
            self.mailbox.say(*command)
        for _ in range(count):
            self.tick(self.time() + 0.02)
            self.time.sleep(0.02)


@pytest.fixture
def sit(operator):
    return functools.partial(Sitting, operator)


def test_an_episode_waits_for_the_first_move_and_begins_at_the_reset(sit):
    session = sit()
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


def test_what_is_recorded_repeats_from_its_seed(sit):
    session = sit(seeds=range(7, 8))
    session.step("record")
    session.step("engage")
    hand = seven_of(session.operator.goals(session.obs["qpos"])["right"])
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


def test_only_strict_successes_are_kept_unless_failures_are(sit):
    for keep, ended in ((False, 0), (True, 1)):
        session = sit(keep_failures=keep)
        session.step("record")
        session.step("engage")
        session.step("save")
        assert (session.mode, session.saved, len(session.watcher.results)) == ("idle", ended, ended)
    result = session.watcher.results[0]
    assert (result.seed, result.length, result.success, result.stages) == (0, 1, False, [None] * 4)


def test_discarding_forgets_the_episode_and_goes_on_to_the_next_seed(sit):
    session = sit(seeds=range(3, 5))
    session.step("record")
    session.step("engage", count=3)
    session.step("discard")
    session.step("record")
    assert [reset["seed"] for reset in session.watcher.resets] == [3, 4]
    assert session.watcher.results == []


def test_redo_begins_the_same_episode_again(sit):
    session = sit(seeds=range(3, 5))
    session.step("record")
    session.step("engage", count=3)
    session.step("redo")
    assert (session.mode, session.t) == ("ready", 0)
    assert [reset["seed"] for reset in session.watcher.resets] == [3, 3]


def test_an_episode_ends_at_its_time_limit(sit):
    session = sit(keep_failures=True)
    session.env.env_spec = type(session.env.env_spec)(**{**vars(session.env.env_spec), "episode_len": 5})
    session.step("record")
    session.step("engage", count=10)
    assert [result.length for result in session.watcher.results] == [5]


def test_a_result_has_the_fields_that_observers_know():
    assert list(Result.__dataclass_fields__) == list(RolloutResult.__dataclass_fields__)


# -- with an agent ----------------------------------------------------------------------------------------------------


def test_the_agent_drives_until_the_operator_takes_over_and_again_after_he_hands_back(sit):
    policy = Policy()
    session = sit(agent=policy)
    modes = []
    for command in (("record",), ("take_over",), ("engage",), ("release",), ("engage",), ("hand_back",)):
        session.step(*command, count=3)
        modes.append(session.mode)
    assert modes == ["autonomous", "paused", "correcting", "paused", "correcting", "autonomous"]
    assert policy.resets == 2  # a plan from before the correction is out of date


def test_only_corrected_steps_count_as_interventions(sit):
    session = sit(agent=Policy())
    driven = []
    session.watcher.told = lambda: driven.append(bool(session.intervention[0]))
    for command in (("record",), ("take_over",), ("engage",), ("hand_back",)):
        session.step(*command, count=2)
    assert driven == [False] * 4 + [True] * 2 + [False] * 2


def test_nothing_jumps_when_the_operator_takes_over(sit):
    session = sit(agent=Policy())
    session.step("record", count=20)
    session.step("take_over")
    before = session.obs["qpos"].copy()
    for side in SIDES:
        shown = session.mailbox.views[-1].gizmos[side]
        hand = seven_of(session.operator.goals(session.obs["qpos"])[side])
        np.testing.assert_allclose(shown[:3], hand[:3], atol=0.01)
    session.step("engage", count=20)
    assert np.abs(session.obs["qpos"] - before).max() < 0.01


def test_the_agent_does_not_drive_unwatched(sit):
    session = sit(agent=Policy())
    session.step("record", count=3)
    session.link = Silent()
    session.step(count=5)
    assert session.mode == "autonomous"
    session.step(count=8)
    assert session.mode == "paused"


def test_an_agent_sees_images_when_it_wants_some(sit):
    policy = Policy(with_images=True)
    session = sit(agent=policy, cameras=("cam_high",))
    session.step("record", count=2)
    session.step("take_over")
    session.step("hand_back", count=2)
    assert policy.seen == [True, False, True, False]


def test_the_operator_cannot_touch_the_arms_while_the_agent_drives(sit):
    session = sit(agent=Policy())
    session.step("record")
    session.step("engage")
    session.step("grip", "left", 1.0)
    assert not session.operator.engaged
    assert session.operator.openings["left"] < 0.5


# -- time -------------------------------------------------------------------------------------------------------------


def test_the_loop_keeps_its_deadlines_and_does_not_catch_up_in_a_burst(sit):
    session = sit(wanted=1)
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
    assert session.timing.missed == 1


def test_timing_tells_what_it_measured():
    timing = Timing()
    for k in range(11):
        timing.tick(0.02 * k + (0.03 if k == 10 else 0.0))
    assert str(timing) == "control period 20.0 ms, p99 47.3, max 50.0 (0 deadlines missed)"


def test_a_view_shows_state_stages_and_gizmos(sit):
    session = sit()
    session.step("record")
    session.step("engage", count=3)
    view = session.mailbox.views[-1]
    assert (view.mode, view.engaged, view.stage) == ("recording", True, 0)
    assert view.qpos.shape == (23,)
    assert {gizmo.shape for gizmo in view.gizmos.values()} == {(7,)}
