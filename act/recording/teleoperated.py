"""An operator's episodes: written without images while he drives, drawn afterwards by playing his actions back.

Four cameras take longer to draw than a control step lasts. So the 50 Hz loop records a sketch, an ordinary episode
without cameras, in DIR/.partial; another process repeats it from its seed, with cameras, and numbers the result. What
was interrupted goes on from the files alone: sketches that are there are drawn first.
"""

import contextlib
import functools
import os
import signal
from collections.abc import Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from tqdm import tqdm

from act.data.episodes import Episode, episode_index, episode_path, find_episodes, read_episode
from act.recording.attempts import Recording, keep_all, load_world
from act.recording.demonstrations import find_known
from act.recording.recorder import EpisodeRecorder
from act.recording.rounds import Intervening, gated_rows
from act.runtime.agents import ReplayAgent
from act.runtime.envs import SerialEnvs
from act.runtime.rollout import rollout
from act.types import EnvSpec
from act.workers import end_with_parent


class DeferredRendering:
    """The sketches of a directory, and the process that draws them; use as a context manager, which draws them all.

    ValueError if the directory holds episodes that were recorded otherwise.
    """

    def __init__(self, recording: Recording, directory: Path):
        self.recording, self.directory = recording, directory
        known = find_known(directory, recording)
        self.next_seed = recording.seed + max(known, default=-1) + 1
        self._partial = directory / ".partial"
        waiting = sorted(self._partial.glob("attempt_*.hdf5"), key=lambda path: int(path.stem[8:]))
        self.saved = len(waiting) + self.drawn()
        context = get_context("spawn")
        self._painter = ProcessPoolExecutor(1, mp_context=context, initializer=_begin_to_draw)
        self._pictures: list[Future[Path]] = []
        for path in waiting:
            self.draw(path)

    def recorder(self, spec: EnvSpec, source: str, teaching: Intervening | None = None) -> "UnrenderedRecorder":
        """The observer for the 50 Hz loop. `teaching` knows which steps of a policy's episode the operator drove."""
        rows = gated_rows(teaching) if teaching is not None else None
        attrs = {"source": source, "recording": self.recording.to_json()}
        return UnrenderedRecorder(self, replace(spec, cameras=()), attrs, rows)

    def path_of(self, seed: int) -> Path:
        return self._partial / f"attempt_{seed}.hdf5"

    def drawn(self) -> int:
        """How many episodes the directory holds."""
        return len(find_episodes(self.directory)) if self.directory.is_dir() else 0

    def draw(self, path: Path) -> None:
        """Has a sketch drawn, in its turn."""
        self._pictures.append(self._painter.submit(draw, self.recording, self.directory, path))

    def __enter__(self) -> "DeferredRendering":
        return self

    def __exit__(self, *_: object) -> None:
        """Returns when all is drawn; RuntimeError if something could not be."""
        with self._painter:
            late = any(not picture.done() for picture in self._pictures)
            for picture in tqdm(self._pictures, "drawing", unit="episode", disable=not late):
                picture.result()
        with contextlib.suppress(OSError):  # not there, or not empty
            self._partial.rmdir()


class UnrenderedRecorder(EpisodeRecorder):
    """An EpisodeRecorder of sketches that has each of them drawn."""

    def __init__(self, book: DeferredRendering, spec: EnvSpec, attrs: Mapping[str, Any], rows: Any):
        super().__init__(lambda result: book.path_of(result.seed), spec, keep=keep_all, attrs=attrs, rows=rows)
        self._book = book

    def on_end(self, index: int, result: Any) -> None:
        super().on_end(index, result)
        self._book.draw(self.paths[-1])


class Playback(ReplayAgent):
    """Repeats a sketch: what was executed, and who did it."""

    def __init__(self, sketch: Episode):
        executed = sketch.action if sketch.executed_action is None else sketch.executed_action
        super().__init__(executed[None])
        self._intervention = sketch.intervention

    @property
    def intervention(self) -> np.ndarray:
        assert self._intervention is not None
        return self._intervention[self._t - 1, None]


def draw(recording: Recording, directory: Path, path: Path) -> Path:
    """Gives a sketch its images and its number, one after the other, each whole or not at all."""
    sketch = read_episode(path)
    if sketch.cameras != recording.cameras:
        draw_images(recording, sketch)
    index = max(map(episode_index, find_episodes(directory)), default=-1) + 1
    return path.replace(episode_path(directory, index))


def draw_images(recording: Recording, sketch: Episode) -> None:
    """Replaces a sketch by the same episode with images; RuntimeError if it does not go the same way again."""
    drawn = sketch.path.with_suffix(".drawn")
    env = _env(recording)
    env.length = len(sketch)
    envs, playback = SerialEnvs([env]), Playback(sketch)
    recorder = EpisodeRecorder(
        lambda _: drawn,
        envs.env_spec,
        keep=keep_all,
        compress=not recording.raw,
        jpeg_quality=recording.jpeg_quality,
        attrs={name: sketch.attrs[name] for name in ("source", "recording")},
        rows=gated_rows(playback) if sketch.intervention is not None else None,
    )
    list(rollout(envs, playback, [recorder], seeds=[int(sketch.attrs["seed"])]))
    if not np.array_equal(read_episode(drawn).qpos, sketch.qpos):
        drawn.unlink()
        raise RuntimeError(f"{sketch.path} did not go the same way when it was played back; it is left there")
    drawn.replace(sketch.path)


class Until(gymnasium.Wrapper):
    """Ends an episode after `length` control steps, whatever the task's own limit."""

    length = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self._t = 0
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        obs, reward, terminated, _, info = self.env.step(action)
        self._t += 1
        return obs, reward, terminated, self._t >= self.length, info


@functools.cache
def _env(recording: Recording) -> Until:
    world, images = load_world(recording.world), (recording.cameras, recording.image_size, recording.quality)
    return Until(world.make_env(recording.task, *images))


def _begin_to_draw() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means, and waits for us
    end_with_parent()
    os.nice(10)  # the 50 Hz loop first
