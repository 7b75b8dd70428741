"""The recorder writes what the agent saw and did, keeps what it shall, and copies every image."""

from pathlib import Path

import numpy as np

from act.data.episodes import read_episode
from act.data.repair import check_episode
from act.recording.recorder import MOST_ENCODING, EpisodeRecorder
from act.runtime.envs import SerialEnvs
from act.runtime.rollout import rollout
from act.types import RolloutResult
from tests.fakes.toy_env import ToyEnv
from tests.fakes.toy_world import GoalAgent


def test_the_recorder_writes_what_the_agent_saw_and_did(tmp_path: Path) -> None:
    env = ToyEnv(("top",), episode_len=8)
    envs = SerialEnvs([env])
    recorder = EpisodeRecorder(
        lambda result: tmp_path / f"episode_{result.seed}.hdf5", env.env_spec, attrs={"source": "scripted"}
    )
    (result,) = rollout(envs, GoalAgent(0), [recorder], seeds=[5])
    episode = read_episode(recorder.paths[0])
    assert episode.path.name == "episode_5.hdf5" and len(episode) == 8 and episode.cameras == ("top",)
    goal = result.env_state0[0]
    moving = int(np.argmax(episode.action[:, 0] > 0))
    np.testing.assert_allclose(episode.action[moving:, 0], goal)
    np.testing.assert_allclose(episode.qpos[1:], episode.action[:-1])  # toy joints jump to their targets
    assert episode.reward is not None and episode.reward[moving] == 2 and episode.reward[moving - 1] == 0
    assert episode.attrs["stage_names"] == ["half", "there"] and episode.attrs["strict_success"] is True
    assert check_episode(episode.path, decode_all=True) is None


def test_the_recorder_keeps_only_successes_by_default(tmp_path: Path) -> None:
    env = ToyEnv((), episode_len=8)
    agent = GoalAgent(0, fails=True)
    recorders = [EpisodeRecorder(lambda r: tmp_path / "episode_0.hdf5", env.env_spec)]
    recorders += [EpisodeRecorder(lambda r: tmp_path / "episode_1.hdf5", env.env_spec, keep=lambda r: True)]
    list(rollout(SerialEnvs([env]), agent, recorders, seeds=[0]))
    assert [path.name for path in tmp_path.iterdir()] == ["episode_1.hdf5"]


def test_images_are_those_that_were_seen_though_their_memory_is_used_again(tmp_path: Path) -> None:
    env = ToyEnv(("top",), episode_len=8)
    recorder = EpisodeRecorder(lambda _: tmp_path / "episode_0.hdf5", env.env_spec, keep=lambda _: True)
    rows, image = np.zeros(14, np.float32), np.zeros((480, 640, 3), np.uint8)
    obs = {"qpos": rows, "qvel": rows, "images": {"top": image}}
    recorder.on_reset(0, 0, obs, {})
    length = MOST_ENCODING + 20
    for t in range(length):  # faster than they can be encoded
        image[:] = t
        recorder.on_step(0, t, obs, rows, obs, 0.0, {})
    recorder.on_end(0, RolloutResult(0, length, 0.0, 0.0, True, True, []))
    episode = read_episode(recorder.paths[0])
    assert [int(episode.read_images("top", t, t + 1).mean().round()) for t in range(length)] == [*range(length)]


def test_a_robot_that_measures_no_velocities_is_recorded(tmp_path: Path) -> None:
    env = ToyEnv((), episode_len=8)
    recorder = EpisodeRecorder(lambda _: tmp_path / "episode_0.hdf5", env.env_spec, keep=lambda _: True)
    rows = np.zeros(14, np.float32)
    recorder.on_reset(0, 0, {"qpos": rows}, {})
    recorder.on_step(0, 0, {"qpos": rows}, rows, {"qpos": rows}, 0.0, {})
    recorder.on_end(0, RolloutResult(0, 1, 0.0, 0.0, True, True, []))
    assert read_episode(recorder.paths[0]).qvel is None and check_episode(recorder.paths[0]) is None
