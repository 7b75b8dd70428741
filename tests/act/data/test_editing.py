"""Edited data sets hold the bytes of their sources and say what was done; an interruption loses nothing."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from act.data.checksums import DamagedFile
from act.data.editing import copying, folders
from act.data.editing.copying import copy_episode
from act.data.editing.folders import make_copy, parse_numbers
from act.data.episodes import episode_path, find_episodes, read_episode, write_episode
from act.data.motion import find_stillness
from act.data.repair import check_episode, main
from act.recording.demonstrations import find_known
from act.recording.rounds import record_round
from tests.act.data.test_episodes import T, content

ATTRS = {"task_name": "toy", "stage_names": ["half", "done"], "success": True, "strict_success": True}
VECTORS = ("qpos", "qvel", "action", "reward", "env_state")


def record(folder: Path, n: int, first_seed: int = 0, **changed: Any) -> Path:
    for index in range(n):
        made = content() | {"qpos": np.full((T, 14), 0.1 * (first_seed + index)), "reward": [0, 0, 1, 2, 2, 1]}
        seed = first_seed + index
        attrs = ATTRS | {"seed": seed, "recording": {"task": "toy", "seed": first_seed}}
        write_episode(episode_path(folder, index), **made | changed, attrs=attrs)
    return folder


def seeds(folder: Path) -> list[int]:
    return [read_episode(path).attrs["seed"] for path in find_episodes(folder)]


def jpegs(path: Path, steps: slice = slice(None)) -> list[dict[str, bytes]]:
    episode = read_episode(path)
    return [episode.encoded(t) for t in range(len(episode))[steps]]


def edit(*words: object) -> int:
    return main([str(word) for word in words])


def stop_after(files: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Interrupts an edit when it has written so many files; returns the names of those that it has written."""
    written: list[str] = []

    def stopping(copy: copying.Copy, target: Path) -> None:
        if len(written) == files:
            raise KeyboardInterrupt
        copy_episode(copy, target)
        written.append(copy.name)

    monkeypatch.setattr(folders, "copy_episode", stopping)
    return written


def test_delete_leaves_episodes_out_and_keeps_the_others_byte_for_byte(tmp_path: Path) -> None:
    source, out = record(tmp_path / "cube", 5), tmp_path / "out"
    before = {path.name: path.read_bytes() for path in find_episodes(source)}
    assert edit("delete", source, "0", "2-3", "--out", out) == 0
    assert seeds(out) == [1, 4] and [path.name for path in find_episodes(out)] == ["episode_0.hdf5", "episode_1.hdf5"]
    for made, origin in zip(find_episodes(out), (1, 4), strict=True):
        old, new = read_episode(episode_path(source, origin)), read_episode(made)
        assert jpegs(made) == jpegs(old.path) and check_episode(made) is None
        assert all(np.array_equal(getattr(new, name), getattr(old, name)) for name in VECTORS)
    assert {path.name: path.read_bytes() for path in find_episodes(source)} == before


def test_every_file_says_what_was_done_to_which_source(tmp_path: Path) -> None:
    source = record(tmp_path / "cube", 3)
    assert edit("delete", source, "0", "--out", tmp_path / "a") == 0
    assert edit("trim", tmp_path / "a", "--start", "1", "--stop", "5", "--out", tmp_path / "b") == 0
    attrs = read_episode(episode_path(tmp_path / "b", 1)).attrs
    first, second = attrs["edits"]
    assert first == make_copy("delete", episode_path(source, 2), 1).edit and first["source"] == "cube/episode_2.hdf5"
    assert (second["command"], second["source"], second["start"], second["stop"]) == ("trim", "a/episode_1.hdf5", 1, 5)
    assert attrs["recorded_as"] == {"task": "toy", "seed": 0} and "recording" not in attrs


