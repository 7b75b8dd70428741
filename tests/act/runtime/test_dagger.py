"""Who drives, and what is labelled."""

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import record_sim_episodes
import train
from act.data.dataset import EpisodeDataset, Sampling
from act.data.episodes import Episode, find_episodes, read_episode
from act.data.labels import Kind, count_labels, frame_kinds
from act.policies.base.storage import load_policy
from act.recording.rounds import dagger_rows, gated_rows, record_round
from act.runtime.agents import PolicyAgent
from act.runtime.dagger import MAX_ARM_STEP, MAX_GRIPPER_STEP, BetaSchedule, GatedAgent, MixtureAgent
from act.runtime.envs import SerialEnvs
from act.runtime.gated_control import Mode
from act.runtime.operators import DistanceToExpert, SimulatedOperator
from act.training.config import TrainConfig
from act.types import Observation
from tests.fakes.toy_world import make_env_with_expert

K = 4


class Constant:
    """A policy whose every action is `value` in all joints; counts what it was asked."""

    n_obs_steps, needs_images, chunk_size = 1, False, K

    def __init__(self, value: float):
        self.value, self.asked = value, 0

    def predict_chunk(self, histories: Sequence[Sequence[Observation]]) -> np.ndarray:
        self.asked += 1
        return np.full((len(histories), K, 14), self.value, np.float32)


def seen(expert: float = 0.0, qpos: float = 0.0) -> Observation:
    return {"qpos": np.full(14, qpos, np.float32), "expert_action": np.full(14, expert, np.float32)}


# ------------------------------------------------------------------------------------------------------------- DAgger
@pytest.mark.parametrize(
    ("text", "betas"),
    [
        ("first", [1, 0, 0]),
        ("linear:3", [1, 0.5, 0]),
        ("power:0.5", [1, 0.5, 0.25]),
        ("constant:0.3", [0.3] * 3),
    ],
)
def test_beta_falls_as_the_schedule_says(text: str, betas: list[float]):
    assert [BetaSchedule.parse(text)(round_) for round_ in (1, 2, 3)] == betas


@pytest.mark.parametrize(
    "text", ["", "never", "linear", "linear:1", "linear:x", "power:1", "power:0", "constant:1", "first:2"]
)
def test_an_unknown_schedule_is_answered_with_those_there_are(text: str):
    with pytest.raises(ValueError, match="give first, linear:N"):
        BetaSchedule.parse(text)


def test_expert_and_policy_take_turns_chunk_by_chunk_at_the_rate_of_beta():
    agent = MixtureAgent(PolicyAgent(Constant(1.0)), beta=0.3)
    shares = []
    for _ in range(20):
        agent.reset(50)
        chunk = np.stack([agent.select_action([seen()] * 50)[:, 0] for _ in range(K)])
        assert (chunk == chunk[0]).all()  # nobody is interrupted within a chunk
        np.testing.assert_array_equal(agent.intervention, chunk[0] == 0.0)
        shares.append(agent.intervention.mean())
    assert abs(np.mean(shares) - 0.3) < 0.05 and len(set(shares)) > 5


def test_an_expert_may_keep_the_wheel_to_the_end():
    agent = MixtureAgent(PolicyAgent(Constant(1.0)), beta=0.3, to_the_end=True)
    for _ in range(5):
        agent.reset(50)
        drives = np.stack([agent.select_action([seen()] * 50)[:, 0] == 0.0 for _ in range(6 * K)])
        assert (np.diff(drives.astype(int), axis=0) >= 0).all()
        assert drives[0].mean() < 0.6 < drives[-1].mean()
        np.testing.assert_array_equal(agent.intervention, drives[-1])


def test_an_episodes_coins_follow_from_its_seed_alone():
    def turns(seeds: Sequence[int], wave: int) -> dict[int, str]:
        agent, told = MixtureAgent(PolicyAgent(Constant(1.0)), 0.5, seeds), {}
        for start in range(0, len(seeds), wave):
            agent.reset(wave)
            drives = [agent.select_action([seen()] * wave)[:, 0] == 0.0 for _ in range(12 * K)]
            told |= {seed: str(lane) for seed, lane in zip(seeds[start:], np.transpose(drives), strict=False)}
        return told

    seeds = list(range(70, 82))
    assert turns(seeds, 4) == turns(seeds, 1)  # whatever runs beside it
    assert turns(seeds[3:], 3) == {seed: turn for seed, turn in turns(seeds, 4).items() if seed >= 73}  # continued
    assert len(set(turns(seeds, 4).values())) > 10  # no two episodes, and so no two rounds, share theirs


