"""Validates, repairs, lists and seals recorded episodes: `python -m act episodes validate|repair|info|seal DIR`."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from act.command_line import parse, run
from act.data.editing.commands import Delete, Merge, Renumber, Split, Trim
from act.data.episodes import episode_index, episode_path, files_left_out, find_episodes
from act.data.inspection import Finding, Inspector, check_episode, describe, examine
from act.data.loading import collect_notes
from act.data.sealing import seal
from act.files import lock_folder

__all__ = ["check_episode", "main"]

Folder = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]


@dataclass(frozen=True)
class Validate:
    """Check every episode of a folder and print what is broken; the exit code is then 1."""

    dir: Folder
    """Folder of episodes, e.g. data/sim_transfer_cube_scripted."""
    decode_all: bool = False
    """Decode every image (slow), not only the first and the last one of each camera."""
    cameras: tuple[str, ...] = ()
    """Cameras that every episode must have; without any name, all cameras whose frames fit are judged."""

    def run(self) -> int:
        return validate(self.dir, self.decode_all, self.cameras or None)


@dataclass(frozen=True)
class Repair:
    """Move truncated and damaged episodes to DIR/broken and remove temporary files of interrupted programs."""

    dir: Folder
    """Folder of episodes, e.g. data/sim_transfer_cube_scripted."""
    renumber: bool = False
    """Close gaps in the numbering of the episodes."""

    def run(self) -> int:
        with _locked(self.dir):
            return repair(self.dir, self.renumber)


@dataclass(frozen=True)
class Info:
    """Print one line about every episode of a folder; the exit code is 1 when an episode is broken."""

    dir: Folder
    """Folder of episodes, e.g. data/sim_transfer_cube_scripted."""

    def run(self) -> int:
        return info(self.dir)


@dataclass(frozen=True)
class Seal:
    """Add checksums to sound episodes that have none, e.g. those of other programs."""

    dir: Folder
    """Folder of episodes, e.g. data/aloha_mobile_cabinet."""

    def run(self) -> int:
        with _locked(self.dir):
            return seal(self.dir)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    if not directory.is_dir():
        raise ValueError(f"{directory} is not a folder; give one with episodes, e.g. data/sim_insertion_scripted")
    with lock_folder(directory, "recorded into", "folder"):
        yield


@dataclass(frozen=True)
class Options:
    command: tyro.conf.OmitSubcommandPrefixes[
        Validate | Repair | Info | Seal | Delete | Merge | Split | Trim | Renumber
    ]


# ----------------------------------------------------------------------------------------------------------- a folder
def validate(directory: Path, decode_all: bool = False, cameras: Sequence[str] | None = None) -> int:
    """Prints what is broken in a folder of episodes. Returns 1 when an episode is broken, otherwise 0."""
    paths = find_episodes(directory)
    findings = _inspect(paths, examine, decode_all, cameras)
    problems = [finding.problem for finding in findings if finding.problem]
    for problem in problems:
        print(problem)
    for note in collect_notes(findings):
        print(f"note: {note}")
    if unused := _unused_numbers(paths):
        print(f"note: these episode numbers are not used: {unused}")
    if left_out := files_left_out(directory):
        print(
            f"note: {len(left_out)} other *.hdf5 are not read, e.g. {left_out[0].name}; episodes are episode_<i>.hdf5"
        )
    if leftovers := find_leftovers(directory):
        print(f"note: interrupted programs left {len(leftovers)} temporary files; `repair` removes them")
    print(f"{len(paths) - len(problems)} of {len(paths)} episodes in {directory} are sound")
    return 1 if problems else 0


def _inspect(paths: Sequence[Path], function: Callable[..., Finding], *arguments: Any) -> list[Finding]:
    with Inspector() as inspector:
        return [inspector.inspect(function, path, *arguments) for path in paths]


def repair(directory: Path, renumber: bool = False) -> int:
    """Moves truncated and damaged episodes to DIR/broken, removes temporary files and closes gaps with `renumber`.

    What cannot be read for another reason stays where it is: a file that is open elsewhere or not readable for this
    user, or one of a layout that is not known here. Returns 1 if there is such a file, otherwise 0.

    Raises ValueError when two files have the same number; nothing is renamed then.
    """
    for leftover in find_leftovers(directory):
        leftover.unlink()
        print(f"removed {leftover}")
    findings = [finding for finding in _inspect(find_episodes(directory), examine) if finding.problem]
    for finding in findings:
        if finding.damaged:
            print(f"moved to {_set_aside(finding.path)}: {finding.problem}")
        else:
            print(f"{finding.problem}; it stays where it is, because it may be sound")
    staying = sum(not finding.damaged for finding in findings)
    if renumber:
        _renumber(directory)
    print(f"{len(find_episodes(directory)) - staying} sound episodes in {directory}")
    return 1 if staying else 0


def info(directory: Path) -> int:
    """Prints one line about every episode of a folder. Returns 1 when an episode is broken, otherwise 0.

    Raises ValueError for a folder without episodes.
    """
    paths = find_episodes(directory)
    if not paths:
        raise ValueError(f"{directory} has no episode_<i>.hdf5; record some with record_sim_episodes.py")
    findings = _inspect(paths, describe)
    for finding in findings:
        print(finding.problem or finding.line)
    broken = sum(finding.problem is not None for finding in findings)
    print(f"{len(paths)} episodes, {broken} broken, {sum(path.stat().st_size for path in paths) / 1e9:.2f} GB")
    return 1 if broken else 0


def find_leftovers(directory: Path) -> list[Path]:
    """Returns the temporary files that killed programs left in a folder and in its .partial, sorted."""
    return sorted([*directory.glob(".*.tmp"), *directory.glob(".partial/.*.tmp")])


def _unused_numbers(paths: Sequence[Path]) -> str:
    """Returns the numbers below that of the last episode that no episode has: "0, 2, 3, 5-70"."""
    gaps: list[str] = []
    following = 0
    for number in sorted({episode_index(path) for path in paths}):
        if number > following:
            few = number - following < 3
            gaps += map(str, range(following, number)) if few else [f"{following}-{number - 1}"]
        following = number + 1
    return ", ".join(gaps)


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
    """Renames the episodes to 0, 1, 2, ... in their order."""
    for index, path in enumerate(find_episodes(directory)):
        if path != (target := episode_path(directory, index)):
            path.rename(target)
            print(f"renamed {path.name} to {target.name}")


def main(arguments: Sequence[str] | None = None, commands: type[Any] = Options) -> int:
    """Returns the exit code: 0 when all is sound, 1 when an episode is broken, 2 for wrong input.

    `commands` is a dataclass like Options, with further commands.
    """
    options = parse(
        commands,
        arguments,
        program="python -m act episodes",
        description="Validates, repairs, seals, lists or edits recorded episodes.",
        example="python -m act episodes validate data/sim_transfer_cube_scripted",
        page="docs/data_format.md, docs/episodes.md",
    )
    return run("episodes", options.command.run, stopped="no episode is lost; run the same command again")
