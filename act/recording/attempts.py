"""One attempt of an expert at a task, and everything that decides what its file holds."""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import gymnasium
import numpy as np

from act.data.images import JPEG_QUALITY
from act.recording.recorder import EpisodeRecorder, is_strict_success, keep_all
from act.recording.spread import farthest_first
from act.runtime.envs import SerialEnvs
from act.runtime.rollout import rollout
from act.seeds import DEMONSTRATION_SEEDS
from act.types import ACTION_DIM, CONTROL_TIMESTEP, GRIPPERS, Agent, PolicySpec, task_of

DART_MEMORY = 0.2  # [s]
MOST_SPREAD = 10_000
MakeEnv = Callable[[], gymnasium.Env]  # picklable, e.g. partial(sim_envs.make, "transfer_cube", cameras=())
MakeExpert = Callable[[int], Agent]  # picklable; the argument is the seed of the attempt


@dataclass(frozen=True)
class Recording:
    """What is recorded, and how. Every file keeps these values, so that different kinds of episodes never mix.

    Example:
        recording = Recording("sim_insertion_scripted", cameras=("top",), image_size=(240, 320))
        assert recording.task == "insertion" and recording.style == "scripted"
    """

    task_name: str = "sim_transfer_cube_scripted"
    """sim_<task>_<style>; style scripted (one clean way) or human (varied in speed, pauses and grasps)."""
    seed: int = 0
    """Attempt k uses seed + k. Seeds from 1000000 on are reserved for validation and testing."""
    cameras: tuple[str, ...] = ("cam_high", "cam_low", "cam_left_wrist", "cam_right_wrist")
    """Also top and angle, the paper's cameras; without any name, only joints and object poses are recorded."""
    image_size: tuple[int, int] = (480, 640)
    """Height and width of the images [pixels]."""
    quality: Literal["fast", "pretty"] = "fast"
    """Rendering quality; fast has no shadows, no multisampling and no scenery."""
    raw: bool = False
    """Store raw images as the original code does (369 MB per camera and episode) instead of JPEG."""
    jpeg_quality: int = JPEG_QUALITY
    """Quality of the JPEG images, 1 to 100."""
    keep_failures: bool = False
    """Keep every attempt, successful or not; the attribute strict_success tells them apart."""
    spread: int = 0
    """Choose starts that cover the region of starts: of this many seeds, the one farthest from all chosen ones comes
    next. 0 takes the seeds in their order."""
    dart_noise: float = 0.0
    """Standard deviation [rad] of noise on the executed arm targets; the recorded action stays clean. The experts still
    succeed at 0.0025 and fail above 0.004."""

    randomize: tuple[Literal["area", "textures", "light", "camera", "mass", "friction", "latency"], ...] = ()
    """What differs between episodes besides the start poses, see docs/tasks.md; the file keeps the values."""

    @property
    def task(self) -> str:
        """The task in the simulator: "transfer_cube" of "sim_transfer_cube_human"."""
        return task_of(self.task_name)

    @property
    def style(self) -> str:
        """The style of the expert: "human" of "sim_transfer_cube_human"."""
        return self.task_name.rpartition("_")[2]

    @property
    def view(self) -> dict[str, Any]:
        """What an environment renders, as keyword arguments of `sim_envs.make`."""
        view = {"cameras": self.cameras, "image_size": self.image_size, "quality": self.quality}
        return view | ({"randomize": self.randomize} if self.randomize else {})

    def seen_by(self, spec: PolicySpec) -> "Recording":
        """The same with the cameras and the image size that a policy looks at."""
        return dataclasses.replace(self, cameras=tuple(spec.cameras), image_size=tuple(spec.rendered_size))

    def check(self, num_episodes: int) -> None:
        """Raises ValueError for a value that cannot be recorded; it names the flag and what would work."""
        if len(set(self.cameras)) < len(self.cameras):
            raise ValueError(f"--cameras {' '.join(self.cameras)}: name every camera once")
        if min(self.image_size) < 1:
            raise ValueError(f"--image_size {self.image_size[0]} {self.image_size[1]}: must be at least 1 1")
        if not 1 <= self.jpeg_quality <= 100:
            raise ValueError(f"--jpeg_quality {self.jpeg_quality}: must be 1 to 100")
        if self.spread and not num_episodes <= self.spread <= MOST_SPREAD:
            raise ValueError(
                f"--spread {self.spread}: must be 0, or from --num_episodes {num_episodes} to {MOST_SPREAD}"
            )
        if not 0 <= self.dart_noise < 1:
            raise ValueError(f"--dart_noise {self.dart_noise}: must be 0 to 1 rad, e.g. 0.0025")
        if not 0 <= self.seed <= DEMONSTRATION_SEEDS.stop - max(num_episodes, self.spread):
            drawn = f"--spread {self.spread}" if self.spread else f"--num_episodes {num_episodes}"
            raise ValueError(
                f"--seed {self.seed} {drawn}: attempts have seeds from 0 to "
                f"{DEMONSTRATION_SEEDS.stop - 1}; larger ones are reserved for validation and testing"
            )

    def to_json(self, style: str = "") -> dict[str, Any]:
        """The attribute `recording` of a file. `style` says who drove, where that is not the expert."""
        values: dict[str, Any] = {"task": self.task, "style": style or self.style, **dataclasses.asdict(self)}
        del values["task_name"]
        if not self.randomize:  # then the file is like those that were recorded before there was a choice
            del values["randomize"]
        if not self.spread:
            del values["spread"]  # files without it are those of earlier versions, too
        return json.loads(json.dumps(values))


