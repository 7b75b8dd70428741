"""Converts one episode to a part: a folder with its rows, its videos and its statistics, to be joined with others.

A part is finished when its part.json exists. Parts make an export resumable, and several can be made at a time.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from act.data.episodes import Episode, read_episode
from act.files import write_json
from act.interop.lerobot import statistics, videos
from act.interop.lerobot.identity import identity
from act.interop.lerobot.layout import read_json
from act.interop.lerobot.parquet import arrow
from act.types import JOINT_NAMES

BLOCK = 64  # frames that are in memory at a time
PNG_EFFORT = 1  # of 9: twice as fast as the default for files a tenth larger
OF_THE_FILE = ("checksums", "compress", "jpeg_colors")  # attributes that describe how a file stores its content
VECTORS = {"observation.state": "qpos", "action": "action"}


@dataclass(frozen=True)
class ExportOptions:
    """What an exported data set holds."""

    cameras: tuple[str, ...]
    fps: int
    encoder: videos.Encoder | None  # None: every frame is a PNG image in the Parquet files
    vectors: dict[str, str] = field(default_factory=lambda: dict(VECTORS))  # feature -> field of Episode


@dataclass(frozen=True)
class Part:
    """A finished part."""

    folder: Path
    about: dict[str, Any]  # length, task, attrs, identity, statistics, images (frames, histograms), sizes

    @property
    def length(self) -> int:
        return self.about["length"]

    @property
    def rows(self) -> Path:
        return self.folder / "rows.parquet"

    def video(self, camera: str) -> Path:
        return self.folder / f"{camera}.mp4"


def image_key(camera: str) -> str:
    """Returns the feature of a camera: "observation.images.top"."""
    return f"observation.images.{camera}"


def vector_names(width: int) -> list[str]:
    """Returns the names of the numbers of a vector: the joints of two ALOHA arms, or plain numbers."""
    return [name.replace("/", "_") for name in JOINT_NAMES] if width == len(JOINT_NAMES) else [*map(str, range(width))]


def make_part(path: Path, task: str, options: ExportOptions, folder: Path) -> Part:
    """Converts an episode file to a part in `folder`, or returns the finished one that is there.

    Raises ValueError for an episode that cannot be read.
    """
    done = folder / "part.json"
    if done.is_file():
        return Part(folder, read_json(done))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    episode = read_episode(path, options.cameras)
    vectors = {feature: getattr(episode, name) for feature, name in options.vectors.items()}
    records = {camera: statistics.ImageRecord() for camera in options.cameras}
    if options.encoder is not None:
        for camera, record in records.items():
            frames = _watched(episode, camera, record)
            videos.encode(folder / f"{camera}.mp4", frames, options.fps, options.encoder)
    _write_rows(folder / "rows.parquet", episode, vectors, {} if options.encoder else records)
    kept = {name: value for name, value in episode.attrs.items() if name not in OF_THE_FILE}
    about = {
        "length": len(episode),
        "task": task,
        "attrs": kept,
        "identity": identity(episode.qpos, episode.action),
        "statistics": {feature: statistics.vector_statistics(values) for feature, values in vectors.items()},
        "images": {camera: [record.frames, record.counts.tolist()] for camera, record in records.items()},
        "sizes": {camera: episode.read_images(camera, 0, 1).shape[1:3] for camera in options.cameras},
    }
    write_json(done, about)
    return Part(folder, about)


def _watched(episode: Episode, camera: str, record: statistics.ImageRecord) -> Iterator[np.ndarray]:
    """Yields the frames of a camera; the sampled ones enter the record."""
    chosen = statistics.sampled(len(episode))
    for start in range(0, len(episode), BLOCK):
        for t, frame in enumerate(episode.read_images(camera, start, start + BLOCK), start):
            if t in chosen:
                record.add(frame)
            yield frame


def _write_rows(
    path: Path, episode: Episode, vectors: dict[str, np.ndarray], records: dict[str, statistics.ImageRecord]
) -> None:
    """Writes the vectors of an episode and, of the cameras in `records`, PNG images; a block of rows at a time."""
    pa = arrow()
    fields = [pa.field(feature, vector_type(values)) for feature, values in vectors.items()]
    fields += [pa.field(image_key(camera), image_type()) for camera in records]
    frames = {camera: _watched(episode, camera, record) for camera, record in records.items()}
    step = BLOCK if records else len(episode)
    with pa.parquet.ParquetWriter(path, pa.schema(fields)) as writer:
        for start in range(0, len(episode), step):
            stop = min(start + step, len(episode))
            columns = [vector_column(values[start:stop]) for values in vectors.values()]
            for camera in records:
                images = [
                    {"bytes": _png(next(frames[camera])), "path": f"frame-{t:06d}.png"} for t in range(start, stop)
                ]
                columns.append(pa.array(images, image_type()))
            writer.write_table(pa.table(columns, schema=pa.schema(fields)))


def _png(frame: np.ndarray) -> bytes:
    bgr = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".png", bgr, (cv2.IMWRITE_PNG_COMPRESSION, PNG_EFFORT))[1].tobytes()


def vector_type(values: np.ndarray) -> Any:
    """Returns the pyarrow type of rows of `values`: float, or a list of W floats."""
    pa = arrow()
    return pa.float32() if values.ndim == 1 else pa.list_(pa.float32(), values.shape[1])


def vector_column(values: np.ndarray) -> Any:
    """Returns `values` (T,) or (T, W) as a pyarrow array of float32."""
    pa = arrow()
    flat = pa.array(np.ascontiguousarray(values, np.float32).reshape(-1))
    return flat if values.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def image_type() -> Any:
    """Returns the pyarrow type of an image: its PNG bytes and a name."""
    pa = arrow()
    return pa.struct([("bytes", pa.binary()), ("path", pa.string())])
