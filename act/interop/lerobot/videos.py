"""Encodes, decodes and joins the videos of a LeRobot data set, with PyAV."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
from av.error import FFmpegError

from act.data.images import MOST_PIXELS

Codec = Literal["h264", "av1"]
_ENCODERS = {"h264": "libx264", "av1": "libsvtav1"}
_PRESETS = {"h264": "ultrafast", "av1": "8"}  # "superfast" takes twice the time for files a fifth smaller
DEFAULT_CRF = {"h264": 18, "av1": 18}
KEY_FRAME_EVERY = 2  # frames: training reads single frames, and decodes at most two of them for one


@dataclass(frozen=True)
class Encoder:
    """How videos are encoded. `crf` is the constant rate factor: lower is better and larger."""

    codec: Codec = "h264"
    crf: int = DEFAULT_CRF["h264"]

    @property
    def options(self) -> dict[str, str]:
        common = {"crf": str(self.crf), "preset": _PRESETS[self.codec], "g": str(KEY_FRAME_EVERY)}
        return common | ({"bf": "0"} if self.codec == "h264" else {})

    def feature_info(self, height: int, width: int, fps: int) -> dict[str, Any]:
        """Returns `info` of a feature in info.json.

        LeRobot's own programs encode again with these numbers; without `video.crf` they would lose quality.
        """
        preset: str | int = int(_PRESETS["av1"]) if self.codec == "av1" else _PRESETS[self.codec]
        return {
            "video.height": height,
            "video.width": width,
            "video.codec": self.codec,
            "video.pix_fmt": "yuv420p",
            "video.fps": fps,
            "video.channels": 3,
            "has_audio": False,
            "is_depth_map": False,
            "video.g": KEY_FRAME_EVERY,
            "video.crf": self.crf,
            "video.preset": preset,
            "video.fast_decode": 0,
            "video.video_backend": "pyav",
            "video.extra_options": {},
        }


# ----------------------------------------------------------------------------------------------------------- writing
def encode(path: Path, frames: Iterable[np.ndarray], fps: int, encoder: Encoder) -> None:
    """Writes frames (H, W, 3) uint8 RGB of equal, even sizes as an mp4 file."""
    os.environ.setdefault("SVT_LOG", "1")  # libsvtav1 would print a page about every video
    with av.open(str(path), "w", format="mp4") as container:
        stream: Any = None
        for frame in frames:
            if stream is None:
                stream = container.add_stream(_ENCODERS[encoder.codec], rate=fps, options=encoder.options)
                stream.height, stream.width = frame.shape[:2]
                stream.pix_fmt, stream.thread_count = "yuv420p", 1
            container.mux(stream.encode(av.VideoFrame.from_numpy_buffer(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode(None))


def join(parts: Sequence[tuple[Path, int]], target: Path, fps: int) -> None:
    """Writes videos one behind the other without encoding again; `parts` are files and their numbers of frames."""
    with av.open(str(target), "w", format="mp4") as container:
        joined: Any = None
        frames = 0
        for path, length in parts:
            with av.open(str(path), format="mp4") as source:
                stream = source.streams.video[0]
                if joined is None:
                    joined = container.add_stream_from_template(stream, opaque=True)  # copied, so no encoder
                    joined.time_base = stream.time_base
                assert stream.time_base is not None
                offset = int(Fraction(frames, fps) / stream.time_base)
                for packet in source.demux(stream):
                    if packet.dts is None or packet.pts is None:  # the end of the stream
                        continue
                    packet.pts, packet.dts, packet.stream = packet.pts + offset, packet.dts + offset, joined
                    container.mux(packet)
            frames += length


# ----------------------------------------------------------------------------------------------------------- reading
def decode(path: Path, start: float, length: int, fps: float) -> Iterator[np.ndarray]:
    """Yields `length` frames (H, W, 3) uint8 RGB of a video, 1 / fps [s] apart from `start` [s] on.

    Raises ValueError, with the path and the reason, for a video that is missing, damaged, shorter, or of another rate.
    """
    with _opened(path) as container:
        stream = container.streams.video[0]
        _check(stream, path, fps)
        stream.thread_count = 1
        tick = stream.time_base
        container.seek(max(0, int((start - 0.5 / fps) / tick)), stream=stream, backward=True)
        due = 0
        for frame in container.decode(stream):
            if frame.pts is None:
                continue
            place = round((float(frame.pts * tick) - start) * fps)
            if place > due:
                break
            if place == due:
                yield frame.to_ndarray(format="rgb24")
                due += 1
                if due == length:
                    return
    raise ValueError(f"{path}: no frame at {start + due / fps:.3f} s; the video does not fit to the episode")


def _check(stream: Any, path: Path, fps: float) -> None:
    if stream.codec_context is None:
        raise ValueError(f"{path}: the video is of a codec that is not known here, or damaged")
    rate = float(stream.average_rate or 0)
    if abs(rate - fps) > 0.02 * fps:
        raise ValueError(f"{path}: the video has {rate:g} frames per second, info.json says {fps:g}")
    if not 0 < stream.width * stream.height <= MOST_PIXELS:
        raise ValueError(f"{path}: images of {stream.height}x{stream.width} pixels are too large")


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Opens a video for reading.

    The format is forced: FFmpeg would otherwise take a playlist for a video and follow the addresses in it.
    """
    if not path.is_file():
        raise ValueError(f"{path} is missing; the data set is not complete")
    try:
        with av.open(f"file:{path}", format="mp4", metadata_errors="replace") as container:
            if not container.streams.video:
                raise ValueError(f"{path}: holds no video")
            yield container
    except (FFmpegError, OSError) as error:
        raise ValueError(f"{path}: not a readable video ({error})") from None
