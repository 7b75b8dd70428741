"""Mirrored episodes are replays that succeed; what cannot be replayed is refused, and failures are counted."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from act.__main__ import main
from act.data.episodes import episode_path, find_episodes, read_episode
from act.recording import mirroring
from act.recording.attempts import Recording
from act.recording.recorder import EpisodeRecorder, keep_all
from act.runtime.agents import ReplayAgent
from act.runtime.envs import SerialEnvs
from act.runtime.rollout import rollout
from tests.fakes.mirror_world import World
from tests.fakes.mirror_world.mirror import LARGEST

WORLD = ("--simulator", "tests.fakes.mirror_world")
GOALS = (0.6, 0.95, 0.7, 0.8)


def record(directory: Path, goals: Sequence[float] = GOALS, succeed: bool = True, **attrs: Any) -> None:
    """Writes an episode per goal, in which joint 0 goes there, or stays where it is."""
    recording = Recording("sim_toy_scripted", cameras=("top",), image_size=(24, 32), jpeg_quality=90)
    for seed, goal in enumerate(goals):
        envs = SerialEnvs([World(("top",), (24, 32))])
        described = {"source": "scripted", "recording": recording.to_json(), **attrs}
        target = episode_path(directory, len(list(directory.glob("*.hdf5"))))
        recorder = EpisodeRecorder(
            lambda _, target=target: target, envs.env_spec, keep=keep_all, attrs=described, jpeg_quality=90
        )
        action = np.zeros((1, 20, 14), np.float32)
        action[0, 5:, 0] = goal if succeed else 0
        action[0, :, 3] = 0.25
        start = {"env_state": np.array([goal, 0, 0, 1, 0, 0, 0])}
        list(rollout(envs, ReplayAgent(action), [recorder], seeds=[seed], options=[start]))


@pytest.fixture
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replays in this process: the fake needs no other, and starting one takes seconds."""

    def here(jobs: Sequence[tuple[Path, Path]], simulator: str, workers: int) -> Iterator[bool]:
        return (mirroring.replay(source, target, simulator) for source, target in jobs)

    monkeypatch.setattr(mirroring, "_in_processes", here)


def mirrored(tmp_path: Path, *words: str) -> int:
    return main(["episodes", "mirror", str(tmp_path / "a"), *words, "--out", str(tmp_path / "b"), *WORLD])


@pytest.mark.usefixtures("one_process")
def test_mirrored_episodes_are_replays_that_succeed_and_failures_are_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    record(tmp_path / "a")
    assert mirrored(tmp_path) == 0
    assert "3 of 4 mirrored replays succeeded" in capsys.readouterr().out
    sources = [path for path, goal in zip(find_episodes(tmp_path / "a"), GOALS, strict=True) if goal < LARGEST]
    for source, path in zip(sources, find_episodes(tmp_path / "b"), strict=True):
        before, after = read_episode(source), read_episode(path)
        assert after.attrs["strict_success"] and len(after) == len(before)
        signs = np.array([-1] + [1] * 13)
        assert np.array_equal(after.action, before.action * signs) and np.array_equal(after.qpos, before.qpos * signs)
        assert not np.array_equal(after.read_images("top"), before.read_images("top"))  # rendered anew
        edit = after.attrs["edits"][-1]
        assert (edit["command"], edit["source"], edit["plane"]) == ("mirror", f"a/{source.name}", "y = 0 m")
        assert "seed" not in after.attrs and after.attrs["recorded_seed"] == before.attrs["seed"]
        assert after.attrs["recorded_as"] == before.attrs["recording"] and "recording" not in after.attrs


@pytest.mark.usefixtures("one_process")
def test_an_episode_that_is_mirrored_twice_is_the_first_one_again(tmp_path: Path):
    record(tmp_path / "a", [0.6])
    assert mirrored(tmp_path) == 0
    assert main(["episodes", "mirror", str(tmp_path / "b"), "--out", str(tmp_path / "c"), *WORLD]) == 0
    first, third = (read_episode(tmp_path / name / "episode_0.hdf5") for name in "ac")
    assert np.array_equal(first.qpos, third.qpos) and np.array_equal(first.read_images("top"), third.read_images("top"))
    assert [edit["command"] for edit in third.attrs["edits"]] == ["mirror", "mirror"]
    assert third.attrs["recorded_seed"] == first.attrs["seed"]


