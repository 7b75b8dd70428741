"""Writes and reads episodes, one HDF5 file each, in ALOHA's layout. (act/data/repair.py is `python -m act episodes`.)

    episode_17.hdf5                      T control steps, 0.02 s apart
      attrs: sim=True, compress=True     and task_name, seed, source, success, strict_success, control_timestep,
                                         stage_names, camera_names, versions, recording (lists and dicts are JSON text)
      /observations/qpos        (T, 14) float32    the observation of the agent at t
      /observations/qvel        (T, 14) float32
      /observations/env_state   (T, 7n) float32    privileged object poses; absent in files of the original code
      /observations/images/CAM  (T, padded_len) uint8    JPEG bytes, zeros behind; or raw (T, H, W, 3)
      /compress_len             (cameras, T) int32       bytes used of each row; cameras in alphabetical order
      /action                   (T, 14) float32    absolute joint targets: the label that policies learn
      /reward                   (T,)    float32    the result of the action; absent in files of the original code
    only in episodes that a policy took part in (DAgger):
      /executed_action          (T, 14) float32    the targets that were sent to the robot, where /action is a label
      /intervention             (T,)    bool       whether the expert or the operator drove at t
      /action_chunk             (n, K, 14) float32 what the expert would have done from n control steps on
      /action_chunk_t           (n,)    int32      those control steps, increasing

The JPEGs are made by act/data/images.py. The same content always gives the same bytes.
"""

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from act.data.hdf5 import find_dataset, read_attributes, read_floats, whole_hdf5
from act.data.images import JPEG_QUALITY, decode_image, encode_image, resize_image

FRAMES_PER_CHUNK = 4  # JPEGs compressed together; more would save little, and reading one frame reads its whole chunk
LABELS = {"executed_action": "float32", "intervention": "bool", "action_chunk": "float32", "action_chunk_t": "int32"}
NEEDED = ("action", "observations/qpos", "observations/qvel")
OPTIONAL = {"observations/env_state": 2, "reward": 1}  # name -> number of axes
_VERSIONED = ("mujoco", "dm_control", "gymnasium", "numpy", "h5py", "opencv-python-headless")
Frames = Sequence[bytes] | Sequence[np.ndarray] | np.ndarray  # JPEG bytes or (H, W, 3) uint8, T of them


# ----------------------------------------------------------------------------------------------------------- writing
def episode_path(directory: Path | str, index: int) -> Path:
    """Returns DIRECTORY/episode_17.hdf5 for index 17."""
    return Path(directory) / f"episode_{index}.hdf5"


def write_episode(
    path: Path | str,
    *,
    qpos: np.ndarray,
    qvel: np.ndarray,
    action: np.ndarray,
    images: Mapping[str, Frames],
    env_state: np.ndarray | None = None,
    reward: np.ndarray | None = None,
    compress: bool = True,
    jpeg_quality: int = JPEG_QUALITY,
    attrs: Mapping[str, Any] | None = None,
    **labels: np.ndarray,
) -> Path:
    """Writes one episode atomically and returns its path.

    Args:
        qpos, qvel, action, env_state, reward: arrays (T, ...); they are stored as float32.
        images: T frames of each camera, as (H, W, 3) uint8 arrays or, with `compress`, as JPEG bytes.
        compress: stores images as JPEG with `jpeg_quality`, otherwise raw.
        attrs: attributes of the file; lists and dicts are stored as JSON text.
        labels: arrays with the names of `LABELS`.

    Raises OSError when the disk has too little space, and ValueError for images that cannot be encoded.
    """
    path = Path(path)
    arrays = {"observations/qpos": qpos, "observations/qvel": qvel, "observations/env_state": env_state}
    arrays |= {"action": action, "reward": reward}
    room = 0 if compress else sum(len(frames) * np.asarray(frames[0]).nbytes for frames in images.values())
    with whole_hdf5(path, room) as root:
        for name, value in sorted(({"sim": True, "camera_names": list(images)} | dict(attrs or {})).items()):
            root.attrs[name] = json.dumps(value, sort_keys=True) if isinstance(value, list | tuple | dict) else value
        root.attrs["compress"] = compress
        for name, array in arrays.items():
            if array is not None:
                root.create_dataset(name, data=np.asarray(array, np.float32))
        for name, array in labels.items():
            root.create_dataset(name, data=np.asarray(array, LABELS[name]))
        _write_images(root, {camera: images[camera] for camera in sorted(images)}, compress, jpeg_quality)
    return path