def test_trim_keeps_the_rows_of_its_steps_and_only_what_is_still_true(tmp_path: Path) -> None:
    source, out = record(tmp_path / "cube", 1), tmp_path / "out"
    assert edit("trim", source, "--start", "2", "--stop", "5", "--out", out) == 0
    old, new = read_episode(episode_path(source, 0)), read_episode(episode_path(out, 0))
    assert jpegs(new.path) == jpegs(old.path, slice(2, 5)) and check_episode(new.path, decode_all=True) is None
    for name in VECTORS:
        np.testing.assert_array_equal(getattr(new, name), getattr(old, name)[2:5])
    assert new.attrs["success"] is True and new.attrs["recorded_seed"] == 0
    assert "strict_success" not in new.attrs and "seed" not in new.attrs
    assert edit("trim", source, "--stop", "3", "--out", tmp_path / "short") == 0
    short = read_episode(episode_path(tmp_path / "short", 0)).attrs
    assert short["success"] is False and short["seed"] == 0, "the last stage came later; replaying still works"


def test_trim_moves_the_chunks_of_the_expert_along(tmp_path: Path) -> None:
    chunks = np.arange(3 * 4 * 14, dtype=np.float32).reshape(3, 4, 14)
    labels = {"executed_action": content()["action"], "intervention": np.array([0, 0, 1, 1, 0, 0], bool)}
    source = record(tmp_path / "cube", 1, **labels, action_chunk=chunks, action_chunk_t=np.array([0, 2, 4]))
    assert edit("trim", source, "--start", "2", "--out", tmp_path / "out") == 0
    new = read_episode(episode_path(tmp_path / "out", 0))
    assert new.action_chunk_t is not None and new.intervention is not None
    assert new.action_chunk_t.tolist() == [0, 2] and new.intervention.tolist() == [True, True, False, False]
    np.testing.assert_array_equal(new.action_chunk, chunks[1:])


def test_what_this_project_does_not_read_is_copied_too(tmp_path: Path) -> None:
    (tmp_path / "cube").mkdir()
    images = np.arange(T * 8 * 12 * 3, dtype=np.uint8).reshape(T, 8, 12, 3)
    with h5py.File(tmp_path / "cube" / "episode_0.hdf5", "w") as root:
        for name in ("observations/qpos", "observations/qvel", "observations/effort", "action"):
            root[name] = np.random.default_rng(0).normal(size=(T, 14))
        root["observations/images/top"] = images
        root["calibration"] = np.eye(3)
        root.attrs["sim"] = False
    assert edit("trim", tmp_path / "cube", "--start", "1", "--out", tmp_path / "out") == 0
    old, new = (h5py.File(tmp_path / name / "episode_0.hdf5") for name in ("cube", "out"))
    with old, new:
        for name in ("observations/effort", "action", "observations/images/top"):
            assert new[name].dtype == old[name].dtype  # type: ignore[union-attr]
            np.testing.assert_array_equal(new[name][()], old[name][1:])  # type: ignore[index]
        np.testing.assert_array_equal(new["calibration"][()], np.eye(3))  # type: ignore[index]


def moving(still_before: int, steps: int, still_after: int) -> np.ndarray:
    path = np.concatenate([np.zeros(still_before), 0.05 * np.arange(1, steps + 1), np.full(still_after, 0.05 * steps)])
    return np.tile(path[:, None], (1, 14))


def test_trim_finds_where_the_arms_stand_still(tmp_path: Path) -> None:
    path = moving(60, 80, 100)
    write_episode(episode_path(tmp_path / "cube", 0), qpos=path, action=path, images={})
    found = find_stillness(read_episode(episode_path(tmp_path / "cube", 0)))
    assert (found.start, found.stop) == (60, 139) and found.still.sum() == 161
    assert edit("trim", tmp_path / "cube", "--still_ends", "--margin", "5", "--out", tmp_path / "out") == 0
    assert len(read_episode(episode_path(tmp_path / "out", 0))) == 79 + 2 * 5


def test_an_episode_without_motion_is_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    still = np.zeros((T, 14))
    write_episode(episode_path(tmp_path / "cube", 0), qpos=still, action=still, images={})
    assert edit("trim", tmp_path / "cube", "--still_ends", "--out", tmp_path / "out") == 2
    assert "episode_0.hdf5: nothing moves in this episode; delete it" in capsys.readouterr().err


