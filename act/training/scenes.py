"""Reads the file of labelled random scenes that backbones are pretrained on (act/recording/scenes.py writes it)."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor

from act.data.images import decode_image


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
    """Reads the whole file. Raises ValueError naming the file when it does not exist or holds no scenes."""
    labels = read_labels(path)
    images = torch.from_numpy(read_images(path, labels.cameras, 0, len(labels)))
    return Scenes(images, labels.points, labels.visible, labels.cameras, labels.keypoints, labels.task_name)


def read_labels(path: Path) -> SceneLabels:
    """The labels of all scenes. Raises ValueError naming the file when it does not exist or holds no scenes."""
    if not path.is_file():
        raise ValueError(f"{path} not found; create it with record_sim_episodes.py --random_scenes 3000")
    try:
        with h5py.File(path) as file:
            cameras = tuple(str(name) for name in np.asarray(file.attrs["camera_names"]))
            keypoints = tuple(str(name) for name in np.asarray(file.attrs["keypoint_names"]))
            height, width = (int(side) for side in np.asarray(file.attrs["image_size"]))
            task_name = str(file.attrs["task_name"])
            points = np.stack([np.asarray(file[f"keypoints/{c}"]) for c in cameras], axis=1)
            visible = np.stack([np.asarray(file[f"visible/{c}"]) for c in cameras], axis=1)
            qpos = np.asarray(file["qpos"])
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(
            f"{path} holds no scenes ({error}); create them with record_sim_episodes.py --random_scenes 3000"
        ) from error
    labels = (torch.from_numpy(points), torch.from_numpy(visible), torch.from_numpy(qpos))
    return SceneLabels(*labels, cameras, keypoints, (height, width), task_name)


def read_images(path: Path, cameras: Sequence[str], start: int, stop: int) -> np.ndarray:
    """(stop - start, N, H, W, 3) uint8 of these cameras, in this order. Raises ValueError naming a camera it lacks."""
    with h5py.File(path) as file, ThreadPoolExecutor(torch.get_num_threads()) as pool:
        names = [str(name) for name in np.asarray(file.attrs["camera_names"])]
        lengths = np.asarray(file["compress_len"])
        images = np.empty((stop - start, len(cameras), *np.asarray(file.attrs["image_size"]), 3), np.uint8)
        for n, camera in enumerate(cameras):
            if camera not in names:
                raise ValueError(f"{path}: unknown camera {camera!r}; available: {', '.join(names)}")
            padded = np.asarray(file[f"images/{camera}"][start:stop])  # type: ignore[index]
            sizes = lengths[names.index(camera), start:stop]

            def decode(s: int, n: int = n, padded: np.ndarray = padded, sizes: np.ndarray = sizes) -> None:
                images[s, n] = decode_image(padded[s, : sizes[s]])

            list(pool.map(decode, range(stop - start)))
    return images
