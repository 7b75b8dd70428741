"""Mirrors episodes by replaying them: `python -m act episodes mirror DIR --out NEW`. See docs/episodes.md.

The actions are mirrored, the objects start at mirrored poses, and the simulator runs anew: joints, rewards and images
of the new episode are what it then shows. An episode is kept only if the task succeeds strictly, as it did before.
"""

import functools
import os
import shutil
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

from tqdm import tqdm
from tyro.conf import Positional, arg

from act.data.editing.commands import DryRun, Folder, New
from act.data.editing.copying import MIRROR, Copy, copy_episode, edits_of
from act.data.editing.folders import describe, episodes_of, make_copy, parse_numbers
from act.data.episodes import Episode, episode_path, read_episode
from act.files import whole_folder
from act.recording.recorder import EpisodeRecorder, is_strict_success
from act.recording.teleoperated import FixedLength
from act.runtime.agents import ReplayAgent
from act.runtime.envs import SerialEnvs
from act.runtime.rollout import rollout
from act.types import task_of
from act.workers import available_cores, end_with_parent


@dataclass(frozen=True)
class Mirror:
    """Write mirrored episodes, each replayed in the simulator; those whose replay fails are left out and counted."""

    dir: Folder
    """Folder of episodes of a task that is symmetrical."""
    out: New
    """New folder."""
    episodes: Annotated[tuple[str, ...], Positional, arg(metavar="[NUMBER ...]", help_behavior_hint="")] = ()
    """Episodes to mirror: numbers and ranges, e.g. 3 7-9 (default: all)."""
    workers: Annotated[int | None, arg(help_behavior_hint="(default: one per processor core)")] = None
    """Episodes that are replayed at a time."""
    simulator: str = "sim_envs"
    """Python package with `make(task, cameras=, image_size=, quality=)` and `mirror.mirror_of(task)`."""
    dry_run: DryRun = False

    def run(self) -> int:
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"--workers {self.workers}: must be at least 1")
        paths = episodes_of(self.dir)
        chosen = [paths[number] for number in parse_numbers(self.episodes, paths) or paths]
        plans = [plan(path, self.simulator) for path in chosen]
        kept = [found for found in plans if found is not None]
        if len(kept) < len(plans):
            print(f"{len(plans) - len(kept)} episodes did not succeed strictly themselves; they are left out")
        if not kept:
            raise ValueError(f"no episode of {self.dir} was a strict success; there is nothing to mirror")
        if self.dry_run:
            print(*(describe(self.out, copy) for copy in kept), sep="\n")
            print(f"{len(kept)} episodes would be replayed; nothing was written")
            return 0
        written = mirror(kept, self.out, self.simulator, self.workers or available_cores())
        print(f"{written} of {len(kept)} mirrored replays succeeded; wrote them to {self.out}")
        return 0


def plan(path: Path, simulator: str) -> Copy | None:
    """Returns what a mirrored episode is made of; None for an episode that was no strict success.

    Raises ValueError for an episode that cannot be mirrored, and where there is no such simulator.
    """
    episode = read_episode(path)
    recording = _recording(episode)
    if episode.env_state is None or not recording:
        raise ValueError(f"{path} was not recorded by record_sim_episodes.py, so the simulator cannot replay it")
    if episode.executed_action is not None or episode.action_chunk is not None:
        raise ValueError(f"{path} holds labels of a policy's states (DAgger), which were not executed: no replay")
    if recording.get("randomize"):
        raise ValueError(f"{path} was recorded with --randomize, and a replay would not look or weigh the same")
    if recording.get("dart_noise"):
        raise ValueError(f"{path} was recorded with --dart_noise, and holds no actions that a replay could repeat")
    cut = any(isinstance(edit, dict) and edit.get("start") for edit in edits_of(episode.attrs))
    if cut or "strict_success" not in episode.attrs:
        raise ValueError(f"{path} lacks its first or last steps (act episodes trim); give the recorded episodes")
    found = _mirror_of(simulator, task_of(str(episode.attrs.get("task_name"))))
    return make_copy(MIRROR, path, 0, plane=f"y = {found.plane:g} m") if episode.attrs["strict_success"] else None


