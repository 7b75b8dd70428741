"""Small LeRobot data sets, written by hand as LeRobot's own programs leave them, without this project's writer."""

import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from act.interop.lerobot.parquet import arrow

KEY = "observation.images.top"
SIZE = (48, 64)


class Made:
    """The numbers and images of one episode."""

    def __init__(self, seed: int, length: int = 10, width: int = 14):
        rng = np.random.default_rng(seed)
        self.qpos, self.action = rng.normal(size=(2, length, width)).astype(np.float32)
        ramp = np.linspace(20, 120, SIZE[1]).astype(np.uint8)
        image = np.stack([np.tile(ramp, (SIZE[0], 1)), np.full(SIZE, 40), np.tile(ramp[::-1], (SIZE[0], 1))], -1)
        self.images = [(image + 12 * t + seed).astype(np.uint8) for t in range(length)]


def features(dtype: str, width: int = 14) -> dict[str, Any]:
    vector = {"dtype": "float32", "shape": [width], "names": None}
    image = {"dtype": dtype, "shape": [*SIZE, 3], "names": ["height", "width", "channels"]}
    counters = {name: {"dtype": "int64", "shape": [1], "names": None} for name in ("frame_index", "episode_index")}
    return {"observation.state": vector, "action": vector, KEY: image, **counters}


def write_v21(root: Path, episodes: Sequence[Made], fps: int = 50, task: str = "Move the cube.") -> Path:
    """Writes version v2.1: one Parquet file and one mp4 file per episode, lists of episodes as JSON lines."""
    width = episodes[0].qpos.shape[1]
    info = {
        "codebase_version": "v2.1",
        "fps": fps,
        "chunks_size": 1000,
        "features": features("video", width),
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
    }
    lines = [{"episode_index": k, "tasks": [task], "length": len(made.qpos)} for k, made in enumerate(episodes)]
    write_text(root / "meta/info.json", json.dumps(info))
    write_text(root / "meta/episodes.jsonl", "\n".join(map(json.dumps, lines)))
    for k, made in enumerate(episodes):
        write_rows(root / f"data/chunk-000/episode_{k:06d}.parquet", [(k, made)], fps)
        write_video(root / f"videos/chunk-000/{KEY}/episode_{k:06d}.mp4", made.images, fps)
    return root


def write_edited_v3(root: Path, episodes: Sequence[Made], fps: int = 50) -> Path:
    """Writes version v3.0 as it is after an edit: several files, and a video with frames that no episode uses.

    Each episode is in a file of its own, behind ten frames of a deleted one.
    """
    info = {
        "codebase_version": "v3.0",
        "fps": fps,
        "chunks_size": 1000,
        "features": features("video"),
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
    }
    write_text(root / "meta/info.json", json.dumps(info))
    for k, made in enumerate(episodes):
        write_rows(root / f"data/chunk-000/file-{k:03d}.parquet", [(k, made)], fps)
        write_video(root / f"videos/{KEY}/chunk-000/file-{k:03d}.mp4", [*Made(99).images, *made.images], fps)
        row = {"episode_index": k, "tasks": ["Move the cube."], "length": len(made.qpos), "stats/action/mean": [0.0]}
        row |= {"data/chunk_index": 0, "data/file_index": k, "meta/episodes/chunk_index": 0}
        row |= {f"videos/{KEY}/chunk_index": 0, f"videos/{KEY}/file_index": k}
        row |= {f"videos/{KEY}/from_timestamp": 10 / fps, f"videos/{KEY}/to_timestamp": 10 / fps + len(made.qpos) / fps}
        write_table(root / f"meta/episodes/chunk-000/file-{k:03d}.parquet", arrow().Table.from_pylist([row]))
    return root


def write_images_v3(root: Path, episodes: Sequence[Made], fps: int = 50) -> Path:
    """Writes version v3.0 in image mode: PNG files in the rows, all episodes in one file."""
    info = {
        "codebase_version": "v3.0",
        "fps": fps,
        "chunks_size": 1000,
        "features": features("image"),
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": None,
    }
    write_text(root / "meta/info.json", json.dumps(info))
    write_rows(root / "data/chunk-000/file-000.parquet", list(enumerate(episodes)), fps, images=True)
    rows = [
        {
            "episode_index": k,
            "tasks": [f"Task {k}"],
            "length": len(made.qpos),
            "data/chunk_index": 0,
            "data/file_index": 0,
        }
        for k, made in enumerate(episodes)
    ]
    write_table(root / "meta/episodes/chunk-000/file-000.parquet", arrow().Table.from_pylist(rows))
    return root


def write_rows(path: Path, episodes: Sequence[tuple[int, Made]], fps: int, images: bool = False) -> None:
    """Writes a Parquet file with the rows of episodes, one row group each, with lists of variable length."""
    rows = [
        {
            "observation.state": made.qpos[t].tolist(),
            "action": made.action[t].tolist(),
            "timestamp": t / fps,
            "frame_index": t,
            "episode_index": k,
            **({KEY: {"bytes": png(made.images[t]), "path": None}} if images else {}),
        }
        for k, made in episodes
        for t in range(len(made.qpos))
    ]
    write_table(path, arrow().Table.from_pylist(rows), row_group_size=len(episodes[0][1].qpos))


def write_table(path: Path, table: Any, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    arrow().parquet.write_table(table, path, **options)


def write_video(path: Path, frames: Sequence[np.ndarray], fps: int, key_frame_every: int = 250) -> None:
    """Writes an H.264 video with B frames and few key frames, as cameras and phones write them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(
            "libx264", rate=Fraction(fps), options={"crf": "5", "g": str(key_frame_every)}
        )
        stream.height, stream.width = SIZE
        stream.pix_fmt, stream.thread_count = "yuv420p", 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()


def write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def decibels(first: np.ndarray, second: np.ndarray) -> float:
    """The peak signal-to-noise ratio of two images [dB]; 168 for equal ones."""
    return float(10 * np.log10(255**2 / max(np.mean((first.astype(float) - second) ** 2), 1e-12)))