@pytest.mark.parametrize(("beta", "driver"), [(0.0, 1.0), (1.0, 0.0)])
def test_beta_of_one_is_the_expert_and_of_zero_the_policy(beta: float, driver: float):
    agent = MixtureAgent(PolicyAgent(Constant(1.0)), beta)
    agent.reset(3)
    assert {float(agent.select_action([seen()] * 3)[i, 0]) for _ in range(2 * K) for i in range(3)} == {driver}


# -------------------------------------------------------------------------------------------------------- human-gated
class Key:
    """An operator who drives while a key is down, with every joint at `hand`."""

    def __init__(self, keys: list[bool], hand: float):
        self.keys, self.hand = keys, hand

    def needs_images(self) -> bool:
        return False

    def reset(self, num_envs: int) -> None:
        pass

    def wants_control(self, index: int, obs: Observation, intended: np.ndarray) -> bool:
        return self.keys[0]

    def action(self, index: int, obs: Observation) -> np.ndarray:
        return np.full(14, self.hand)


def drive(agent: GatedAgent, wanted: list[bool], keys: list[bool]) -> tuple[list[Mode], np.ndarray]:
    """Modes and actions (T, 14) while `keys` is pressed as `wanted` says; qpos follows the targets."""
    modes, actions = [], [np.zeros(14, np.float32)]
    agent.reset(1)
    for key in wanted:
        keys[0] = key
        actions.append(agent.select_action([{"qpos": actions[-1]}])[0])
        modes.append(agent.modes[0])
    return modes, np.stack(actions[1:])


def gated(value: float = 0.5, hand: float = -0.5, pause: int = 2) -> tuple[GatedAgent, Constant, list[bool]]:
    keys, policy = [False], Constant(value)
    return GatedAgent(policy, Key(keys, hand), pause=pause), policy, keys


def test_a_person_takes_over_after_a_pause_and_hands_back():
    agent, _, keys = gated()
    modes, actions = drive(agent, [False] * 2 + [True] * 4 + [False] * 2, keys)
    expected = [Mode.AUTONOMOUS] * 2 + [Mode.PAUSED] * 2 + [Mode.CORRECTING] * 2 + [Mode.AUTONOMOUS] * 2
    assert modes == expected
    np.testing.assert_array_equal(actions[2:4], np.repeat(actions[1:2], 2, axis=0))  # held
    assert not agent.intervention[0]


def test_letting_go_during_the_pause_gives_the_wheel_back():
    agent, _, keys = gated()
    modes, _ = drive(agent, [False, True, False], keys)
    assert modes == [Mode.AUTONOMOUS, Mode.PAUSED, Mode.AUTONOMOUS]


def test_nothing_jumps_at_a_hand_over_and_the_new_driver_is_met():
    agent, _, keys = gated()
    _, actions = drive(agent, [False] * 2 + [True] * 40 + [False] * 40, keys)
    change = np.abs(np.diff(actions, axis=0))
    arms, grippers = np.delete(change, [6, 13], axis=1), change[:, [6, 13]]
    assert arms.max() < MAX_ARM_STEP + 1e-6 and grippers.max() < MAX_GRIPPER_STEP + 1e-6
    assert np.all(actions[41] == -0.5) and np.all(actions[-1] == 0.5)


def test_images_are_wanted_at_every_step_that_is_not_the_policys():
    """It is asked there, in the middle of its plan, what it would do."""
    agent, policy, keys = gated(pause=2)
    policy.needs_images = True  # type: ignore[misc]
    agent.reset(1)
    wanted = []
    for keys[0] in [False, False, True, True, True, True]:
        wanted.append(agent.needs_images())
        agent.select_action([seen()])
    assert wanted == [True, False, False, True, True, True]


def test_the_policy_comes_back_with_a_fresh_plan():
    agent, policy, keys = gated(pause=0)
    drive(agent, [False, True], keys)
    before = policy.asked
    drive(agent, [False], keys)
    assert policy.asked == before + 1
    drive(agent, [False, True, False, False], keys)  # a plan; at the hand-back a fresh one
    assert policy.asked == before + 1 + 2


# ---------------------------------------------------------------------------------------------------------- recording
def teach(directory: Path, agent: Any, rows: Any, number: int = 2, flags: Any = 1) -> list[Episode]:
    envs = SerialEnvs([make_env_with_expert("toy", "scripted", (), (24, 32), "fast", K, 3) for _ in range(2)])
    attrs = {"source": "dagger", "recording": {"flags": flags}}
    return [read_episode(path) for path in record_round(envs, agent, rows, directory, range(7, 7 + number), attrs)]