@dataclass(frozen=True)
class Outcome:
    """The result of attempt k; `path` is None when its episode is not kept."""

    attempt: int
    success: bool  # strict
    path: Path | None


class DartNoise(gymnasium.ActionWrapper):
    """Adds Gaussian noise [rad] to the executed arm targets; recorder and expert keep the clean action.

    DART (Laskey et al. 2017, arXiv 1703.09327). The noise decays with a time constant of `DART_MEMORY`, because the
    servos would filter white noise out before the hands had moved.
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


class AttemptRunner:
    """Runs attempts in one environment and writes the episodes that are kept to `folder`/attempt_<k>.hdf5.

    Example:
        make_env = partial(sim_envs.make, "transfer_cube", cameras=("top",))
        make_expert = partial(sim_envs.make_expert, "transfer_cube", "scripted")
        recording = Recording("sim_transfer_cube_scripted", cameras=("top",))
        print(AttemptRunner(recording, make_env, make_expert, Path("data/cube/.partial")).run(0))
    """

    def __init__(self, recording: Recording, make_env: MakeEnv, make_expert: MakeExpert, folder: Path):
        self.recording, self.make_expert, self.folder = recording, make_expert, folder
        env = make_env()
        self.starts = range(recording.seed, DEMONSTRATION_SEEDS.stop)
        if recording.spread:
            among = range(recording.seed, recording.seed + recording.spread)
            poses = np.stack([env.unwrapped.sample_start(seed) for seed in among])  # type: ignore[attr-defined]
            self.starts = [among[row] for row in farthest_first(poses)]
        self.envs = SerialEnvs([DartNoise(env, recording.dart_noise) if recording.dart_noise else env])

    def run(self, attempt: int) -> Outcome:
        recording, seed = self.recording, self.starts[attempt]
        number = {"attempt": attempt} if recording.spread else {}  # otherwise it follows from the seed
        recorder = EpisodeRecorder(
            lambda _: self.folder / f"attempt_{attempt}.hdf5",
            self.envs.env_spec,
            keep=keep_all if recording.keep_failures else is_strict_success,
            compress=not recording.raw,
            jpeg_quality=recording.jpeg_quality,
            attrs={"source": recording.style, "recording": recording.to_json(), **number},
        )
        (result,) = rollout(self.envs, self.make_expert(seed), [recorder], seeds=[seed])
        return Outcome(attempt, result.strict_success, recorder.paths[0] if recorder.paths else None)

    def close(self) -> None:
        self.envs.close()