def mirror(sources: Sequence[Copy], out: Path, simulator: str, workers: int) -> int:
    """Writes the mirrored episodes whose replay succeeds, numbered from 0, and returns their number.

    After an interruption the same command continues. Raises ValueError, and writes nothing, if no replay succeeds.
    """
    with whole_folder(out) as partial:
        replays, result = partial / "replays", partial / "result"
        replays.mkdir(exist_ok=True)
        shutil.rmtree(result, ignore_errors=True)
        result.mkdir()
        targets = {copy.source: replays / f"{copy.edit['sha256']}.hdf5" for copy in sources}
        missing = [(source, target) for source, target in targets.items() if not target.exists()]
        jobs = _in_processes(missing, simulator, workers)
        for _ in tqdm(jobs, total=len(missing), unit="episode", dynamic_ncols=True, disable=None):
            pass
        good = [copy for copy in sources if targets[copy.source].exists()]
        if not good:
            raise ValueError(f"none of {len(sources)} mirrored replays succeeded; nothing was written")
        for index, copy in enumerate(good):
            name = episode_path("", index).name
            copy_episode(Copy(targets[copy.source], name, copy.edit), result / name)
    return len(good)


def _in_processes(jobs: Sequence[tuple[Path, Path]], simulator: str, workers: int) -> Iterator[bool]:
    """Replays in worker processes; yields whether one has succeeded each time one has ended."""
    context = get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, max(1, len(jobs))), mp_context=context, initializer=_start)
    try:
        for future in as_completed([pool.submit(replay, source, target, simulator) for source, target in jobs]):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _start() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    end_with_parent()
    os.environ.setdefault("OMP_NUM_THREADS", "1")


# ------------------------------------------------------------------------------------------------- in a worker process
def replay(source: Path, target: Path, simulator: str) -> bool:
    """Replays an episode mirrored and writes it to `target` if the task succeeds strictly. Returns whether it did."""
    episode = read_episode(source)
    recording, task = _recording(episode), task_of(str(episode.attrs["task_name"]))
    mirror, size = _mirror_of(simulator, task), episode.image_size or (480, 640)
    env = _environment(simulator, task, episode.cameras, tuple(size), str(recording.get("quality", "fast")))
    env.length = len(episode)
    envs = SerialEnvs([env])
    recorder = EpisodeRecorder(
        lambda _: target,
        envs.env_spec,
        keep=is_strict_success,
        compress=episode.compressed or not episode.cameras,
        jpeg_quality=int(recording.get("jpeg_quality", 85)),
        attrs={"source": episode.attrs.get("source"), "recording": recording, "edits": edits_of(episode.attrs)},
    )
    assert episode.env_state is not None
    options = [{"env_state": mirror.poses(episode.env_state[0])}]
    seed = int(episode.attrs.get("seed", episode.attrs.get("recorded_seed", 0)))
    agent = ReplayAgent(mirror.joints(episode.action)[None])
    (outcome,) = rollout(envs, agent, [recorder], seeds=[seed], options=options)
    return outcome.strict_success


def _recording(episode: Episode) -> dict[str, Any]:
    found = episode.attrs.get("recording", episode.attrs.get("recorded_as"))
    return found if isinstance(found, dict) else {}


@functools.cache
def _environment(
    simulator: str, task: str, cameras: tuple[str, ...], size: tuple[int, int], quality: str
) -> FixedLength:
    make = import_module(simulator).make
    return FixedLength(make(task, cameras=cameras, image_size=size, quality=quality))


@functools.cache
def _mirror_of(simulator: str, task: str) -> Any:
    """Returns what mirrors a task. Raises ValueError for a package that is none, and for a task without a mirror."""
    try:
        module = import_module(f"{simulator}.mirror")
    except ImportError as error:
        raise ValueError(f"--simulator {simulator}: {error}; sim_envs is the one of this project") from None
    return module.mirror_of(task)
