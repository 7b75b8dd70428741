"""EpisodeRecorder: an observer that writes rollouts as HDF5 episodes (act/data/episodes.py)."""

from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from act.data.episodes import LABELS, versions, write_episode
from act.data.images import JPEG_QUALITY, encode_image
from act.types import CONTROL_TIMESTEP, EnvSpec, Info, Observation, RolloutResult

MOST_ENCODING = 64  # images that wait for the encoder thread


# What an EpisodeRecorder keeps.
def is_success(result: RolloutResult) -> bool:
    return result.success


def is_strict_success(result: RolloutResult) -> bool:
    return result.strict_success


def keep_all(result: RolloutResult) -> bool:
    return True


@dataclass
class _Buffer:
    rows: dict[str, list[np.ndarray]] = field(default_factory=dict)
    images: dict[str, list["np.ndarray | Future[bytes]"]] = field(default_factory=dict)
    attrs: dict[str, Any] = field(default_factory=dict)

    def frames(self, camera: str) -> list[Any]:
        """(H, W, 3) arrays, or JPEG bytes once all are encoded."""
        return [frame.result() if isinstance(frame, Future) else frame for frame in self.images[camera]]


class EpisodeRecorder:
    """An Observer that writes every kept episode to `path_of(result)`: what the agent saw and the action it answered.

    Images are encoded by a thread while the control loop goes on, so a buffered episode of four 480x640 cameras takes
    tens of megabytes; with `compress=False` it takes 1.5 GB. `paths` lists the files that were written.

    Args:
        path_of: where an episode goes.
        keep: decides after an episode whether it is written; default: if it was a success.
        attrs: further attributes of the file.
        rows: called with (index, t, obs, action), returns the values of `LABELS` for this control step; it may replace
            "action" by another label.

    Raises ValueError at the end of an episode whose images cannot be encoded, and OSError, with the path, when the disk
    is full.

    Example:
        recorder = EpisodeRecorder(lambda result: Path(f"data/episode_{result.seed}.hdf5"), envs.env_spec)
        list(rollout(envs, agent, [recorder], seeds=range(10)))
    """

    def __init__(
        self,
        path_of: Callable[[RolloutResult], Path],
        spec: EnvSpec,
        *,
        keep: Callable[[RolloutResult], bool] = is_success,
        compress: bool = True,
        jpeg_quality: int = JPEG_QUALITY,
        attrs: Mapping[str, Any] | None = None,
        rows: Callable[[int, int, Observation, np.ndarray], Mapping[str, Any]] | None = None,
    ):
        self.rows = rows
        self.path_of, self.spec, self.keep = path_of, spec, keep
        self.compress, self.jpeg_quality = compress, jpeg_quality
        self.attrs = {"task_name": spec.task_name, "stage_names": list(spec.stage_names), "versions": versions()}
        self.attrs |= {"camera_names": list(spec.cameras), "control_timestep": CONTROL_TIMESTEP, **(attrs or {})}
        self.paths: list[Path] = []
        self._buffers: dict[int, _Buffer] = {}
        self._encoder = ThreadPoolExecutor(1, "jpeg")
        self._encoding: deque[Future[bytes]] = deque()

    def needs_images(self) -> bool:
        return bool(self.spec.cameras)

    def on_reset(self, index: int, seed: int, obs: Observation, info: Info) -> None:
        self._buffers[index] = _Buffer(attrs={name: info[name] for name in ("randomization",) if name in info})

    def on_step(
        self, index: int, t: int, obs: Observation, action: np.ndarray, next_obs: Observation, reward: float, info: Info
    ) -> None:
        buffer = self._buffers[index]
        row = {"qpos": obs["qpos"], "action": action, "reward": reward}
        row |= {name: obs[name] for name in ("qvel", "env_state") if name in obs}  # not every robot measures them
        row |= self.rows(index, t, obs, action) if self.rows else {}
        for name, value in row.items():
            buffer.rows.setdefault(name, []).append(np.array(value, LABELS.get(name, np.float32)))
        for camera in self.spec.cameras:
            image = obs["images"][camera].copy()
            buffer.images.setdefault(camera, []).append(self._encode(image) if self.compress else image)

    def _encode(self, image: np.ndarray) -> "Future[bytes]":
        """Hands the image to the thread; waits only when the thread has fallen far behind."""
        if len(self._encoding) == MOST_ENCODING:
            wait([self._encoding.popleft()])
        self._encoding.append(self._encoder.submit(encode_image, image, self.jpeg_quality))
        return self._encoding[-1]

    def on_end(self, index: int, result: RolloutResult) -> None:
        buffer = self._buffers.pop(index)
        if not self.keep(result):
            return
        outcome = {"seed": result.seed, "success": result.success, "strict_success": result.strict_success}
        outcome |= buffer.attrs
        arrays: dict[str, Any] = {name: np.stack(rows) for name, rows in buffer.rows.items()}
        images = {camera: buffer.frames(camera) for camera in buffer.images}
        encoding: dict[str, Any] = {"compress": self.compress, "jpeg_quality": self.jpeg_quality}
        path = self.path_of(result)
        self.paths.append(write_episode(path, **arrays, images=images, **encoding, attrs={**self.attrs, **outcome}))
