"""Validates, repairs and lists recorded episodes: `python -m act episodes validate|repair|info DIR`."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from act.command_line import parse, run
from act.data.episodes import Episode, episode_index, episode_path, find_episodes, read_episode
from act.files import lock_folder

Folder = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]


@dataclass(frozen=True)
class Validate:
    """Check every episode of a folder and print what is broken; the exit code is then 1."""

    dir: Folder
    """Folder of episodes, e.g. data/sim_transfer_cube_scripted."""
    decode_all: bool = False
    """Decode every image (slow), not only the first and the last one of each camera."""

    def run(self) -> int:
        return validate(self.dir, self.decode_all)


@dataclass(frozen=True)
class Repair:
    """Move broken episodes to DIR/broken and remove temporary files of interrupted programs."""

    dir: Folder
    """Folder of episodes, e.g. data/sim_transfer_cube_scripted."""
    renumber: bool = False
    """Close gaps in the numbering of the episodes."""

    def run(self) -> int:
        if not self.dir.is_dir():
            raise ValueError(f"{self.dir} is not a folder; give one with episodes, e.g. data/sim_insertion_scripted")
        with lock_folder(self.dir, "recorded into", "folder"):
            return repair(self.dir, self.renumber)


@dataclass(frozen=True)
class Info:
    """Print one line about every episode of a folder; the exit code is 1 when an episode is broken."""

    dir: Folder
    """Folder of episodes, e.g. data/sim_transfer_cube_scripted."""

    def run(self) -> int:
        return info(self.dir)


@dataclass(frozen=True)
class Options:
    command: tyro.conf.OmitSubcommandPrefixes[Validate | Repair | Info]


# --------------------------------------------------------------------------------------------------------- one episode
def check_episode(path: Path, decode_all: bool = False) -> str | None:
    """Returns None for a sound file, otherwise a sentence that says what is wrong.

    The start and end bytes of every JPEG are checked. The first and the last image of each camera are decoded, or all
    images with `decode_all`.
    """
    try:
        episode = read_episode(path)
        for camera in episode.cameras:
            decoded = range(len(episode)) if decode_all else (0, len(episode) - 1)
            for t in decoded:
                episode.read_images(camera, t, t + 1)
        return _cut_jpeg(episode)
    except (ValueError, OSError) as error:
        return str(error)


def _cut_jpeg(episode: Episode) -> str | None:
    """Returns a sentence about the first JPEG without its start or end marker, or None."""
    for t in range(len(episode) if episode.compressed else 0):
        for camera, data in episode.encoded(t).items():
            if not (data.startswith(b"\xff\xd8") and data.endswith(b"\xff\xd9")):
                return f"{episode.path}: camera {camera} has an incomplete JPEG at step {t}"
    return None


def describe_episode(path: Path) -> str:
    """Returns one line about an episode. Raises ValueError for a file that cannot be read."""
    episode = read_episode(path)
    size, form = episode.image_size, "JPEG" if episode.compressed else "raw"
    images = f"{form} {size[0]}x{size[1]} {','.join(episode.cameras)}" if size else "no cameras"
    attributes = " ".join(
        f"{name}={episode.attrs.get(name, '?')}" for name in ("task_name", "source", "seed", "strict_success")
    )
    shape = f"{len(episode)} steps  {episode.action.shape[1]}-D"
    return f"{path.name}  {shape}  {images}  {attributes}  {path.stat().st_size / 1e6:.1f} MB"


# ----------------------------------------------------------------------------------------------------------- a folder
def validate(directory: Path, decode_all: bool = False) -> int:
    """Prints what is broken in a folder of episodes. Returns 1 when an episode is broken, otherwise 0."""
    paths = find_episodes(directory)
    problems = [problem for path in paths if (problem := check_episode(path, decode_all))]
    for problem in problems:
        print(problem)
    if unused := _unused_numbers(paths):
        print(f"note: these episode numbers are not used: {', '.join(map(str, unused))}")
    if leftovers := find_leftovers(directory):
        print(f"note: interrupted programs left {len(leftovers)} temporary files; `repair` removes them")
    print(f"{len(paths) - len(problems)} of {len(paths)} episodes in {directory} are sound")
    return 1 if problems else 0


def repair(directory: Path, renumber: bool = False) -> int:
    """Moves broken episodes to DIR/broken, removes temporary files and, with `renumber`, closes gaps. Returns 0.

    Raises ValueError when two files have the same number and `renumber` is set; nothing is renamed then.
    """
    for leftover in find_leftovers(directory):
        leftover.unlink()
        print(f"removed {leftover}")
    for path in find_episodes(directory):
        if problem := check_episode(path):
            print(f"moved to {_set_aside(path)}: {problem}")
    if renumber:
        _renumber(directory)
    print(f"{len(find_episodes(directory))} sound episodes in {directory}")
    return 0


def info(directory: Path) -> int:
    """Prints one line about every episode of a folder. Returns 1 when an episode is broken, otherwise 0.

    Raises ValueError for a folder without episodes.
    """
    paths = find_episodes(directory)
    if not paths:
        raise ValueError(f"{directory} has no episode_<i>.hdf5; record some with record_sim_episodes.py")
    broken = 0
    for path in paths:
        try:
            print(describe_episode(path))
        except ValueError as error:
            print(error)
            broken += 1
    print(f"{len(paths)} episodes, {broken} broken, {sum(path.stat().st_size for path in paths) / 1e9:.2f} GB")
    return 1 if broken else 0


def find_leftovers(directory: Path) -> list[Path]:
    """Returns the temporary files that killed programs left in a folder and in its .partial, sorted."""
    return sorted([*directory.glob(".*.tmp"), *directory.glob(".partial/.*.tmp")])


def _unused_numbers(paths: Sequence[Path]) -> list[int]:
    """Returns the numbers below that of the last episode that no episode has."""
    numbers = [episode_index(path) for path in paths]
    return sorted(set(range(max(numbers, default=-1) + 1)) - set(numbers))


def _set_aside(path: Path) -> Path:
    """Moves a broken episode into the folder `broken` beside it, under a free name. Returns the new path."""
    folder = path.parent / "broken"
    folder.mkdir(exist_ok=True)
    target = next(candidate for candidate in _candidates(folder, path) if not candidate.exists())
    shutil.move(path, target)
    return target


def _candidates(folder: Path, path: Path) -> Iterator[Path]:
    """Yields episode_3.hdf5, episode_3_1.hdf5, episode_3_2.hdf5, ... in `folder`."""
    yield folder / path.name
    copies = 1
    while True:
        yield folder / f"{path.stem}_{copies}.hdf5"
        copies += 1


def _renumber(directory: Path) -> None:
    """Renames the episodes to 0, 1, 2, ... in their order. Raises ValueError when two have the same number."""
    paths = find_episodes(directory)
    numbers = [episode_index(path) for path in paths]
    doubled = [path.name for path in paths if numbers.count(episode_index(path)) > 1]
    if doubled:
        raise ValueError(f"{directory}: {', '.join(doubled)} have the same number; rename one of them")
    for index, path in enumerate(paths):
        if path != (target := episode_path(directory, index)):
            path.rename(target)
            print(f"renamed {path.name} to {target.name}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 when all is sound, 1 when an episode is broken, 2 for wrong input."""
    options = parse(
        Options,
        arguments,
        program="python -m act episodes",
        description="Validates, repairs or lists recorded episodes.",
        example="python -m act episodes validate data/sim_transfer_cube_scripted",
        page="docs/data_format.md",
    )
    return run("episodes", options.command.run, stopped="no episode is lost; run the same command again")
