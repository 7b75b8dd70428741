"""A damaged or hostile LeRobot folder ends in one sentence and exit code 2, and nothing is half written.

ACT_DAMAGED=300 python -m pytest tests/act/interop/test_damaged.py -k damaged tries 300 folders in place of 60.
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from act.interop.convert import main
from act.interop.lerobot.layout import read_json, safe_path
from act.interop.lerobot.parquet import arrow, read_table
from tests.fakes import lerobot_folders as folders
from tests.fakes.lerobot_folders import KEY, Made

WRITERS = (folders.write_v21, folders.write_edited_v3, folders.write_images_v3)
N_FOLDERS = int(os.environ.get("ACT_DAMAGED", "60"))
HOSTILE: tuple[Any, ...] = (
    None,
    -1,
    0,
    1e300,
    "x" * 10_000,
    [],
    {},
    "../../etc/passwd",
    "{a.__class__}",
    True,
    "v9.9",
    2**70,
)


def a_file(root: Path, rng: np.random.Generator) -> Path:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return files[rng.integers(len(files))]


def cut(root: Path, rng: np.random.Generator) -> None:
    path = a_file(root, rng)
    data = path.read_bytes()
    path.write_bytes(data[: rng.integers(len(data))])


def remove(root: Path, rng: np.random.Generator) -> None:
    a_file(root, rng).unlink()


def scramble(root: Path, rng: np.random.Generator) -> None:
    path = a_file(root, rng)
    data = bytearray(path.read_bytes())
    for place in rng.integers(len(data), size=1 + len(data) // 20):
        data[place] = rng.integers(256)
    path.write_bytes(data)


def empty(root: Path, rng: np.random.Generator) -> None:
    a_file(root, rng).write_bytes(b"")


def lie(root: Path, rng: np.random.Generator) -> None:
    """Replaces one value of info.json, at any depth."""
    info = read_json(root / "meta/info.json")
    place: Any = info
    while True:
        keys = list(place) if isinstance(place, dict) else range(len(place))
        key = list(keys)[rng.integers(len(keys))]
        if not isinstance(place[key], (dict, list)) or not place[key] or rng.random() < 0.3:
            break
        place = place[key]
    place[key] = HOSTILE[rng.integers(len(HOSTILE))]
    (root / "meta/info.json").write_text(json.dumps(info))


def swap(root: Path, rng: np.random.Generator) -> None:
    """Puts a copy of one file in the place of another."""
    data = a_file(root, rng).read_bytes()
    a_file(root, rng).write_bytes(data)


DAMAGES: tuple[Callable[[Path, np.random.Generator], None], ...] = (cut, remove, scramble, empty, swap, lie, lie)


@pytest.mark.slow
def test_damaged_folders_are_refused_or_read_but_never_half_written(tmp_path: Path, capsys) -> None:
    refused = 0
    for seed in range(N_FOLDERS):
        rng = np.random.default_rng(seed)
        root = WRITERS[seed % 3](tmp_path / f"{seed}/lerobot", [Made(0), Made(1)])
        DAMAGES[rng.integers(len(DAMAGES))](root, rng)
        target = tmp_path / f"{seed}/episodes"
        code = main([str(root), str(target), "--workers", "1"])
        message = capsys.readouterr().err.strip().splitlines()
        assert code in (0, 2), f"seed {seed}"
        if code == 2:
            refused += 1
            assert message[-1].startswith("convert: "), f"seed {seed}"
            assert len(message[-1]) < 1000 and not target.exists(), f"seed {seed}"
        assert [path.name for path in target.parent.iterdir() if path != target] == ["lerobot"], f"seed {seed}"
    print(f"{refused} of {N_FOLDERS} damaged folders were refused")
    assert refused >= 2 / 3 * N_FOLDERS


def info(**changes: Any) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        path = root / "meta/info.json"
        path.write_text(json.dumps(read_json(path) | changes))

    return change


def rows(name: str, change: Callable[[list[Any]], list[Any]]) -> Callable[[Path], None]:
    def damage(root: Path) -> None:
        path = root / "data/chunk-000/file-000.parquet"
        table = read_table(path)
        values = arrow().array(change(table.column(name).to_pylist()))
        arrow().parquet.write_table(table.set_column(table.column_names.index(name), name, values), path)

    return damage


def faster_video(root: Path) -> None:
    folders.write_video(root / f"videos/{KEY}/chunk-000/file-000.mp4", Made(0).images * 2, 25)


def playlist(root: Path) -> None:
    path = root / f"videos/{KEY}/chunk-000/file-000.mp4"
    path.write_text("#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (info(codebase_version="v1.6"), "codebase_version 'v1.6' is unknown; v2.0, v2.1, v3.0 can be read"),
        (info(data_path="../../etc/{file_index}"), "leads out of the folder, so it is refused"),
        (info(data_path="/etc/passwd"), "leads out of the folder"),
        (info(video_path="{video_key.__class__}"), "has an unknown field; known: video_key, chunk_index, file_index"),
        (info(data_path="{file_index:999999999d}"), "has an unknown field"),
        (info(fps="fast"), "fps 'fast' must be a number of frames per second"),
        (info(features={}), "no feature 'observation.state'"),
        (lambda root: (root / "data/chunk-000/file-001.parquet").unlink(), "is missing; the data set is not complete"),
        (
            lambda root: (root / f"videos/{KEY}/chunk-000/file-000.mp4").unlink(),
            "is missing; the data set is not complete",
        ),
        (lambda root: shutil.rmtree(root / "meta/episodes"), "no meta/episodes/chunk-*/file-*.parquet"),
        (faster_video, "the video has 25 frames per second, info.json says 50"),
        (playlist, "not a readable video"),
        (rows("timestamp", lambda times: [2 * time for time in times]), "are not 1 / 50 s apart"),
        (rows("frame_index", lambda frames: frames[::-1]), "are not in order"),
        (rows("episode_index", lambda episodes: [5, *episodes[1:]]), "has 9 rows, its meta file says 10"),
        (rows("action", lambda actions: [[float("nan")] * 14, *actions[1:]]), "expected 14 finite numbers"),
        (rows("action", lambda actions: [[0.0], *actions[1:]]), "has lists of different lengths"),
        (rows("action", lambda actions: ["left"] * len(actions)), "expected numbers"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, capsys: pytest.CaptureFixture, damage, message: str) -> None:
    root = folders.write_edited_v3(tmp_path / "lerobot", [Made(0), Made(1)])
    damage(root)
    assert main([str(root), str(tmp_path / "episodes")]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["lerobot"]


def test_images_outside_the_folder_are_not_read(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "secret.png").write_bytes(folders.png(Made(0).images[0]))
    root = folders.write_images_v3(tmp_path / "lerobot", [Made(0)])
    rows(KEY, lambda images: [{"bytes": None, "path": "../secret.png"}] * len(images))(root)
    assert main([str(root), str(tmp_path / "episodes")]) == 2
    assert "leads out of the folder" in capsys.readouterr().err


@pytest.mark.parametrize("template", ["..", "a/../../b", "{x!r}", "{0}", "{", "a\\..\\b", "a\0b", "/a"])
def test_only_plain_paths_inside_the_folder_are_filled_in(template: str) -> None:
    with pytest.raises(ValueError, match=r"meta/info.json: path"):
        safe_path(Path("d"), template, {"x": 1})
    assert safe_path(Path("d"), "a/{x:03d}.mp4", {"x": 7}) == Path("d/a/007.mp4")
