"""A LeRobot data set -> ALOHA episodes (HDF5)."""

import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from act.data.episodes import episode_path, read_episode, write_episode
from act.data.images import encode_image
from act.files import lock_file, whole_folder, write_json
from act.interop.lerobot.identity import identity, read_attributes
from act.interop.lerobot.layout import INFO, is_lerobot, read_json
from act.interop.lerobot.parquet import arrow
from act.interop.lerobot.reader import Entry, LeRobotFolder
from act.interop.work_folder import emptied, fingerprint, in_threads
from act.types import CONTROL_TIMESTEP
from act.workers import available_cores

JPEG_QUALITY = 95  # higher than in recordings, because the images have been through a video already
TRAINING_FPS = round(1 / CONTROL_TIMESTEP)
OtherRate = Literal["refuse", "keep", "resample"]
_RESUMABLE = "made_from.json"


@dataclass(frozen=True)
class Import:
    """What to import, and how."""

    source: Path
    target: Path
    task_name: str | None = None
    cameras: tuple[str, ...] = ()  # empty: all
    other_fps: OtherRate = "refuse"  # what to do with another rate than 50 Hz
    jpeg_quality: int = JPEG_QUALITY


def import_episodes(chosen: Import, workers: int) -> int:
    """Writes `chosen.target`, a folder of episodes, and returns the number of control steps.

    Raises ValueError for a data set that cannot be read, and for one that does not run at 50 Hz unless
    `other_fps` says what to do.
    """
    folder = LeRobotFolder(chosen.source, chosen.cameras)
    refuse_rate(folder.layout.fps, chosen)
    with whole_folder(chosen.target) as work:
        total = 0
        bar = tqdm(total=len(folder.entries), unit="episode", dynamic_ncols=True, desc=chosen.source.name)
        with bar:
            for length in in_threads(_jobs(folder, chosen, _begun(work, chosen)), workers):
                total += length
                bar.update()
    return total


def refuse_rate(fps: float, chosen: Import) -> None:
    """Raises ValueError for a rate that training cannot use, unless the user chose what to do with it."""
    if fps != TRAINING_FPS and chosen.other_fps == "refuse":
        raise ValueError(
            f"{chosen.source} has {fps:g} frames per second, and training expects {TRAINING_FPS}; choose --other_fps "
            f"resample (vectors are interpolated, images repeated or left out) or --other_fps keep (not for training)"
        )


def _begun(work: Path, chosen: Import) -> Path:
    """Returns the folder of episodes; what is in it stays only if it was made from the same data in the same way."""
    stamp = {"made_from": source_print(chosen)}
    if not (work / _RESUMABLE).is_file() or read_json(work / _RESUMABLE) != stamp:
        emptied(work / "result")
        write_json(work / _RESUMABLE, stamp)
    return work / "result"


def source_print(chosen: Import) -> str:
    """Returns a fingerprint of a data set and of the way in which it is imported."""
    files = sorted(path for path in chosen.source.rglob("*") if path.is_file())
    return fingerprint(asdict(replace(chosen, target=Path())), files=files)


def _jobs(folder: LeRobotFolder, chosen: Import, result: Path) -> Iterator[Callable[[], int]]:
    """Yields a job for every episode that returns its number of control steps; those that are there are only counted.

    Numbers are read here, images in the job.
    """
    attributes = read_attributes(folder.layout.root)
    for number, entry in enumerate(folder.entries):
        path, vectors = episode_path(result, number), folder.vectors(entry)
        if not path.exists():
            known = attributes.get(identity(vectors["qpos"], vectors["action"]), {})
            yield partial(_write, folder, entry, vectors, known, chosen, path)
        else:  # imported before an interruption
            yield partial(_length, path)


def _length(path: Path) -> int:
    return len(read_episode(path))


def _write(
    folder: LeRobotFolder,
    entry: Entry,
    vectors: dict[str, Any],
    known: dict[str, Any],
    chosen: Import,
    path: Path,
) -> int:
    """Writes one episode; returns its number of control steps."""
    fps = folder.layout.fps
    images = {
        camera: [encode_image(frame, chosen.jpeg_quality) for frame in folder.frames(entry, camera)]
        for camera in folder.cameras
    }
    if chosen.other_fps == "resample" and fps != TRAINING_FPS:
        vectors, images = resampled(vectors, images, fps)
        fps = TRAINING_FPS
    attrs: dict[str, Any] = {"source": "lerobot", "sim": False, **known, "language": entry.task}
    attrs |= {"task_name": chosen.task_name or known.get("task_name") or task_name(entry.task)}
    attrs |= {"control_timestep": 1 / fps, "camera_names": list(images)}
    if "qvel" not in vectors:
        vectors = vectors | {"qvel": differences(vectors["qpos"], fps)}
        attrs["qvel_source"] = "differences of qpos"
    write_episode(path, images=images, attrs=attrs, **vectors)
    return len(vectors["action"])


def task_name(sentence: str) -> str:
    """Returns a name for the task of a sentence: "Transfer the cube." gives "transfer_the_cube"."""
    return re.sub(r"\W+", "_", sentence.lower()).strip("_")[:60] or "task"


def differences(qpos: np.ndarray, fps: float) -> np.ndarray:
    """Returns velocities (T, W) [1/s] from positions: what changed since the control step before; 0 at the first."""
    return np.diff(qpos, axis=0, prepend=qpos[:1]) * np.float32(fps)


def resampled(
    vectors: dict[str, np.ndarray], images: dict[str, list[bytes]], fps: float
) -> tuple[dict[str, np.ndarray], dict[str, list[bytes]]]:
    """Returns an episode at 50 Hz: vectors are interpolated linearly, images and rewards are those nearest in time."""
    length = len(vectors["action"])
    times = np.arange(int((length - 1) / fps * TRAINING_FPS + 1e-6) + 1) / TRAINING_FPS * fps  # in source frames
    nearest = np.minimum(np.rint(times).astype(int), length - 1)
    frames = np.arange(length)
    made = {
        name: values[nearest]
        if values.ndim == 1
        else np.stack([np.interp(times, frames, column) for column in values.T], 1).astype(np.float32)
        for name, values in vectors.items()
    }
    return made, {camera: [encoded[k] for k in nearest] for camera, encoded in images.items()}


def open_dataset(folder: Path, workers: int | None = None) -> Path:
    """Returns a folder of episodes: `folder` itself or, for a LeRobot data set, its import beside it, NAME.episodes.

    The import is made on the first call and kept; it continues where it was interrupted, and is made again when the
    data set has changed. Several processes may call this at a time: one imports, the others wait.

    Raises ValueError for a data set that cannot be read or does not run at 50 Hz.
    """
    if not is_lerobot(folder):
        return folder
    arrow()
    cache = folder.resolve().with_name(f"{folder.resolve().name}.episodes")
    chosen = Import(folder, cache)
    with lock_file(cache):
        stamp = cache / f".{_RESUMABLE}"
        made_from = {"made_from": source_print(chosen)}
        if cache.exists():
            if stamp.is_file() and read_json(stamp) == made_from:
                return cache
            raise ValueError(f"{cache} was made from another state of {folder / INFO}; remove it, or rename it")
        import_episodes(chosen, workers or available_cores())
        write_json(stamp, made_from)
    return cache
