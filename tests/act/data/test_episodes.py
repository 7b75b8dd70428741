"""Episodes are read as they were written, other dialects are read too, and errors name what is broken."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from act.data.episodes import (
    decode_image,
    episode_path,
    find_episodes,
    read_episode,
    write_episode,
)

T = 6


def content(cameras: tuple[str, ...] = ("cam_low", "cam_high"), length: int = T) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 200, 48).astype(np.uint8)
    image = np.stack([np.tile(ramp, (32, 1)), np.full((32, 48), 30, np.uint8), np.tile(ramp[::-1], (32, 1))], -1)
    vectors = {name: rng.normal(size=(length, 14)).astype(np.float32) for name in ("qpos", "qvel", "action")}
    images = {camera: np.stack([image + np.uint8(3 * t) for t in range(length)]) for camera in cameras}
    return vectors | {"images": images, "reward": np.arange(length), "env_state": rng.normal(size=(length, 7))}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    made = content()
    attrs = {
        "task_name": "toy",
        "seed": 3,
        "stage_names": ["half", "there"],
        "success": True,
        "versions": {"numpy": "2"},
    }
    episode = read_episode(write_episode(tmp_path / "episode_0.hdf5", **made, attrs=attrs))
    for name in ("qpos", "qvel", "action", "reward", "env_state"):
        value = getattr(episode, name)
        assert value.dtype == np.float32
        np.testing.assert_allclose(value, made[name], rtol=1e-6)
    assert episode.cameras == ("cam_low", "cam_high") and episode.compressed and len(episode) == T
    assert {name: episode.attrs[name] for name in attrs} == attrs
    assert episode.attrs["sim"] is True
    robots = write_episode(tmp_path / "episode_1.hdf5", **made, attrs={"sim": False})
    assert read_episode(robots).attrs["sim"] is False


def test_jpeg_keeps_the_colours_in_their_channels(tmp_path: Path) -> None:
    made = content()
    episode = read_episode(write_episode(tmp_path / "episode_0.hdf5", **made))
    images = episode.read_images("cam_high", 1, 4)
    assert images.shape == (3, 32, 48, 3) and images.dtype == np.uint8
    assert np.abs(images.astype(int) - made["images"]["cam_high"][1:4]).mean() < 4
    assert episode.read_images("cam_high", 0, 2, image_size=(16, 24)).shape == (2, 16, 24, 3)
    assert episode.image_size == (32, 48)


def test_raw_images_are_exact_and_not_available_as_jpeg(tmp_path: Path) -> None:
    made = content()
    episode = read_episode(write_episode(tmp_path / "episode_0.hdf5", **made, compress=False))
    np.testing.assert_array_equal(episode.read_images("cam_low"), made["images"]["cam_low"])
    with pytest.raises(ValueError, match="raw"):
        episode.encoded(0)


def test_raw_images_in_any_order_of_memory_are_exact_and_hdf5_reads_them(tmp_path: Path) -> None:
    images = content()["images"]["cam_low"]
    turned = {"rgb": images[:, ::-1, :, ::-1], "columns": [np.asfortranarray(image) for image in images]}
    path = write_episode(tmp_path / "episode_0.hdf5", **{**content(), "images": turned}, compress=False)
    with h5py.File(path) as root:
        for camera, expected in (("rgb", turned["rgb"]), ("columns", images)):
            np.testing.assert_array_equal(root[f"observations/images/{camera}"], expected)


def test_a_raw_image_of_another_size_or_type_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    images = content()["images"]["cam_low"]
    for odd, said in ((images[2][:-1], r"uint8 \(31, 48, 3\)"), (images[2].astype(np.float32), "float32")):
        frames = {"cam_low": [images[0], images[1], odd, *images[3:]]}
        with pytest.raises(ValueError, match=f"images/cam_low: image 2 is {said}"):
            write_episode(tmp_path / "episode_0.hdf5", **{**content(), "images": frames}, compress=False)
        assert list(tmp_path.iterdir()) == []


def test_encoded_frames_decode_to_the_same_image(tmp_path: Path) -> None:
    episode = read_episode(write_episode(tmp_path / "episode_0.hdf5", **content()))
    frames = episode.encoded(2)
    assert list(frames) == ["cam_low", "cam_high"]
    np.testing.assert_array_equal(decode_image(frames["cam_low"]), episode.read_images("cam_low", 2, 3)[0])


def test_compress_len_is_what_the_act_plus_plus_reader_expects(tmp_path: Path) -> None:
    path = write_episode(tmp_path / "episode_0.hdf5", **content())
    episode = read_episode(path)
    with h5py.File(path) as root:
        lengths = np.asarray(root["compress_len"])
        cameras = list(root["observations/images"])  # type: ignore[arg-type]  # alphabetical
    assert lengths.shape == (2, T)
    for row, camera in zip(lengths, cameras, strict=True):
        assert [len(episode.encoded(t)[camera]) for t in range(T)] == row.tolist()


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = (write_episode(tmp_path / name / "episode_0.hdf5", **content()) for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    assert [path.name for path in first.parent.iterdir()] == ["episode_0.hdf5"]


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    made: dict[str, Any] = content() | {"images": {"top": [np.zeros((2, 2, 3), np.float64)]}}
    with pytest.raises(ValueError, match="cannot encode an image of shape"):
        write_episode(tmp_path / "episode_0.hdf5", **made)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("compress", [True, False])
def test_a_full_disk_is_reported_and_leaves_nothing(tmp_path: Path, compress: bool) -> None:
    program = f"""
import resource, shutil
from pathlib import Path
from act.data.episodes import write_episode
from tests.act.data.test_episodes import content
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))  # [bytes] of a file
if not {compress}:
    shutil.disk_usage = lambda path: shutil._ntuple_diskusage(10**9, 10**9, 4096)
