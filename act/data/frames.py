"""Images and features of recorded episodes: decoded per sample, kept in memory, or encoded once.

Images are uint8 at training size. They are kept in RAM or on the GPU if they fit, and otherwise decoded for each
sample. For a policy with a frozen backbone, features are computed once per frame and kept beside the episodes instead.
Letters: B batch, T history, N cameras, H W image, F features of one camera, n frames.
"""

import hashlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import psutil
import torch
from torch import Tensor
from tqdm import tqdm

from act.data.episodes import Episode
from act.data.kept_features import keep_features, kept_features
from act.distributed import processes_here
from act.nn.device import one_core_each
from act.workers import available_cores

Cache = Literal["auto", "ram", "gpu", "stream"]
RAM_SHARE, GPU_SHARE = 0.5, 0.6  # of the available memory, for images
ENCODE_FRAMES = 16  # frames per call of a frozen backbone
VECTOR_AXES = 3  # of the features of an episode, (frames, N, F); maps have 5


class Frames:
    """The concatenated frames of all episodes: row starts[e] + t is control step t of episode e.

    Args:
        starts: (episodes + 1,) int64 first row of each episode, and the number of rows.
        cameras, image_size: which images, and their (H, W); without cameras there are no images.
        stride: every `stride`-th frame of an episode is observed; the others have no features.
    """

    def __init__(
        self,
        episodes: Sequence[Episode],
        starts: Tensor,
        cameras: tuple[str, ...],
        image_size: tuple[int, int],
        stride: int,
    ):
        self.episodes, self.starts, self.n = episodes, starts, int(starts[-1])
        self.cameras, self.image_size, self.stride = cameras, image_size, stride
        self.features: Features | None = None  # of observed rows, if the policy has a frozen backbone
        self.images: Tensor | None = None  # (n, N, H, W, 3) uint8

    @property
    def observed(self) -> Tensor:
        """The rows with an observation."""
        t = torch.arange(self.n) - self.starts[:-1].repeat_interleave(self.starts.diff())
        return (t % self.stride == 0).nonzero()[:, 0]

    @property
    def at_hand(self) -> bool:
        """Whether a sample can be drawn without decoding images."""
        return not self.cameras or self.images is not None or self.features is not None

    def read(self, rows: Tensor) -> Tensor | None:
        """(B, T) rows -> (B, T, N, H, W, 3) uint8, on the device of the cache; None if the policy reads no images."""
        if not self.cameras or self.features is not None:
            return None
        if self.images is not None:
            return self.images[rows.to(self.images.device)]
        with ThreadPoolExecutor(_cores()) as pool:
            frames = list(pool.map(self._read_frame, rows.flatten().tolist()))
        return torch.from_numpy(np.stack(frames)).unflatten(0, rows.shape)

    def _read_frame(self, row: int) -> np.ndarray:
        """(N, H, W, 3) uint8 from disk."""
        index = int(torch.searchsorted(self.starts, row, right=True)) - 1
        t = row - int(self.starts[index])
        return self._read(self.episodes[index], t, t + 1)[0]

    def _read(self, episode: Episode, start: int, stop: int, stride: int = 1) -> np.ndarray:
        """(n, N, H, W, 3) uint8 of every `stride`-th control step from start to stop - 1."""
        parts = [episode.read_images(camera, start, stop, self.image_size, stride) for camera in self.cameras]
        return np.stack(parts, axis=1)

    def keep(self, cache: Cache, device: torch.device) -> Cache:
        """Keeps all images in RAM or on the GPU, with "auto" only where they fit; returns the cache that is used."""
        if cache == "auto":
            cache = self._fitting_cache(device)
        if cache == "gpu" and device.type == "cpu":
            raise ValueError("--cache gpu needs a GPU; use ram, stream or auto")
        if cache == "stream" or not self.cameras:
            return "stream"
        images = torch.empty((self.n, *self._frame_shape), dtype=torch.uint8)
        for e, t, values in self._each_part(range(len(self.episodes)), "decoding images", 1, torch.from_numpy):
            first = int(self.starts[e]) + t
            images[first : first + len(values)] = values
        self.images = images.to(device) if cache == "gpu" else images
        return cache

    def release_features(self, cache: Cache, device: torch.device) -> None:
        """From now on the images are read instead: the backbone is trained, so its features change."""
        self.features = None
        self.keep(cache, device)

    @property
    def _frame_shape(self) -> tuple[int, ...]:
        return (len(self.cameras), *self.image_size, 3)

    def _fitting_cache(self, device: torch.device) -> Cache:
        need = self.n * int(np.prod(self._frame_shape))
        if device.type == "cuda" and need < GPU_SHARE * torch.cuda.mem_get_info(device)[0]:
            return "gpu"
        available = psutil.virtual_memory().available  # includes the memory that the file cache would release
        return "ram" if need < RAM_SHARE * available / processes_here() else "stream"

    def _each_part(
        self, episodes: Sequence[int], what: str, stride: int, work: Callable[[np.ndarray], Tensor]
    ) -> Iterator[tuple[int, int, Tensor]]:
        """Yields (episode, t, work(images)) in order, for images (n, N, H, W, 3) of every `stride`-th frame from t on.

        Each thread decodes and processes a part of its own on one core; on a CPU this is faster than one part on all.
        """
        span = ENCODE_FRAMES * stride
        parts = [(e, t) for e in episodes for t in range(0, len(self.episodes[e]), span)]

        def do(part: tuple[int, int]) -> Tensor:
            episode, t = self.episodes[part[0]], part[1]
            with torch.no_grad():
                return work(self._read(episode, t, min(t + span, len(episode)), stride))

        ahead = 2 * _cores()
        with one_core_each(_cores()) as pool, tqdm(total=len(parts), desc=what, unit="part") as bar:
            waiting = [pool.submit(do, part) for part in parts[:ahead]]
            for i, (e, t) in enumerate(parts):
                result = waiting.pop(0).result()
                if i + ahead < len(parts):
                    waiting.append(pool.submit(do, parts[i + ahead]))
                yield e, t, result
                bar.update()

    def precompute_features(
        self, encode: Callable[[Tensor], Tensor], device: torch.device, directory: Path | None = None
    ) -> None:
        """Computes the features of every observed frame with `encode`: (B, T, N, H, W, 3) uint8 -> (B, T, N, *shape).

        They are kept in `directory`, one file per episode, so that other runs and splits find them, and so that
        features which do not fit into memory stay on the disk. A folder belongs to one backbone (see `features_key`).
        Maps are kept in bf16, the arithmetic in which they are computed where the device is fast at it.
        """
        files = [None if directory is None else directory / _feature_name(episode) for episode in self.episodes]
        done = {
            e: kept
            for e, file in enumerate(files)
            if file is not None and (kept := kept_features(file, self._observed_shape(e))) is not None
        }
        missing = [e for e in range(len(self.episodes)) if e not in done]
        parts: list[Tensor] = []
        keeps = directory is not None and bool(missing) and _writable(directory)

        def encode_part(images: np.ndarray) -> Tensor:
            features = encode(torch.from_numpy(images)[:, None].to(device))[:, 0].cpu()
            return features.bfloat16() if features.ndim > VECTOR_AXES else features.float()

        what = "precomputing features"
        for e, t, features in self._each_part(missing, what, self.stride, encode_part) if missing else ():
            parts.append(features)
            if t + self.stride * ENCODE_FRAMES < len(self.episodes[e]):
                continue
            done[e], parts = torch.cat(parts), []
            if keeps and (file := files[e]) is not None:
                done[e] = keep_features(file, done[e])
        self.features = Features([done[e] for e in range(len(self.episodes))], self.starts, self.stride)

    def _observed_shape(self, episode: int) -> tuple[int, int]:
        """(observed frames, N) of an episode."""
        return -(-len(self.episodes[episode]) // self.stride), len(self.cameras)

    def features_key(self, weights: dict[str, Tensor]) -> str:
        """16 hexadecimal digits that name features by the weights of their backbone, the cameras and the frames."""
        view = (self.cameras, tuple(self.image_size), self.stride)
        digest = hashlib.sha256(repr(view).encode())
        for key, value in sorted(weights.items()):
            digest.update(key.encode() + value.detach().cpu().numpy().tobytes())
        return digest.hexdigest()[:16]


class Features:
    """Features of the observed frames of all episodes, indexed by the rows of `Frames`.

    Vectors are concatenated in memory. Maps are a thousand times larger, so they stay in the files of their episodes.
    """

    def __init__(self, episodes: Sequence[Tensor], starts: Tensor, stride: int):
        self.starts, self.stride = starts, stride
        observed = torch.tensor([0, *(len(features) for features in episodes)])
        self._first = observed.cumsum(0)  # index of each episode's first frame among the observed ones
        self._joined = torch.cat(list(episodes)) if episodes[0].ndim <= VECTOR_AXES else None
        self._episodes = list(episodes)

    def at(self, rows: Tensor) -> Tensor:
        """Features (*rows, N, ...) of rows of any shape. Raises IndexError for a row that was not observed."""
        flat = rows.flatten()
        episode = torch.searchsorted(self.starts, flat, right=True) - 1
        t = flat - self.starts[episode]
        if bool((t % self.stride).any()):
            raise IndexError(f"only every {self.stride}th frame has features")
        place = t // self.stride
        if self._joined is not None:
            return self._joined[self._first[episode] + place].unflatten(0, rows.shape)
        pairs = zip(episode.tolist(), place.tolist(), strict=True)
        return torch.stack([self._episodes[e][i] for e, i in pairs]).unflatten(0, rows.shape)


def _feature_name(episode: Episode) -> str:
    """The name of an episode's file of features, which changes when the episode does, or how its JPEGs are read."""
    stat = episode.path.stat()
    colors = "-bgr" if episode.jpeg_colors == "bgr" else ""
    return f"{episode.path.stem}-{stat.st_size}-{stat.st_mtime_ns}{colors}.safetensors"


def _cores() -> int:
    return max(1, available_cores() // processes_here())


def _writable(directory: Path) -> bool:
    """Whether files can be written to `directory`, which is created if necessary; prints a warning if not."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        found = os.access(directory, os.W_OK)
    except OSError:
        found = False
    if not found:
        tqdm.write(f"{directory} cannot be written: the features are not kept for other runs", sys.stderr)
    return found