@pytest.mark.usefixtures("one_process")
def test_an_interrupted_mirror_continues_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    record(tmp_path / "a", [0.6, 0.7])
    replay, replayed = mirroring.replay, []

    def once(source: Path, target: Path, simulator: str) -> bool:
        if replayed:
            raise KeyboardInterrupt
        replayed.append(source.name)
        return replay(source, target, simulator)

    monkeypatch.setattr(mirroring, "replay", once)
    assert mirrored(tmp_path) == 130 and not (tmp_path / "b").exists()

    def rest(source: Path, target: Path, simulator: str) -> bool:
        replayed.append(source.name)
        return replay(source, target, simulator)

    monkeypatch.setattr(mirroring, "replay", rest)
    assert mirrored(tmp_path) == 0
    assert replayed == ["episode_0.hdf5", "episode_1.hdf5"] and len(find_episodes(tmp_path / "b")) == 2


@pytest.mark.usefixtures("one_process")
def test_where_no_replay_succeeds_nothing_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    record(tmp_path / "a", [0.95])
    assert mirrored(tmp_path) == 2 and [path.name for path in tmp_path.iterdir()] == ["a"]
    assert "none of 1 mirrored replays succeeded; nothing was written" in capsys.readouterr().err


def test_episodes_that_failed_before_are_not_replayed(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    record(tmp_path / "a", [0.6])
    record(tmp_path / "a", [0.6], succeed=False)
    assert mirrored(tmp_path, "--dry_run") == 0
    said = capsys.readouterr().out
    assert "1 episodes did not succeed strictly themselves" in said and "1 episodes would be replayed" in said
    assert not (tmp_path / "b").exists()
    assert mirrored(tmp_path, "1") == 2
    assert "was a strict success; there is nothing to mirror" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("attrs", "words", "reason"),
    [
        ({"recording": ""}, WORLD, "was not recorded by record_sim_episodes.py"),
        ({"task_name": "pour"}, WORLD, "task 'pour' is not symmetrical"),
        ({"recording": {"randomize": ["light"]}}, WORLD, "was recorded with --randomize"),
        ({"recording": {"dart_noise": 0.0025}}, WORLD, "was recorded with --dart_noise"),
        ({"edits": [{"command": "trim", "start": 5, "stop": 20}]}, WORLD, "lacks its first or last steps"),
        ({}, ("--simulator", "json"), "--simulator json: No module named 'json.mirror'"),
        ({}, (*WORLD, "--workers", "0"), "--workers 0: must be at least 1"),
    ],
)
def test_what_cannot_be_mirrored_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], attrs: dict[str, Any], words: tuple[str, ...], reason: str
):
    record(tmp_path / "a", [0.6], **attrs)
    assert main(["episodes", "mirror", str(tmp_path / "a"), "--out", str(tmp_path / "b"), *words]) == 2
    assert reason in capsys.readouterr().err and not (tmp_path / "b").exists()


def test_an_episode_without_its_end_is_not_called_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    record(tmp_path / "a", [0.6])
    assert main(["episodes", "trim", str(tmp_path / "a"), "--stop", "15", "--out", str(tmp_path / "short")]) == 0
    assert main(["episodes", "mirror", str(tmp_path / "short"), "--out", str(tmp_path / "b"), *WORLD]) == 2
    assert "lacks its first or last steps" in capsys.readouterr().err


@pytest.mark.slow
def test_worker_processes_replay_the_same(tmp_path: Path):
    record(tmp_path / "a", [0.6, 0.7])
    assert mirrored(tmp_path, "--workers", "2") == 0
    assert len(find_episodes(tmp_path / "b")) == 2