def test_dagger_labels_every_state_with_the_expert_and_keeps_failures(tmp_path: Path):
    agent = MixtureAgent(PolicyAgent(Constant(0.1)), beta=0.0)
    episodes = teach(tmp_path, agent, dagger_rows(agent), 3)
    assert [episode.attrs["seed"] for episode in episodes] == [7, 8, 9]
    episode = episodes[0]
    assert not episode.attrs["success"] and episode.executed_action is not None and episode.action_chunk is not None
    assert episode.env_state is not None and np.all(episode.action[:, 0] == episode.env_state[0, 0])
    assert np.all(episode.executed_action == np.float32(0.1)) and not episode.intervention.any()  # type: ignore[union-attr]
    assert episode.action_chunk.shape == (14, K, 14) and episode.action_chunk_t.tolist() == [*range(0, 40, 3)]  # type: ignore[union-attr]
    assert count_labels(episode) == 14 * K


def test_a_round_is_continued_and_one_of_other_flags_refused(tmp_path: Path):
    agent = MixtureAgent(PolicyAgent(Constant(0.1)), beta=0.0)
    teach(tmp_path, agent, dagger_rows(agent), 1)
    before = (tmp_path / "episode_0.hdf5").read_bytes()
    assert len(teach(tmp_path, agent, dagger_rows(agent), 3)) == 3
    assert (tmp_path / "episode_0.hdf5").read_bytes() == before
    with pytest.raises(ValueError, match=r"episode_\d.hdf5 was recorded with .*'flags': 1"):
        teach(tmp_path, agent, dagger_rows(agent), 3, flags=2)


def test_human_gated_episodes_say_what_was_done_and_by_whom(tmp_path: Path):
    operator = SimulatedOperator(DistanceToExpert(), 0.2, 0.1, delay=2, calm=30)
    agent = GatedAgent(Constant(0.0), operator, pause=1)
    episode = teach(tmp_path, agent, gated_rows(agent), 1)[0]
    assert episode.intervention is not None and episode.executed_action is not None
    np.testing.assert_array_equal(episode.action, episode.executed_action)
    assert episode.intervention.tolist() == [False] * 3 + [True] * 37  # alarm at 0, pause at 2, driving from 3
    assert episode.action_chunk is None and count_labels(episode) == 37 and episode.attrs["success"]


def test_the_dataset_takes_whole_chunks_and_ends_plans_at_hand_overs(tmp_path: Path):
    agent = MixtureAgent(PolicyAgent(Constant(0.1)), beta=0.5)
    episodes = teach(tmp_path, agent, dagger_rows(agent), 2)
    dataset = EpisodeDataset(episodes, Sampling(6))
    for e, made in enumerate(episodes):
        assert made.intervention is not None and made.action_chunk_t is not None
        for t in made.action_chunk_t:
            sample = dataset.sample(e, int(t))
            assert sample.action is not None and sample.is_pad is not None
            assert sample.is_pad[0].tolist() == [False] * K + [True] * 2
            assert torch.equal(sample.action[0, :, 0], torch.full((6,), float(made.action[0, 0])))
        driven = dataset.sample(e, int(np.flatnonzero(made.intervention)[0])).is_pad
        assert driven is not None and 1 <= int((~driven).sum()) <= 6
    assert {bool(made.intervention[t]) for made in episodes for t in range(40)} == {True, False}  # type: ignore[index]
    rows = dataset.draw(0, 0, 500).action
    assert dataset.weights is not None and rows is not None
    trainable = np.concatenate([frame_kinds(made) == Kind.LABELLED for made in episodes])
    np.testing.assert_array_equal(dataset.weights > 0, trainable)
    assert sum(len(batch.qpos) for batch in dataset.validation_batches(64)) == trainable.sum()


# ----------------------------------------------------------------------------------------------------------- programs
class Trained(Constant):
    spec = SimpleNamespace(cameras=(), image_size=(24, 32), recorded_size=None)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("act.policies.base.storage.load_policy", lambda run: Trained(0.1))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "policy.safetensors").write_bytes(b"weights")
    (tmp_path / "run" / "policy.json").write_text(json.dumps({"train": {"task_name": "sim_toy_human"}}))
    return tmp_path / "run"


def record(run: Path, *flags: str) -> int:
    argv = ["--task_name", "sim_toy_scripted", "--policy", str(run), "--dataset_dir", str(run / "data")]
    return record_sim_episodes.main([*argv, "--num_episodes", "3", "--workers", "1", *flags], "tests.fakes.toy_world")


def test_the_program_records_a_round(run: Path, capsys: pytest.CaptureFixture[str]):
    assert record(run, "--agent", "dagger", "--round", "2", "--label_every", "3") == 0
    assert (
        f"3 episodes in {run / 'data'}, 0 successful; the expert gave {3 * 14 * K} actions" in capsys.readouterr().out
    )
    episodes = [read_episode(path) for path in find_episodes(run / "data")]
    assert [made.attrs["seed"] for made in episodes] == [20_000, 20_001, 20_002]
    assert all(made.attrs["source"] == "dagger" and made.action_chunk is not None for made in episodes)


