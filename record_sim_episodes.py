"""Records demonstrations of an expert: task + agent + recorder -> DIR/episode_<i>.hdf5, resumable, reproducible.

    python record_sim_episodes.py --task_name sim_transfer_cube_scripted --dataset_dir data/cube --num_episodes 50
    python record_sim_episodes.py --task_name sim_transfer_cube_scripted --dataset_dir data/cube --random_scenes 3000

How attempts become numbered files is act/recording.py's business; here an environment is introduced to an expert.
"""

import dataclasses
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import gymnasium
import tyro

from act.episodes import JPEG_QUALITY, find_episodes
from act.recording import Recording, load_world, record
from act.scenes import Sampler, SceneRecording, record_scenes
from act.types import Agent

STYLES = ("scripted", "human")
MAX_SEED = 1_000_000  # here validation seeds begin, at 2,000,000 those of testing


# ---- the world, looked up by module name in workers (recording.World)
def available() -> tuple[str, ...]:
    """Names of the tasks."""
    import sim_envs

    return tuple(sim_envs.available())


def make_env(task: str, cameras: tuple[str, ...], image_size: tuple[int, int], quality: str) -> gymnasium.Env:
    import sim_envs

    return sim_envs.make(task, cameras=cameras, image_size=image_size, quality=quality)


def make_expert(task: str, style: str, seed: int) -> Agent:
    from sim_envs import experts

    return experts.make_agent(task, style=style, seed=seed)


def make_scene_sampler(task: str, cameras: tuple[str, ...], image_size: tuple[int, int], quality: str) -> Sampler:
    import sim_envs
    from sim_envs.random_scenes import SceneSampler

    return SceneSampler(sim_envs.load(task), cameras, image_size, quality)


@dataclass(frozen=True)
class Flags:
    """Records demonstrations of an expert as ALOHA HDF5 episodes; run it again to continue."""

    task_name: str = "sim_transfer_cube_scripted"
    """sim_<task>_<style>; style scripted (one clean way) or human (varied, as people are)."""
    dataset_dir: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Where the episodes go; data/<task_name> if not given."""
    num_episodes: int = 50
    """Episodes the directory shall hold in the end."""
    image_size: tuple[int, int] = (480, 640)
    """Height and width [pixels]."""
    cameras: tuple[str, ...] = ("cam_high", "cam_low", "cam_left_wrist", "cam_right_wrist")
    """Also top and angle, the paper's; none records joints and object poses only."""
    raw: bool = False
    """Raw images as in the original code (369 MB per camera and episode) instead of JPEG."""
    jpeg_quality: int = JPEG_QUALITY
    """1 to 100."""
    workers: int = os.cpu_count() or 1
    """Processes; the files do not depend on it."""
    seed: int = 0
    """Attempt k uses seed + k; below 1000000, where validation and testing begin."""
    keep_failures: bool = False
    """Keep every attempt, successful or not (attribute strict_success tells)."""
    dart_noise: float = 0.0
    """Standard deviation [rad] of noise on the executed arm targets; the recorded action stays clean."""
    quality: Literal["fast", "pretty"] = "fast"
    """Rendering: fast has no shadows, no multisampling, no scenery."""
    random_scenes: int = 0
    """Instead of episodes: draw this many random scenes with labels into DIR/scenes.hdf5, for act.pretrain."""

    @property
    def directory(self) -> Path:
        return self.dataset_dir or Path("data") / self.task_name

    def check(self) -> None:
        if self.random_scenes < 0 or (self.random_scenes and not self.cameras):
            raise ValueError(f"--random_scenes {self.random_scenes}: give a number of scenes, and at least one camera")
        if self.num_episodes < 1 or self.workers < 1:
            raise ValueError(f"--num_episodes {self.num_episodes} --workers {self.workers}: both must be at least 1")
        if min(self.image_size) < 1:
            raise ValueError(
                f"--image_size {self.image_size[0]} {self.image_size[1]}: give height and width, e.g. 480 640"
            )
        if not 1 <= self.jpeg_quality <= 100:
            raise ValueError(f"--jpeg_quality {self.jpeg_quality}: must be 1 to 100")
        if not 0 <= self.seed < MAX_SEED:
            raise ValueError(f"--seed {self.seed}: must be 0 to {MAX_SEED - 1}; larger ones validate and test policies")
        if not 0 <= self.dart_noise < 1:
            raise ValueError(f"--dart_noise {self.dart_noise}: must be 0 to 1 rad, e.g. 0.02")


def split_task_name(task_name: str, tasks: Sequence[str]) -> tuple[str, str]:
    """("transfer_cube", "human") of "sim_transfer_cube_human"; ValueError lists what would have worked."""
    task, _, style = task_name.removeprefix("sim_").rpartition("_")
    if not task_name.startswith("sim_") or style not in STYLES or task not in tasks:
        known = ", ".join(f"sim_{task}_{style}" for task in tasks for style in STYLES)
        raise ValueError(f"no task {task_name!r}; there are {known}")
    return task, style


def record_demonstrations(flags: Flags, world: str) -> int:
    task, style = split_task_name(flags.task_name, load_world(world).available())
    directory = flags.directory
    shared = {f.name: getattr(flags, f.name) for f in dataclasses.fields(flags) if f.name in Recording.__annotations__}
    recording = Recording(task=task, style=style, world=world, **shared)
    try:
        progress = record(recording, directory, flags.num_episodes, flags.workers)
    except KeyboardInterrupt:
        whole = len(find_episodes(directory)) if directory.is_dir() else 0
        print(f"\nstopped; {whole} whole episodes in {directory}; the same command continues", file=sys.stderr)
        return 130
    rate = 100 * progress.successes / progress.decided
    told = f"the {style} expert succeeded in {progress.successes} of {progress.decided} attempts ({rate:.1f} %)"
    print(f"{progress.kept} episodes in {directory}; {told}")
    return 0


def record_random_scenes(flags: Flags, world: str) -> int:
    task, _ = split_task_name(flags.task_name, load_world(world).available())
    path = flags.directory / "scenes.hdf5"
    recording = SceneRecording(task, flags.cameras, flags.image_size, flags.quality, flags.seed, world)
    record_scenes(recording, path, flags.random_scenes, flags.workers)
    print(f"{flags.random_scenes} labelled scenes of {task} in {path}; python -m act.pretrain {path} learns from them")
    return 0


def main(argv: Sequence[str] | None = None, world: str = "record_sim_episodes") -> int:
    """0: recorded; 1: failed on the way; 2: not asked properly; 130: stopped with Ctrl-C."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if "--onscreen_render" in argv:  # a flag of the original program
        argv.remove("--onscreen_render")
        print("--onscreen_render is ignored: recording runs without a window", file=sys.stderr)
    flags = tyro.cli(Flags, args=argv, use_underscores=True)
    try:
        flags.check()
        return record_random_scenes(flags, world) if flags.random_scenes else record_demonstrations(flags, world)
    except (ValueError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1


if __name__ == "__main__":
    sys.exit(main())
