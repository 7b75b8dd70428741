"""The commands that edit data sets: `python -m act episodes delete|merge|split|trim|renumber`."""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from act.command_line import refuse_without_effect
from act.data.editing.copying import Copy
from act.data.editing.folders import check_alike, episodes_of, make_copy, parse_numbers, write_plan
from act.data.episodes import read_episode
from act.data.motion import find_stillness

Folder = Annotated[Path, Positional, arg(metavar="DIR")]
New = Annotated[Path, arg(metavar="NEW")]
DryRun = Annotated[bool, arg(help="Print what would be written, and write nothing.")]
Numbers = Annotated[tuple[str, ...], Positional, arg(metavar="NUMBER [NUMBER ...]", help_behavior_hint="")]


@dataclass(frozen=True)
class Delete:
    """Write a folder without some episodes, numbered from 0. DIR stays as it is."""

    dir: Folder
    """Folder of episodes."""
    out: New
    """New folder."""
    episodes: Numbers = ()
    """Episodes to leave out: numbers and ranges, e.g. 3 7-9."""
    dry_run: DryRun = False

    def run(self) -> int:
        paths = episodes_of(self.dir)
        gone = set(parse_numbers(self.episodes, paths))
        if not gone:
            raise ValueError("no episode to leave out is given; name them, e.g. delete DIR 3 7-9 --out NEW")
        kept = [path for number, path in paths.items() if number not in gone]
        if not kept:
            raise ValueError(f"all {len(paths)} episodes of {self.dir} are named; remove the folder itself instead")
        write_plan({self.out: [make_copy("delete", path, i) for i, path in enumerate(kept)]}, self.dry_run)
        return 0


@dataclass(frozen=True)
class Merge:
    """Write the episodes of several folders into one, in the order of the folders. The folders stay as they are."""

    dirs: Annotated[tuple[Path, ...], Positional, arg(metavar="DIR DIR [DIR ...]", help_behavior_hint="")]
    """Folders of episodes of one task, with the same cameras and image size."""
    out: New
    """New folder."""
    dry_run: DryRun = False

    def run(self) -> int:
        if len(self.dirs) < 2:
            raise ValueError("merge needs at least two folders, e.g. merge data/a data/b --out data/both")
        paths = [path for directory in self.dirs for path in episodes_of(directory).values()]
        check_alike([read_episode(path) for path in paths])
        write_plan({self.out: [make_copy("merge", path, i) for i, path in enumerate(paths)]}, self.dry_run)
        return 0


@dataclass(frozen=True)
class Split:
    """Distribute the episodes of a folder among several new ones. DIR stays as it is."""

    dir: Folder
    """Folder of episodes."""
    counts: Annotated[tuple[int, ...], arg(metavar="N N [N ...]")]
    """Number of episodes of each new folder; together as many as DIR has."""
    out: Annotated[tuple[Path, ...], arg(metavar="NEW NEW [NEW ...]")]
    """New folders, as many as counts."""
    shuffle_seed: Annotated[int | None, arg(metavar="SEED", help_behavior_hint="(default: recorded order)")] = None
    """Draw which episodes go where, with this seed."""
    dry_run: DryRun = False

    def run(self) -> int:
        paths = episodes_of(self.dir)
        self._check(len(paths))
        order = list(paths)
        if self.shuffle_seed is not None:
            random.Random(self.shuffle_seed).shuffle(order)
        plan, start = {}, 0
        for out, count in zip(self.out, self.counts, strict=True):
            numbers = sorted(order[start : start + count])
            plan[out] = [make_copy("split", paths[number], i) for i, number in enumerate(numbers)]
            start += count
        write_plan(plan, self.dry_run)
        return 0

    def _check(self, n_episodes: int) -> None:
        if len(self.counts) != len(self.out) or len(self.out) < 2:
            given = f"--counts {' '.join(map(str, self.counts))} --out {' '.join(map(str, self.out))}"
            raise ValueError(f"{given}: give two or more folders, and a number for each")
        if len({path.resolve() for path in self.out}) < len(self.out):
            raise ValueError(f"--out {' '.join(map(str, self.out))}: name each folder once")
        if min(self.counts) < 1 or sum(self.counts) != n_episodes:
            given = " + ".join(map(str, self.counts))
            raise ValueError(f"--counts {given} is not {n_episodes}, the number of episodes in {self.dir}")


