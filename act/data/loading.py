"""The episodes of a training: found in their folder, split, read, and checked against each other.

    train, held_out = split(find(Path("data/sim_transfer_cube_scripted")), val_fraction=0.1, seed=0)
    episodes = load_episodes(train)

Images stay in the files until dataset.py draws samples.
"""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from act.data.episodes import Episode, find_episodes, read_episode
from act.data.images import Colors
from act.data.inspection import Finding


def find(directory: Path) -> list[Path]:
    """The episodes in a folder. Raises ValueError that says how to record some when there are none."""
    paths = find_episodes(directory)
    if not paths:
        raise ValueError(
            f"{directory} has no episode_*.hdf5; record some with record_sim_episodes.py --dataset_dir {directory}"
        )
    return paths


def split(paths: Sequence[Path], val_fraction: float, seed: int) -> tuple[list[Path], list[Path]]:
    """Splits episodes into training and held-out ones; there is at least one of each unless val_fraction is 0."""
    if not 0 <= val_fraction < 1:
        raise ValueError(f"val_fraction {val_fraction} must be in [0, 1)")
    n_val = max(1, round(val_fraction * len(paths))) if val_fraction else 0
    if n_val >= len(paths):
        raise ValueError(
            f"{len(paths)} episodes cannot be split with val_fraction {val_fraction}; record more, or use 0"
        )
    held_out = set(np.random.default_rng((seed, 0xE915)).permutation(len(paths))[:n_val].tolist())
    train = [path for i, path in enumerate(paths) if i not in held_out]
    return train, [path for i, path in enumerate(paths) if i in held_out]


def load_episodes(
    paths: Sequence[Path],
    cameras: tuple[str, ...] | None = None,
    jpeg_colors: Colors | None = None,
    base_action: bool = False,
) -> list[Episode]:
    """Reads episodes, except for their images. Raises ValueError naming a file that does not fit the others.

    `cameras` None keeps the cameras of each file; `jpeg_colors` and `base_action` are those of `read_episode`.
    """
    episodes = []
    for path in paths:
        try:
            episode = read_episode(path, cameras, jpeg_colors, base_action)
        except ValueError as error:
            raise ValueError(
                f"{error}; choose recorded ones with --cameras" if "unknown camera" in str(error) else error
            ) from None
        first = episodes[0] if episodes else episode
        for key in ("qpos", "action"):
            check_widths(first, episode, key)
        episodes.append(episode)
    return episodes


def check_widths(first: Episode, episode: Episode, key: str) -> None:
    """Raises ValueError if an array of an episode, "qpos" or "action", is not as wide as that of the first one."""
    if getattr(episode, key).shape[1] != getattr(first, key).shape[1]:
        raise ValueError(
            f"{episode.path}: {key} differs in width from {first.path}; keep them in different directories"
        )


def is_shifted(episode: Episode) -> bool:
    """Whether an episode is a demonstration on a real robot: there, leader and follower arms are one step apart."""
    return episode.attrs.get("sim") is False and episode.executed_action is None


def collect_notes(files: Iterable[Episode | Finding]) -> list[str]:
    """Returns every note once, with the number of files that it is about, and the first of them."""
    paths: dict[str, list[Path]] = {}
    for file in files:
        for note in file.notes:
            paths.setdefault(note, []).append(file.path)
    return [
        f"{some[0]}: {note}" + f" (and in {len(some) - 1} others)" * (len(some) > 1) for note, some in paths.items()
    ]


def print_notes(episodes: Sequence[Episode], shift_real: bool = True) -> None:
    """Prints on stderr, once for all files, what they hold beside what is used, and whether chunks are shifted."""
    for note in collect_notes(episodes):
        print(f"note: {note}", file=sys.stderr)
    if shift_real and (real := sum(map(is_shifted, episodes))):
        print(
            f"note: {real} of {len(episodes)} episodes are of a real robot; the chunk at t begins with action[t - 1]",
            file=sys.stderr,
        )
