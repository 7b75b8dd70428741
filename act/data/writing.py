"""Writes episodes; act/data/episodes.py defines their layout and reads them."""

import contextlib
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from act.data.hdf5 import store_attributes, whole_hdf5
from act.data.images import JPEG_QUALITY, encode_image

FRAMES_PER_CHUNK = 4  # JPEGs compressed together; more would save little, and reading one frame reads its whole chunk
LABELS = {"executed_action": "float32", "intervention": "bool", "action_chunk": "float32", "action_chunk_t": "int32"}
_VERSIONED = ("mujoco", "dm_control", "gymnasium", "numpy", "h5py", "opencv-python-headless")
Frames = Sequence[bytes] | Sequence[np.ndarray] | np.ndarray  # JPEG bytes or (H, W, 3) uint8, T of them


def write_episode(
    path: Path | str,
    *,
    qpos: np.ndarray,
    action: np.ndarray,
    images: Mapping[str, Frames],
    qvel: np.ndarray | None = None,
    env_state: np.ndarray | None = None,
    reward: np.ndarray | None = None,
    compress: bool = True,
    jpeg_quality: int = JPEG_QUALITY,
    attrs: Mapping[str, Any] | None = None,
    **labels: np.ndarray,
) -> Path:
    """Writes one episode atomically, with checksums, and returns its path.

    Args:
        qpos, action, qvel, env_state, reward: arrays (T, ...); they are stored as float32.
        images: T frames of each camera, as (H, W, 3) uint8 arrays or, with `compress`, as JPEG bytes.
        compress: stores images as JPEG with `jpeg_quality`, otherwise raw.
        attrs: attributes of the file; lists and dicts are stored as JSON text.
        labels: arrays with the names of `LABELS`.

    Raises OSError when the disk has too little space, and ValueError for images that cannot be encoded.
    """
    path = Path(path)
    vectors = {"observations/qpos": qpos, "observations/qvel": qvel, "observations/env_state": env_state}
    vectors |= {"action": action, "reward": reward}
    arrays = {name: np.asarray(array, np.float32) for name, array in vectors.items() if array is not None}
    arrays |= {name: np.asarray(array, LABELS[name]) for name, array in labels.items()}
    with whole_hdf5(path, 0 if compress else _raw_bytes(arrays, images)) as root:
        colors = {"jpeg_colors": "rgb"} if compress and images else {}
        given = {"sim": True, "camera_names": list(images), **colors, **(attrs or {}), "compress": compress}
        store_attributes(root, given)
        for name, array in arrays.items():
            root.create_dataset(name, data=array)
        _write_images(root, {camera: images[camera] for camera in sorted(images)}, compress, jpeg_quality)
    return path


def _raw_bytes(arrays: Mapping[str, np.ndarray], images: Mapping[str, Frames]) -> int:
    """Returns how many bytes the arrays and raw images of an episode take; 0 when there are no images."""
    frames = sum(len(frames) * np.asarray(frames[0]).nbytes for frames in images.values())
    return frames + sum(array.nbytes for array in arrays.values()) if frames else 0


def _write_images(root: h5py.File, images: Mapping[str, Frames], compress: bool, jpeg_quality: int) -> None:
    lengths = []
    for camera, frames in images.items():
        name = f"observations/images/{camera}"
        if not compress:
            _write_raw(root, name, frames)
            continue
        encoded = [frame if isinstance(frame, bytes) else encode_image(frame, jpeg_quality) for frame in frames]
        lengths.append([len(frame) for frame in encoded])
        padded = np.zeros((len(encoded), max(lengths[-1])), np.uint8)
        for row, frame in zip(padded, encoded, strict=True):
            row[: len(frame)] = np.frombuffer(frame, np.uint8)
        # gzip removes the padding and what one frame repeats from the previous one: a file of 33 MB becomes 18 MB.
        chunk = (min(FRAMES_PER_CHUNK, len(padded)), padded.shape[1])
        root.create_dataset(name, data=padded, chunks=chunk, compression="gzip", compression_opts=1)
    if lengths:
        root.create_dataset("compress_len", data=np.asarray(lengths, np.int32))


def _write_raw(root: h5py.File, name: str, frames: Frames) -> None:
    """Writes raw images past the cache and the conversions of HDF5, which take as long as the writing itself."""
    shape = np.shape(frames[0])
    raw = root.create_dataset(name, (len(frames), *shape), np.uint8, chunks=(1, *shape))
    for t, frame in enumerate(frames):
        image = np.ascontiguousarray(frame)
        if image.shape != shape or image.dtype != np.uint8:  # HDF5 would write whatever bytes it is given
            raise ValueError(f"{name}: image {t} is {image.dtype} {image.shape}; images are uint8 {shape} here")
        raw.id.write_direct_chunk((t, *(0,) * len(shape)), image)


def versions() -> dict[str, str]:
    """Returns the versions of the installed packages that decide the content of an episode."""
    found = {}
    for package in _VERSIONED:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found
