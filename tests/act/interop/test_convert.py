"""Episodes become a LeRobot data set and come back as they were; wrong input leaves nothing behind."""

import json
from pathlib import Path

import numpy as np
import pytest

from act.data.episodes import episode_path, read_episode, write_episode
from act.evaluation.dataset_card import write_dataset_card
from act.interop import exporting
from act.interop.convert import main
from act.interop.lerobot.layout import read_json
from act.interop.lerobot.parquet import arrow, read_table
from act.interop.lerobot.reader import LeRobotFolder
from act.interop.lerobot.statistics import vector_statistics
from tests.act.data.test_episodes import content
from tests.fakes.lerobot_folders import Made, decibels

ATTRS = {"task_name": "toy", "seed": 7, "stage_names": ["touched"], "strict_success": True, "source": "scripted"}


def record(folder: Path, lengths: tuple[int, ...] = (6, 4, 9), **attrs) -> Path:
    for index, length in enumerate(lengths):
        made = content(length=length)
        made["qpos"] = made["qpos"] + np.float32(index)
        write_episode(episode_path(folder, index), **made, attrs={**ATTRS, "seed": index, **attrs})
    return folder


@pytest.mark.parametrize("video", ["h264", "av1", "none"])
def test_there_and_back_again_gives_equal_episodes(tmp_path: Path, video: str) -> None:
    source = record(tmp_path / "episodes")
    there, back = str(tmp_path / "lerobot"), tmp_path / "back"
    assert main([str(source), there, "--video", video, "--env_state"]) == 0
    assert main([there, str(back)]) == 0
    for index in range(3):
        before, after = (read_episode(episode_path(folder, index)) for folder in (source, back))
        for name in ("qpos", "qvel", "action", "reward", "env_state"):
            np.testing.assert_array_equal(getattr(before, name), getattr(after, name))
        assert {name: after.attrs[name] for name in ATTRS} == {name: before.attrs[name] for name in ATTRS}
        assert after.cameras == before.cameras == ("cam_low", "cam_high")
        for camera in before.cameras:
            assert decibels(before.read_images(camera), after.read_images(camera)) > 36


def test_what_a_policy_should_not_see_is_left_out_unless_asked(tmp_path: Path) -> None:
    source = record(tmp_path / "episodes")
    assert main([str(source), str(tmp_path / "a")]) == 0
    assert main([str(source), str(tmp_path / "b"), "--env_state", "--no_qvel"]) == 0
    found = [set(read_json(tmp_path / name / "meta/info.json")["features"]) for name in "ab"]
    assert found[0] - found[1] == {"observation.velocity"}
    assert found[1] - found[0] == {"observation.environment_state"}


