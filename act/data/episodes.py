"""The HDF5 episode format, drawn once: write and read; `python -m act episodes` is act/data/repair.py.

    episode_17.hdf5                      ALOHA's layout; T control steps, 0.02 s apart
      attrs: sim=True, compress=True     and task_name, seed, source, success, strict_success, control_timestep,
                                         stage_names, camera_names, versions, recording (lists and dicts are JSON text)
      /observations/qpos        (T, 14) float32    what the agent saw at t
      /observations/qvel        (T, 14) float32
      /observations/env_state   (T, 7n) float32    privileged object poses; absent in files of the original code
      /observations/images/CAM  (T, padded_len) uint8    JPEG bytes, zeros behind; or raw (T, H, W, 3)
      /compress_len             (cameras, T) int32       bytes used of each row; cameras in alphabetical order
      /action                   (T, 14) float32    absolute targets sent at t
      /reward                   (T,)    float32    what came of it; absent in files of the original code
      /executed_action          (T, 14) float32    what was sent where that is not /action, the label (not DART)
      /intervention             (T,)    bool       whether expert or operator drove, of episodes a policy had part in
      /action_chunk             (n, K, 14) float32 what the expert would have done from control steps
      /action_chunk_t           (n,)    int32      these, growing, on

JPEGs are those of act/data/images.py. The same content gives the same bytes.
"""

import contextlib
import errno
import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any
from uuid import uuid4

import h5py
import numpy as np

from act.files import whole_file
from act.data.images import JPEG_QUALITY, decode_image, encode_image, resize_image

FRAMES_PER_CHUNK = 4  # JPEGs that are deflated together: more save little, and reading one frame reads them all
LABELS = {"executed_action": "float32", "intervention": "bool", "action_chunk": "float32", "action_chunk_t": "int32"}
_VERSIONED = ("mujoco", "dm_control", "gymnasium", "numpy", "h5py", "opencv-python-headless")
Frames = Sequence[bytes] | Sequence[np.ndarray] | np.ndarray  # JPEG bytes or (H, W, 3) uint8, T of them


