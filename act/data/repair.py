"""Looks after a directory of episodes: what is broken, setting it aside, and a line about each.

`python -m act episodes validate|repair|info DIR` ends up here.
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from act.data.episodes import episode_index, episode_path, find_episodes, read_episode
from act.files import lock_folder


def check_episode(path: Path, decode_all: bool = False) -> str | None:
    """None for a sound file, otherwise what is wrong. Every JPEG's ends are looked at; first and last are decoded."""
    try:
        episode = read_episode(path)
        for camera in episode.cameras:
            picked = range(len(episode)) if decode_all else (0, len(episode) - 1)
            for t in picked:
                episode.read_images(camera, t, t + 1)
        for t in range(len(episode) if episode.compressed else 0):
            for camera, data in episode.encoded(t).items():
                if not (data.startswith(b"\xff\xd8") and data.endswith(b"\xff\xd9")):
                    return f"{path}: camera {camera} has no whole JPEG at step {t}"
    except (ValueError, OSError) as error:
        return str(error)
    return None


def find_leftovers(directory: Path) -> list[Path]:
    """Temporary files of killed writers, here and in the recorder's .partial."""
    return sorted([*directory.glob(".*.tmp"), *directory.glob(".partial/.*.tmp")])


def validate(directory: Path, decode_all: bool = False) -> int:
    paths = find_episodes(directory)
    problems = [problem for path in paths if (problem := check_episode(path, decode_all))]
    for problem in problems:
        print(problem)
    missing = sorted(set(range(episode_index(paths[-1]) + 1)) - set(map(episode_index, paths))) if paths else []
    if missing:
        print(f"note: numbers not used: {', '.join(map(str, missing))}")
    if leftovers := find_leftovers(directory):
        print(f"note: {len(leftovers)} temporary files of interrupted writers; repair removes them")
    print(f"{len(paths) - len(problems)} of {len(paths)} episodes in {directory} are sound")
    return 1 if problems else 0


def repair(directory: Path, renumber: bool = False) -> int:
    """Moves broken files to DIR/broken, removes temporary ones, closes gaps in the numbering only if asked."""
    for leftover in find_leftovers(directory):
        leftover.unlink()
        print(f"removed {leftover}")
    for path in find_episodes(directory):
        if problem := check_episode(path):
            (directory / "broken").mkdir(exist_ok=True)
            target = directory / "broken" / path.name
            copies = 1
            while target.exists():
                target, copies = target.with_name(f"{path.stem}_{copies}.hdf5"), copies + 1
            shutil.move(path, target)
            print(f"moved to {target}: {problem}")
    paths = find_episodes(directory)
    alike = [path.name for path in paths if [*map(episode_index, paths)].count(episode_index(path)) > 1]
    if renumber and alike:
        raise ValueError(f"{directory}: {', '.join(alike)} have the same number; rename one of them")
    for index, path in enumerate(paths if renumber else ()):
        if path != (target := episode_path(directory, index)):
            path.rename(target)
            print(f"renamed {path.name} to {target.name}")
    print(f"{len(paths)} sound episodes in {directory}")
    return 0


def info(directory: Path) -> int:
    paths = find_episodes(directory)
    if not paths:
        raise ValueError(f"{directory} has no episode_<i>.hdf5; record some with record_sim_episodes.py")
    broken = 0
    for path in paths:
        try:
            episode = read_episode(path)
            size, form = episode.image_size, "JPEG" if episode.compressed else "raw"
        except ValueError as error:
            print(error)
            broken += 1
            continue
        pictures = f"{form} {size[0]}x{size[1]} {','.join(episode.cameras)}" if size else "no cameras"
        told = {name: episode.attrs.get(name, "?") for name in ("task_name", "source", "seed", "strict_success")}
        megabytes = path.stat().st_size / 1e6
        words = " ".join(f"{name}={value}" for name, value in told.items())
        print(
            f"{path.name}  {len(episode)} steps  {episode.action.shape[1]}-D  {pictures}  {words}  {megabytes:.1f} MB"
        )
    print(f"{len(paths)} episodes, {broken} broken, {sum(path.stat().st_size for path in paths) / 1e9:.2f} GB")
    return 1 if broken else 0


def main(argv: Sequence[str] | None = None) -> int:
    """0: all sound; 1: something is broken; 2: not asked properly."""
    parser = argparse.ArgumentParser(prog="python -m act episodes", description="Looks after recorded episodes.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (("validate", "find what is broken"), ("repair", "set it aside"), ("info", "list episodes")):
        commands.add_parser(name, help=text).add_argument("dir", type=Path)
    commands.choices["validate"].add_argument("--decode_all", action="store_true", help="decode every image (slow)")
    commands.choices["repair"].add_argument("--renumber", action="store_true", help="close gaps in the numbering")
    args = parser.parse_args(argv)
    try:
        if args.command == "validate":
            return validate(args.dir, args.decode_all)
        if args.command == "info":
            return info(args.dir)
        if not args.dir.is_dir():
            raise ValueError(f"{args.dir} is no folder; give one of episodes, e.g. data/sim_transfer_cube_scripted")
        with lock_folder(args.dir, "recorded into", "folder"):
            return repair(args.dir, args.renumber)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; every episode is as it was, or set aside as told", file=sys.stderr)
        return 130
