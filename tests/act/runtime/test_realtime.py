"""A policy that answers late: exactly, when a test says so; and for one second on the wall clock, in the simulator."""

import os
import sys
import threading
import time
from collections.abc import Sequence

import numpy as np
import pytest

from act.runtime.agents import TemporalEnsemble
from act.runtime.envs import SerialEnvs
from act.runtime.realtime import QUERY_NICE, AsyncAgent, PolicyProcess
from act.runtime.robot_envs import PacedEnvs
from act.types import Observation
from tests.fakes.late_answers import K, Later, Plan


class Broken(Plan):
    def predict_chunk(self, histories: Sequence[Sequence[Observation]]) -> np.ndarray:
        raise ValueError("no such camera")


def obs_at(t: int) -> list[Observation]:
    return [{"qpos": np.full(14, t, np.float32)}]


def drive(agent: AsyncAgent, later: Later, arrivals: Sequence[int], steps: int) -> list[float]:
    """First joint of every action, when answers come just before the control steps `arrivals`."""
    agent.reset(1)
    actions = []
    for t in range(steps):
        if t in arrivals:
            later.finish()
        actions.append(float(agent.select_action(obs_at(t))[0, 0]))
    return actions


def test_a_late_chunk_counts_from_when_it_was_asked_for():
    later = Later()
    actions = drive(AsyncAgent(Plan(), n_action_steps=4, executor=later, say=lambda _: None), later, (2, 6), 8)
    assert actions == [0, 0, 2, 3, 4, 5, 406, 407]  # held at qpos, the rest of chunk 0, then chunk 4 from its third on


@pytest.mark.parametrize("m", [0.0, 0.1])
def test_late_chunks_are_ensembled_as_if_they_had_come_at_once(m: float):
    later = Later()
    agent = AsyncAgent(Plan(), ensemble_m=m, executor=later, say=lambda _: None)
    actions = drive(agent, later, range(3, 20, 3), 12)  # asked at 0, 3, 6, ...; each answer is three steps late
    reference = TemporalEnsemble(m, K)
    for t in range(3, 12):
        if t % 3 == 0:
            reference.add(t - 3, Plan().predict_chunk([obs_at(t - 3)]))
        assert actions[t] == pytest.approx(float(reference.action(t)[0, 0])), t


def test_one_query_at_a_time_and_the_next_as_soon_as_it_is_due():
    later, plan = Later(), Plan()
    agent = AsyncAgent(plan, n_action_steps=2, ensemble_m=0.0, executor=later, say=lambda _: None)
    drive(agent, later, (1, 6, 7, 9), 10)
    assert plan.shown == [[0], [2], [6], [8]] and len(later.waiting) == 0


def test_a_stale_policy_holds_position_and_says_so():
    later, said = Later(), []
    agent = AsyncAgent(Plan(), n_action_steps=3, executor=later, say=said.append)
    actions = drive(agent, later, (1, 9), 11)
    assert actions[:6] == [0, 1, 2, 3, 4, 5] and actions[6:9] == [5, 5, 5]
    assert actions[9:] == [5, 5]  # the answer of t = 3 covers 3 ... 8 and came too late to be of use
    assert agent.held == [0, 6, 7, 8, 9, 10]
    assert said == [
        "control step 0: no chunk of the policy covers it (none has arrived yet); holding position",
        "control step 6: no chunk of the policy covers it (the last one ended at 5); holding position",
        "control step 9: the policy answers too late: this answer took 6 control steps (120 ms), but a chunk lasts "
        "only 6 (120 ms), so it is over when it arrives; holding position",
    ]
    assert agent.late == [1]


class Ten(Plan):
    """Chunks of ten actions, 200 ms."""

    def __init__(self) -> None:
        super().__init__()
        self.chunk_size = 10

    def predict_chunk(self, histories: Sequence[Sequence[Observation]]) -> np.ndarray:
        return np.zeros((len(histories), 10, 14), np.float32)


@pytest.mark.parametrize("m", [None, 0.01])
def test_answers_that_always_come_after_their_chunk_are_named_once_with_how_late_they_are(m: float | None):
    later, said = Later(), []
    agent = AsyncAgent(Ten(), ensemble_m=m, executor=later, say=said.append)
    drive(agent, later, (15, 30, 45), 50)  # every answer takes 15 control steps, 300 ms
    assert agent.held == list(range(50)) and agent.late == [6, 6, 6]
    assert said == [
        "control step 0: no chunk of the policy covers it (none has arrived yet); holding position",
        "control step 15: the policy answers too late: this answer took 15 control steps (300 ms), but a chunk lasts "
        "only 10 (200 ms), so it is over when it arrives; holding position",
    ]


def test_images_are_wanted_from_when_a_query_is_due_until_it_is_asked():
    later = Later()
    agent = AsyncAgent(Plan(needs_images=True), n_action_steps=2, executor=later, say=lambda _: None)
    agent.reset(1)
    wanted = []
    for t in range(6):
        wanted.append(agent.needs_images())
        if t == 4:
            later.finish()
        agent.select_action(obs_at(t))
    assert wanted == [True, False, True, True, True, False]


