"""The file of labelled random scenes: what `record_sim_episodes.py --random_scenes` writes and `act.pretrain` reads.

scenes.hdf5
  attrs            task_name, camera_names (N), keypoint_names (P), image_size (H, W), seed
  /images/<cam>    (S, padded_len) uint8   JPEG, zero-padded, RGB kept in order as in episodes
  /compress_len    (N, S) int              bytes of each JPEG
  /keypoints/<cam> (S, P, 2) float32       pixels: x to the right, y down, centre of the top-left pixel is (0, 0)
  /visible/<cam>   (S, P) bool             inside the image and not hidden
  /qpos            (S, 14) float32
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import h5py
import numpy as np

JPEG_QUALITY = 95  # labels are finer than a pixel, so the stills are kept sharper than episodes


@dataclass(frozen=True)
class EncodedScene:
    """One still, its images as JPEG bytes in the order of the cameras."""

    jpegs: list[np.ndarray]  # N x (length,) uint8
    keypoints: np.ndarray  # (N, P, 2) float32 [pixels]
    visible: np.ndarray  # (N, P) bool
    qpos: np.ndarray  # (14,) float32


def encode_image(image: np.ndarray, quality: int = JPEG_QUALITY) -> np.ndarray:
    """(length,) uint8 JPEG of an (H, W, 3) uint8 image."""
    done, jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"OpenCV could not encode an image of shape {image.shape}")
    return jpeg.ravel()


def write_scenes(
    path: Path,
    scenes: Iterable[EncodedScene],
    *,
    task_name: str,
    cameras: tuple[str, ...],
    keypoints: tuple[str, ...],
    image_size: tuple[int, int],
    seed: int,
) -> int:
    """Writes the file whole or not at all; returns the number of scenes."""
    gathered = list(scenes)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with h5py.File(temporary, "w") as file:
            file.attrs.update(task_name=task_name, image_size=image_size, seed=seed)
            file.attrs["camera_names"] = list(cameras)
            file.attrs["keypoint_names"] = list(keypoints)
            lengths = np.array([[len(jpeg) for jpeg in scene.jpegs] for scene in gathered]).T
            file["compress_len"] = lengths
            file["qpos"] = np.stack([scene.qpos for scene in gathered])
            for n, camera in enumerate(cameras):
                images = file.create_dataset(f"images/{camera}", (len(gathered), lengths[n].max()), np.uint8)
                for s, scene in enumerate(gathered):
                    images[s, : lengths[n, s]] = scene.jpegs[n]
                file[f"keypoints/{camera}"] = np.stack([scene.keypoints[n] for scene in gathered])
                file[f"visible/{camera}"] = np.stack([scene.visible[n] for scene in gathered])
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return len(gathered)