def _write_images(root: h5py.File, images: Mapping[str, Frames], compress: bool, jpeg_quality: int) -> None:
    lengths = []
    for camera, frames in images.items():
        name = f"observations/images/{camera}"
        if not compress:
            shape = (len(frames), *np.shape(frames[0]))
            raw = root.create_dataset(name, shape, np.uint8, chunks=(1, *shape[1:]))
            for t, frame in enumerate(frames):
                raw[t] = frame
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


def versions() -> dict[str, str]:
    """Returns the versions of the installed packages that decide the content of an episode."""
    found = {}
    for package in _VERSIONED:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


# ----------------------------------------------------------------------------------------------------------- reading
@dataclass(frozen=True)
class Episode:
    """One episode: its vectors are in memory (float32), its images are read from disk on request.

    An episode holds no open file and is cheap to pickle.
    """

    path: Path
    qpos: np.ndarray  # (T, 14)
    qvel: np.ndarray  # (T, 14)
    action: np.ndarray  # (T, 14); files with another width are read, too, and users of the width must check it
    env_state: np.ndarray | None  # (T, 7n)
    reward: np.ndarray | None  # (T,)
    cameras: tuple[str, ...]
    compressed: bool  # images are JPEG
    attrs: dict[str, Any]
    executed_action: np.ndarray | None = None  # (T, 14)
    intervention: np.ndarray | None = None  # (T,) bool
    action_chunk: np.ndarray | None = None  # (n, K, 14)
    action_chunk_t: np.ndarray | None = None  # (n,) int32

    def __len__(self) -> int:
        return len(self.action)

    def read_images(
        self,
        camera: str,
        start: int = 0,
        stop: int | None = None,
        image_size: tuple[int, int] | None = None,
        stride: int = 1,
    ) -> np.ndarray:
        """Returns every `stride`-th frame of start..stop-1, (n, H, W, 3) uint8 RGB, resized to `image_size` (H, W).

        Raises ValueError for an unknown camera and for images that cannot be read.
        """
        name = f"observations/images/{self._known(camera)}"
        try:
            with h5py.File(self.path, "r") as root:
                rows = find_dataset(root, name, self.path)[start:stop]
            decode = decode_image if self.compressed else resize_image
            return np.stack(
                [decode(row, image_size) for row in rows[::stride]]
            )  # strided reads by HDF5 are 90 x slower
        except (OSError, ValueError) as error:
            raise ValueError(f"{self.path}: camera {camera}, steps {start} to {stop or len(self)}: {error}") from None

    def encoded(self, t: int) -> dict[str, bytes]:
        """Returns the JPEG bytes of every camera at t, not decoded, with one file access.

        Raises ValueError for a file with raw images and for images that cannot be read.
        """
        if not self.compressed:
            raise ValueError(f"{self.path}: images are raw, not JPEG; use read_images")
        try:
            with h5py.File(self.path, "r") as root:
                rows = {c: find_dataset(root, f"observations/images/{c}", self.path)[t] for c in self.cameras}
        except OSError as error:
            raise ValueError(f"{self.path}: images of step {t}: {error}") from None
        return {camera: row.tobytes().rstrip(b"\0") for camera, row in rows.items()}  # a JPEG ends in FF D9

    @property
    def image_size(self) -> tuple[int, int] | None:
        """Returns the (H, W) of the first camera, or None for an episode without cameras."""
        return self.read_images(self.cameras[0], 0, 1).shape[1:3] if self.cameras else None

    def _known(self, camera: str) -> str:
        if camera not in self.cameras:
            raise ValueError(f"{self.path}: unknown camera {camera!r}; available: {', '.join(self.cameras) or 'none'}")
        return camera


def find_episodes(directory: Path | str) -> list[Path]:
    """Returns all episode_<i>.hdf5 of a directory in the order of i. Raises ValueError for a missing directory."""
    directory = Path(directory)
    if not directory.is_dir():
        raise ValueError(f"{directory} is not a directory; record episodes with record_sim_episodes.py")
    return sorted((p for p in directory.glob("episode_*.hdf5") if p.stem[8:].isdigit()), key=episode_index)


def episode_index(path: Path) -> int:
    """Returns 17 for episode_17.hdf5."""
    return int(path.stem[8:])


