"""Labelled random scenes: drawn in worker processes, kept in one file that `act.training.pretrain` learns to see from.

    scenes.hdf5
      attrs            task_name, camera_names (N), keypoint_names (P), image_size (H, W), quality, seed, hidden_by
      /images/<cam>    (S, padded_len) uint8   JPEG, zero-padded, RGB kept in order as in episodes
      /compress_len    (N, S) int64            bytes of each JPEG, rows in the order of camera_names
      /keypoints/<cam> (S, P, 2) float32       pixels: x to the right, y down, centre of the top-left pixel is (0, 0)
      /visible/<cam>   (S, P) bool             inside the image and not hidden
      /qpos            (S, 14) float32

Scene k depends on (seed, k) alone, so the file is the same bytes whatever the number of workers.
"""

import functools
import importlib
import multiprocessing
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
from tqdm import tqdm

from act.data.hdf5 import whole_hdf5
from act.data.images import encode_image
from act.workers import end_with_parent, use_one_core

JPEG_QUALITY = 95  # labels are finer than a pixel, so the stills are kept sharper than episodes
TASKS_AT_ONCE = 16  # scenes a worker is handed at a time


class Scene(Protocol):
    """What a sampler draws; see sim_envs.random_scenes.Scene."""

    @property
    def images(self) -> dict[str, np.ndarray]: ...
    @property
    def keypoints(self) -> dict[str, np.ndarray]: ...
    @property
    def visible(self) -> dict[str, np.ndarray]: ...
    @property
    def qpos(self) -> np.ndarray: ...


class Sampler(Protocol):
    cameras: tuple[str, ...]
    keypoints: tuple[str, ...]

    def sample(self, rng: np.random.Generator) -> Scene: ...


@dataclass(frozen=True)
class SceneRecording:
    """What decides the content of the file. `world` names a module with `make_scene_sampler`, imported by workers."""

    task: str
    cameras: tuple[str, ...]
    image_size: tuple[int, int]
    quality: str
    seed: int
    world: str

    def sampler(self) -> Sampler:
        make = importlib.import_module(self.world).make_scene_sampler
        return make(self.task, self.cameras, self.image_size, self.quality)


@dataclass(frozen=True)
class EncodedScene:
    """One still, arrays in the order of the cameras."""

    jpegs: list[bytes]  # N
    keypoints: np.ndarray  # (N, P, 2) float32 [pixels]
    visible: np.ndarray  # (N, P) bool
    qpos: np.ndarray  # (14,) float32


def record_scenes(recording: SceneRecording, path: Path, count: int, workers: int) -> None:
    """Draws `count` scenes and writes the file whole; one that holds these, or these and more, is left alone.

    Raises ValueError when it holds scenes of another recording.
    """
    if path.exists() and _held(path, recording) >= count:
        return
    scenes = list(tqdm(_draw(recording, count, workers), total=count, unit="scene", dynamic_ncols=True))
    keypoints = recording.sampler().keypoints
    with whole_hdf5(path) as file:
        file.attrs.update(_attributes(recording))
        file.attrs["keypoint_names"] = list(keypoints)
        lengths = np.array([[len(jpeg) for jpeg in scene.jpegs] for scene in scenes]).T
        file["compress_len"] = lengths
        file["qpos"] = np.stack([scene.qpos for scene in scenes])
        for n, camera in enumerate(recording.cameras):
            images = file.create_dataset(f"images/{camera}", (count, lengths[n].max()), np.uint8)
            for s, scene in enumerate(scenes):
                images[s, : lengths[n, s]] = np.frombuffer(scene.jpegs[n], np.uint8)
            file[f"keypoints/{camera}"] = np.stack([scene.keypoints[n] for scene in scenes])
            file[f"visible/{camera}"] = np.stack([scene.visible[n] for scene in scenes])


def _attributes(recording: SceneRecording) -> dict[str, Any]:
    return {
        "task_name": recording.task,
        "camera_names": list(recording.cameras),
        "image_size": list(recording.image_size),
        "quality": recording.quality,
        "hidden_by": "what is drawn",  # of files without it: by invisible hulls, too
        "seed": recording.seed,
    }


def _held(path: Path, recording: SceneRecording) -> int:
    """How many scenes of this recording a file holds."""
    try:
        with h5py.File(path) as file:
            theirs = {"quality": "fast", **file.attrs}  # all there was before it was written down
            lengths = file.get("compress_len")
            held = lengths.shape[1] if isinstance(lengths, h5py.Dataset) else 0
    except OSError:  # not HDF5, or broken: drawn again
        return 0
    ours = _attributes(recording)
    other = [key for key, value in ours.items() if not np.array_equal(np.asarray(theirs.get(key)), value)]
    if other == ["hidden_by"]:
        return 0  # the same scenes with labels that are less right: drawn again
    if other:
        told = ", ".join(f"{key} {theirs.get(key)}, not {ours[key]}" for key in other)
        raise ValueError(f"{path} holds scenes of {told}; delete it, or give another --dataset_dir")
    return held


def _draw(recording: SceneRecording, count: int, workers: int) -> Iterator[EncodedScene]:
    if workers == 1:
        yield from map(_Drawer(recording), range(count))
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _start_worker, (recording,)) as pool:
        yield from pool.map(_draw_in_worker, range(count), chunksize=TASKS_AT_ONCE)


class _Drawer:
    def __init__(self, recording: SceneRecording):
        self.seed, self.sampler = recording.seed, recording.sampler()

    def __call__(self, k: int) -> EncodedScene:
        scene = self.sampler.sample(np.random.default_rng((self.seed, k)))
        cameras = self.sampler.cameras
        return EncodedScene(
            [encode_image(scene.images[camera], JPEG_QUALITY) for camera in cameras],
            np.stack([scene.keypoints[camera] for camera in cameras]),
            np.stack([scene.visible[camera] for camera in cameras]),
            scene.qpos,
        )


_drawer: Callable[[], _Drawer]  # of this worker process


def _start_worker(recording: SceneRecording) -> None:
    global _drawer
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    end_with_parent()
    use_one_core()
    _drawer = functools.cache(lambda: _Drawer(recording))  # made with the first scene: whoever waits hears its errors


def _draw_in_worker(k: int) -> EncodedScene:
    return _drawer()(k)
