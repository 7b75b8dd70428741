"""A person's episodes: recorded without images while they drive, rendered afterwards by playing their actions back.

Four cameras take longer to render than a control step lasts. So the 50 Hz loop records an unrendered episode, without
cameras, in DIR/.partial; another process repeats it from its seed, with cameras, and numbers the result. An interrupted
session continues from the files alone: unrendered episodes of earlier sessions are rendered first.
"""

import contextlib
import functools
import os
import pickle
import signal
from collections.abc import Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from tqdm import tqdm

from act.data.episodes import Episode, episode_index, episode_path, find_episodes, read_episode
from act.recording.attempts import MakeEnv, Recording
from act.recording.demonstrations import find_known
from act.recording.recorder import EpisodeRecorder, keep_all
from act.recording.rounds import Intervening, Rows, gated_rows
from act.runtime.agents import ReplayAgent
from act.runtime.envs import SerialEnvs
from act.runtime.rollout import rollout
from act.types import EnvSpec
from act.workers import end_with_parent

OPERATOR_STEPS = 3000  # control steps that a person's episode may take: a minute


@dataclass(frozen=True)
class PageOptions:
    """The page in the browser through which you drive (--agent human)."""

    host: str = "127.0.0.1"
    """Address of the page; any other than this machine's own needs a --token."""
    port: int = 8080
    """Port of the page (0: any free one)."""
    token: str = ""
    """Password of the page, 12 or more letters and digits."""
    gamepad: str = "auto"
    """Local gamepad beside the page: auto (the first that is found), none, or a device such as /dev/input/js0."""

    def check(self) -> None:
        if not 0 <= self.port < 2**16:
            raise ValueError(f"--port {self.port}: must be 0 (any free one) to {2**16 - 1}")


class DeferredRendering:
    """The unrendered episodes of a directory, and the process that renders them. Leaving the context waits for it.

    Args:
        recording: of the rendered episodes.
        style: who drives, e.g. "operator"; episodes of different drivers never mix.
        make_env: makes the environment with all cameras, in the rendering process.

    Raises ValueError if the directory holds episodes that were recorded with other values.

    Example:
        with DeferredRendering(recording, "operator", make_env, Path("data/mine")) as episodes:
            observers = [episodes.recorder(env.env_spec)]    # of the 50 Hz loop
    """

    def __init__(self, recording: Recording, style: str, make_env: MakeEnv, directory: Path):
        self.recording, self.style, self.directory = recording, style, directory
        known = find_known(directory, recording.to_json(style))
        self.next_seed = recording.seed + max(known, default=-1) + 1
        self._partial = directory / ".partial"
        waiting = sorted(self._partial.glob("attempt_*.hdf5"), key=lambda path: int(path.stem[8:]))
        self.saved = len(waiting) + self.n_rendered()
        self._make_env = pickle.dumps(make_env)
        self._process = ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_start_rendering)
        self._renderings: list[Future[Path]] = []
        for path in waiting:
            self.render(path)

    def recorder(self, spec: EnvSpec, corrected: Intervening | None = None) -> "UnrenderedRecorder":
        """The observer for the 50 Hz loop. `corrected` says which steps of a policy's episode the operator drove."""
        rows = gated_rows(corrected) if corrected is not None else None
        attrs = {"source": "operator", "recording": self.recording.to_json(self.style)}
        return UnrenderedRecorder(self, replace(spec, cameras=()), attrs, rows)

    def path_of(self, seed: int) -> Path:
        return self._partial / f"attempt_{seed}.hdf5"

    def n_rendered(self) -> int:
        """How many episodes the directory holds."""
        return len(find_episodes(self.directory)) if self.directory.is_dir() else 0

    def render(self, path: Path) -> None:
        """Has an episode rendered after those that wait already."""
        self._renderings.append(self._process.submit(render, self.recording, self._make_env, self.directory, path))

    def __enter__(self) -> "DeferredRendering":
        return self

    def __exit__(self, *_: object) -> None:
        """Returns when all are rendered; RuntimeError if one could not be."""
        with self._process:
            waiting = any(not rendering.done() for rendering in self._renderings)
            for rendering in tqdm(self._renderings, "rendering", unit="episode", disable=not waiting):
                rendering.result()
        with contextlib.suppress(OSError):  # the folder is missing, or not empty
            self._partial.rmdir()


class UnrenderedRecorder(EpisodeRecorder):
    """An EpisodeRecorder that writes unrendered episodes and has each of them rendered."""

    def __init__(self, episodes: DeferredRendering, spec: EnvSpec, attrs: Mapping[str, Any], rows: Rows | None):
        super().__init__(lambda result: episodes.path_of(result.seed), spec, keep=keep_all, attrs=attrs, rows=rows)
        self._episodes = episodes

    def on_end(self, index: int, result: Any) -> None:
        super().on_end(index, result)
        self._episodes.render(self.paths[-1])


# ----------------------------------------------------------------------------------------- in the rendering process
class Playback(ReplayAgent):
    """Repeats an unrendered episode: what was executed, and who drove."""

    def __init__(self, unrendered: Episode):
        executed = unrendered.action if unrendered.executed_action is None else unrendered.executed_action
        super().__init__(executed[None])
        self._intervention = unrendered.intervention

    @property
    def intervention(self) -> np.ndarray:
        assert self._intervention is not None
        return self._intervention[self._t - 1, None]


class FixedLength(gymnasium.Wrapper):
    """Ends an episode after `length` control steps, whatever the task's own limit."""

    length = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self._t = 0
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        obs, reward, terminated, _, info = self.env.step(action)
        self._t += 1
        return obs, reward, terminated, self._t >= self.length, info


def render(recording: Recording, make_env: bytes, directory: Path, path: Path) -> Path:
    """Gives an unrendered episode its images, then its number; it is whole at any moment. `make_env` is pickled."""
    unrendered = read_episode(path)
    if unrendered.cameras != recording.cameras:
        render_images(recording, _environment(make_env), unrendered)
    index = max(map(episode_index, find_episodes(directory)), default=-1) + 1
    return path.replace(episode_path(directory, index))


def render_images(recording: Recording, env: FixedLength, unrendered: Episode) -> None:
    """Replaces an unrendered episode by the same one with images; RuntimeError if the playback differs from it."""
    rendered = unrendered.path.with_suffix(".drawn")
    env.length = len(unrendered)
    envs, playback = SerialEnvs([env]), Playback(unrendered)
    recorder = EpisodeRecorder(
        lambda _: rendered,
        envs.env_spec,
        keep=keep_all,
        compress=not recording.raw,
        jpeg_quality=recording.jpeg_quality,
        attrs={name: unrendered.attrs[name] for name in ("source", "recording")},
        rows=gated_rows(playback) if unrendered.intervention is not None else None,
    )
    list(rollout(envs, playback, [recorder], seeds=[int(unrendered.attrs["seed"])]))
    if not np.array_equal(read_episode(rendered).qpos, unrendered.qpos):
        rendered.unlink()
        raise RuntimeError(f"{unrendered.path} did not go the same way when it was played back; it stays as it is")
    rendered.replace(unrendered.path)


@functools.cache
def _environment(make_env: bytes) -> FixedLength:
    """Makes the environment once per process; pickled, because equal factories must be the same key."""
    return FixedLength(pickle.loads(make_env)())


def _start_rendering() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means, and waits for this process
    end_with_parent()
    os.nice(10)  # the 50 Hz loop first
