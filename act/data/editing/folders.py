"""Plans an edited data set and writes its folder, whole or not at all. The folders it is made of stay as they are."""

import hashlib
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from act.data.editing.copying import Copy, copy_episode, edits_of
from act.data.episodes import Episode, episode_index, episode_path, find_episodes, read_episode
from act.files import whole_folder

Plan = Mapping[Path, Sequence[Copy]]  # new folder -> its files


# -------------------------------------------------------------------------------------------------------------- sources
def episodes_of(directory: Path) -> dict[int, Path]:
    """Returns number -> file. Raises ValueError for a folder without episodes, and for a number that two files have."""
    paths = find_episodes(directory)
    if not paths:
        raise ValueError(f"{directory} has no episode_<i>.hdf5; give a folder of recorded episodes")
    return {episode_index(path): path for path in paths}


def parse_numbers(words: Iterable[str], known: Iterable[int]) -> list[int]:
    """Returns the numbers that words such as "3" and "7-9" name, in their order.

    Raises ValueError for a word that is neither, for a number that is not `known`, and for one that is named twice.
    """
    numbers: list[int] = []
    existing = set(known)
    for word in words:
        first, dash, last = word.partition("-")
        if not first.isdecimal() or not (last.isdecimal() if dash else True):
            raise ValueError(f"{word!r} names no episodes; write a number or a range, e.g. 3 7-9")
        named = range(int(first), int(last or first) + 1)
        if missing := [number for number in (named or [int(first)]) if number not in existing]:
            span = f"{min(existing)} to {max(existing)}, {len(existing)} episodes"
            raise ValueError(f"episode {missing[0]} does not exist; the folder has numbers from {span}")
        if not named:
            raise ValueError(f"{word!r} is an empty range; write the smaller number first")
        numbers += named
    if len(set(numbers)) < len(numbers):
        raise ValueError(f"{' '.join(words)}: name every episode once")
    return numbers


def make_copy(command: str, source: Path, index: int, steps: tuple[int, int] | None = None, **details: Any) -> Copy:
    """Returns the copy of an episode that becomes number `index`; `steps` are the control steps (start, stop) it keeps.

    The file remembers its source by the last two parts of its path and by the digest of its bytes.
    """
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    name = f"{source.resolve().parent.name}/{source.name}"
    edit = {"command": command, "source": name, "sha256": digest, **details}
    if steps is not None:
        return Copy(source, episode_path("", index).name, edit | {"start": steps[0], "stop": steps[1]}, *steps)
    return Copy(source, episode_path("", index).name, edit)


def check_alike(episodes: Sequence[Episode]) -> None:
    """Raises ValueError when episodes cannot be one data set, and when two of them are the same demonstration."""
    seen: dict[bytes, Path] = {}
    first = episodes[0]
    for episode in episodes:
        for what, of in _KINDS.items():
            if (value := of(episode)) != (expected := of(first)):
                raise ValueError(f"{episode.path} has {what} {value}, {first.path} has {expected}; they do not mix")
        content = hashlib.sha256(episode.qpos.tobytes() + episode.action.tobytes()).digest()
        if (twin := seen.setdefault(content, episode.path)) != episode.path:
            raise ValueError(f"{episode.path} is the same demonstration as {twin}; delete one of them first")


_KINDS = {
    "task": lambda episode: episode.attrs.get("task_name", "unknown"),
    "action width": lambda episode: episode.action.shape[1],
    "width of object poses": lambda episode: 0 if episode.env_state is None else episode.env_state.shape[1],
    "cameras": lambda episode: " ".join(sorted(episode.cameras)) or "none",
    "image size": lambda episode: episode.image_size,
    "control step": lambda episode: episode.attrs.get("control_timestep", "unknown"),
}


# -------------------------------------------------------------------------------------------------------------- writing
def write_plan(plan: Plan, dry_run: bool) -> None:
    """Writes every folder of the plan, or with `dry_run` only says what would be written.

    After an interruption, the same command continues: files that are done are not written again.

    Raises ValueError for a folder that holds something else, and when all of it does not fit on the disk.
    """
    copies = [copy for some in plan.values() for copy in some]
    size = sum(copy.source.stat().st_size for copy in copies)
    if dry_run:
        print(*(describe(out, copy) for out, some in plan.items() for copy in some), sep="\n")
        print(f"{len(copies)} episodes, at most {size / 1e6:.1f} MB; nothing was written")
        return
    if same := {copy.source.resolve().parent for copy in copies} & {out.resolve() for out in plan}:
        raise ValueError(f"--out {same.pop()} is a folder that is edited; an edit writes a new folder, name another")
    _check_room(next(iter(plan)), size)
    for out, some in plan.items():
        if is_written(out, some):
            print(f"{out} holds these {len(some)} episodes already")
            continue
        _write_folder(out, some)
        print(f"wrote {len(some)} episodes to {out}")


def _write_folder(out: Path, copies: Sequence[Copy]) -> None:
    with whole_folder(out) as partial:
        wanted = {copy.name for copy in copies}
        for leftover in [path for path in (partial / "result").glob("*") if path.name not in wanted]:
            leftover.unlink()  # of an earlier call that was killed, or of another edit that was interrupted
        for copy in tqdm(copies, unit="episode", dynamic_ncols=True, disable=None):
            target = partial / "result" / copy.name
            if not _is_copy(target, copy):
                copy_episode(copy, target)


def describe(out: Path, copy: Copy) -> str:
    """Returns a line about one file: what it will be, and what it is made of."""
    steps = "" if copy.stop is None else f", steps {copy.start} to {copy.stop - 1}"
    return f"{out / copy.name} <- {copy.source}{steps}"


def is_written(out: Path, copies: Sequence[Copy]) -> bool:
    """Returns whether a folder holds exactly these copies, made by an earlier call of the same command."""
    if not out.is_dir() or [path.name for path in find_episodes(out)] != [copy.name for copy in copies]:
        return False
    return all(_is_copy(out / copy.name, copy) for copy in copies)


def _is_copy(path: Path, copy: Copy) -> bool:
    try:
        return path.exists() and edits_of(read_episode(path).attrs)[-1:] == [dict(copy.edit)]
    except ValueError:
        return False


def _check_room(out: Path, size: int) -> None:
    existing = next(folder for folder in Path(os.path.abspath(out)).parents if folder.is_dir())  # noqa: PTH100
    if (free := shutil.disk_usage(existing).free) < 1.01 * size:
        raise ValueError(f"{out}: {size / 1e6:.0f} MB do not fit on the disk ({free / 1e6:.0f} MB free)")
