"""Random scenes are trained on only when they are those that were recorded."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from act.recording.attempts import Recording
from act.recording.scenes import record_scenes
from act.training.scenes import Scenes, read_images, read_labels, read_scenes
from tests.fakes.toy_scenes import CAMERAS, DOT_SIZE, DotSampler

N_SCENES = 6


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recorded") / "scenes.hdf5"
    record_scenes(Recording("sim_dot_scripted", cameras=CAMERAS, image_size=DOT_SIZE), DotSampler, path, N_SCENES, 1)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ValueError) as caught:
        read_scenes(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


def same(one: Scenes, other: Scenes) -> bool:
    names = ("images", "points", "visible")
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in names) and one.cameras == other.cameras


def test_100_flipped_bits_are_all_found(recorded: Path, tmp_path: Path) -> None:
    data, path = recorded.read_bytes(), tmp_path / "scenes.hdf5"
    for at in np.random.default_rng(0).integers(0, len(data), 100):
        damaged = bytearray(data)
        damaged[at] ^= 16
        path.write_bytes(bytes(damaged))
        refusal(path)


def test_a_damaged_image_is_named_and_the_labels_are_still_read(recorded: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(recorded, tmp_path))
    stored = read_labels(path).stored
    assert stored.seal is not None
    with path.open("r+b") as file:
        file.seek(int(stored.seal.blocks[N_SCENES - 1]["offset"]) + 40)
        file.write(b"\x99")
    labels = read_labels(path)
    assert len(read_images(labels, CAMERAS[1:], 0, N_SCENES)) == N_SCENES
    with pytest.raises(ValueError, match=f"images from step {N_SCENES - 1} on differ from their checksum"):
        read_images(labels, CAMERAS, 0, N_SCENES)


def change(path: Path, work: Callable[[h5py.File], Any] = lambda _: None) -> None:
    """Changes a file as another program does, which removes the checksums."""
    with h5py.File(path, "r+") as file:
        del file.attrs["checksums"]
        work(file)


def test_a_file_of_an_earlier_version_has_no_checksums_and_is_read(recorded: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(recorded, tmp_path))
    change(path)
    assert read_labels(path).stored.seal is None and same(read_scenes(path), read_scenes(recorded))


def replace(name: str, value: Any) -> Callable[[h5py.File], None]:
    def work(file: h5py.File) -> None:
        del file[name]
        file[name] = value

    return work


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (replace("keypoints/one", np.full((N_SCENES, 1, 2), np.nan, np.float32)), "/keypoints/one is not finite"),
        (replace("keypoints/one", np.zeros((N_SCENES, 3, 2), np.float32)), "all input arrays must have the same shape"),
        (replace("visible/two", np.ones((N_SCENES, 1), np.float32)), "/visible/two has type float32, expected bool"),
        (replace("qpos", np.zeros((N_SCENES - 1, 14), np.float32)), "do not fit (5, 2, 1) scenes, cameras"),
        (replace("compress_len", np.full((2, N_SCENES), 10**6)), "/compress_len has values that do not fit /images/"),
        (replace("images/one", np.zeros((N_SCENES, 9, 9, 3), np.uint8)), "expected (scenes, bytes) uint8"),
        (replace("images/one", h5py.ExternalLink("other.hdf5", "/images")), "/images/one is an external link"),
        (replace("images/one", np.zeros((N_SCENES, 900), np.uint8)), "camera one, scene 0: cannot decode"),
        (lambda file: file.attrs.pop("keypoint_names"), "keypoint_names"),
        (lambda file: file.attrs.modify("image_size", [16, 18]), "the image has (16, 16) pixels, not (16, 18)"),
    ],
)
def test_scenes_that_cannot_be_true_are_refused(
    recorded: Path, tmp_path: Path, work: Callable[[h5py.File], Any], message: str
) -> None:
    path = Path(shutil.copy(recorded, tmp_path))
    change(path, work)
    assert message in refusal(path)


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "scenes.hdf5").mkdir()
    assert "not a regular file" in refusal(tmp_path / "scenes.hdf5")
