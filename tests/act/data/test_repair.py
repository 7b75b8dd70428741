"""Broken episodes of a folder are found and set aside, and the rest is listed."""

import os
import subprocess
import sys
from pathlib import Path

import h5py
import pytest

from act.data.episodes import episode_path, find_episodes, read_episode, write_episode
from act.data.repair import check_episode, main
from act.files import lock_folder, whole_file
from tests.act.data.test_episodes import content


def test_validate_repair_and_info_find_what_is_broken(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for index in range(3):
        write_episode(episode_path(tmp_path, index), **content())
    assert main(["validate", str(tmp_path)]) == 0
    path = episode_path(tmp_path, 1)
    path.write_bytes(path.read_bytes()[:-500])
    (tmp_path / ".episode_3.hdf5.77.tmp").write_text("half")
    assert main(["validate", str(tmp_path)]) == 1
    assert main(["info", str(tmp_path)]) == 1
    assert "episode_1.hdf5" in capsys.readouterr().out
    assert main(["repair", str(tmp_path)]) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["broken", "episode_0.hdf5", "episode_2.hdf5"]
    assert main(["repair", "--renumber", str(tmp_path)]) == 0
    assert [p.name for p in find_episodes(tmp_path)] == ["episode_0.hdf5", "episode_1.hdf5"]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("validate", "is not a directory; record episodes with record_sim_episodes.py"),
        ("repair", "is not a folder; give one with episodes"),
        ("info", "is not a directory"),
    ],
)
def test_a_missing_folder_is_named_and_not_made(tmp_path: Path, capsys: pytest.CaptureFixture, command: str, message):
    assert main([command, str(tmp_path / "nowhere")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"episodes: {tmp_path / 'nowhere'}") and message in error
    assert not (tmp_path / "nowhere").exists()


def test_a_folder_without_episodes_has_nothing_to_list(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["validate", str(tmp_path)]) == 0
    assert main(["info", str(tmp_path)]) == 2
    assert "has no episode_<i>.hdf5; record some with record_sim_episodes.py" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["polish"], ["info"]])
def test_an_incomplete_command_ends_with_code_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2


def test_numbers_that_are_not_used_are_noted(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for index in (1, 4):
        write_episode(episode_path(tmp_path, index), **content())
    assert main(["validate", str(tmp_path)]) == 0
    assert "these episode numbers are not used: 0, 2, 3" in capsys.readouterr().out


def test_renumbering_never_writes_over_an_episode(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for name in ("episode_0", "episode_1", "episode_01"):
        write_episode(tmp_path / f"{name}.hdf5", **content())
    assert main(["repair", "--renumber", str(tmp_path)]) == 2
    assert (
        "have the same number; rename one of them" in capsys.readouterr().err
        and len(list(tmp_path.glob("episode_*"))) == 3
    )


def test_a_folder_that_is_being_recorded_into_is_not_repaired(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with lock_folder(tmp_path, "recorded into", "--dataset_dir"), whole_file(tmp_path / "episode_0.hdf5") as temporary:
        assert main(["repair", str(tmp_path)]) == 2
        assert "is being recorded into by another process" in capsys.readouterr().err
        assert temporary.exists()


def test_a_damaged_jpeg_is_found(tmp_path: Path) -> None:
    path = write_episode(tmp_path / "episode_0.hdf5", **content())
    with h5py.File(path, "r+") as root:
        dataset = root["observations/images/cam_low"]
        assert isinstance(dataset, h5py.Dataset)
        dataset[3, :200] = 7
    assert "camera cam_low has an incomplete JPEG at step 3" in str(check_episode(path))


def test_damage_inside_a_file_is_reported_with_its_name(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for index in range(2):
        write_episode(episode_path(tmp_path, index), **content())
    path = episode_path(tmp_path, 1)
    with h5py.File(path) as root:
        dataset = root["observations/images/cam_low"]
        assert isinstance(dataset, h5py.Dataset)
        chunk = dataset.id.get_chunk_info(0)
    data = bytearray(path.read_bytes())
    data[chunk.byte_offset : chunk.byte_offset + chunk.size] = bytes(chunk.size)
    path.write_bytes(data)
    for command in ("validate", "info"):
        assert main([command, str(tmp_path)]) == 1
        assert str(path) in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"episode_1.hdf5: images of step 0"):
        read_episode(path).encoded(0)


def test_the_command_runs_from_the_shell(tmp_path: Path) -> None:
    write_episode(episode_path(tmp_path, 0), **content())
    command = [sys.executable, "-m", "act", "episodes", "validate", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "1 of 1 episodes" in done.stdout and not done.stderr


def test_repair_moves_only_what_is_truncated_or_undecodable(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for index in range(3):
        write_episode(episode_path(tmp_path, index), **content())
    cut, other = episode_path(tmp_path, 1), episode_path(tmp_path, 3)
    cut.write_bytes(cut.read_bytes()[:-1])
    with h5py.File(other, "w") as root:
        root["weights"] = [1.0]
    os.mkfifo(episode_path(tmp_path, 4))
    assert main(["repair", str(tmp_path)]) == 1
    shown = capsys.readouterr().out
    assert "no dataset /action, so this is not an ALOHA episode; it stays where it is" in shown
    assert "not a regular file" in shown and "2 sound episodes" in shown
    assert [path.name for path in (tmp_path / "broken").iterdir()] == ["episode_1.hdf5"]
    assert [path.name for path in find_episodes(tmp_path)] == [f"episode_{i}.hdf5" for i in (0, 2, 3, 4)]


def test_repair_leaves_a_file_that_is_open_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = write_episode(episode_path(tmp_path, 0), **content())
    with h5py.File(path, "r+"):
        assert main(["repair", str(tmp_path)]) == 1
    assert (
        "another program has locked the file" in capsys.readouterr().out
        and path.exists()
        and not (tmp_path / "broken").exists()
    )
    assert main(["repair", str(tmp_path)]) == 0


def test_seal_adds_checksums_to_files_that_have_none(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for index, compress in enumerate((True, False)):
        path = write_episode(episode_path(tmp_path, index), **content(), compress=compress)
        with h5py.File(path, "r+") as root:  # HDF5 removes the checksums
            root.attrs["robot"] = "mine"
            del root.attrs["checksums"]
    path, broken = episode_path(tmp_path, 1), episode_path(tmp_path, 2)
    broken.write_bytes(path.read_bytes()[:-9])
    before = [read_episode(episode_path(tmp_path, index)) for index in range(2)]
    images = [episode.read_images("cam_low") for episode in before]
    assert main(["seal", str(tmp_path)]) == 1
    assert "2 of 3 episodes" in capsys.readouterr().out
    for index, old in enumerate(before):
        episode = read_episode(episode_path(tmp_path, index))
        assert episode.stored.seal is not None and episode.attrs == old.attrs
        assert (episode.action == old.action).all() and (episode.read_images("cam_low") == images[index]).all()
    path.write_bytes(path.read_bytes().replace(b"mine", b"mint"))
    broken.unlink()
    assert main(["validate", str(tmp_path)]) == 1
    assert "differ from their checksum" in capsys.readouterr().out
    assert main(["seal", str(tmp_path)]) == 1, "damage never gets checksums"
