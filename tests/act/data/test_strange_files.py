"""Files of others: what names other files or claims too much is refused; what is merely more is left out and noted."""

import os
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pytest

from act.data.checksums import DamagedFile
from act.data.episodes import episode_path, files_left_out, find_episodes, read_episode
from act.data.repair import check_episode, main
from tests.act.data.test_editing import edit, record
from tests.act.data.test_episodes import T, content

IMAGES = "observations/images"


def write_strange(path: Path, change: Any = lambda root: None, cameras: tuple[str, ...] = ("top",)) -> Path:
    """Writes an episode as ACT does, without checksums, and changes it."""
    made = content(cameras)
    with h5py.File(path, "w") as root:
        root.attrs["sim"] = True
        root["observations/qpos"], root["observations/qvel"] = made["qpos"], made["qvel"]
        root["action"] = made["action"]
        for camera in cameras:
            root.create_dataset(f"{IMAGES}/{camera}", data=made["images"][camera], chunks=(1, 32, 48, 3))
        change(root)
    return path


def replace(root: h5py.File, name: str, **options: Any) -> None:
    if name in root:
        del root[name]
    root.create_dataset(name, **options)


def external(root: h5py.File) -> None:
    secret = Path(root.filename).with_name("secret")
    secret.write_bytes(bytes(4 * 14 * T))
    replace(root, "action", shape=(T, 14), dtype="f4", external=[(str(secret), 0, 4 * 14 * T)])


def virtual(root: h5py.File) -> None:
    del root["action"]
    layout = h5py.VirtualLayout((T, 14), "f4")
    layout[:] = h5py.VirtualSource(str(Path(root.filename).with_name("other.hdf5")), "action", (T, 14))
    root.create_virtual_dataset("action", layout)


def linked(link: Any, name: str = "action") -> Any:
    def change(root: h5py.File) -> None:
        del root[name]
        root[name] = link

    return change


def vast(name: str, shape: tuple[int, ...], dtype: str, **options: Any) -> Any:
    return lambda root: replace(root, name, shape=shape, dtype=dtype, chunks=(1, *shape[1:]), **options)


def cell(name: str, value: float) -> Any:
    def change(root: h5py.File) -> None:
        dataset = root[name]
        assert isinstance(dataset, h5py.Dataset)
        dataset[3, 2] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (external, "/action is stored in another file"),
        (virtual, "/action is a virtual dataset"),
        (linked(h5py.ExternalLink("other.hdf5", "action")), "/action is an external link"),
        (linked(h5py.ExternalLink("other.hdf5", "observations"), "observations"), "/observations is an external link"),
        (linked(h5py.SoftLink("/observations/qpos")), "/action is a link"),
        (vast("action", (T, 10**9), "f4"), "but only 0 bytes are stored"),
        (vast("observations/qpos", (10**8, 14), "f8", compression="gzip"), "but only 0 bytes are stored"),
        (vast(f"{IMAGES}/top", (T, 40_000, 40_000, 3), "u1"), "but only 0 bytes are stored"),
        (cell("observations/qpos", 1e20), r"/observations/qpos is 1e\+20 at step 3, joint 2, which no joint reaches"),
        (cell("action", -7e36), r"/action is -7e\+36 at step 3, joint 2, which no joint reaches"),
    ],
)
def test_what_is_outside_of_the_file_or_cannot_be_true_is_refused(tmp_path: Path, change: Any, message: str) -> None:
    path = write_strange(tmp_path / "episode_0.hdf5", change)
    with pytest.raises(ValueError, match=message):
        read_episode(path)
    assert str(path) in (check_episode(path) or "")


def test_a_fifo_and_a_folder_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "episode_0.hdf5")
    (tmp_path / "episode_1.hdf5").mkdir()
    for path in find_episodes(tmp_path):
        with pytest.raises(ValueError, match="not a regular file"):
            read_episode(path)
    assert main(["validate", str(tmp_path)]) == 1


def test_a_joint_beyond_two_turns_is_noted_with_file_and_step(tmp_path: Path, capsys) -> None:
    path = write_strange(tmp_path / "episode_0.hdf5", cell("observations/qpos", 90.0))
    assert main(["validate", str(tmp_path)]) == 0
    assert f"note: {path}: /observations/qpos is 90 at step 3, joint 2; in radians no joint" in capsys.readouterr().out


