"""Recording a data set: only successes, the same bytes whatever the workers, and it can be continued."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from act.data.episodes import episode_path, find_episodes, read_episode, write_episode
from act.recording.attempts import Recording
from act.recording.demonstrations import Progress, WorkerPool
from act.recording.demonstrations import record as record_with
from tests.fakes import toy_world
from tests.fakes.in_process import InProcess
from tests.fakes.toy_env import ToyEnv

RECORDING = Recording("sim_toy_scripted", cameras=("top", "angle"), image_size=(24, 32))


def record(directory: Path, number: int = 4, start_workers: Any = InProcess, **values: Any) -> Progress:
    recording = replace(RECORDING, **values)
    make_env = partial(toy_world.make, recording.task, **recording.view)
    make_expert = partial(toy_world.make_expert, recording.task, recording.style)
    return record_with(recording, make_env, make_expert, directory, number, start_workers)


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("dataset")
    record(directory, 4)
    return directory


def test_only_successes_are_kept_and_numbered_in_the_order_of_attempts(dataset: Path) -> None:
    episodes = [read_episode(path) for path in find_episodes(dataset)]
    assert [episode.attrs["seed"] for episode in episodes] == [0, 2, 3, 5]  # the toy expert fails at 1, 4, 7, ...
    assert all(episode.attrs["strict_success"] and episode.attrs["source"] == "scripted" for episode in episodes)
    assert episodes[0].cameras == ("top", "angle") and episodes[0].image_size == (24, 32)
    assert len(list(dataset.iterdir())) == 4


def test_a_data_set_of_spread_starts_can_be_continued(tmp_path: Path) -> None:
    record(tmp_path / "whole", 5, spread=20)
    record(tmp_path / "parts", 2, spread=20)
    record(tmp_path / "parts", 5, spread=20)
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    with pytest.raises(ValueError, match="the 6 seeds from --seed on are used up"):
        record(tmp_path / "few", 6, spread=6)  # the toy expert fails at every third seed


def test_a_success_that_does_not_last_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = ToyEnv.step

    def slip(self: ToyEnv, action: np.ndarray):
        *seen, info = step(self, action)
        return *seen, {**info, "success": True, "strict_success": False}

    monkeypatch.setattr(ToyEnv, "step", slip)
    with pytest.raises(RuntimeError, match="failed in all of the first 50 attempts"):
        record(tmp_path, 1)
    assert find_episodes(tmp_path) == []


def test_the_success_rate_of_the_expert_is_counted(tmp_path: Path) -> None:
    summary = f"2 episodes in {tmp_path}; the expert succeeded in 2 of 3 attempts (66.7 %)"
    assert str(record(tmp_path, 2)) == summary


@pytest.mark.parametrize("workers", [1, 2])
def test_the_files_are_the_same_bytes_whatever_the_number_of_workers(
    dataset: Path, tmp_path: Path, workers: int
) -> None:
    record(tmp_path, 4, partial(WorkerPool, workers=workers))
    assert contents(tmp_path) == contents(dataset)


def test_a_dataset_can_be_continued_and_gaps_are_filled(dataset: Path, tmp_path: Path) -> None:
    record(tmp_path, 2)
    record(tmp_path, 4)
    assert contents(tmp_path) == contents(dataset)
    episode_path(tmp_path, 1).unlink()
    partial = tmp_path / ".partial"
    partial.mkdir()
    episode_path(tmp_path, 3).rename(partial / "attempt_5.hdf5")  # finished by a worker, not yet numbered
    (partial / "attempt_3.hdf5").write_text("half")
    record(tmp_path, 4)
    assert contents(tmp_path) == contents(dataset)
    record(tmp_path, 3)
    assert contents(tmp_path) == contents(dataset)


def test_a_dataset_of_an_older_version_is_continued(dataset: Path, tmp_path: Path) -> None:
    """Its files also name the module that made environments, which does not decide their content."""
    record(tmp_path, 1)
    old = read_episode(episode_path(tmp_path, 0))
    arrays = {name: getattr(old, name) for name in ("qpos", "qvel", "action", "env_state", "reward")}
    images = {camera: old.read_images(camera) for camera in old.cameras}
    recording = {**old.attrs["recording"], "world": "record_sim_episodes"}
    write_episode(old.path, **arrays, images=images, attrs={**old.attrs, "recording": recording})
    first = old.path.read_bytes()
    record(tmp_path, 4)
    assert contents(tmp_path) == {**contents(dataset), "episode_0.hdf5": first}


def test_a_dataset_recorded_with_other_values_is_not_touched(dataset: Path) -> None:
    before = contents(dataset)
    with pytest.raises(ValueError, match=r"jpeg_quality 85 \(now 50\); give another --dataset_dir or the same flags"):
        record(dataset, 6, jpeg_quality=50)
    assert contents(dataset) == before


def test_what_was_not_numbered_yet_is_not_lost_to_other_values(dataset: Path, tmp_path: Path) -> None:
    finished = tmp_path / ".partial" / "attempt_0.hdf5"
    finished.parent.mkdir()
    finished.write_bytes(episode_path(dataset, 0).read_bytes())
    with pytest.raises(ValueError, match="jpeg_quality"):
        record(tmp_path, 1, jpeg_quality=50)
    assert finished.exists()
    record(tmp_path, 1)
    assert contents(tmp_path) == {"episode_0.hdf5": contents(dataset)["episode_0.hdf5"]}


def test_a_broken_episode_is_named_with_the_way_out(tmp_path: Path) -> None:
    episode_path(tmp_path, 0).write_text("half a file")
    with pytest.raises(ValueError, match=r"episode_0.hdf5: not a readable HDF5 file.*episodes repair"):
        record(tmp_path, 1)


def test_failures_are_kept_when_asked(tmp_path: Path) -> None:
    record(tmp_path, 3, keep_failures=True, raw=True)
    episodes = [read_episode(path) for path in find_episodes(tmp_path)]
    assert [e.attrs["seed"] for e in episodes] == [0, 1, 2]
    assert [e.attrs["strict_success"] for e in episodes] == [True, False, True] and not episodes[0].compressed


def test_an_expert_that_never_succeeds_ends_the_recording(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="failed in all of the first 50 attempts"):
        record(tmp_path, 2, task_name="sim_toy_human")
    assert find_episodes(tmp_path) == []


def test_attempts_end_where_the_seeds_of_others_begin(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the 3 seeds from --seed on are used up"):
        record(tmp_path, 3, seed=999_997)  # the toy expert fails at 999997
    assert [read_episode(path).attrs["seed"] for path in find_episodes(tmp_path)] == [999998, 999999]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_task_that_cannot_be_made_is_an_error_and_nobody_waits(tmp_path: Path, workers: int) -> None:
    with pytest.raises(ValueError, match=r"recording worker \d: the toy is broken"):
        record(tmp_path, 4, partial(WorkerPool, workers=workers), task_name="sim_broken_scripted")
