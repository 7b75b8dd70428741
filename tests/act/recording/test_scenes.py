"""The file of labelled scenes: the same bytes from any number of workers, whole or absent, not rendered twice."""

from dataclasses import replace

import h5py
import numpy as np
import pytest

from act.data.images import decode_image
from act.recording.attempts import Recording
from act.recording.scenes import record_scenes
from act.training.scenes import read_scenes
from tests.fakes.toy_scenes import CAMERAS, DOT_SIZE, DotSampler, blind, deadly

RECORDING = Recording("sim_dot_scripted", cameras=CAMERAS, image_size=DOT_SIZE, seed=7)


def test_labels_and_images_belong_together(tmp_path):
    record_scenes(RECORDING, DotSampler, tmp_path / "scenes.hdf5", 5, workers=1)
    with h5py.File(tmp_path / "scenes.hdf5") as file:
        assert list(np.array(file.attrs["keypoint_names"])) == ["dot"] and file.attrs["task_name"] == "dot"
        lengths = np.array(file["compress_len"])
        for n, camera in enumerate(CAMERAS):
            images, dots = np.array(file[f"images/{camera}"]), np.array(file[f"keypoints/{camera}"])
            for s in range(5):
                image = decode_image(images[s, : lengths[n, s]])
                x, y = dots[s, 0].astype(int)
                assert np.unravel_index(image[..., 0].argmax(), image.shape[:2]) == (y, x)


def test_the_file_does_not_depend_on_the_number_of_workers(tmp_path):
    for workers in (1, 3):
        record_scenes(RECORDING, DotSampler, tmp_path / f"{workers}.hdf5", 20, workers)
    assert (tmp_path / "1.hdf5").read_bytes() == (tmp_path / "3.hdf5").read_bytes()


def test_a_file_grows_is_never_cut_short_and_never_replaced_by_other_scenes(tmp_path):
    path = tmp_path / "scenes.hdf5"
    record_scenes(RECORDING, DotSampler, path, 3, workers=1)
    written = path.stat().st_mtime_ns
    for fewer in (3, 2):
        record_scenes(RECORDING, DotSampler, path, fewer, workers=1)
        assert path.stat().st_mtime_ns == written
    with pytest.raises(ValueError, match="holds scenes of quality fast, not pretty; delete it"):
        record_scenes(replace(RECORDING, quality="pretty"), DotSampler, path, 4, workers=1)
    with pytest.raises(ValueError, match=r"holds scenes of randomize \[\], not \['light'\]; delete it"):
        record_scenes(replace(RECORDING, randomize=("light",)), DotSampler, path, 3, workers=1)
    assert path.stat().st_mtime_ns == written
    record_scenes(RECORDING, DotSampler, path, 4, workers=1)
    with h5py.File(path, "a") as file:
        assert np.array(file["qpos"]).shape == (4, 14)
        del file.attrs["hidden_by"]  # the same scenes with older labels
    record_scenes(RECORDING, DotSampler, path, 4, workers=1)
    with h5py.File(path) as file:
        assert "hidden_by" in file.attrs
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(bytes(damaged))
    with pytest.raises(ValueError, match="differ from their checksum"):
        read_scenes(path)
    path.write_bytes(b"half")
    record_scenes(RECORDING, DotSampler, path, 4, workers=1)
    with h5py.File(path) as file:
        assert np.array(file["qpos"]).shape == (4, 14)


@pytest.mark.parametrize(
    ("make_sampler", "error", "message"),
    [(blind, RuntimeError, "no renderer here"), (deadly, ChildProcessError, "scene worker 0 died: it was killed")],
)
def test_workers_that_cannot_render_are_not_waited_for(make_sampler, error, message, tmp_path):
    with pytest.raises(error, match=message):
        record_scenes(RECORDING, make_sampler, tmp_path / "scenes.hdf5", 40, workers=2)
    assert not list(tmp_path.iterdir())