def read_episode(path: Path | str, cameras: Sequence[str] | None = None) -> Episode:
    """Reads an episode of this project, ALOHA, ACT or act++.

    `cameras` chooses cameras and their order; None takes all cameras of the file in the recorded order.

    Raises ValueError, with the path and the reason, for a file that is damaged or is not an episode.
    """
    path = Path(path)
    try:
        with h5py.File(path, "r") as root:
            return _read(root, path, cameras)
    except (OSError, RuntimeError) as error:  # h5py raises these for truncated and damaged files
        raise ValueError(f"{path}: not a readable HDF5 file ({error})") from error


def _read(root: h5py.File, path: Path, cameras: Sequence[str] | None) -> Episode:
    needed = {name: read_floats(root, name, path, ndim=2) for name in NEEDED}
    optional = {name: read_floats(root, name, path, ndim) for name, ndim in OPTIONAL.items() if name in root}
    length = len(needed["action"])
    for name, array in (needed | optional).items():
        if len(array) != length:
            raise ValueError(f"{path}: /{name} has {len(array)} steps, /action has {length}")
    labels = _labels(root, path, *needed["action"].shape)
    attrs = read_attributes(root)
    found = _stored_cameras(root, attrs)
    missing = [camera for camera in cameras or () if camera not in found]
    if missing:
        raise ValueError(f"{path}: unknown camera {missing[0]!r}; available: {', '.join(found) or 'none'}")
    ndims = {_check_images(root, camera, length, path) for camera in found}
    if len(ndims) > 1:
        raise ValueError(f"{path}: some cameras are stored as JPEG and some raw; store all in one form")
    return Episode(
        path,
        needed["observations/qpos"],
        needed["observations/qvel"],
        needed["action"],
        optional.get("observations/env_state"),
        optional.get("reward"),
        cameras=tuple(found if cameras is None else cameras),
        compressed=ndims == {2},
        attrs=attrs,
        **labels,
    )


def _stored_cameras(root: h5py.File, attrs: Mapping[str, Any]) -> list[str]:
    """Returns the cameras of a file in the recorded order, or in alphabetical order where no order is recorded."""
    group = root.get("observations/images")
    stored = list(group) if isinstance(group, h5py.Group) else []
    recorded = [camera for camera in attrs.get("camera_names", ()) if camera in stored]
    return recorded if len(recorded) == len(stored) else stored


def _labels(root: h5py.File, path: Path, length: int, width: int) -> dict[str, np.ndarray]:
    """Returns the arrays named in `LABELS` that the file has. Raises ValueError when they do not fit together."""
    labels = {n: np.asarray(find_dataset(root, n, path)[()], dtype) for n, dtype in LABELS.items() if n in root}
    driven = [labels[name] for name in ("executed_action", "intervention") if name in labels]
    chunks = [labels[name] for name in ("action_chunk", "action_chunk_t") if name in labels]
    if len(driven) == 1 or any(len(array) != length for array in driven):
        raise ValueError(f"{path}: /executed_action and /intervention must both have {length} steps like /action")
    if len(chunks) == 1 or len({len(array) for array in chunks}) > 1 or (chunks and chunks[0].ndim != 3):
        raise ValueError(f"{path}: /action_chunk (n, K, 14) and /action_chunk_t (n,) must both be present")
    wide = [labels[name].shape[-1] for name in ("executed_action", "action_chunk") if name in labels]
    if any(other != width for other in wide):
        raise ValueError(f"{path}: /executed_action and /action_chunk must have {width} columns like /action")
    if chunks and not np.all((chunks[1] >= 0) & (chunks[1] < length)):
        raise ValueError(f"{path}: /action_chunk_t must be in 0 to {length - 1}")
    if any(not np.isfinite(array).all() for array in labels.values()):
        raise ValueError(f"{path}: /executed_action or /action_chunk has values that are not finite")
    return labels


def _check_images(root: h5py.File, camera: str, length: int, path: Path) -> int:
    dataset = find_dataset(root, f"observations/images/{camera}", path)
    raw = dataset.ndim == 4 and dataset.shape[-1] == 3
    if dataset.dtype != np.uint8 or not (raw or dataset.ndim == 2) or dataset.shape[0] != length:
        form = f"shape {dataset.shape} and type {dataset.dtype}"
        raise ValueError(f"{path}: camera {camera} has {form}, expected ({length}, H, W, 3) or ({length}, bytes) uint8")
    return dataset.ndim
