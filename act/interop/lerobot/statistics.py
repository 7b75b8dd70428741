"""Statistics of features in LeRobot's form: min, max, mean, std, count and five quantiles, per episode and global.

Images are counted in histograms of their 256 values per channel. Histograms of episodes add up, so the global
statistics are exact for all pixels that were looked at, and memory does not grow.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
SAMPLED_FRAMES = 100  # of an episode and camera; LeRobot looks at 89 of 400
SAMPLED_SIDE = 150  # [pixels] images are thinned to about this many rows and columns, as LeRobot does
KEPT_ROWS = 1_000_000  # of a vector, for the global quantiles: five and a half hours at 50 Hz

Statistics = dict[str, Any]  # "mean" and so on -> nested lists, as they stand in stats.json


def vector_statistics(values: np.ndarray) -> Statistics:
    """Returns the statistics of vectors (T, W), or of scalars (T,), which count as (T, 1)."""
    values = np.asarray(values, np.float64).reshape(len(values), -1)
    found: Statistics = {name: getattr(values, name)(axis=0).tolist() for name in ("min", "max", "mean", "std")}
    quantiles = np.quantile(values, list(QUANTILES.values()), axis=0)
    return found | {"count": [len(values)]} | dict(zip(QUANTILES, quantiles.tolist(), strict=True))


class VectorRecord:
    """Statistics of a vector over episodes that come one after another. The quantiles are exact up to `limit` rows.

    Above that, every second, fourth, ... row is kept; mean, std, min and max are always exact.
    """

    def __init__(self, limit: int = KEPT_ROWS):
        self.limit, self.stride, self.rows = limit, 1, 0
        self._kept: list[np.ndarray] = []
        self._sums: list[np.ndarray] = []

    def add(self, values: np.ndarray) -> None:
        """Adds the rows of an episode, (T, W) or (T,)."""
        values = np.asarray(values, np.float64).reshape(len(values), -1)
        self._sums.append(np.stack([values.sum(0), np.square(values).sum(0), values.min(0), -values.max(0)]))
        self._kept.append(values[-self.rows % self.stride :: self.stride].astype(np.float32))
        self.rows += len(values)
        while sum(map(len, self._kept)) > self.limit:
            self._kept, self.stride = [np.concatenate(self._kept)[::2]], 2 * self.stride

    def statistics(self) -> Statistics:
        """Returns the statistics of all rows that were added."""
        sums = np.stack(self._sums)
        kept = np.concatenate(self._kept)
        found = vector_statistics(kept)
        mean = sums[:, 0].sum(0) / self.rows
        spread = np.sqrt(np.maximum(sums[:, 1].sum(0) / self.rows - mean**2, 0))
        exact = {"min": sums[:, 2].min(0), "max": -sums[:, 3].min(0), "mean": mean, "std": spread}
        return found | {name: value.tolist() for name, value in exact.items()} | {"count": [self.rows]}


class ImageRecord:
    """Counts the pixel values of sampled frames, per channel."""

    def __init__(self, counts: Sequence[Sequence[int]] | None = None, frames: int = 0):
        self.counts = np.zeros((3, 256), np.int64) if counts is None else np.asarray(counts, np.int64)
        self.frames = frames

    def add(self, image: np.ndarray) -> None:
        """Adds an image (H, W, 3) uint8, thinned to about `SAMPLED_SIDE` pixels a side."""
        stride = max(1, round(min(image.shape[:2]) / SAMPLED_SIDE))
        thinned = image[::stride, ::stride].reshape(-1, 3)
        for channel in range(3):
            self.counts[channel] += np.bincount(thinned[:, channel], minlength=256)
        self.frames += 1

    def add_record(self, other: "ImageRecord") -> None:
        """Adds what another record has counted."""
        self.counts += other.counts
        self.frames += other.frames

    def statistics(self) -> Statistics:
        """Returns statistics of values in 0..1, each nested as (3, 1, 1); `count` is the number of frames."""
        levels = np.arange(256) / 255
        total = self.counts.sum(1)
        mean = self.counts @ levels / total
        spread = np.sqrt(np.maximum(self.counts @ levels**2 / total - mean**2, 0))
        seen = self.counts > 0
        found = {"min": levels[seen.argmax(1)], "max": levels[255 - seen[:, ::-1].argmax(1)], "mean": mean}
        found["std"] = spread
        shares = self.counts.cumsum(1) / total[:, None]
        for name, share in QUANTILES.items():
            found[name] = levels[(shares >= share).argmax(1)]
        return {name: value.reshape(3, 1, 1).tolist() for name, value in found.items()} | {"count": [self.frames]}


def sampled(length: int) -> range:
    """Returns the frames of an episode that the statistics of images look at, evenly spaced."""
    return range(0, length, max(1, length // SAMPLED_FRAMES))


def flat(statistics: Mapping[str, Statistics]) -> dict[str, Any]:
    """Returns {"stats/action/mean": ...}, the columns of meta/episodes."""
    return {f"stats/{f}/{name}": value for f, found in statistics.items() for name, value in found.items()}