def test_what_any_episode_holds_beyond_the_format_is_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    source = record(tmp_path / "episodes")
    labels = {"executed_action": content(length=5)["action"], "intervention": np.ones(5, bool)}
    write_episode(episode_path(source, 3), **content(length=5), **labels, attrs={**ATTRS, "seed": 3})
    assert main([str(source), str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "note: /executed_action is not carried over" in said and "note: /intervention is not" in said


@pytest.mark.parametrize("first", [True, False])
def test_velocities_of_some_episodes_only_are_not_dropped_silently(
    tmp_path: Path, first: bool, capsys: pytest.CaptureFixture
) -> None:
    source = tmp_path / "episodes"
    for index, has_qvel in enumerate((first, not first)):
        made = content(length=5)
        made["qpos"] = made["qpos"] + np.float32(index)
        if not has_qvel:
            del made["qvel"]
        write_episode(episode_path(source, index), **made, attrs={**ATTRS, "seed": index})
    assert main([str(source), str(tmp_path / "a")]) == 2
    assert "has a qvel; give --no_qvel" in capsys.readouterr().err and not (tmp_path / "a").exists()
    assert main([str(source), str(tmp_path / "a"), "--no_qvel"]) == 0


def test_a_data_set_for_lerobot_has_a_card_with_the_licence_of_the_episodes(tmp_path: Path) -> None:
    source = record(tmp_path / "episodes")
    write_dataset_card(source, "cc-by-4.0")
    assert main([str(source), str(tmp_path / "lerobot"), "--cameras", "cam_high"]) == 0
    text = (tmp_path / "lerobot" / "README.md").read_text()
    for line in (
        'license: "cc-by-4.0"',
        'configs: [{"config_name": "default", "data_files": "data/*/*.parquet"}]',
        "| episodes | 3, 19 control steps, 0.0 min |",
        "| who drove | scripted |",
    ):
        assert line in text.splitlines()
    assert '"LeRobot"' in text and "| cameras | cam_high at " in text


def test_statistics_are_those_of_the_numbers(tmp_path: Path) -> None:
    source = record(tmp_path / "episodes")
    assert main([str(source), str(tmp_path / "lerobot")]) == 0
    qpos = np.concatenate([read_episode(episode_path(source, index)).qpos for index in range(3)])
    expected, found = vector_statistics(qpos), read_json(tmp_path / "lerobot/meta/stats.json")["observation.state"]
    assert found.keys() == expected.keys() and found["count"] == [19]
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-6)
    table = read_table(tmp_path / "lerobot/meta/episodes/chunk-000/file-000.parquet")
    last = vector_statistics(read_episode(episode_path(source, 2)).qpos)
    np.testing.assert_allclose(table.column("stats/observation.state/q90").to_pylist()[2], last["q90"], rtol=1e-6)
    assert np.shape(table.column("stats/observation.images.cam_low/mean").to_pylist()) == (3, 3, 1, 1)


def test_info_names_the_numbers_of_the_encoder(tmp_path: Path) -> None:
    source = record(tmp_path / "episodes")
    assert main([str(source), str(tmp_path / "lerobot"), "--crf", "21"]) == 0
    info = read_json(tmp_path / "lerobot/meta/info.json")
    video = info["features"]["observation.images.cam_low"]["info"]
    assert (video["video.crf"], video["video.g"], video["video.codec"], video["video.fps"]) == (21, 2, "h264", 50)
    assert (info["total_episodes"], info["total_frames"], info["fps"]) == (3, 19, 50)


def test_an_export_continues_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = record(tmp_path / "episodes"), tmp_path / "lerobot"
    make, made = exporting.make_part, []

    def interrupted(path: Path, *rest):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(path.name)
        return make(path, *rest)

    monkeypatch.setattr(exporting, "make_part", interrupted)
    assert main([str(source), str(target), "--workers", "1"]) == 130 and not target.exists()
    parts = tmp_path / ".lerobot.partial/parts"
    stamps = {path: path.stat().st_mtime_ns for path in parts.glob("*/part.json")}
    assert len(stamps) == 2
    seen: list[Path] = []

    def watched(path: Path, task: str, options, folder: Path):
        seen.extend(path for path in stamps if path.parent == folder and path.stat().st_mtime_ns == stamps[path])
        return make(path, task, options, folder)

    monkeypatch.setattr(exporting, "make_part", watched)
    assert main([str(source), str(target), "--workers", "1"]) == 0
    assert sorted(seen) == sorted(stamps), "finished parts are used again"
    assert [entry.length for entry in LeRobotFolder(target).entries] == [6, 4, 9] and not parts.exists()


def test_files_are_split_where_they_become_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("act.interop.lerobot.folder.DATA_BYTES", 1)
    monkeypatch.setattr("act.interop.lerobot.folder.VIDEO_BYTES", 1)
    source = record(tmp_path / "episodes")
    assert main([str(source), str(tmp_path / "lerobot")]) == 0
    assert len(list((tmp_path / "lerobot/data/chunk-000").iterdir())) == 3
    folder = LeRobotFolder(tmp_path / "lerobot")
    for index, entry in enumerate(folder.entries):
        np.testing.assert_array_equal(folder.vectors(entry)["qpos"], read_episode(episode_path(source, index)).qpos)
        assert len(list(folder.frames(entry, "cam_low"))) == entry.length


def test_tasks_are_the_sentences_of_the_user_the_file_or_the_folder(tmp_path: Path) -> None:
    source = record(tmp_path / "blue_bowl", (4,), task_name="")
    assert main([str(source), str(tmp_path / "a")]) == 0
    assert main([str(source), str(tmp_path / "b"), "--task_name", "Lift it."]) == 0
    tasks = [read_table(tmp_path / name / "meta/tasks.parquet").column("task").to_pylist() for name in "ab"]
    assert tasks == [["blue_bowl"], ["Lift it."]]


def test_an_edited_copy_still_finds_the_attributes_of_its_episodes(tmp_path: Path) -> None:
    source, there = record(tmp_path / "episodes"), tmp_path / "lerobot"
    assert main([str(source), str(there)]) == 0
    path = there / "meta/episodes/chunk-000/file-000.parquet"
    arrow().parquet.write_table(read_table(path).slice(1), path)  # the first episode is deleted
    assert main([str(there), str(tmp_path / "back")]) == 0
    assert [read_episode(episode_path(tmp_path / "back", k)).attrs["seed"] for k in range(2)] == [1, 2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere", "out"], "is not a folder; give one with episode_*.hdf5 or with meta/info.json"),
        (["empty", "out"], "has no episode_*.hdf5 and no meta/info.json"),
        (["episodes", "full"], "exists already; choose another folder, or remove it"),
        (["episodes", "out", "--other_fps", "keep"], "--other_fps keep has an effect only when SOURCE is a LeRobot"),
        (["episodes", "out", "--video", "none", "--crf", "9"], "--crf 9 has an effect only with --video h264"),
        (["episodes", "out", "--cameras", "top"], "unknown camera 'top'; available: cam_low, cam_high"),
        (["episodes", "out", "--workers", "0"], "--workers 0 must be at least 1"),
        (["odd", "out"], "has an odd height or width, no video can hold it; use --video none"),
        (["mixed", "out"], "episode_1.hdf5: unknown camera"),
        (["torn", "out"], "episode_1.hdf5"),
    ],
)
def test_wrong_input_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture, words: list[str], message: str
) -> None:
    for name in ("episodes", "mixed", "torn"):
        record(tmp_path / name, (4, 4))
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").write_text("mine")
    made = Made(0, length=3)
    odd = {"images": {"top": np.zeros((3, 33, 48, 3), np.uint8)}, "qpos": made.qpos, "qvel": made.qpos}
    write_episode(tmp_path / "odd/episode_0.hdf5", **odd, action=made.action)
    write_episode(tmp_path / "mixed/episode_1.hdf5", **odd, action=made.action)
    torn = tmp_path / "torn/episode_1.hdf5"
    torn.write_bytes(torn.read_bytes()[:-300])
    before = sorted(tmp_path.rglob("*"))
    assert main([str(tmp_path / words[0]), str(tmp_path / words[1]), *words[2:]]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert message in lines[-1] and lines[-1].startswith("convert: ")
    assert sorted(tmp_path.rglob("*")) == before


def test_without_pyarrow_the_program_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def missing(name: str):
        raise ImportError(name)

    monkeypatch.setattr("act.interop.lerobot.parquet.import_module", missing)
    assert main([str(record(tmp_path / "episodes")), str(tmp_path / "out")]) == 2
    assert "pip install 'act-aloha[lerobot]'" in capsys.readouterr().err


def test_attributes_are_kept_as_json_lines(tmp_path: Path) -> None:
    assert main([str(record(tmp_path / "episodes")), str(tmp_path / "out")]) == 0
    lines = (tmp_path / "out/meta/act_episodes.jsonl").read_text().splitlines()
    assert [json.loads(line)["attrs"]["seed"] for line in lines] == [0, 1, 2]
