"""A clock that only tests move, answers that come when a test says so, and a policy that shows when it was asked."""

import time
from collections.abc import Sequence
from concurrent.futures import Executor, Future

import numpy as np

from act.types import Observation

K = 6


class Clock:
    """Moves only by `sleep` and when tests add to `time`."""

    time = 100.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.time += seconds


class Later(Executor):
    """An executor that works when `finish` is called: queries take as many control steps as a test wants."""

    def __init__(self) -> None:
        self.waiting: list = []

    def submit(self, fn, /, *args, **kwargs) -> Future:
        self.waiting.append((Future(), fn, args))
        return self.waiting[-1][0]

    def finish(self) -> None:
        future, fn, args = self.waiting.pop(0)
        try:
            future.set_result(fn(*args))
        except ValueError as error:
            future.set_exception(error)


class Plan:
    """The action for control step t, asked at control step s (which qpos[0] says), is 100 s + t in every joint."""

    def __init__(self, n_obs_steps: int = 1, needs_images: bool = False, duration: float = 0.0):
        self.chunk_size, self.n_obs_steps, self.needs_images = K, n_obs_steps, needs_images
        self.duration, self.shown = duration, []

    def predict_chunk(self, histories: Sequence[Sequence[Observation]]) -> np.ndarray:
        time.sleep(self.duration)
        self.shown.append([float(obs["qpos"][0]) for obs in histories[0]])
        asked = self.shown[-1][-1]
        chunk = 100 * asked + asked + np.arange(K, dtype=np.float32)
        return np.tile(chunk[None, :, None], (len(histories), 1, 14))