def test_only_plain_numbers_below_a_million_name_an_episode(tmp_path: Path, capsys) -> None:
    write_strange(tmp_path / "episode_0.hdf5")
    for name in ("episode_4000000000", "episode_²", "mirror_episode_3", "episode_1 (copy)", "episode_٣"):
        (tmp_path / f"{name}.hdf5").write_bytes(b"")
    assert [path.name for path in find_episodes(tmp_path)] == ["episode_0.hdf5"] and len(files_left_out(tmp_path)) == 5
    assert main(["validate", str(tmp_path)]) == 0
    assert "note: 5 other *.hdf5 are not read, e.g. " in capsys.readouterr().out


# ---------------------------------------------------------------------------------------- content that is not asked for
def odd_attribute(root: h5py.File) -> None:
    root.attrs.create("odd", np.zeros(2, [("a", "i4"), ("b", "f8")]))
    root.attrs["reference"] = root.ref
    root.attrs["nothing"] = h5py.Empty("f4")
    root.attrs["camera_names"] = 7


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (lambda root: replace(root, f"{IMAGES}/depth", data=np.zeros((T, 4, 4), np.uint16)), "camera depth has shape"),
        (lambda root: replace(root, f"{IMAGES}/late", data=np.zeros((T + 3, 4, 4, 3), np.uint8)), "camera late has"),
        (lambda root: replace(root, f"{IMAGES}/time", data=np.zeros(T)), "camera time has shape"),
        (lambda root: replace(root, f"{IMAGES}/packed", data=np.zeros((T, 9), np.uint8)), None),
        (
            lambda root: replace(root, "observations/qvel", data=np.full((T, 14), np.nan)),
            "/observations/qvel is not fin",
        ),
        (lambda root: root["observations"].__delitem__("qvel"), None),
        (lambda root: replace(root, "reward", data=np.zeros((T, 1))), None),
        (lambda root: replace(root, "reward", data=np.zeros((T, 3))), "/reward has shape"),
        (lambda root: replace(root, "observations/env_state", data=np.zeros((T + 1, 7))), "env_state has 7 steps"),
        (lambda root: replace(root, "base_action", data=np.zeros((T, 2))), "/base_action, the motion of a mobile base"),
        (odd_attribute, None),
    ],
)
def test_content_that_is_not_asked_for_does_not_matter(tmp_path: Path, change: Any, note: str | None) -> None:
    path = write_strange(tmp_path / "episode_0.hdf5", change)
    episode = read_episode(path, ["top"])
    assert episode.read_images("top", 0, 2).shape == (2, 32, 48, 3) and len(episode) == T
    assert episode.reward is None or episode.reward.shape == (T,)
    everything = read_episode(path)
    assert "top" in everything.cameras and (note is None or any(note in found for found in everything.notes))


def test_the_velocities_of_a_mobile_base_are_appended_where_they_are_asked_for(tmp_path: Path) -> None:
    base = np.arange(2.0 * T).reshape(T, 2) / 100
    path = write_strange(tmp_path / "episode_0.hdf5", lambda root: replace(root, "base_action", data=base))
    arms, both = (read_episode(path, base_action=asked) for asked in (False, True))
    assert arms.action.shape == (T, 14) and both.action.shape == (T, 16)
    np.testing.assert_allclose(both.action, np.concatenate([arms.action, base], axis=1), rtol=1e-6)
    assert any("--base_action appends it" in note for note in arms.notes) and not both.notes
    other = write_strange(tmp_path / "episode_1.hdf5")
    with pytest.raises(ValueError, match=r"episode_1.hdf5 has no /base_action; leave --base_action out"):
        read_episode(other, base_action=True)


def test_a_camera_that_is_asked_for_is_judged(tmp_path: Path) -> None:
    change = vast(f"{IMAGES}/depth", (T, 4, 4), "u2")
    path = write_strange(tmp_path / "episode_0.hdf5", change)
    assert [main(["validate", str(tmp_path), "--cameras", camera]) for camera in ("top", "depth")] == [0, 1]
    with pytest.raises(ValueError, match="depth"):
        read_episode(path, ["depth"])


def encode(camera: np.ndarray, extension: str) -> list[np.ndarray]:
    return [cv2.imencode(extension, image)[1] for image in camera]


