"""One attempt of an expert at a task, and everything that decides what is in its file."""

import dataclasses
import importlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import gymnasium
import numpy as np

from act.recording.recorder import EpisodeRecorder
from act.runtime.envs import SerialEnvs
from act.runtime.rollout import rollout
from act.types import ACTION_DIM, CONTROL_TIMESTEP, GRIPPERS, Agent, RolloutResult

DART_MEMORY = 0.2  # [s]


class World(Protocol):
    """The shape of a module that introduces environments and experts; named by a string, as workers import it anew."""

    def available(self) -> tuple[str, ...]: ...
    def make_env(
        self, task: str, cameras: tuple[str, ...], image_size: tuple[int, int], quality: str
    ) -> gymnasium.Env: ...
    def make_expert(self, task: str, style: str, seed: int) -> Agent: ...
    def make_env_with_expert(
        self,
        task: str,
        style: str,
        cameras: tuple[str, ...],
        image_size: tuple[int, int],
        quality: str,
        chunk_size: int,
        label_every: int,
    ) -> gymnasium.Env:
        """For DAgger: what the expert would do is in the observation, as act/runtime/dagger.py draws it."""
        ...


def load_world(name: str) -> World:
    return importlib.import_module(name)  # type: ignore[return-value]


@dataclass(frozen=True)
class Recording:
    """Everything that decides the content of the files; kept in every file, so that datasets never mix."""

    task: str
    style: str
    seed: int
    cameras: tuple[str, ...]
    image_size: tuple[int, int]
    quality: str
    raw: bool
    jpeg_quality: int
    keep_failures: bool
    dart_noise: float
    world: str

    def to_json(self) -> dict[str, Any]:
        return json.loads(json.dumps(dataclasses.asdict(self)))


@dataclass(frozen=True)
class Outcome:
    """What attempt k came to; `path` is None when the episode was not worth keeping."""

    attempt: int
    success: bool  # strict
    path: Path | None


class DartNoise(gymnasium.ActionWrapper):
    """Perturbs the executed arm targets by Gaussian noise [rad]; recorder and expert keep the clean action.

    DART (Laskey et al. 2017, arXiv 1703.09327). The noise of one control step lives on with a time constant of
    `DART_MEMORY`: the servos would filter white noise out before the hands had moved.
    """

    def __init__(self, env: gymnasium.Env, std: float):
        super().__init__(env)
        self.std = std
        self._rng, self._noise = np.random.default_rng(0), np.zeros(ACTION_DIM)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self._rng, self._noise = np.random.default_rng((seed or 0, 1)), np.zeros(ACTION_DIM)
        return self.env.reset(seed=seed, options=options)

    def action(self, action: np.ndarray) -> np.ndarray:
        keep = np.exp(-CONTROL_TIMESTEP / DART_MEMORY)
        fresh = self._rng.normal(0.0, self.std, ACTION_DIM)
        self._noise = keep * self._noise + np.sqrt(1 - keep**2) * fresh
        self._noise[list(GRIPPERS)] = 0.0
        return (action + self._noise).astype(np.float32)


class Attempts:
    """Runs attempts in one environment and leaves what is kept in `partial`."""

    def __init__(self, recording: Recording, partial: Path):
        self.recording, self.partial = recording, partial
        self.world = load_world(recording.world)
        env = self.world.make_env(recording.task, recording.cameras, recording.image_size, recording.quality)
        self.envs = SerialEnvs([DartNoise(env, recording.dart_noise) if recording.dart_noise else env])

    def run(self, attempt: int) -> Outcome:
        recording = self.recording
        expert = self.world.make_expert(recording.task, recording.style, recording.seed + attempt)
        recorder = EpisodeRecorder(
            lambda _: self.partial / f"attempt_{attempt}.hdf5",
            self.envs.env_spec,
            keep=keep_all if recording.keep_failures else is_strict_success,
            compress=not recording.raw,
            jpeg_quality=recording.jpeg_quality,
            attrs={"source": recording.style, "recording": recording.to_json()},
        )
        (result,) = rollout(self.envs, expert, [recorder], seeds=[recording.seed + attempt])
        return Outcome(attempt, result.strict_success, recorder.paths[0] if recorder.paths else None)


def keep_all(result: RolloutResult) -> bool:
    return True


def is_strict_success(result: RolloutResult) -> bool:
    return result.strict_success