def test_history_is_complete_even_when_nobody_asks():
    later, plan = Later(), Plan(n_obs_steps=3)
    drive(AsyncAgent(plan, n_action_steps=4, executor=later, say=lambda _: None), later, (1, 5), 6)
    assert plan.shown == [[0, 0, 0], [2, 3, 4]]


class Encoding(Plan):
    """Keeps the brightness of images instead of images."""

    encoded = 0

    def encode_observations(self, observations: Sequence[Observation]) -> list[Observation]:
        self.encoded += len(observations)
        return [{"qpos": obs["qpos"], "features": obs["images"]["cam"].mean()} for obs in observations]

    def predict_chunk(self, histories: Sequence[Sequence[Observation]]) -> np.ndarray:
        assert all(float(obs["features"]) == obs["qpos"][0] for history in histories for obs in history)
        return super().predict_chunk(histories)


def test_every_frame_of_a_history_is_encoded_once_and_in_the_thread_of_the_policy():
    later, policy = Later(), Encoding(n_obs_steps=3, needs_images=True)
    agent = AsyncAgent(policy, n_action_steps=2, ensemble_m=0.0, executor=later, say=lambda _: None)
    agent.reset(1)
    for t in range(4):
        agent.select_action([{**obs_at(t)[0], "images": {"cam": np.full((2, 2, 3), t, np.uint8)}}])
        assert policy.encoded == 0 if t == 0 else policy.encoded > 0
        if later.waiting:
            later.finish()
    assert policy.shown == [[0, 0, 0], [0, 1, 2]] and policy.encoded == 3


def test_an_answer_to_the_last_episode_is_never_executed():
    later = Later()
    agent = AsyncAgent(Plan(), executor=later, say=lambda _: None)
    agent.reset(1)
    agent.select_action(obs_at(7))
    agent.reset(1)
    agent.select_action(obs_at(0))
    later.finish()
    assert float(agent.select_action(obs_at(1))[0, 0]) == 0
    later.finish()
    assert float(agent.select_action(obs_at(2))[0, 0]) == 2


def test_warming_up_leaves_no_trace_and_queries_have_less_priority_than_the_loop():
    policy, priorities = Plan(n_obs_steps=2), []
    ask = policy.predict_chunk

    def predict_chunk(histories: Sequence[Sequence[Observation]]) -> np.ndarray:
        priorities.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return ask(histories)

    policy.predict_chunk = predict_chunk
    agent = AsyncAgent(policy)
    agent.warm_up([{"qpos": np.full(14, 7.0)}])
    assert policy.shown == [[7.0, 7.0]] and agent.latencies == []
    agent.reset(1)
    assert agent.select_action([{"qpos": np.full(14, 1.0)}])[0, 0] == 1.0  # holds: no chunk has come
    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    assert sys.platform != "linux" or priorities[0] == min(19, before + QUERY_NICE)


def test_an_error_of_the_policy_is_raised_and_impossible_numbers_are_refused():
    later = Later()
    agent = AsyncAgent(Broken(), executor=later, say=lambda _: None)
    with pytest.raises(ValueError, match="no such camera"):
        drive(agent, later, (1,), 2)
    with pytest.raises(ValueError, match=r"n_action_steps=7: must be 1 to .* 6"):
        AsyncAgent(Plan(), 7)


# ----------------------------------------------------------------------------------------------------------- wall clock
def test_a_policy_in_a_process_of_its_own_gives_the_same_answers():
    with PolicyProcess(Plan) as policy:
        assert (policy.chunk_size, policy.n_obs_steps, policy.needs_images) == (K, 1, False)
        np.testing.assert_array_equal(policy.predict_chunk([obs_at(3)]), Plan().predict_chunk([obs_at(3)]))
    with PolicyProcess(Broken) as policy, pytest.raises(ValueError, match=r"^policy process: no such camera$"):
        policy.predict_chunk([obs_at(0)])


class Home(Plan):
    """Stays where it is, and needs five control steps to decide so."""

    def __init__(self) -> None:
        super().__init__()
        self.chunk_size = 200

    def predict_chunk(self, histories: Sequence[Sequence[Observation]]) -> np.ndarray:
        time.sleep(0.1)
        return np.repeat(np.stack([history[-1]["qpos"] for history in histories])[:, None], 200, axis=1)


def test_the_simulator_runs_in_real_time_beside_a_policy_slower_than_a_control_step():
    import sim_envs  # here, because the policy's process imports this file and needs no simulator

    env = sim_envs.make("transfer_cube", cameras=())
    paced, agent = PacedEnvs(SerialEnvs([env])), AsyncAgent(Home(), ensemble_m=0.01, say=lambda _: None)
    agent.reset(1)
    ((obs, _),) = paced.reset([0])
    start = time.monotonic()
    for _ in range(50):
        ((obs, *_),) = paced.step(agent.select_action([obs]))
    assert time.monotonic() - start >= 50 * 0.02 * 0.99  # a late period shortens the next one, never the sum
    timing = paced.pace.timing()
    assert (
        timing.periods == 50 and 19 < timing.p50_ms < 80
    )  # 20 when nobody else computes; 100 if queries were waited for
    assert len(agent.latencies) >= 3 and min(agent.latencies) >= 0.1
    assert agent.held == list(range(len(agent.held))) and 5 <= len(agent.held) < 50  # until the first answer