def store_encoded(extension: str, layout: str) -> Any:
    def change(root: h5py.File) -> None:
        frames = encode(content(("top",))["images"]["top"], extension)
        longest = max(map(len, frames))
        if layout == "rows":
            data: Any = np.stack([np.pad(frame, (0, longest - len(frame))) for frame in frames])
        elif layout == "strings":
            data = np.array([frame.tobytes() for frame in frames], f"S{longest}")
        else:
            data = np.empty(len(frames), object)
            data[:] = frames
        options = {"dtype": h5py.vlen_dtype(np.uint8)} if layout == "any length" else {}
        replace(root, f"{IMAGES}/top", data=data, **options)

    return change


@pytest.mark.parametrize("extension", [".png", ".jpg"])
@pytest.mark.parametrize("layout", ["rows", "strings", "any length"])
def test_encoded_frames_are_read_in_every_layout(tmp_path: Path, extension: str, layout: str) -> None:
    path = write_strange(tmp_path / "episode_0.hdf5", store_encoded(extension, layout))
    episode = read_episode(path, ["top"])
    error = np.abs(episode.read_images("top").astype(int) - content(("top",))["images"]["top"])
    assert error.mean() < (4 if extension == ".jpg" else 1e-9)
    assert check_episode(path, decode_all=True) is None


def test_jpegs_that_a_viewer_shows_rightly_are_read_as_bgr(tmp_path: Path) -> None:
    path = write_strange(tmp_path / "episode_0.hdf5", store_encoded(".png", "rows"))
    swapped = read_episode(path, jpeg_colors="bgr").read_images("top")
    np.testing.assert_array_equal(swapped[..., ::-1], read_episode(path).read_images("top"))
    with h5py.File(path, "r+") as root:
        root.attrs["jpeg_colors"] = "bgr"
    np.testing.assert_array_equal(read_episode(path).read_images("top"), swapped)


def test_an_encoded_image_that_claims_gigabytes_is_not_decoded(tmp_path: Path) -> None:
    path = write_strange(tmp_path / "episode_0.hdf5", store_encoded(".jpg", "rows"))
    with h5py.File(path, "r+") as root:
        dataset = root[f"{IMAGES}/top"]
        assert isinstance(dataset, h5py.Dataset)
        row = dataset[0].tobytes()
        at = row.index(b"\xff\xc0") + 5
        dataset[0] = np.frombuffer(row[:at] + b"\x7f\xff\x7f\xff" + row[at + 4 :], np.uint8)
    with pytest.raises(ValueError, match="declares 32767x32767 pixels"):
        read_episode(path).read_images("top", 0, 1)
    assert "32767" in (check_episode(path) or "")


def test_values_that_are_stored_but_cannot_be_decompressed_are_damaged(tmp_path: Path) -> None:
    data = np.random.default_rng(0).normal(size=(T, 14)).astype(np.float32)
    change = lambda root: replace(root, "action", data=data, chunks=(T, 14), compression="gzip")  # noqa: E731
    path = write_strange(tmp_path / "episode_0.hdf5", change)
    with h5py.File(path) as root:
        dataset = root["action"]
        assert isinstance(dataset, h5py.Dataset)
        at = dataset.id.get_chunk_info(0).byte_offset
    whole = bytearray(path.read_bytes())
    whole[at : at + 40] = bytes(40)
    path.write_bytes(whole)
    with pytest.raises(DamagedFile, match=r"episode_0\.hdf5: not a readable HDF5 file"):
        read_episode(path)
    assert episode_path(tmp_path, 0) == path


@pytest.mark.parametrize("link", [h5py.SoftLink("/nowhere"), h5py.ExternalLink("other.hdf5", "/qpos")])
def test_an_edit_does_not_follow_links_to_other_places(tmp_path: Path, link: object) -> None:
    source = record(tmp_path / "cube", 2)
    with h5py.File(tmp_path / "cube" / "other.hdf5", "w") as other:
        other["qpos"] = np.ones(3)
    with h5py.File(episode_path(source, 0), "a") as root:
        root["elsewhere"] = link
    for words in (("delete", source, "1"), ("trim", source, "--start", "1")):
        assert edit(*words, "--out", tmp_path / words[0]) == 0
        with h5py.File(episode_path(tmp_path / words[0], 0)) as root:
            assert "elsewhere" not in list(root)
