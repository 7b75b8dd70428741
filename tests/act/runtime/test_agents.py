"""Agents: chunk execution, history, and an ensemble that equals the brute-force formula."""

from collections.abc import Sequence

import numpy as np
import pytest

from act.runtime.agents import HoldAgent, PolicyAgent, RandomAgent, ReplayAgent, TemporalEnsemble
from act.types import Observation

K = 5


class CountingPolicy:
    """Answers chunk k = 100 * query + k in every joint, and records the histories that it was given."""

    def __init__(self, n_obs_steps: int = 1, needs_images: bool = True):
        self.chunk_size, self.n_obs_steps, self.needs_images = K, n_obs_steps, needs_images
        self.shown: list[list[list[float]]] = []

    def predict_chunk(self, histories: Sequence[Sequence[Observation]]) -> np.ndarray:
        self.shown.append([[float(obs["qpos"][0]) for obs in history] for history in histories])
        chunk = 100 * (len(self.shown) - 1) + np.arange(K, dtype=np.float32)
        return np.tile(chunk[None, :, None], (len(histories), 1, 14))


def observations(t: int, num_envs: int = 2) -> list[Observation]:
    return [{"qpos": np.full(14, t + 0.5 * b, np.float32)} for b in range(num_envs)]


def run(agent: PolicyAgent, steps: int) -> list[float]:
    agent.reset(2)
    return [float(agent.select_action(observations(t))[0, 0]) for t in range(steps)]


def brute_force(chunks: dict[int, np.ndarray], t: int, m: float) -> np.ndarray:
    covering = [chunks[start][:, t - start] for start in sorted(chunks) if start <= t < start + K]
    weights = [np.exp(-m * i) for i in range(len(covering))]
    weighted = [w * a for w, a in zip(weights, covering, strict=True)]
    return np.sum(weighted, axis=0) / np.sum(weights)


@pytest.mark.parametrize("period", [1, 2, 5])
@pytest.mark.parametrize("m", [-0.5, 0.0, 0.01, 0.5])
def test_the_ensemble_is_the_weighted_mean_of_all_chunks_that_cover_t(period: int, m: float) -> None:
    rng = np.random.default_rng(0)
    ensemble, chunks = TemporalEnsemble(m, K), {}
    for t in range(17):
        if t % period == 0:
            chunks[t] = rng.normal(size=(3, K, 14))
            ensemble.add(t, chunks[t])
        np.testing.assert_allclose(ensemble.action(t), brute_force(chunks, t, m), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("m", "preferred"), [(1e3, 0.0), (-1e3, 2.0)])
def test_however_large_m_is_the_weights_are_numbers(m: float, preferred: float) -> None:
    ensemble = TemporalEnsemble(m, K)
    for t in range(3):
        ensemble.add(t, np.full((1, K, 14), float(t)))
    np.testing.assert_array_equal(ensemble.action(2), np.full((1, 14), preferred))


def test_an_ensemble_that_nothing_covers_says_so() -> None:
    with pytest.raises(ValueError, match="ensemble_m nan"):
        TemporalEnsemble(float("nan"), K)
    ensemble = TemporalEnsemble(0.01, K)
    ensemble.add(0, np.zeros((1, K, 14)))
    with pytest.raises(ValueError, match="no chunk covers control step 5"):
        ensemble.action(5)


def test_a_chunk_is_executed_to_its_end_before_the_next_query() -> None:
    policy = CountingPolicy()
    agent = PolicyAgent(policy)
    assert run(agent, 7) == [0, 1, 2, 3, 4, 100, 101]
    assert len(agent.latencies) == 2 and min(agent.latencies) >= 0


def test_fewer_action_steps_mean_more_queries() -> None:
    assert run(PolicyAgent(CountingPolicy(), n_action_steps=2), 5) == [0, 1, 100, 101, 200]


def test_an_ensemble_asks_at_every_control_step_by_default() -> None:
    every, third = CountingPolicy(), CountingPolicy()
    actions = run(PolicyAgent(every, ensemble_m=0.0), 3)
    np.testing.assert_allclose(actions, [0, (1 + 100) / 2, (2 + 101 + 200) / 3], rtol=1e-6)
    run(PolicyAgent(third, n_action_steps=3, ensemble_m=0.0), 6)
    assert len(every.shown) == 3 and len(third.shown) == 2