def test_every_round_tosses_coins_of_its_own_also_when_it_was_continued(run: Path):
    def turns(folder: str, *flags: str) -> list[bytes]:
        assert record(run, "--agent", "dagger", "--beta_schedule", "constant:0.5", "--dataset_dir", folder, *flags) == 0
        drives = [read_episode(path).intervention for path in find_episodes(Path(folder))]
        return [driver.tobytes() for driver in drives if driver is not None]

    second = turns(str(run / "second"), "--round", "2")
    assert len({*second, *turns(str(run / "third"), "--round", "3")}) == 6
    turns(str(run / "stopped"), "--round", "2", "--num_episodes", "1")
    assert turns(str(run / "stopped"), "--round", "2") == second


def test_a_round_does_not_go_on_with_another_policy(run: Path, capsys: pytest.CaptureFixture[str]):
    assert record(run, "--agent", "dagger", "--num_episodes", "1") == 0
    (run / "policy.safetensors").write_bytes(b"trained further")
    assert record(run, "--agent", "dagger") == 2
    assert "recorded with" in capsys.readouterr().err


def test_a_round_that_was_renumbered_is_not_continued(run: Path, capsys: pytest.CaptureFixture[str]):
    assert record(run, "--agent", "dagger") == 0
    (run / "data" / "episode_1.hdf5").unlink()
    (run / "data" / "episode_2.hdf5").rename(run / "data" / "episode_1.hdf5")
    assert record(run, "--agent", "dagger") == 2
    assert "seed 10002, not 10001: it was renumbered" in capsys.readouterr().err


def test_the_program_records_corrections(run: Path, capsys: pytest.CaptureFixture[str]):
    assert record(run, "--agent", "hg_dagger", "--take_over", "0.2", "--hand_back", "0.1") == 0
    assert "3 successful" in capsys.readouterr().out


def test_wrong_flags_are_answered(run: Path, capsys: pytest.CaptureFixture[str]):
    for flags, answer in (
        (["--agent", "dagger", "--beta_schedule", "soon"], "give first, linear:N"),
        (["--agent", "dagger", "--round", "0"], "--round 0"),
        (["--agent", "dagger", "--ensemble_m", "0.01"], "ensemble_m 0.01 with a beta of 1: the ensemble would average"),
        (["--agent", "dagger", "--round", "100"], "every round takes 10000 seeds of the 1000000"),
        (["--agent", "dagger", "--num_episodes", "10001"], "a round has at most 10000"),
        (["--agent", "hg_dagger", "--gate", "ensemble"], "at least two"),
        (["--agent", "hg_dagger", "--hand_back", "0.5"], "hand_back 0.5"),
        ([], "--agent expert and --policy"),
        (
            ["--agent", "dagger", "--task_name", "sim_broken_scripted"],
            "trained on sim_toy_human, which is not broken",
        ),
        (
            ["--agent", "dagger", "--task_name", "sim_toy"],
            "there are sim_toy_scripted, sim_toy_human",
        ),
        (["--agent", "dagger", "--cameras", "a", "b", "a"], "--cameras a b a: name each once"),
    ):
        assert record(run, *flags) == 2
        assert answer in capsys.readouterr().err


def test_training_takes_several_directories_and_goes_on_from_a_run(tmp_path: Path):
    agent = MixtureAgent(PolicyAgent(Constant(0.1)), beta=0.5)
    for round_ in (1, 2):
        teach(tmp_path / str(round_), agent, dagger_rows(agent), 2)
    base = ["--policy_class", "ACT", "--preset", "state", "--task_name", "sim_toy_scripted", "--val_fraction", "0"]
    base += [
        "--chunk_size",
        "4",
        "--hidden_dim",
        "16",
        "--dim_feedforward",
        "16",
        "--batch_size",
        "4",
        "--ema_decay",
        "0",
    ]
    base += ["--ema_decay", "0", "--aggregation", "equal_mass"]
    first = [*base, "--dataset_dir", str(tmp_path / "1"), "--run_dir", str(tmp_path / "a"), "--steps", "2"]
    assert train.main(first) == 0
    both = ["--dataset_dir", str(tmp_path / "1"), str(tmp_path / "2"), "--warm_start", str(tmp_path / "a")]
    second = [
        *base,
        *both,
        "--aggregation",
        "equal_mass",
        "--run_dir",
        str(tmp_path / "b"),
        "--steps",
        "1",
        "--lr",
        "0",
    ]
    assert train.main(second) == 0
    ours, theirs = (load_policy(tmp_path / run).state_dict() for run in "ba")
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    config = TrainConfig.from_json(json.loads((tmp_path / "b" / "config.json").read_text()))
    assert config.dataset_dir == (tmp_path / "1", tmp_path / "2") and config.warm_start == tmp_path / "a"
    assert train.main([*second, "--hidden_dim", "32", "--run_dir", str(tmp_path / "c")]) == 2
