"""The file of labelled scenes: the same bytes from any number of workers, whole or absent, not drawn twice."""

import os
import signal
from dataclasses import dataclass, replace

import h5py
import numpy as np
import pytest

from act.data.images import decode_image
from act.recording.scenes import SceneRecording, record_scenes

CAMERAS = ("one", "two")


@dataclass(frozen=True)
class DotScene:
    images: dict
    keypoints: dict
    visible: dict
    qpos: np.ndarray


class DotSampler:
    """A white dot on black at a random pixel, per camera."""

    cameras, keypoints = CAMERAS, ("dot",)

    def sample(self, rng):
        images, keypoints = {}, {}
        for camera in CAMERAS:
            x, y = rng.integers(2, 14, 2)
            images[camera] = np.zeros((16, 16, 3), np.uint8)
            images[camera][y, x] = 255
            keypoints[camera] = np.array([[x, y]], np.float32)
        return DotScene(images, keypoints, {camera: np.array([True]) for camera in CAMERAS}, np.zeros(14, np.float32))


def make_scene_sampler(task, cameras, image_size, quality):
    if task == "deadly":
        os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does when memory is short
    if task == "blind":
        raise RuntimeError("no renderer here")
    assert (task, cameras, image_size) == ("dot", CAMERAS, (16, 16))
    return DotSampler()


@pytest.fixture
def recording():
    return SceneRecording("dot", CAMERAS, (16, 16), "fast", 7, __name__)


def test_labels_and_images_belong_together(recording, tmp_path):
    record_scenes(recording, tmp_path / "scenes.hdf5", 5, workers=1)
    with h5py.File(tmp_path / "scenes.hdf5") as file:
        assert list(np.array(file.attrs["keypoint_names"])) == ["dot"]
        lengths = np.array(file["compress_len"])
        for n, camera in enumerate(CAMERAS):
            images, dots = np.array(file[f"images/{camera}"]), np.array(file[f"keypoints/{camera}"])
            for s in range(5):
                image = decode_image(images[s, : lengths[n, s]])
                x, y = dots[s, 0].astype(int)
                assert np.unravel_index(image[..., 0].argmax(), image.shape[:2]) == (y, x)


def test_the_file_does_not_depend_on_the_number_of_workers(recording, tmp_path):
    for workers in (1, 2):
        record_scenes(recording, tmp_path / f"{workers}.hdf5", 20, workers)
    assert (tmp_path / "1.hdf5").read_bytes() == (tmp_path / "2.hdf5").read_bytes()


def test_a_file_grows_is_never_cut_short_and_never_replaced_by_other_scenes(recording, tmp_path):
    path = tmp_path / "scenes.hdf5"
    record_scenes(recording, path, 3, workers=1)
    written = path.stat().st_mtime_ns
    for fewer in (3, 2):
        record_scenes(recording, path, fewer, workers=1)
        assert path.stat().st_mtime_ns == written
    with pytest.raises(ValueError, match="holds scenes of quality fast, not pretty; delete it"):
        record_scenes(replace(recording, quality="pretty"), path, 4, workers=1)
    assert path.stat().st_mtime_ns == written
    record_scenes(recording, path, 4, workers=1)
    with h5py.File(path, "a") as file:
        assert np.array(file["qpos"]).shape == (4, 14)
        del file.attrs["hidden_by"]  # the same scenes with older labels
    record_scenes(recording, path, 4, workers=1)
    with h5py.File(path) as file:
        assert "hidden_by" in file.attrs
    path.write_bytes(b"half")
    record_scenes(recording, path, 4, workers=1)
    with h5py.File(path) as file:
        assert np.array(file["qpos"]).shape == (4, 14)


@pytest.mark.parametrize(("task", "told"), [("blind", "no renderer here"), ("deadly", "terminated abruptly")])
def test_workers_that_cannot_draw_are_not_waited_for(recording, tmp_path, task, told):
    with pytest.raises(RuntimeError, match=told):
        record_scenes(replace(recording, task=task), tmp_path / "scenes.hdf5", 40, workers=2)
    assert not list(tmp_path.iterdir())