def test_merge_puts_folders_one_behind_the_other(tmp_path: Path) -> None:
    a, b = record(tmp_path / "a", 2), record(tmp_path / "b", 3, first_seed=10)
    assert edit("merge", a, b, "--out", tmp_path / "out") == 0
    assert seeds(tmp_path / "out") == [0, 1, 10, 11, 12]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({}, "is the same demonstration as"),
        ({"images": content(("cam_low",))["images"]}, "has cameras cam_low, "),
        ({"action": np.zeros((T, 16))}, "has action width 16, "),
        ({"env_state": np.zeros((T, 14))}, "has width of object poses 14, "),
    ],
)
def test_folders_that_do_not_mix_are_not_merged(tmp_path: Path, capsys: pytest.CaptureFixture, changed: Any, message):
    a, b = record(tmp_path / "a", 1), record(tmp_path / "b", 1, **changed)
    assert edit("merge", a, b, "--out", tmp_path / "out") == 2
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_split_gives_every_episode_to_one_folder(tmp_path: Path) -> None:
    source = record(tmp_path / "cube", 5)
    words = ("split", source, "--counts", 3, 2, "--out")
    assert edit(*words, tmp_path / "a", tmp_path / "b") == 0
    assert (seeds(tmp_path / "a"), seeds(tmp_path / "b")) == ([0, 1, 2], [3, 4])
    assert edit(*words, tmp_path / "c", tmp_path / "d", "--shuffle_seed", 1) == 0
    drawn = seeds(tmp_path / "c") + seeds(tmp_path / "d")
    assert sorted(drawn) == [0, 1, 2, 3, 4] and drawn != [0, 1, 2, 3, 4]


def test_renumber_closes_gaps_and_puts_the_named_ones_first(tmp_path: Path) -> None:
    source = record(tmp_path / "cube", 4)
    episode_path(source, 1).unlink()
    assert edit("renumber", source, "--first", "3", "--out", tmp_path / "out") == 0
    assert seeds(tmp_path / "out") == [3, 0, 2]


def test_a_dry_run_says_what_would_be_written_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    source = record(tmp_path / "cube", 2)
    before = sorted(tmp_path.rglob("*"))
    assert edit("trim", source, "--episodes", "1", "--stop", "4", "--out", tmp_path / "out", "--dry_run") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{tmp_path}/out/episode_0.hdf5 <- {source}/episode_0.hdf5"
    assert lines[1].endswith("cube/episode_1.hdf5, steps 0 to 3") and lines[2].endswith("nothing was written")
    assert sorted(tmp_path.rglob("*")) == before


def test_an_interrupted_edit_shows_no_folder_and_the_same_command_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = record(tmp_path / "cube", 4), tmp_path / "out"
    written = stop_after(2, monkeypatch)
    assert edit("renumber", source, "--out", out) == 130
    assert not out.exists() and len(find_episodes(source)) == 4
    (tmp_path / ".out.partial" / "result" / ".episode_2.hdf5.77.tmp").write_text("half of a file, as kill -9 leaves it")
    counted = lambda copy, target: written.append(copy.name) or copy_episode(copy, target)  # noqa: E731
    monkeypatch.setattr(folders, "copy_episode", counted)
    assert edit("renumber", source, "--out", out) == 0
    assert written == [f"episode_{i}.hdf5" for i in range(4)] and seeds(out) == [0, 1, 2, 3]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cube", "out"]
    assert sorted(path.name for path in out.iterdir()) == written


def test_what_another_interrupted_edit_left_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, out = record(tmp_path / "cube", 6), tmp_path / "out"
    stop_after(4, monkeypatch)
    assert edit("delete", source, "5", "--out", out) == 130
    monkeypatch.undo()
    assert edit("delete", source, "0-3", "--out", out) == 0
    assert seeds(out) == [4, 5]


