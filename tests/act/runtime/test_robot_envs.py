"""The last place before hardware: whatever an agent answers and a sensor reads, the robot gets sound targets only."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from act.runtime.agents import PolicyAgent, ReplayAgent
from act.runtime.limits import EXPERT_ARM_STEP
from act.runtime.realtime import AsyncAgent
from act.runtime.robot_envs import FIRST_READINGS, RobotEnvs
from act.runtime.rollout import rollout
from act.types import EnvSpec, Observation, PolicySpec
from tests.act.runtime.test_rollout import Notes
from tests.fakes.constant_policy import ConstantPolicy
from tests.fakes.late_answers import Clock, Later

STEPS = 40


class Arm:
    """A robot of `width` joints that reaches its targets at once; `spoil(t, qpos)` is what its sensors make of that."""

    def __init__(self, width: int = 14, spoil: Callable[[int, np.ndarray], Any] = lambda t, qpos: qpos):
        self.qpos, self.spoil, self.read = np.zeros(width, np.float32), spoil, 0
        self.sent: list[np.ndarray] = []

    def observe(self) -> Observation:
        obs = {"qpos": self.spoil(self.read, self.qpos.copy())}  # no qvel: a robot need not have it
        self.read += 1
        return obs

    def act(self, action: np.ndarray) -> None:
        self.sent.append(action.copy())
        self.qpos = action[: len(self.qpos)]


class Actions(ReplayAgent):
    """Plays actions that are no array of numbers, too."""

    def __init__(self, actions: Sequence[Any] | np.ndarray):
        self.played, self._t = list(actions), 0

    def reset(self, num_envs: int) -> None:
        self._t = 0

    def select_action(self, observations: Sequence[Observation]) -> np.ndarray:
        self._t += 1
        return np.asarray([self.played[self._t - 1]])


def robot_envs(arm: Any, episode_len: int = STEPS) -> tuple[RobotEnvs, list[str]]:
    said: list[str] = []
    return RobotEnvs(arm, EnvSpec("arm", (), episode_len), Clock(), say=said.append), said


def assert_sound(arm: Arm, limit: float = EXPERT_ARM_STEP) -> np.ndarray:
    sent = np.stack(arm.sent)
    assert sent.dtype == np.float32 and np.isfinite(sent).all()
    assert np.abs(np.diff(sent, axis=0)).max(initial=0) <= limit + 1e-6
    return sent


@pytest.mark.parametrize("width", [6, 7, 14, 16])
def test_sound_actions_of_any_width_go_through_bit_for_bit(width: int) -> None:
    actions = np.cumsum(np.random.default_rng(0).uniform(-0.1, 0.1, (STEPS, width)), axis=0).astype(np.float32)
    arm = Arm(width)
    envs, said = robot_envs(arm)
    (result,) = rollout(envs, Actions(actions), seeds=[0])
    assert assert_sound(arm).tobytes() == actions.tobytes()
    assert (result.clipped, envs.held, envs.limited, envs.unread, said) == (0, [], [], [], [])
    assert envs.action_dim == width


@pytest.mark.parametrize(
    "wrong",
    [np.full(14, np.nan), np.full(14, np.inf), np.full(14, 1e6), np.zeros(7), np.zeros(15), np.full(14, None)],
    ids=["nan", "inf", "a jump of a million rad", "7 wide", "15 wide", "none"],
)
def test_an_action_that_must_not_be_executed_leaves_the_robot_at_its_last_target(wrong: np.ndarray) -> None:
    good = np.full(14, 0.1, np.float32)
    arm, notes = Arm(), Notes()
    envs, said = robot_envs(arm, 6)
    played = [good, wrong, wrong, good, wrong, good]
    executed: list[np.ndarray] = []
    notes.on_step = lambda index, t, obs, action, *_: executed.append(action)  # type: ignore[method-assign]
    (result,) = rollout(envs, Actions(played), [notes], seeds=[0])
    np.testing.assert_array_equal(assert_sound(arm), np.tile(good, (6, 1)))
    assert envs.held == [1, 2, 4] and result.clipped == 3
    assert len(said) == 1 and said[0].startswith("control step 1: the agent's ")
    np.testing.assert_array_equal(executed, arm.sent)  # what is recorded is what the robot was sent


def test_before_the_first_good_target_the_robot_holds_where_it_is() -> None:
    arm = Arm()
    arm.qpos[:] = 0.7
    envs, _ = robot_envs(arm, 3)
    list(rollout(envs, Actions([np.full(14, np.nan)] * 3), seeds=[0]))
    np.testing.assert_array_equal(arm.sent, np.full((3, 14), 0.7, np.float32))


def test_a_robot_declares_its_own_limit_and_width() -> None:
    arm = Arm(14)
    arm.max_step = np.full(16, 0.01)  # type: ignore[attr-defined]  # with the two speeds of a base
    envs, _ = robot_envs(arm, 4)
    list(rollout(envs, Actions([np.full(16, 0.03)] * 4), seeds=[0]))
    sent = assert_sound(arm, 0.01)
    assert sent.shape == (4, 16) and envs.limited == [0, 1]
    np.testing.assert_allclose(sent[:, 0], [0.01, 0.02, 0.03, 0.03], rtol=1e-5)


def one_nan(at: Sequence[int]) -> Callable[[int, np.ndarray], np.ndarray]:
    def spoil(t: int, qpos: np.ndarray) -> np.ndarray:
        qpos[3] = np.nan if t in at else qpos[3]
        return qpos

    return spoil


class Following(ConstantPolicy):
    """Moves every joint 0.01 on from where it is, and remembers what it was given."""

    def __init__(self) -> None:
        super().__init__(0.0)
        self.given: list[np.ndarray] = []

    def predict_chunk(self, histories: Any) -> np.ndarray:
        qpos = np.stack([history[-1]["qpos"] for history in histories])
        self.given.append(qpos)
        return (qpos[:, None] + 0.01 * np.arange(1, 5, dtype=np.float32)[None, :, None]).astype(np.float32)


def make_agent(policy: Any, kind: str) -> tuple[Any, Later]:
    later, m = Later(), None if kind.endswith("chunk") else 0.01
    if kind.startswith("async"):
        return AsyncAgent(policy, 1, m, executor=later, say=lambda _: None), later
    return PolicyAgent(policy, 1, m), later


class Prompt(Notes):
    """Answers of the policy's thread arrive before the next control step."""

    def __init__(self, later: Later):
        super().__init__()
        self.later = later

    def on_step(self, index: int, t: int, obs: Any, action: Any, next_obs: Any, reward: Any, info: Any) -> None:
        if self.later.waiting:
            self.later.finish()