def test_images_are_needed_only_when_a_query_is_due() -> None:
    def needs(agent: PolicyAgent) -> list[bool]:
        agent.reset(1)
        asked = []
        for t in range(4):
            asked.append(agent.needs_images())
            agent.select_action(observations(t, 1))
        return asked

    assert needs(PolicyAgent(CountingPolicy(), n_action_steps=2)) == [True, False, True, False]
    assert needs(PolicyAgent(CountingPolicy(n_obs_steps=2), n_action_steps=2)) == [True] * 4
    assert needs(PolicyAgent(CountingPolicy(needs_images=False), n_action_steps=2)) == [False] * 4


def test_history_is_oldest_first_and_begins_with_the_first_observation_repeated() -> None:
    policy = CountingPolicy(n_obs_steps=3)
    run(PolicyAgent(policy, n_action_steps=2), 5)
    assert [shown[0] for shown in policy.shown] == [[0, 0, 0], [0, 1, 2], [2, 3, 4]]
    assert policy.shown[1][1] == [0.5, 1.5, 2.5]


class RememberingPolicy(CountingPolicy):
    """Keeps qpos + 1000 of an observation, and counts how many observations it has encoded."""

    looked_at = 0

    def encode_observations(self, observations: Sequence[Observation]) -> list[Observation]:
        self.looked_at += len(observations)
        return [{"qpos": obs["qpos"] + 1000} for obs in observations]


@pytest.mark.parametrize("n_action_steps", [1, 2, 5])
def test_history_is_the_brute_force_window_and_every_frame_is_looked_at_once(n_action_steps: int) -> None:
    policy, steps, n_obs_steps = RememberingPolicy(n_obs_steps=4), 13, 4
    run(PolicyAgent(policy, n_action_steps), steps)
    windows = [[max(t - i, 0) for i in reversed(range(n_obs_steps))] for t in range(0, steps, n_action_steps)]
    for b in range(2):
        assert [shown[b] for shown in policy.shown] == [[1000 + t + 0.5 * b for t in window] for window in windows]
    assert policy.looked_at == 2 * steps


def test_without_history_nothing_needs_to_be_remembered() -> None:
    policy = RememberingPolicy()
    run(PolicyAgent(policy, n_action_steps=2), 4)
    assert policy.looked_at == 0 and policy.shown[1] == [[2.0], [2.5]]


def test_reset_forgets_everything() -> None:
    for make in (
        lambda: PolicyAgent(CountingPolicy(n_obs_steps=2), n_action_steps=3),
        lambda: PolicyAgent(CountingPolicy(), ensemble_m=0.1),
    ):
        agent, fresh = make(), make()
        run(agent, 4)
        agent.policy.shown.clear()  # type: ignore[attr-defined]
        assert run(agent, 6) == run(fresh, 6)
        assert agent.policy.shown == fresh.policy.shown  # type: ignore[attr-defined]


def test_impossible_numbers_of_action_steps_are_refused() -> None:
    for n_action_steps in (0, K + 1):
        with pytest.raises(ValueError, match=f"n_action_steps={n_action_steps}: must be 1 to .* 5"):
            PolicyAgent(CountingPolicy(), n_action_steps)


def test_replay_plays_back_and_holds_the_last_action() -> None:
    actions = np.arange(2 * 3 * 14, dtype=np.float32).reshape(2, 3, 14)
    agent = ReplayAgent(actions)
    for _ in range(2):
        agent.reset(2)
        played = np.stack([agent.select_action(observations(t)) for t in range(5)], axis=1)
        np.testing.assert_array_equal(played[:, :3], actions)
        np.testing.assert_array_equal(played[:, 4], actions[:, 2])
    with pytest.raises(ValueError, match="3 environments"):
        agent.reset(3)


def test_random_actions_stay_in_range_and_repeat_after_reset() -> None:
    agent = RandomAgent(-1.0, 2.0, seed=7)
    agent.reset(4)
    first = agent.select_action(observations(0, 4))
    assert first.shape == (4, 14) and first.dtype == np.float32 and first.min() >= -1 and first.max() <= 2
    agent.reset(4)
    np.testing.assert_array_equal(agent.select_action(observations(0, 4)), first)


def test_hold_stays_where_the_episode_began() -> None:
    agent = HoldAgent()
    agent.reset(2)
    actions = [agent.select_action(observations(t)) for t in range(3)]
    np.testing.assert_array_equal(actions[2], np.stack([obs["qpos"] for obs in observations(0)]))
