"""Rounds of DAgger: what is labelled, who drove, how a round is continued, what training takes of it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import train
from act.data.dataset import EpisodeDataset, Sampling
from act.data.episodes import Episode, read_episode
from act.data.labels import Kind, count_labels, frame_kinds
from act.policies.base.storage import load_policy
from act.recording.attempts import Recording
from act.recording.rounds import Round, RoundOptions, dagger_rows, gated_rows, record_round
from act.runtime.agents import PolicyAgent
from act.runtime.dagger import GatedAgent, MixtureAgent
from act.runtime.envs import SerialEnvs
from act.runtime.operators import DistanceToExpert, EnsembleDisagreement, SimulatedOperator
from act.training.config import TrainConfig
from tests.fakes.constant_policy import CHUNK_SIZE, ConstantPolicy
from tests.fakes.toy_world import make_with_expert

RECORDING = Recording("sim_toy_scripted", seed=5)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "policy.safetensors").write_bytes(b"weights")
    (folder / "policy.json").write_text(json.dumps({"train": {"task_name": "sim_toy_human"}}))
    return folder


def collect(directory: Path, agent: Any, rows: Any, number: int = 2, flags: int = 1) -> list[Episode]:
    envs = SerialEnvs([make_with_expert("toy", chunk_size=CHUNK_SIZE, label_every=3) for _ in range(2)])
    attrs = {"source": "dagger", "recording": {"flags": flags}}
    return [read_episode(path) for path in record_round(envs, agent, rows, directory, range(7, 7 + number), attrs)]


# ----------------------------------------------------------------------------------------------------- what is written
def test_dagger_labels_every_state_with_the_expert_and_keeps_failures(tmp_path: Path):
    agent = MixtureAgent(PolicyAgent(ConstantPolicy(0.1)), beta=0.0)
    episodes = collect(tmp_path, agent, dagger_rows(agent), 3)
    assert [episode.attrs["seed"] for episode in episodes] == [7, 8, 9]
    episode = episodes[0]
    assert not episode.attrs["success"] and episode.executed_action is not None and episode.intervention is not None
    assert episode.env_state is not None and np.all(episode.action[:, 0] == episode.env_state[0, 0])
    assert np.all(episode.executed_action == np.float32(0.1)) and not episode.intervention.any()
    assert episode.action_chunk is not None and episode.action_chunk_t is not None
    assert episode.action_chunk.shape == (14, CHUNK_SIZE, 14)
    assert episode.action_chunk_t.tolist() == [*range(0, 40, 3)]
    assert count_labels(episode) == 14 * CHUNK_SIZE


def test_a_round_is_continued_and_one_of_other_options_refused(tmp_path: Path):
    agent = MixtureAgent(PolicyAgent(ConstantPolicy(0.1)), beta=0.0)
    collect(tmp_path, agent, dagger_rows(agent), 1)
    before = (tmp_path / "episode_0.hdf5").read_bytes()
    assert len(collect(tmp_path, agent, dagger_rows(agent), 3)) == 3
    assert (tmp_path / "episode_0.hdf5").read_bytes() == before
    with pytest.raises(ValueError, match=r"episode_\d.hdf5 was recorded with .*'flags': 1"):
        collect(tmp_path, agent, dagger_rows(agent), 3, flags=2)


def test_human_gated_episodes_say_what_was_executed_and_who_drove(tmp_path: Path):
    operator = SimulatedOperator(DistanceToExpert(), 0.2, 0.1, delay=2, calm=30)
    agent = GatedAgent(ConstantPolicy(0.0), operator, pause=1)
    episode = collect(tmp_path, agent, gated_rows(agent), 1)[0]
    assert episode.intervention is not None and episode.executed_action is not None
    np.testing.assert_array_equal(episode.action, episode.executed_action)
    assert episode.intervention.tolist() == [False] * 3 + [True] * 37  # score high at 0, pause at 2, driving from 3
    assert episode.action_chunk is None and count_labels(episode) == 37 and episode.attrs["success"]


# ------------------------------------------------------------------------------------------------------------- options
def test_what_a_round_keeps_in_its_files_is_what_older_versions_kept(run: Path):
    options = RoundOptions((run,), round=2, n_action_steps=3)
    common = {"task_name": "sim_toy_scripted", "seed": 5, "round": 2, "n_action_steps": 3, "ensemble_m": None}
    common |= {"quality": "fast", "raw": False, "jpeg_quality": 85, "policy": ["9a129038d9a00aed"]}
    assert Round("dagger", RECORDING, options, 3).to_json() == {
        **common,
        "agent": "dagger",
        "beta_schedule": "first",
        "label_every": 20,
        "to_the_end": False,
    }
    assert Round("hg_dagger", RECORDING, options, 3).to_json() == {
        **common,
        "agent": "hg_dagger",
        "gate": "distance",
        "take_over": 0.1,
        "hand_back": 0.05,
    }


def test_every_round_has_seeds_of_its_own():
    rounds = [Round("dagger", RECORDING, RoundOptions(round=number), 3).seeds for number in (1, 2)]
    assert rounds == [range(10_005, 10_008), range(20_005, 20_008)]


def test_the_options_decide_the_agent():
    options = RoundOptions(round=2, beta_schedule="linear:3", to_the_end=True, n_action_steps=2)
    mixture = Round("dagger", RECORDING, options, 3).make_agent([ConstantPolicy(0.0)], [1])
    assert isinstance(mixture, MixtureAgent)
    assert (mixture.beta, mixture.to_the_end, mixture.policy.n_action_steps) == (0.5, True, 2)
    options = RoundOptions(gate="ensemble", take_over=0.3, hand_back=0.2)
    gated = Round("hg_dagger", RECORDING, options, 3).make_agent([ConstantPolicy(0.0), ConstantPolicy(1.0)], [1])
    assert isinstance(gated, GatedAgent) and isinstance(gated.operator, SimulatedOperator)
    assert isinstance(gated.operator.score, EnsembleDisagreement)
    assert (gated.operator.take_over, gated.operator.hand_back) == (0.3, 0.2)


def test_an_operator_labels_no_chunks():
    labels = [Round(agent, RECORDING, RoundOptions(label_every=7), 3).label_every for agent in ("dagger", "hg_dagger")]
    assert labels == [7, 0]


def test_rounds_that_cannot_be_are_refused(run: Path):
    good, both = RoundOptions((run,)), RoundOptions((run, run))
    good.check("dagger", RECORDING, 10)
    replace(both, gate="ensemble").check("hg_dagger", RECORDING, 10)
    for agent, options, recording, number, message in (
        ("dagger", RoundOptions(), RECORDING, 10, "--agent dagger needs --policy RUN, the folder of a trained policy"),
        ("hg_dagger", RoundOptions(), RECORDING, 10, "--agent hg_dagger needs --policy RUN"),
        ("dagger", both, RECORDING, 10, "more than one run has an effect only with --agent hg_dagger --gate ensemble"),
        ("hg_dagger", both, RECORDING, 10, "more than one run has an effect only with"),
        ("dagger", good, RECORDING, 10_001, "--num_episodes 10001: a round has at most 10000"),
        ("dagger", replace(good, round=0), RECORDING, 10, "--round 0"),
        ("dagger", replace(good, label_every=-1), RECORDING, 10, "--label_every -1"),
        ("dagger", replace(good, round=100), RECORDING, 10, "every round takes 10000 seeds of the 1000000"),
        (
            "dagger",
            good,
            Recording("sim_ball_scripted"),
            10,
            "run was trained on sim_toy_human, not on ball: give --task",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            options.check(agent, recording, number)


# ------------------------------------------------------------------------------------------------ what training takes
def test_the_dataset_takes_whole_chunks_and_ends_plans_at_hand_overs(tmp_path: Path):
    agent = MixtureAgent(PolicyAgent(ConstantPolicy(0.1)), beta=0.5)
    episodes = collect(tmp_path, agent, dagger_rows(agent), 2)
    dataset = EpisodeDataset(episodes, Sampling(6))
    for e, episode in enumerate(episodes):
        assert episode.intervention is not None and episode.action_chunk_t is not None
        for t in episode.action_chunk_t:
            sample = dataset.sample(e, int(t))
            assert sample.action is not None and sample.is_pad is not None
            assert sample.is_pad[0].tolist() == [False] * CHUNK_SIZE + [True] * 2
            assert torch.equal(sample.action[0, :, 0], torch.full((6,), float(episode.action[0, 0])))
        driven = dataset.sample(e, int(np.flatnonzero(episode.intervention)[0])).is_pad
        assert driven is not None and 1 <= int((~driven).sum()) <= 6
        assert {*episode.intervention} == {True, False}
    assert dataset.weights is not None
    trainable = np.concatenate([frame_kinds(episode) == Kind.LABELLED for episode in episodes])
    np.testing.assert_array_equal(dataset.weights > 0, trainable)
    assert sum(len(batch.qpos) for batch in dataset.validation_batches(64)) == trainable.sum()


def test_training_takes_several_directories_and_goes_on_from_a_run(tmp_path: Path):
    agent = MixtureAgent(PolicyAgent(ConstantPolicy(0.1)), beta=0.5)
    for round_ in ("1", "2"):
        collect(tmp_path / round_, agent, dagger_rows(agent), 2)

    def train_policy(name: str, *flags: str) -> int:
        fixed = "--policy_class ACT --preset state --task_name sim_toy_scripted --val_fraction 0 --chunk_size 4"
        fixed += " --hidden_dim 16 --dim_feedforward 16 --batch_size 4 --ema_decay 0 --aggregation equal_mass"
        return train.main([*fixed.split(), "--run_dir", str(tmp_path / name), *flags])

    assert train_policy("a", "--dataset_dir", str(tmp_path / "1"), "--steps", "2") == 0
    more = ["--dataset_dir", str(tmp_path / "1"), str(tmp_path / "2"), "--warm_start", str(tmp_path / "a")]
    more += ["--steps", "1", "--lr", "0"]
    assert train_policy("b", *more) == 0
    first, second = (load_policy(tmp_path / name).state_dict() for name in "ab")
    assert all(torch.equal(second[key], first[key]) for key in first)
    config = TrainConfig.from_json(json.loads((tmp_path / "b" / "config.json").read_text()))
    assert config.dataset_dir == (tmp_path / "1", tmp_path / "2") and config.warm_start == tmp_path / "a"
    assert train_policy("c", *more, "--hidden_dim", "32") == 2