@dataclass(frozen=True)
class Trim:
    """Cut control steps off the start and the end of episodes; a new folder gets all episodes. DIR stays as it is."""

    dir: Folder
    """Folder of episodes."""
    out: New
    """New folder."""
    episodes: Annotated[tuple[str, ...], arg(metavar="NUMBER [NUMBER ...]", help_behavior_hint="(default: all)")] = ()
    """Episodes to trim; the others are copied whole."""
    start: int = 0
    """First control step to keep."""
    stop: Annotated[int | None, arg(metavar="STEP", help_behavior_hint="(default: the end)")] = None
    """Control step behind the last one to keep."""
    still_ends: bool = False
    """Instead of --start and --stop: cut off the steps at both ends in which the arms stand still."""
    margin: int = 10
    """Still steps to leave at each end, with --still_ends."""
    dry_run: DryRun = False

    def run(self) -> int:
        self._check()
        paths = episodes_of(self.dir)
        chosen = set(parse_numbers(self.episodes, paths) or paths)
        copies = [self._copy(path, i, number in chosen) for i, (number, path) in enumerate(paths.items())]
        if not any(copy.stop for copy in copies):
            raise ValueError(f"nothing to cut off in {self.dir}; give --start, --stop or --still_ends")
        write_plan({self.out: copies}, self.dry_run)
        return 0

    def _check(self) -> None:
        by_still = dict.fromkeys(("start", "stop"), "without --still_ends") if self.still_ends else {}
        by_steps = {} if self.still_ends else {"margin": "with --still_ends"}
        refuse_without_effect(self, Trim(self.dir, self.out), by_still | by_steps)
        if self.start < 0 or self.margin < 0 or (self.stop is not None and self.stop <= self.start):
            stop = "" if self.stop is None else f" --stop {self.stop}"
            raise ValueError(f"--start {self.start}{stop} --margin {self.margin}: 0 <= start < stop, margin >= 0")

    def _copy(self, path: Path, index: int, chosen: bool) -> Copy:
        episode = read_episode(path)
        length = len(episode)
        start, stop = self._steps(path, length) if chosen else (0, length)
        return make_copy("trim", path, index, None if (start, stop) == (0, length) else (start, stop))

    def _steps(self, path: Path, length: int) -> tuple[int, int]:
        if not self.still_ends:
            stop = length if self.stop is None else self.stop
            if not self.start < stop <= length:
                raise ValueError(f"{path} has {length} steps; choose --start and --stop within them, or --episodes")
            return self.start, stop
        moving = find_stillness(read_episode(path))
        if moving.stop == 0:
            raise ValueError(f"{path}: nothing moves in this episode; delete it")
        return max(0, moving.start - self.margin), min(length, moving.stop + self.margin)


@dataclass(frozen=True)
class Renumber:
    """Write a folder whose episodes have the numbers 0, 1, 2, ..., in another order if wanted. DIR stays as it is."""

    dir: Folder
    """Folder of episodes."""
    out: New
    """New folder."""
    first: Annotated[tuple[str, ...], arg(metavar="NUMBER [NUMBER ...]", help_behavior_hint="(default: none)")] = ()
    """Episodes that come first, in this order; the others follow by number."""
    dry_run: DryRun = False

    def run(self) -> int:
        paths = episodes_of(self.dir)
        first = parse_numbers(self.first, paths)
        order = [*first, *(number for number in paths if number not in first)]
        copies = [make_copy("renumber", paths[number], i) for i, number in enumerate(order)]
        write_plan({self.out: copies}, self.dry_run)
        return 0
