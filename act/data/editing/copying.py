"""Copies one episode, whole or from one control step to another. What is stored is copied as it is, JPEGs included."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py

from act.data.cameras import read_rows
from act.data.episodes import Episode, read_episode
from act.data.hdf5 import store_attributes, whole_hdf5

ROWS = 64  # of a camera that are in memory at once
EDITS, RECORDED_AS, RECORDED_SEED = "edits", "recorded_as", "recorded_seed"  # attributes of edited files
MIRROR = "mirror"  # the edit of act/recording/mirroring.py


@dataclass(frozen=True)
class Copy:
    """One file of an edited data set: the control steps start..stop-1 of `source`, under another name.

    `edit` is what the file keeps about it: the command, the name and the digest of the source, and its steps.
    """

    source: Path
    name: str
    edit: Mapping[str, Any]
    start: int = 0
    stop: int | None = None  # the end of the episode


def copy_episode(copy: Copy, target: Path) -> None:
    """Writes the copy atomically. Everything in the source is copied, also what this project does not read.

    Raises ValueError when the source is no episode, is damaged, or has fewer control steps than the copy wants.
    """
    episode = read_episode(copy.source)
    length = len(episode)
    stop = length if copy.stop is None else copy.stop
    if not 0 <= copy.start < stop <= length:
        raise ValueError(f"{copy.source} has {length} steps, so steps {copy.start} to {stop} cannot be cut out")
    _verify_images(episode)
    room = 0 if episode.compressed or not episode.cameras else copy.source.stat().st_size
    with whole_hdf5(target, room) as root, h5py.File(copy.source, "r") as source:
        if (copy.start, stop) == (0, length):
            for name in _own(source):
                source.copy(name, root)
        else:
            _copy_steps(source, root, slice(copy.start, stop), length)
        store_attributes(root, edited_attributes(episode, copy.edit, copy.start, stop))


def _own(group: h5py.Group) -> list[str]:
    """Returns the names of a group's members. A link is none: it may lead nowhere, or into any other file."""
    return [str(name) for name in group if isinstance(group.get(name, getlink=True), h5py.HardLink)]


def _verify_images(episode: Episode) -> None:
    """Reads every row, which verifies its checksum: a copy gets checksums of its own, and must not hide a damage."""
    for camera in episode.cameras:
        for start in range(0, len(episode), ROWS):
            read_rows(episode.path, episode.stored, camera, start, min(start + ROWS, len(episode)))


def edited_attributes(episode: Episode, edit: Mapping[str, Any], start: int, stop: int) -> dict[str, Any]:
    """Returns the attributes of a copy: those of the source, `edit`, and only what is still true of the steps.

    `recording` becomes `recorded_as`, because a recording must not continue in an edited folder. Where the first steps
    are missing, or are mirrored, replaying from the seed does not repeat the episode: `seed` becomes `recorded_seed`.
    """
    attrs = dict(episode.attrs)
    if "recording" in attrs:
        attrs[RECORDED_AS] = attrs.pop("recording")
    if (start > 0 or edit["command"] == MIRROR) and "seed" in attrs:
        attrs[RECORDED_SEED] = attrs.pop("seed")
    if stop < len(episode):
        attrs.pop("strict_success", None)  # the task's own rule about the last step
    stages = attrs.get("stage_names")
    if (start, stop) != (0, len(episode)) and "success" in attrs:
        del attrs["success"]
        if episode.reward is not None and isinstance(stages, list):
            attrs["success"] = bool(episode.reward[start:stop].max() >= len(stages))
    return attrs | {EDITS: [*edits_of(attrs), dict(edit)]}


def edits_of(attrs: Mapping[str, Any]) -> list[Any]:
    """Returns what was done to an episode, oldest first, as its attributes tell; nothing for a recorded one."""
    edits = attrs.get(EDITS)
    return edits if isinstance(edits, list) else []


def check_not_edited(path: Path, attrs: Mapping[str, Any]) -> None:
    """Raises ValueError for an edited episode: a recording cannot know which attempts are missing beside it."""
    if edits := edits_of(attrs):
        last = edits[-1]["command"] if isinstance(edits[-1], dict) and "command" in edits[-1] else "an edit"
        raise ValueError(
            f"{path} was written by `python -m act episodes {last}`, and a recording does not continue in an edited "
            "folder; give another --dataset_dir, and merge the two folders afterwards"
        )


# --------------------------------------------------------------------------------------------------------- some steps
def _copy_steps(source: h5py.Group, target: h5py.Group, steps: slice, length: int) -> None:
    """Copies a group with the given steps of every dataset that has one row per control step."""
    for name, value in source.attrs.items():
        if source.name != "/":
            target.attrs[name] = value
    chunk_t = source.get("action_chunk_t")
    for name in _own(source):
        item = source[name]
        if isinstance(item, h5py.Group):
            _copy_steps(item, target.require_group(name), steps, length)
        elif isinstance(item, h5py.Dataset) and name in ("action_chunk", "action_chunk_t"):
            assert isinstance(chunk_t, h5py.Dataset)
            kept = (chunk_t[()] >= steps.start) & (chunk_t[()] < steps.stop)
            shift = steps.start if name == "action_chunk_t" else 0
            if kept.any():
                target.create_dataset(name, data=(item[()][kept] - shift).astype(item.dtype))
        elif isinstance(item, h5py.Dataset):
            _copy_rows(item, target, name, steps, length)


def _copy_rows(dataset: h5py.Dataset, target: h5py.Group, name: str, steps: slice, length: int) -> None:
    """Copies the rows of the steps, in the form of the dataset; a dataset without a row per step is copied whole."""
    if name == "compress_len" and dataset.ndim == 2:  # (cameras, T)
        made = target.create_dataset(name, data=dataset[:, steps])
    elif dataset.ndim and dataset.shape[0] == length:
        shape = (steps.stop - steps.start, *dataset.shape[1:])
        chunks = None if dataset.chunks is None else tuple(map(min, dataset.chunks, shape))
        form = {"chunks": chunks, "compression": dataset.compression, "compression_opts": dataset.compression_opts}
        filters = {"shuffle": dataset.shuffle or None, "fletcher32": dataset.fletcher32 or None}
        made = target.create_dataset(name, shape, dataset.dtype, **form, **filters)
        for row in range(0, shape[0], ROWS):
            made[row : row + ROWS] = dataset[steps.start + row : min(steps.start + row + ROWS, steps.stop)]
    else:
        target.copy(dataset, target, name)
        return
    for key, value in dataset.attrs.items():
        made.attrs[key] = value
