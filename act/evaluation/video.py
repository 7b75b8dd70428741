"""VideoWriter: an Observer that records rollouts as mp4, all cameras tiled, with task, time and stage written below."""

import math
from collections.abc import Collection
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.container
import cv2
import numpy as np

from act.types import CONTROL_TIMESTEP, EnvSpec, Info, Observation, RolloutResult

MIN_TILE_WIDTH = 320  # [pixels]; smaller images are enlarged by whole numbers, so that the text below is readable
STRIP = 32  # [pixels] height of the strip with the text


def video_path(directory: Path, spec: EnvSpec, seed: int) -> Path:
    """The file of the video of one rollout."""
    return directory / f"{spec.task_name}_seed_{seed}.mp4"


@dataclass
class _Video:
    seed: int
    path: Path
    temporary: Path
    next_t: int = 0
    container: "av.container.OutputContainer | None" = None
    stream: "av.VideoStream | None" = None


class VideoWriter:
    """Records the first n episodes (`episodes` is a number) or chosen ones (their places in the order of resets).

    A video has one frame per `every` control steps at 50 / `every` frames per second, so it plays in real time. Frames
    go straight to the encoder, so memory does not grow. `paths[seed]` is a finished file; an interrupted episode leaves
    none. cameras: those to show; all by default.
    """

    def __init__(
        self,
        directory: Path | str,
        spec: EnvSpec,
        episodes: int | Collection[int] = 1,
        *,
        cameras: Collection[str] | None = None,
        every: int = 1,
    ):
        if every < 1:
            raise ValueError(f"every={every}: must be at least 1 control step per frame")
        self.directory, self.spec, self.every = Path(directory), spec, every
        self.episodes = set(range(episodes) if isinstance(episodes, int) else episodes)
        self.cameras = cameras
        self.paths: dict[int, Path] = {}
        self._started = 0
        self._live: dict[int, _Video] = {}
        self._running: set[int] = set()

    def needs_images(self) -> bool:
        if not self._running:  # asked before a reset
            return bool(self.episodes) and max(self.episodes) >= self._started
        return any(video.next_t % self.every == 0 for video in self._live.values())

    def on_reset(self, index: int, seed: int, obs: Observation, info: Info) -> None:
        self._running.add(index)
        self._started += 1
        if self._started - 1 not in self.episodes:
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        path = video_path(self.directory, self.spec, seed)
        self._live[index] = _Video(seed, path, path.with_name(f".{path.name}.tmp"))
        self._add(self._live[index], obs, info)

    def on_step(
        self, index: int, t: int, obs: Observation, action: np.ndarray, next_obs: Observation, reward: float, info: Info
    ) -> None:
        if index in self._live:
            self._add(self._live[index], next_obs, info)

    def on_end(self, index: int, result: RolloutResult) -> None:
        self._running.discard(index)
        if (video := self._live.pop(index, None)) is None or video.container is None:
            return
        assert video.stream is not None
        video.container.mux(video.stream.encode(None))
        video.container.close()
        video.temporary.replace(video.path)
        self.paths[video.seed] = video.path

    def close(self) -> None:
        """Deletes the videos of episodes that did not end."""
        for video in self._live.values():
            if video.container is not None:
                video.container.close()
            video.temporary.unlink(missing_ok=True)
        self._live.clear()
        self._running.clear()

    def _add(self, video: _Video, obs: Observation, info: Info) -> None:
        t = video.next_t
        video.next_t += 1
        if t % self.every:
            return
        if not obs.get("images"):
            raise ValueError("a video needs images, the observation has none; make the environment with cameras=(...)")
        chosen = [image for camera, image in obs["images"].items() if self.cameras is None or camera in self.cameras]
        if not chosen:
            raise ValueError(f"no camera of {self.cameras} is in the observation; it has {', '.join(obs['images'])}")
        picture = _with_text(tile(chosen), self._caption(t, info))
        if video.container is None:
            self._open(video, picture)
        assert video.container is not None and video.stream is not None
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        video.container.mux(video.stream.encode(frame))

    def _open(self, video: _Video, picture: np.ndarray) -> None:
        codec, options = ("mpeg4", {})
        if "libx264" in av.codecs_available:
            codec, options = "libx264", {"crf": "23", "preset": "veryfast"}
        video.container = container = av.open(
            str(video.temporary), "w", format="mp4", options={"movflags": "faststart"}
        )
        fps = Fraction(round(1 / CONTROL_TIMESTEP), self.every)
        stream = container.add_stream(codec, rate=fps, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = picture.shape[:2]
        stream.pix_fmt = "yuv420p"  # what browsers play
        stream.thread_count = 1
        if codec == "mpeg4":
            stream.bit_rate = 4_000_000
        video.stream = stream

    def _caption(self, t: int, info: Info) -> str:
        stage = int(info.get("stage", 0))
        name = self.spec.stage_names[stage - 1] if 0 < stage <= len(self.spec.stage_names) else "-"
        verdict = "  success" if info.get("success") else ""
        return f"{self.spec.task_name}  {t * CONTROL_TIMESTEP:5.2f} s  stage {stage}: {name}{verdict}"


def tile(images: Collection[np.ndarray]) -> np.ndarray:
    """One picture with the images (H, W, 3), of any sizes, in a grid; the rest of it is black."""
    columns = math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    height, width = (max(image.shape[axis] for image in images) for axis in (0, 1))
    grid = np.zeros((rows * height, columns * width, 3), np.uint8)
    for place, image in enumerate(images):
        top, left = place // columns * height, place % columns * width
        grid[top : top + image.shape[0], left : left + image.shape[1]] = image
    return grid


def _with_text(picture: np.ndarray, text: str) -> np.ndarray:
    """Adds a strip with one line of text; enlarges small pictures; makes both sides even, because yuv420p needs it."""
    scale = math.ceil(MIN_TILE_WIDTH / picture.shape[1])
    if scale > 1:
        picture = picture.repeat(scale, axis=0).repeat(scale, axis=1)
    height, width = picture.shape[:2]
    canvas = np.zeros((height + height % 2 + STRIP, width + width % 2, 3), np.uint8)
    canvas[:height, :width] = picture
    (text_width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.5, 1)
    size = 0.5 * min(1.0, (width - 16) / text_width)
    position = (8, canvas.shape[0] - 10)
    cv2.putText(canvas, text, position, cv2.FONT_HERSHEY_SIMPLEX, size, (230, 230, 230), 1, cv2.LINE_AA)
    return canvas
