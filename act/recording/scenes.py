"""Labelled random scenes: rendered in worker processes, kept in one file from which `act pretrain` trains a backbone.

    scenes.hdf5
      attrs            task_name, camera_names (N), keypoint_names (P), image_size (H, W), quality, seed, hidden_by
      /images/<cam>    (S, padded_len) uint8   JPEG, zero-padded, RGB kept in order as in episodes
      /compress_len    (N, S) int64            bytes of each JPEG, rows in the order of camera_names
      /keypoints/<cam> (S, P, 2) float32       pixels: x to the right, y down, centre of the top-left pixel is (0, 0)
      /visible/<cam>   (S, P) bool             inside the image and not hidden
      /qpos            (S, 14) float32

Scene k depends on (seed, k) alone, so the file is the same bytes whatever the number of workers.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
from tqdm import tqdm

from act.data.checksums import DamagedFile
from act.data.hdf5 import whole_hdf5
from act.data.images import encode_image
from act.data.source import open_hdf5
from act.recording.attempts import Recording
from act.workers import Worker, close_all, use_one_core

JPEG_QUALITY = 95  # better than in episodes, because the labels are finer than a pixel


class Scene(Protocol):
    """One random scene; see sim_envs.random_scenes.Scene."""

    @property
    def images(self) -> dict[str, np.ndarray]: ...
    @property
    def keypoints(self) -> dict[str, np.ndarray]: ...
    @property
    def visible(self) -> dict[str, np.ndarray]: ...
    @property
    def qpos(self) -> np.ndarray: ...


class Sampler(Protocol):
    """Samples scenes; see sim_envs.random_scenes.SceneSampler."""

    @property
    def cameras(self) -> tuple[str, ...]: ...
    @property
    def keypoints(self) -> tuple[str, ...]:
        """Names of the keypoints."""
        ...

    def sample(self, rng: np.random.Generator) -> Scene: ...


@dataclass(frozen=True)
class EncodedScene:
    """One scene as it is stored, arrays in the order of the cameras."""

    jpegs: list[bytes]  # N
    keypoints: np.ndarray  # (N, P, 2) float32 [pixels]
    visible: np.ndarray  # (N, P) bool
    qpos: np.ndarray  # (14,) float32


def record_scenes(
    recording: Recording, make_sampler: Callable[[], Sampler], path: Path, count: int, workers: int
) -> None:
    """Records `count` scenes into one file, whole or not at all; a file that holds at least these is left as it is.

    Raises ValueError when the file holds scenes of another task, camera, image size, quality or seed.

    Example:
        recording = Recording("sim_transfer_cube_scripted", cameras=("top",), image_size=(240, 320))
        make_sampler = partial(sim_envs.make_scene_sampler, "transfer_cube", ("top",), (240, 320))
        record_scenes(recording, make_sampler, Path("data/cube/scenes.hdf5"), count=3000, workers=4)
    """
    if path.exists() and _count_scenes(path, recording) >= count:
        return
    processes = [
        Worker(partial(_SceneEncoder, make_sampler, recording.seed), f"scene worker {index}")
        for index in range(min(workers, count))
    ]
    try:
        keypoints = processes[0].call(attrgetter("keypoint_names"))
        scenes = list(tqdm(_scenes(processes, count), total=count, unit="scene", dynamic_ncols=True))
    finally:
        close_all(processes, patience=0)
    _write(path, recording, keypoints, scenes)


def _scenes(processes: Sequence[Worker], count: int) -> Iterator[EncodedScene]:
    """Scenes 0, 1, ... in this order; scene k comes from process k modulo their number."""
    ahead = len(processes)
    for k in range(count + ahead):
        process = processes[k % ahead]
        if k >= ahead:
            yield process.receive()
        if k < count:
            process.send(_SceneEncoder.encode, k)


class _SceneEncoder:
    """Samples and encodes scenes in a worker process."""

    def __init__(self, make_sampler: Callable[[], Sampler], seed: int):
        use_one_core()
        self.seed, self.sampler = seed, make_sampler()

    @property
    def keypoint_names(self) -> tuple[str, ...]:
        return tuple(self.sampler.keypoints)

    def encode(self, k: int) -> EncodedScene:
        scene = self.sampler.sample(np.random.default_rng((self.seed, k)))
        cameras = self.sampler.cameras
        return EncodedScene(
            [encode_image(scene.images[camera], JPEG_QUALITY) for camera in cameras],
            np.stack([scene.keypoints[camera] for camera in cameras]),
            np.stack([scene.visible[camera] for camera in cameras]),
            scene.qpos,
        )


# ----------------------------------------------------------------------------------------------------------- the file
def _write(path: Path, recording: Recording, keypoints: Sequence[str], scenes: Sequence[EncodedScene]) -> None:
    with whole_hdf5(path) as file:
        file.attrs.update(_attributes(recording))
        file.attrs["keypoint_names"] = list(keypoints)
        lengths = np.array([[len(jpeg) for jpeg in scene.jpegs] for scene in scenes]).T
        file["compress_len"] = lengths
        file["qpos"] = np.stack([scene.qpos for scene in scenes])
        for n, camera in enumerate(recording.cameras):
            images = file.create_dataset(f"images/{camera}", (len(scenes), lengths[n].max()), np.uint8)
            for s, scene in enumerate(scenes):
                images[s, : lengths[n, s]] = np.frombuffer(scene.jpegs[n], np.uint8)
            file[f"keypoints/{camera}"] = np.stack([scene.keypoints[n] for scene in scenes])
            file[f"visible/{camera}"] = np.stack([scene.visible[n] for scene in scenes])


def _attributes(recording: Recording) -> dict[str, Any]:
    """What decides the scenes of a file. A file without `randomize` is like those from before there was a choice."""
    return {
        **({"randomize": list(recording.randomize)} if recording.randomize else {}),
        "task_name": recording.task,
        "camera_names": list(recording.cameras),
        "image_size": list(recording.image_size),
        "quality": recording.quality,
        "hidden_by": "what is drawn",  # older files lack it: their labels also count what invisible hulls hide
        "seed": recording.seed,
    }


def _count_scenes(path: Path, recording: Recording) -> int:
    """How many scenes of this recording a file holds; 0 when it must be recorded again, e.g. because it is damaged."""
    try:
        with open_hdf5(path) as source:
            actual = {"quality": "fast", "randomize": [], **source.root.attrs}  # as before files named them
            lengths = source.root.get("compress_len")
            count = lengths.shape[1] if isinstance(lengths, h5py.Dataset) else 0
    except DamagedFile:
        return 0
    expected = {"randomize": [], **_attributes(recording)}
    differing = [key for key, value in expected.items() if not np.array_equal(np.asarray(actual.get(key)), value)]
    if differing == ["hidden_by"]:
        return 0  # the same scenes with less exact labels
    if differing:
        difference = ", ".join(f"{key} {actual.get(key)}, not {expected[key]}" for key in differing)
        raise ValueError(f"{path} holds scenes of {difference}; delete it, or give another --dataset_dir")
    return count
