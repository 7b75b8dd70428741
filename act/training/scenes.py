"""Reads the file of labelled random scenes that backbones are pretrained on (act/recording/scenes.py writes it).

Its checksums are verified, as those of episodes are: those of the labels when they are read, that of an image with it.
Files of earlier versions have none; what they declare is compared with what they store.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from act.data.checksums import Seal, verify_rows
from act.data.images import decode_image
from act.data.source import Source, find_dataset, open_hdf5, read_attributes, read_floats, read_whole
from act.types import known_camera

RECORD = "record_sim_episodes.py --random_scenes 3000"


@dataclass(frozen=True)
class StoredImages:
    """Where the images of a file of scenes are."""

    path: Path
    lengths: np.ndarray  # (N, S) bytes of each JPEG
    numbers: dict[str, int]  # of each camera among the checksums
    seal: Seal | None = field(repr=False, compare=False)


@dataclass(frozen=True)
class SceneLabels:
    """The labels in a file of scenes. Letters: S scenes, N cameras, P keypoints, H W image."""

    points: Tensor  # (S, N, P, 2) float32 [pixels], x to the right, y down
    visible: Tensor  # (S, N, P) bool
    qpos: Tensor  # (S, 14) float32
    cameras: tuple[str, ...]
    keypoints: tuple[str, ...]  # names
    image_size: tuple[int, int]  # (H, W)
    task_name: str
    stored: StoredImages

    def __len__(self) -> int:
        return len(self.points)


@dataclass(frozen=True)
class Scenes:
    """The images and labels of a file of scenes, in memory."""

    images: Tensor  # (S, N, H, W, 3) uint8
    points: Tensor  # (S, N, P, 2) float32 [pixels], x to the right, y down
    visible: Tensor  # (S, N, P) bool
    cameras: tuple[str, ...]
    keypoints: tuple[str, ...]  # names
    task_name: str

    @property
    def image_size(self) -> tuple[int, int]:
        height, width = self.images.shape[2:4]
        return height, width


def read_scenes(path: Path) -> Scenes:
    """Reads the whole file. Raises ValueError naming the file when it does not exist, holds no scenes or is damaged."""
    labels = read_labels(path)
    images = torch.from_numpy(read_images(labels, labels.cameras, 0, len(labels)))
    return Scenes(images, labels.points, labels.visible, labels.cameras, labels.keypoints, labels.task_name)


# ------------------------------------------------------------------------------------------------------------- labels
def read_labels(path: Path) -> SceneLabels:
    """The labels of all scenes, after their checksum was verified, if the file has one.

    Raises ValueError naming the file when it does not exist, holds no scenes or is damaged.
    """
    if not path.exists():
        raise ValueError(f"{path} not found; create it with {RECORD}")
    try:
        with open_hdf5(path) as source:
            return _labels(source)
    except (ValueError, KeyError, TypeError) as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise ValueError(f"{path} holds no scenes that can be used ({reason}); create them with {RECORD}") from error


def _labels(source: Source) -> SceneLabels:
    attrs = read_attributes(source)[0]
    cameras, keypoints = (tuple(str(name) for name in attrs[f"{kind}_names"]) for kind in ("camera", "keypoint"))
    height, width = (int(side) for side in attrs["image_size"])
    points = np.stack([read_floats(source, f"keypoints/{camera}", ndim=3) for camera in cameras], axis=1)
    visible = np.stack([_flags(source, f"visible/{camera}") for camera in cameras], axis=1)
    qpos = read_floats(source, "qpos", ndim=2)
    lengths = read_whole(source, find_dataset(source, "compress_len"), "compress_len")
    expected = (len(qpos), len(cameras), len(keypoints))
    if points.shape != (*expected, 2) or visible.shape != expected or lengths.shape != expected[1::-1]:
        shapes = f"keypoints {points.shape}, visible {visible.shape} and compress_len {lengths.shape}"
        raise ValueError(f"{shapes} do not fit {expected} scenes, cameras and keypoints")
    numbers = {camera: _image_number(source, camera, lengths[n]) for n, camera in enumerate(cameras)}
    stored = StoredImages(source.path, lengths, numbers, source.seal)
    tensors = torch.from_numpy(points), torch.from_numpy(visible), torch.from_numpy(qpos)
    return SceneLabels(*tensors, cameras, keypoints, (height, width), str(attrs["task_name"]), stored)


def _flags(source: Source, name: str) -> np.ndarray:
    """A dataset of bool. Raises ValueError for another type."""
    values = read_whole(source, find_dataset(source, name), name)
    if values.dtype != np.bool_:
        raise ValueError(f"/{name} has type {values.dtype}, expected bool")
    return values


def _image_number(source: Source, camera: str, lengths: np.ndarray) -> int:
    """The number of a camera's images among the checksums. Raises ValueError when they do not fit `lengths` (S,)."""
    name = f"images/{camera}"
    dataset = find_dataset(source, name)
    shape = tuple(map(int, dataset.id.shape or ()))
    if len(shape) != 2 or dataset.dtype != np.uint8 or shape[:1] != lengths.shape:
        raise ValueError(f"/{name} has shape {shape} and type {dataset.dtype}, expected (scenes, bytes) uint8")
    if lengths.dtype.kind not in "iu" or int(lengths.min()) < 1 or int(lengths.max()) > shape[1]:
        raise ValueError(f"/compress_len has values that do not fit /{name}")
    return source.images.index(name)


# ------------------------------------------------------------------------------------------------------------- images
def read_images(labels: SceneLabels, cameras: Sequence[str], start: int, stop: int) -> np.ndarray:
    """(stop - start, N, H, W, 3) uint8 of these cameras, in this order.

    Raises ValueError naming a camera that the file lacks, and an image that cannot be read or is damaged.
    """
    images = np.empty((stop - start, len(cameras), *labels.image_size, 3), np.uint8)
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for n, camera in enumerate(cameras):
            name = known_camera(camera, labels.cameras, labels.stored.path)
            rows = _read_rows(labels, name, start, stop)

            def decode(s: int, n: int = n, name: str = name, rows: Sequence[Any] = rows) -> None:
                images[s, n] = _decoded(labels, name, start + s, rows[s])

            list(pool.map(decode, range(stop - start)))
    return images


def _read_rows(labels: SceneLabels, camera: str, start: int, stop: int) -> Sequence[Any]:
    """The stored rows of a camera, after their checksums were verified, if there are any."""
    stored = labels.stored
    if stored.seal is not None:
        blocks = verify_rows(stored.path, stored.seal, stored.numbers[camera], start, stop)
        if len(blocks) == stop - start:  # as act/recording/scenes.py writes them: one row in each
            return blocks
    with open_hdf5(stored.path) as source:
        return find_dataset(source, f"images/{camera}")[start:stop]


def _decoded(labels: SceneLabels, camera: str, scene: int, row: Any) -> np.ndarray:
    """The image (H, W, 3) in a row. Raises ValueError naming the file, camera and scene for one that is none."""
    length = labels.stored.lengths[labels.cameras.index(camera), scene]
    where = f"{labels.stored.path}: camera {camera}, scene {scene}"
    try:
        image = decode_image(row[:length])
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    if image.shape[:2] != labels.image_size:
        raise ValueError(f"{where}: the image has {image.shape[:2]} pixels, not {labels.image_size}")
    return image
