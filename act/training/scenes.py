"""Reads the file of labelled random scenes that backbones are pretrained on (act/recording/scenes.py writes it)."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor

from act.data.images import decode_image


@dataclass(frozen=True)
class Scenes:
    """All stills of a file in memory. Letters: S scenes, N cameras, P keypoints."""

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
    """Decodes the whole file. Raises ValueError naming the file when it does not exist or holds no scenes."""
    if not path.is_file():
        raise ValueError(f"{path} not found; create it with record_sim_episodes.py --random_scenes 3000")
    try:
        with h5py.File(path) as file:
            cameras = tuple(str(name) for name in np.asarray(file.attrs["camera_names"]))
            keypoints = tuple(str(name) for name in np.asarray(file.attrs["keypoint_names"]))
            task_name = str(file.attrs["task_name"])
            lengths = np.asarray(file["compress_len"])
            images = np.empty((lengths.shape[1], len(cameras), *np.asarray(file.attrs["image_size"]), 3), np.uint8)
            for n, camera in enumerate(cameras):
                _decode(np.asarray(file[f"images/{camera}"]), lengths[n], images[:, n])
            points = np.stack([np.asarray(file[f"keypoints/{c}"]) for c in cameras], axis=1)
            visible = np.stack([np.asarray(file[f"visible/{c}"]) for c in cameras], axis=1)
    except (OSError, KeyError) as error:
        raise ValueError(
            f"{path} holds no scenes ({error}); create them with record_sim_episodes.py --random_scenes 3000"
        ) from error
    return Scenes(
        torch.from_numpy(images), torch.from_numpy(points), torch.from_numpy(visible), cameras, keypoints, task_name
    )


def _decode(padded: np.ndarray, lengths: np.ndarray, out: np.ndarray) -> None:
    """JPEGs (S, padded_len) into `out` (S, H, W, 3) uint8."""

    def decode(s: int) -> None:
        out[s] = decode_image(padded[s, : lengths[s]])

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        list(pool.map(decode, range(len(padded))))