# ----------------------------------------------------------------------------------------------------------- writing
def episode_path(directory: Path | str, index: int) -> Path:
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
    """Writes one episode, whole or not at all; arrays are (T, ...), images are encoded unless they are bytes.

    `labels` are those of `LABELS` there are.
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


@contextlib.contextmanager
def whole_hdf5(path: Path, room: int = 0) -> Iterator[h5py.File]:
    """Yields a file to fill; `path` is there, whole, once it is closed. OSError when the disk has no room for it.

    HDF5 crashes the interpreter when it cannot finish a file on a full disk. So a file is made in memory and then
    written; one too large for that says how much `room` [bytes] it takes, and is only begun where there is so much.
    """
    if room:
        path.parent.mkdir(parents=True, exist_ok=True)
        if (free := shutil.disk_usage(path.parent).free) < 1.01 * room:
            raise OSError(
                errno.ENOSPC, f"{room / 1e6:.0f} MB do not fit on the disk, {free / 1e6:.0f} are free", str(path)
            )
        with whole_file(path) as temporary, h5py.File(temporary, "w") as file:
            yield file
        return
    with h5py.File(f".{uuid4().hex}", "w", driver="core", backing_store=False) as file:  # would read one of its name
        yield file
        file.flush()
        image = file.id.get_file_image()
    with whole_file(path) as temporary:
        temporary.write_bytes(image)


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
        # Deflate takes the padding away, and what one frame repeats of the frame before: a file of 33 MB becomes 18 MB.
        chunk = (min(FRAMES_PER_CHUNK, len(padded)), padded.shape[1])
        root.create_dataset(name, data=padded, chunks=chunk, compression="gzip", compression_opts=1)
    if lengths:
        root.create_dataset("compress_len", data=np.asarray(lengths, np.int32))


def versions() -> dict[str, str]:
    """Versions of the packages that decide what an episode looks like, as far as they are installed."""
    found = {}
    for package in _VERSIONED:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


# ----------------------------------------------------------------------------------------------------------- reading
@dataclass(frozen=True)
class Episode:
    """One episode: vectors in memory (float32), images on disk until asked for. Cheap to pickle, holds no open file."""

    path: Path
    qpos: np.ndarray  # (T, 14)
    qvel: np.ndarray  # (T, 14)
    action: np.ndarray  # (T, 14); other widths are kept, whoever needs 14 says so
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
        """Every `stride`-th of frames start..stop-1 as (n, H, W, 3) uint8 RGB, resized by area to `image_size`."""
        name = f"observations/images/{self._known(camera)}"
        try:
            with h5py.File(self.path, "r") as root:
                rows = _dataset(root, name, self.path)[start:stop]
            decode = decode_image if self.compressed else resize_image
            return np.stack([decode(row, image_size) for row in rows[::stride]])  # HDF5's own strides are 90 x slower
        except (OSError, ValueError) as error:
            raise ValueError(f"{self.path}: camera {camera}, steps {start} to {stop or len(self)}: {error}") from None

    def encoded(self, t: int) -> dict[str, bytes]:
        """JPEG bytes of every camera at t, not decoded (one file access); ValueError for a file with raw images."""
        if not self.compressed:
            raise ValueError(f"{self.path}: images are raw, not JPEG; use read_images")
        try:
            with h5py.File(self.path, "r") as root:
                rows = {c: _dataset(root, f"observations/images/{c}", self.path)[t] for c in self.cameras}
        except OSError as error:
            raise ValueError(f"{self.path}: images of step {t}: {error}") from None
        return {camera: row.tobytes().rstrip(b"\0") for camera, row in rows.items()}  # a JPEG ends in FF D9

    @property
    def image_size(self) -> tuple[int, int] | None:
        """(H, W) of the first camera, None without cameras."""
        return self.read_images(self.cameras[0], 0, 1).shape[1:3] if self.cameras else None

    def _known(self, camera: str) -> str:
        if camera not in self.cameras:
            raise ValueError(f"{self.path}: no camera {camera!r}; this episode has {', '.join(self.cameras) or 'none'}")
        return camera


def find_episodes(directory: Path | str) -> list[Path]:
    """All episode_<i>.hdf5 of a directory in the order of i; ValueError if there is no such directory."""
    directory = Path(directory)
    if not directory.is_dir():
        raise ValueError(f"{directory} is not a directory; episodes are recorded with record_sim_episodes.py")
    return sorted((p for p in directory.glob("episode_*.hdf5") if p.stem[8:].isdigit()), key=episode_index)


def episode_index(path: Path) -> int:
    """17 for episode_17.hdf5."""
    return int(path.stem[8:])


def read_episode(path: Path | str, cameras: Sequence[str] | None = None) -> Episode:
    """Reads our files and those of ALOHA, ACT and act++; ValueError with path and reason for anything else.

    `cameras` None takes all of the file, in the recorded order; otherwise exactly those, in that order.
    """
    path = Path(path)
    try:
        with h5py.File(path, "r") as root:
            return _read(root, path, cameras)
    except (OSError, RuntimeError) as error:  # what HDF5 raises for truncated and damaged files
        raise ValueError(f"{path}: not a readable HDF5 file ({error})") from error


def _read(root: h5py.File, path: Path, cameras: Sequence[str] | None) -> Episode:
    needed = {name: _vector(root, name, path) for name in ("action", "observations/qpos", "observations/qvel")}
    optional = {name: _vector(root, name, path) for name in ("observations/env_state", "reward") if name in root}
    length = len(needed["action"])
    for name, array in (needed | optional).items():
        if len(array) != length:
            raise ValueError(f"{path}: /{name} has {len(array)} steps, /action has {length}")
    labels = _labels(root, path, *needed["action"].shape)
    attrs = {name: _attribute(value) for name, value in root.attrs.items()}
    group = root.get("observations/images")
    stored = list(group) if isinstance(group, h5py.Group) else []
    recorded = [camera for camera in attrs.get("camera_names", ()) if camera in stored]
    found = recorded if len(recorded) == len(stored) else stored
    missing = [camera for camera in cameras or () if camera not in found]
    if missing:
        raise ValueError(f"{path}: no camera {', '.join(missing)}; this episode has {', '.join(found) or 'none'}")
    ndims = {_check_images(root, camera, length, path) for camera in found}
    if len(ndims) > 1:
        raise ValueError(f"{path}: some cameras are stored as JPEG and some raw; record them alike")
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


def _labels(root: h5py.File, path: Path, length: int, width: int) -> dict[str, np.ndarray]:
    """Those of `LABELS` the file has, once they are known to fit together."""
    labels = {n: np.asarray(_dataset(root, n, path)[()], dtype) for n, dtype in LABELS.items() if n in root}
    driven = [labels[name] for name in ("executed_action", "intervention") if name in labels]
    chunks = [labels[name] for name in ("action_chunk", "action_chunk_t") if name in labels]
    if len(driven) == 1 or any(len(array) != length for array in driven):
        raise ValueError(f"{path}: /executed_action and /intervention come together, {length} steps as /action")
    if len(chunks) == 1 or len({len(array) for array in chunks}) > 1 or (chunks and chunks[0].ndim != 3):
        raise ValueError(f"{path}: /action_chunk (n, K, 14) and /action_chunk_t (n,) come together")
    wide = [labels[name].shape[-1] for name in ("executed_action", "action_chunk") if name in labels]
    if any(other != width for other in wide):
        raise ValueError(f"{path}: /executed_action and /action_chunk must be {width} wide, as /action")
    if chunks and not np.all((chunks[1] >= 0) & (chunks[1] < length)):
        raise ValueError(f"{path}: /action_chunk_t is outside of 0 to {length - 1}")
    if any(not np.isfinite(array).all() for array in labels.values()):
        raise ValueError(f"{path}: /executed_action or /action_chunk is not finite")
    return labels


def _dataset(root: h5py.File, name: str, path: Path) -> h5py.Dataset:
    value = root.get(name)
    if not isinstance(value, h5py.Dataset):
        raise ValueError(f"{path}: no dataset /{name}, so this is not an ALOHA episode")
    return value


def _vector(root: h5py.File, name: str, path: Path) -> np.ndarray:
    dataset = _dataset(root, name, path)
    ndim = 1 if name == "reward" else 2
    if dataset.ndim != ndim or dataset.dtype.kind not in "fiu" or dataset.shape[0] == 0:
        raise ValueError(
            f"{path}: /{name} has shape {dataset.shape} and type {dataset.dtype}, expected {ndim}-D numbers"
        )
    array = np.asarray(dataset[()], np.float32)
    if not np.isfinite(array).all():
        t = int(np.argwhere(~np.isfinite(array))[0][0])
        raise ValueError(f"{path}: /{name} is not finite at step {t}")
    return array


def _check_images(root: h5py.File, camera: str, length: int, path: Path) -> int:
    dataset = _dataset(root, f"observations/images/{camera}", path)
    raw = dataset.ndim == 4 and dataset.shape[-1] == 3
    if dataset.dtype != np.uint8 or not (raw or dataset.ndim == 2) or dataset.shape[0] != length:
        form = f"shape {dataset.shape} and type {dataset.dtype}"
        raise ValueError(f"{path}: camera {camera} has {form}, expected ({length}, H, W, 3) or ({length}, bytes) uint8")
    return dataset.ndim


def _attribute(value: Any) -> Any:
    value = value.decode() if isinstance(value, bytes) else value
    if isinstance(value, str) and value[:1] in ("[", "{"):
        with contextlib.suppress(json.JSONDecodeError):
            return json.loads(value)
    return value.item() if isinstance(value, np.generic) else value