def test_a_finished_edit_is_recognised_and_another_one_never_writes_over_it(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    source, out = record(tmp_path / "cube", 3), tmp_path / "out"
    assert edit("delete", source, "0", "--out", out) == 0
    before = {path.name: path.read_bytes() for path in find_episodes(out)}
    assert edit("delete", source, "0", "--out", out) == 0
    assert "holds these 2 episodes already" in capsys.readouterr().out
    assert edit("delete", source, "1", "--out", out) == 2
    assert "exists already; choose another folder" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in find_episodes(out)} == before


def test_the_folder_that_is_edited_cannot_be_the_new_one(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    source = record(tmp_path / "cube", 2)
    assert edit("delete", source, "0", "--out", source) == 2
    assert "an edit writes a new folder" in capsys.readouterr().err and len(find_episodes(source)) == 2


def test_a_recording_does_not_continue_in_an_edited_folder(tmp_path: Path) -> None:
    source, out = record(tmp_path / "cube", 3), tmp_path / "out"
    recording = {"task": "toy", "seed": 0}
    assert sorted(find_known(source, recording)) == [0, 1, 2]
    assert edit("delete", source, "1", "--out", out) == 0
    with pytest.raises(ValueError, match=r"written by `python -m act episodes delete`.*give another --dataset_dir"):
        find_known(out, recording)
    with pytest.raises(ValueError, match="does not continue in an edited folder"):
        record_round(None, None, None, out, [0], {"recording": recording})  # type: ignore[arg-type]


def test_a_damaged_image_is_not_hidden_by_the_checksums_of_a_copy(tmp_path: Path) -> None:
    path = episode_path(record(tmp_path / "cube", 1), 0)
    with h5py.File(path) as root:
        chunk = root["observations/images/cam_low"].id.get_chunk_info(0)  # type: ignore[union-attr]
    data = bytearray(path.read_bytes())
    data[chunk.byte_offset + chunk.size // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedFile, match="images from step 0 on differ"):
        copy_episode(make_copy("renumber", path, 0), tmp_path / "out.hdf5")
    assert not (tmp_path / "out.hdf5").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("delete", "DIR", "7", "--out", "NEW"), "episode 7 does not exist; the folder has numbers from 0 to 2"),
        (("delete", "DIR", "x", "--out", "NEW"), "'x' names no episodes; write a number or a range"),
        (("delete", "DIR", "2-1", "--out", "NEW"), "'2-1' is an empty range"),
        (("delete", "DIR", "1", "0-1", "--out", "NEW"), "name every episode once"),
        (("delete", "DIR", "--out", "NEW"), "no episode to leave out is given"),
        (("delete", "DIR", "0-2", "--out", "NEW"), "all 3 episodes"),
        (("merge", "DIR", "--out", "NEW"), "merge needs at least two folders"),
        (
            ("split", "DIR", "--counts", "1", "1", "--out", "NEW", "B"),
            "--counts 1 + 1 is not 3, the number of episodes",
        ),
        (("split", "DIR", "--counts", "1", "2", "--out", "NEW"), "give two or more folders, and a number for each"),
        (("split", "DIR", "--counts", "1", "2", "--out", "NEW", "NEW"), "name each folder once"),
        (("trim", "DIR", "--out", "NEW"), "nothing to cut off"),
        (("trim", "DIR", "--stop", "9", "--out", "NEW"), "has 6 steps; choose --start and --stop within them"),
        (("trim", "DIR", "--start", "3", "--stop", "3", "--out", "NEW"), "0 <= start < stop"),
        (("trim", "DIR", "--start", "3", "--still_ends", "--out", "NEW"), "--start 3 has an effect only without"),
        (("trim", "DIR", "--margin", "3", "--out", "NEW"), "--margin 3 has an effect only with --still_ends"),
        (("renumber", "nowhere", "--out", "NEW"), "is not a directory"),
    ],
)
def test_wrong_input_is_one_sentence_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, words: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    record(tmp_path / "DIR", 3)
    assert edit(*words) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["DIR"]


def test_numbers_and_ranges_name_episodes() -> None:
    assert parse_numbers(["7", "0-2"], range(10)) == [7, 0, 1, 2]
