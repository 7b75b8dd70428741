"""Evaluation: summaries, resuming, latency, and what results.json holds."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from act.evaluation import evaluate as evaluation
from act.evaluation.evaluate import EpisodeLog, evaluate
from act.runtime.envs import SerialEnvs
from act.seeds import TEST_SEEDS, VALIDATION_SEEDS
from act.types import ACTION_DIM, Observation
from tests.fakes.toy_env import ToyEnv


class GoalAgent:
    """Reaches the goal when the goal is below `reach`, otherwise only half of it; counts its episodes."""

    def __init__(self, reach: float = 10.0):
        self.reach, self.played = reach, 0
        self.latencies: list[float] = []

    def reset(self, num_envs: int) -> None:
        self.played += num_envs

    def needs_images(self) -> bool:
        return False

    def select_action(self, observations) -> np.ndarray:
        self.latencies.append(0.004 if len(self.latencies) % 2 else 0.030)
        goals = np.array([obs["env_state"][0] for obs in observations])
        actions = np.zeros((len(goals), ACTION_DIM), np.float32)
        actions[:, 0] = np.where(goals < self.reach, goals, 0.6 * goals)
        return actions


def toys(n: int = 3) -> SerialEnvs:
    return SerialEnvs([ToyEnv(episode_len=6) for _ in range(n)])


def test_a_policy_that_samples_repeats_itself():
    class Sampling(GoalAgent):
        def select_action(self, observations) -> np.ndarray:
            drawn.append(torch.rand(()).item())
            return super().select_action(observations)

    drawn: list[float] = []
    for _ in range(2):
        evaluate(toys(2), Sampling(), [1, 2, 3], progress=False)
    half = len(drawn) // 2
    assert drawn[:half] == drawn[half:] and len(set(drawn[:half])) == half


def test_seed_families_never_meet():
    assert VALIDATION_SEEDS.start == 1_000_000 and TEST_SEEDS.start == 2_000_000
    assert not set(VALIDATION_SEEDS[::1000]) & set(TEST_SEEDS[::1000]) and VALIDATION_SEEDS.stop <= TEST_SEEDS.start


def test_stage_rates_count_rewards_reached():
    agent = GoalAgent(reach=0.75)  # goals are uniform in 0.5..1
    summary = evaluate(toys(), agent, TEST_SEEDS[:20], progress=False)
    goals = [episode.env_state0[0] for episode in summary.episodes]
    assert summary.task == "toy" and summary.seeds == list(TEST_SEEDS[:20])
    assert [rate.name for rate in summary.stages] == ["half", "there"]
    assert summary.stages[0].rate == 1.0
    assert summary.stages[1].successes == sum(goal < 0.75 for goal in goals) == summary.success.successes
    assert summary.success.low < summary.success.rate < summary.success.high
    assert summary.preliminary and summary.rollouts_per_min > 0


def test_latency_is_judged_against_the_control_period():
    summary = evaluate(toys(), GoalAgent(), TEST_SEEDS[:3], progress=False)
    assert summary.latency is not None
    assert (summary.latency.queries, summary.latency.batch_size, summary.latency.deadline_ms) == (6, 3, 20)
    assert summary.latency.within_deadline == 0.5
    assert summary.latency.p99_ms == pytest.approx(30, abs=0.1)


def test_an_interrupted_evaluation_goes_on_where_it_stopped(tmp_path: Path):
    path, whole = tmp_path / "episodes.jsonl", evaluate(toys(), GoalAgent(0.75), TEST_SEEDS[:8], progress=False)
    evaluate(toys(), GoalAgent(0.75), TEST_SEEDS[:5], progress=False, log=EpisodeLog(path, {"a": 1}))
    with path.open("a") as file:
        file.write('{"result": {"seed": 2000')  # killed while writing
    agent = GoalAgent(0.75)
    resumed = evaluate(toys(), agent, TEST_SEEDS[:8], progress=False, log=EpisodeLog(path, {"a": 1}))
    assert agent.played == 3
    assert resumed.episodes == whole.episodes
    assert resumed.latency is not None and resumed.latency.queries == 18
    assert set(EpisodeLog(path, {"a": 1}).episodes) == set(TEST_SEEDS[:8])


def test_a_log_of_other_settings_starts_over(tmp_path: Path):
    path = tmp_path / "episodes.jsonl"
    evaluate(toys(), GoalAgent(), TEST_SEEDS[:3], progress=False, log=EpisodeLog(path, {"step": 1}))
    assert EpisodeLog(path, {"step": 2}).episodes == {}


def test_no_seeds_is_an_error():
    with pytest.raises(ValueError, match="list of seeds is empty"):
        evaluate(toys(), GoalAgent(), [])


def test_the_progress_bar_shows_the_success_rate(capsys: pytest.CaptureFixture[str]):
    evaluate(toys(), GoalAgent(), TEST_SEEDS[:3])
    shown = capsys.readouterr().err
    assert "rollouts 3/3" in shown and "100 %" in shown and "success 100 %" in shown


def test_results_say_where_they_come_from(tmp_path: Path):
    summary = evaluate(toys(), GoalAgent(), TEST_SEEDS[:4], progress=False)
    path = tmp_path / "deep" / "results.json"
    written = evaluation.write_results(path, summary, {"backbone_weights": "sim", "ensemble_m": 0.01})
    read = json.loads(path.read_text())
    assert read == json.loads(json.dumps(written))
    assert read["preliminary"] is True and read["n"] == 4 and read["seeds"] == list(TEST_SEEDS[:4])
    assert read["settings"]["backbone_weights"] == "sim"
    provenance = read["provenance"]
    assert provenance["hardware"]["cores"] >= 1 and provenance["versions"]["numpy"] and provenance["command"]
    assert [file.name for file in path.parent.iterdir()] == ["results.json"]


def test_the_latency_of_one_robot_is_asked_with_one_history():
    class Policy:
        chunk_size, n_obs_steps, needs_images = 4, 2, False
        asked: list[list[list[Observation]]] = []  # noqa: RUF012

        def predict_chunk(self, histories) -> np.ndarray:
            self.asked.append(histories)
            return np.zeros((1, 4, ACTION_DIM), np.float32)

    latency = evaluation.query_latency(Policy(), {"qpos": np.zeros(ACTION_DIM)}, repeats=5)
    assert latency is not None and (latency.queries, latency.batch_size) == (5, 1)
    assert all(len(histories) == 1 and len(histories[0]) == 2 for histories in Policy.asked)


@pytest.mark.parametrize("line", ["3", "null", "[]", "{}", '{"result": 3}', '{"result": {"seed": 1}}', "[" * 100_000])
def test_a_line_that_is_no_episode_is_left_out_and_its_episode_is_run_again(tmp_path: Path, line: str):
    path = tmp_path / "episodes.jsonl"
    evaluate(toys(), GoalAgent(), TEST_SEEDS[:3], progress=False, log=EpisodeLog(path, {"a": 1}))
    header, first, _, last = path.read_text().splitlines()
    path.write_text("\n".join((header, first, line, last)))
    assert list(EpisodeLog(path, {"a": 1}).episodes) == [TEST_SEEDS[0], TEST_SEEDS[2]]


def test_a_log_that_is_no_text_or_no_file_is_refused_and_named(tmp_path: Path):
    (tmp_path / "episodes.jsonl").write_bytes(b"\xff\xfe")
    os.mkfifo(tmp_path / "fifo.jsonl")
    for name, reason in (("episodes.jsonl", "no text in UTF-8"), ("fifo.jsonl", "no regular file")):
        with pytest.raises(ValueError, match=f"{name} cannot be read: it is {reason}"):
            EpisodeLog(tmp_path / name, {})