try:
    write_episode(Path("episode_0.hdf5"), **content(), compress={compress})
except OSError as error:
    print("refused:", error)
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("refused:") and ("do not fit on the disk" in done.stdout) != compress
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("compress", [True, False])
def test_the_message_of_a_full_disk_names_the_file(tmp_path: Path, compress: bool, monkeypatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "episode_0.hdf5"
    monkeypatch.setattr(os, "fsync" if compress else "posix_fallocate", full)
    with pytest.raises(OSError, match=f"no space left on device: '{path}'"):
        write_episode(path, **content(), compress=compress)
    assert list(tmp_path.iterdir()) == []


def test_files_of_the_original_code_are_read(tmp_path: Path) -> None:
    path, made = tmp_path / "episode_0.hdf5", content(("top",))
    with h5py.File(path, "w") as root:  # as record_sim_episodes.py of ACT writes them, here in float64
        root.attrs["sim"] = True
        for name in ("qpos", "qvel", "effort"):
            root[f"observations/{name}"] = made["qpos"].astype(np.float64)
        root["observations/images/top"] = made["images"]["top"]
        root["action"] = made["action"].astype(np.float64)
    episode = read_episode(path)
    assert episode.cameras == ("top",) and not episode.compressed and episode.qpos.dtype == np.float32
    assert episode.reward is None and episode.env_state is None


def test_sixteen_dimensional_actions_of_act_plus_plus_are_kept(tmp_path: Path) -> None:
    made: dict[str, Any] = content() | {"action": np.zeros((T, 16))}
    assert read_episode(write_episode(tmp_path / "episode_0.hdf5", **made)).action.shape == (T, 16)


def test_cameras_can_be_chosen_and_a_missing_one_is_named(tmp_path: Path) -> None:
    path = write_episode(tmp_path / "episode_0.hdf5", **content())
    assert read_episode(path, cameras=["cam_high"]).cameras == ("cam_high",)
    with pytest.raises(ValueError, match=r"unknown camera 'top'; available: cam_low, cam_high"):
        read_episode(path, cameras=["top"])


def test_a_truncated_file_is_named_with_the_reason(tmp_path: Path) -> None:
    path = write_episode(tmp_path / "episode_0.hdf5", **content())
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(ValueError, match=r"episode_0\.hdf5.*truncated"):
        read_episode(path)


def test_a_foreign_file_is_named_with_the_reason(tmp_path: Path) -> None:
    text, foreign = tmp_path / "episode_0.hdf5", tmp_path / "episode_1.hdf5"
    text.write_text("hello")
    with h5py.File(foreign, "w") as root:
        root["weights"] = np.zeros(3)
    with pytest.raises(ValueError, match=r"episode_0\.hdf5: not a readable HDF5 file"):
        read_episode(text)
    with pytest.raises(ValueError, match="no dataset /action"):
        read_episode(foreign)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"qpos": np.zeros((T - 1, 14))}, "qpos has 5 steps, /action has 6"),
        ({"qpos": np.full((T, 14), np.nan)}, "qpos is not finite at step 0"),
        ({"action": np.zeros(T)}, "action has shape"),
        ({"images": {"top": np.zeros((T - 1, 4, 4, 3), np.uint8)}}, "camera top has shape"),
        ({"action_chunk": np.zeros((2, 4, 7)), "action_chunk_t": np.arange(2)}, "must have 14 columns like"),
        ({"executed_action": np.zeros((T, 7)), "intervention": np.zeros(T, bool)}, "must have 14 columns like /action"),
        ({"executed_action": np.zeros((T, 14))}, "/intervention must both have 6 steps like /action"),
        ({"action_chunk": np.zeros((2, 4, 14))}, "/action_chunk_t .n,. must both be present"),
        (
            {"action_chunk": np.zeros((2, 4, 14)), "action_chunk_t": np.array([0, T])},
            "action_chunk_t must be in 0 to 5",
        ),
        ({"action_chunk": np.full((1, 4, 14), np.nan), "action_chunk_t": np.arange(1)}, "values that are not finite"),
    ],
)
def test_inconsistent_content_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = write_episode(tmp_path / "episode_0.hdf5", **(content() | change))
    with pytest.raises(ValueError, match=message):
        read_episode(path)


def test_cameras_that_are_stored_in_two_ways_are_read_side_by_side(tmp_path: Path) -> None:
    path = write_episode(tmp_path / "episode_0.hdf5", **content())
    with h5py.File(path, "r+") as root:
        del root["observations/images/cam_low"]
        root["observations/images/cam_low"] = np.full((T, 4, 4, 3), 7, np.uint8)
    episode = read_episode(path)
    assert episode.cameras == ("cam_low", "cam_high") and not episode.compressed
    assert episode.read_images("cam_low", 1, 2).tolist() == np.full((1, 4, 4, 3), 7).tolist()
    assert episode.read_images("cam_high", 1, 2).shape == (1, 32, 48, 3)


def test_episodes_are_found_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for index in (10, 9, 0):
        write_episode(episode_path(tmp_path, index), **content((), 2))
    assert [path.name for path in find_episodes(tmp_path)] == ["episode_0.hdf5", "episode_9.hdf5", "episode_10.hdf5"]
    with pytest.raises(ValueError, match="not a directory"):
        find_episodes(tmp_path / "nowhere")
    (tmp_path / "episode_09.hdf5").touch()
    with pytest.raises(
        ValueError, match=r"episode_09[.]hdf5 and episode_9[.]hdf5 have the same number; rename one of them"
    ):
        find_episodes(tmp_path)
