"""LeRobot data sets of any version, camera and rate become episodes that hold the same numbers and images."""

from pathlib import Path

import numpy as np
import pytest

from act.data.episodes import find_episodes, read_episode
from act.interop import importing
from act.interop.convert import main
from act.interop.importing import Import, differences, import_episodes, open_dataset, resampled, task_name
from tests.fakes import lerobot_folders as folders
from tests.fakes.lerobot_folders import Made, decibels

WRITERS = [folders.write_v21, folders.write_edited_v3, folders.write_images_v3]


@pytest.mark.parametrize("write", WRITERS)
def test_every_version_gives_the_same_numbers_and_images(tmp_path: Path, write) -> None:
    made = [Made(0), Made(1)]
    assert main([str(write(tmp_path / "lerobot", made)), str(tmp_path / "episodes")]) == 0
    paths = find_episodes(tmp_path / "episodes")
    assert len(paths) == 2
    for path, expected in zip(paths, made, strict=True):
        episode = read_episode(path)
        np.testing.assert_array_equal(episode.qpos, expected.qpos)
        np.testing.assert_array_equal(episode.action, expected.action)
        assert episode.cameras == ("top",) and episode.attrs["control_timestep"] == 0.02
        images = episode.read_images("top")
        right = [decibels(images[t], expected.images[t]) for t in range(10)]
        early = [decibels(images[t], expected.images[t - 1]) for t in range(1, 10)]
        assert min(right) > 35 > max(early), "every image stands at its own row, not at its neighbour's"


def test_velocities_that_were_not_recorded_are_differences_and_say_so(tmp_path: Path) -> None:
    import_episodes(Import(folders.write_v21(tmp_path / "lerobot", [Made(0)]), tmp_path / "episodes"), 1)
    episode = read_episode(tmp_path / "episodes/episode_0.hdf5")
    assert episode.qvel is not None and episode.attrs["qvel_source"] == "differences of qpos"
    np.testing.assert_allclose(episode.qvel[1:], np.diff(episode.qpos, axis=0) * 50, rtol=1e-5)
    assert np.all(differences(np.ones((3, 2), np.float32), 50) == 0)


def test_the_task_is_named_by_the_data_set_or_by_the_user(tmp_path: Path) -> None:
    source = folders.write_v21(tmp_path / "lerobot", [Made(0)])
    import_episodes(Import(source, tmp_path / "a"), 1)
    import_episodes(Import(source, tmp_path / "b", task_name="cube"), 1)
    attrs = [read_episode(tmp_path / name / "episode_0.hdf5").attrs for name in "ab"]
    assert [a["task_name"] for a in attrs] == ["move_the_cube", "cube"]
    assert attrs[1]["language"] == "Move the cube."
    assert task_name("¿?") == "task"


def test_other_widths_than_14_are_kept(tmp_path: Path) -> None:
    import_episodes(Import(folders.write_v21(tmp_path / "lerobot", [Made(0, width=6)]), tmp_path / "episodes"), 1)
    assert read_episode(tmp_path / "episodes/episode_0.hdf5").action.shape == (10, 6)


def test_another_rate_is_refused_until_the_user_decides(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    source = folders.write_v21(tmp_path / "lerobot", [Made(0, length=30)], fps=30)
    assert main([str(source), str(tmp_path / "a")]) == 2
    assert "has 30 frames per second, and training expects 50" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()
    assert main([str(source), str(tmp_path / "a"), "--other_fps", "keep"]) == 0
    assert main([str(source), str(tmp_path / "b"), "--other_fps", "resample"]) == 0
    kept, made = (read_episode(tmp_path / name / "episode_0.hdf5") for name in "ab")
    assert (len(kept), kept.attrs["control_timestep"]) == (30, 1 / 30)
    assert (len(made), made.attrs["control_timestep"]) == (49, 0.02)  # 0 to 29 / 30 s
    with pytest.raises(ValueError, match="training expects 50"):
        open_dataset(source)


def test_resampling_keeps_the_time_of_what_happened() -> None:
    time = np.arange(31, dtype=np.float32)[:, None] / 30
    vectors, images = resampled(
        {"action": time, "qpos": time, "reward": time[:, 0]}, {"top": [b"%d" % t for t in range(31)]}, 30
    )
    np.testing.assert_allclose(vectors["action"][:, 0], np.arange(51) / 50, atol=1e-6)
    shown = np.array([int(name) for name in images["top"]]) / 30
    assert np.abs(shown - np.arange(51) / 50).max() <= 1 / 60 + 1e-9


def test_an_import_continues_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = folders.write_v21(tmp_path / "lerobot", [Made(k) for k in range(3)])
    chosen, write, written = Import(source, tmp_path / "episodes"), importing.write_episode, []

    def interrupted(path: Path, **content):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path.name)
        return write(path, **content)

    monkeypatch.setattr(importing, "write_episode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        import_episodes(chosen, 1)
    assert not chosen.target.exists()
    monkeypatch.setattr(
        importing, "write_episode", lambda path, **content: written.append(path.name) or write(path, **content)
    )
    assert import_episodes(chosen, 1) == sum(len(read_episode(path)) for path in find_episodes(chosen.target))
    assert written == ["episode_0.hdf5", "episode_1.hdf5", "episode_2.hdf5"] and len(find_episodes(chosen.target)) == 3
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_lerobot_folder_opens_as_episodes_beside_it_once(tmp_path: Path) -> None:
    source = folders.write_v21(tmp_path / "lerobot", [Made(0)])
    opened = open_dataset(source, 1)
    assert opened == tmp_path / "lerobot.episodes" and len(find_episodes(opened)) == 1
    stamp = (opened / "episode_0.hdf5").stat().st_mtime_ns
    assert open_dataset(source, 1) == opened and (opened / "episode_0.hdf5").stat().st_mtime_ns == stamp
    assert open_dataset(opened) == opened, "a folder of episodes stays what it is"
    folders.write_v21(source, [Made(1)])
    with pytest.raises(ValueError, match="was made from another state"):
        open_dataset(source, 1)