@pytest.mark.parametrize("kind", ["chunk", "ensemble", "async chunk", "async ensemble"])
def test_one_reading_that_is_not_finite_is_given_to_nobody_and_the_arms_hold(kind: str) -> None:
    arm, policy = Arm(spoil=one_nan([9, 20, 21])), Following()
    agent, later = make_agent(policy, kind)
    envs, said = robot_envs(arm)
    (result,) = rollout(envs, agent, [Prompt(later)], seeds=[0])
    sent = assert_sound(arm)
    assert result.length == STEPS and np.isfinite(policy.given).all()
    assert envs.unread == [9, 20, 21] and envs.held == [9, 20, 21]
    for t in envs.held:
        np.testing.assert_array_equal(sent[t], sent[t - 1])
    assert said == ["control step 9: qpos[3] is nan; the agent gets the last reading, the robot its last target again"]
    assert sent[-1, 0] > 0.2  # it went on


def test_a_robot_that_cannot_be_read_at_the_start_does_not_move() -> None:
    arm = Arm(spoil=one_nan([0, 1]))
    envs, _ = robot_envs(arm, 3)
    list(rollout(envs, Actions([np.zeros(14)] * 3), seeds=[0]))
    assert envs.pace.clock.now() == pytest.approx(100 + 5 * 0.02)  # it waited two control periods for a sound reading
    arm = Arm(spoil=one_nan(range(1000)))
    envs, _ = robot_envs(arm)
    message = f"the robot gives no reading that can be used: qpos[3] is nan, {FIRST_READINGS} times in a row"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        list(rollout(envs, Actions([]), seeds=[0]))
    assert arm.sent == []


def test_readings_that_change_their_size_are_held_too() -> None:
    arm = Arm(spoil=lambda t, qpos: qpos[:7] if t == 2 else qpos)
    envs, said = robot_envs(arm, 4)
    list(rollout(envs, Actions([np.zeros(14)] * 4), seeds=[0]))
    assert envs.unread == [2] and "qpos has 7 numbers, not 14 as before" in said[0]


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("kind", ["chunk", "ensemble", "async chunk", "async ensemble"])
def test_a_policy_that_answers_nonsense_ends_the_rollout_while_the_arms_hold(kind: str, value: float) -> None:
    arm = Arm()
    agent, later = make_agent(ConstantPolicy(value), kind)
    envs, _ = robot_envs(arm)
    with pytest.raises(ValueError, match=f"the policy answered {value} for joint 0 in action 0"):
        list(rollout(envs, agent, [Prompt(later)], seeds=[0]))
    assert len(arm.sent) == kind.startswith("async")  # raised at the first step, or at the one after the answer
    np.testing.assert_array_equal(np.ravel(arm.sent), 0)


def test_one_bad_chunk_among_good_ones_is_never_executed() -> None:
    class Sometimes(Following):
        def predict_chunk(self, histories: Any) -> np.ndarray:
            chunks = super().predict_chunk(histories)
            chunks[0, 3, 7] = np.nan if len(self.given) == 10 else chunks[0, 3, 7]
            return chunks

    arm = Arm()
    agent, later = make_agent(Sometimes(), "async ensemble")
    envs, _ = robot_envs(arm)
    with pytest.raises(ValueError, match="answered nan for joint 7 in action 3"):
        list(rollout(envs, agent, [Prompt(later)], seeds=[0]))
    assert_sound(arm)
    assert len(arm.sent) == 10


def test_a_policy_of_another_width_is_refused_before_the_robot_moves() -> None:
    class OneArmed(ConstantPolicy):
        spec = PolicySpec(action_dim=7)

    arm = Arm()
    envs, _ = robot_envs(arm)
    with pytest.raises(ValueError, match=r"^the policy answers actions of 7 numbers, but arm has 14$"):
        list(rollout(envs, PolicyAgent(OneArmed(0.0)), seeds=[0]))
    assert arm.sent == []


def test_an_async_agent_holds_at_a_bad_reading_in_other_environments_too() -> None:
    agent, later = make_agent(policy := Following(), "async chunk")
    said: list[str] = []
    agent.say = said.append
    agent.reset(1)
    sound, bad = {"qpos": np.zeros(14, np.float32)}, {"qpos": np.full(14, np.nan, np.float32)}
    agent.select_action([sound])
    later.finish()
    before = agent.select_action([sound])
    later.finish()
    np.testing.assert_array_equal(agent.select_action([bad]), before)
    assert not later.waiting and agent.held == [0, 2] and np.isfinite(policy.given).all()
    assert said[-1] == "control step 2: qpos[0] is nan; holding position"
    agent.reset(1)
    with pytest.raises(ValueError, match=r"^the first reading of the episode cannot be used: qpos\[0\] is nan$"):
        agent.select_action([bad])


def test_an_agent_holds_a_mobile_robot_before_the_first_answer_without_moving_its_base() -> None:
    class Mobile(ConstantPolicy):
        spec = PolicySpec(action_dim=16)

    agent, _ = make_agent(Mobile(0.0), "async chunk")
    agent.reset(1)
    held = agent.select_action([{"qpos": np.full(14, 0.3, np.float32)}])
    np.testing.assert_array_equal(held, np.array([[0.3] * 14 + [0, 0]], np.float32))
