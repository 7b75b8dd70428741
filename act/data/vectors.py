"""Reads the vectors and labels of an episode file, and judges whether they fit together and can be true."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from act.data.checksums import DamagedFile
from act.data.source import Source, find_dataset, read_floats, read_whole
from act.data.writing import LABELS

NEEDED = ("action", "observations/qpos")
OPTIONAL = {"observations/qvel": 2, "observations/env_state": 2, "reward": 1}  # name -> number of axes
IMPOSSIBLE = 1e6  # no joint has such a value, whether in radians, degrees, millimetres or ticks of an encoder
TWO_TURNS = 4 * np.pi  # [rad] no joint of an arm turns so far


def read_vectors(source: Source, base_action: bool = False) -> tuple[dict[str, np.ndarray], list[str]]:
    """Returns the vectors of an episode by their last names, and notes on those that are left out.

    With `base_action`, the velocities of a mobile base are the last columns of the action, as in act++.

    Raises ValueError when /action or /observations/qpos is missing, does not fit, is not finite or cannot be true.
    """
    needed = {name: read_floats(source, name, ndim=2) for name in NEEDED}
    length = len(needed["action"])
    notes: list[str] = []
    for name, array in needed.items():
        if len(array) != length:
            raise ValueError(f"{source.path}: /{name} has {len(array)} steps, /action has {length}")
        notes += check_joints(source, name, array)
    optional = {}
    for name, ndim in OPTIONAL.items():
        if name not in source.links:
            continue
        try:
            optional[name] = _read_optional(source, name, ndim, length)
        except DamagedFile:
            raise
        except ValueError as error:
            notes.append(f"{_without_path(source, error)}; it is left out")
    if base_action:
        needed["action"] = np.concatenate([needed["action"], _read_base_action(source, length)], axis=1)
    elif "base_action" in source.links:
        notes.append("/base_action, the motion of a mobile base, is left out; --base_action appends it to the action")
    return {name.rpartition("/")[2]: array for name, array in (needed | optional).items()}, notes


def _read_base_action(source: Source, length: int) -> np.ndarray:
    """Returns the velocities (T, 2) of a mobile base, forward [m/s] and about the vertical [rad/s], as recorded."""
    if "base_action" not in source.links:
        raise ValueError(f"{source.path} has no /base_action; leave --base_action out")
    return _read_optional(source, "base_action", 2, length)


def _read_optional(source: Source, name: str, ndim: int, length: int) -> np.ndarray:
    array = read_floats(source, name, ndim)
    if len(array) != length:
        raise ValueError(f"{source.path}: /{name} has {len(array)} steps, /action has {length}")
    return array


def check_joints(source: Source, name: str, array: np.ndarray) -> Iterable[str]:
    """Returns a note on joints beyond two turns. Raises ValueError, with the step, for what no joint reaches."""
    size = np.abs(array)
    largest = float(size.max(initial=0.0))
    if largest <= TWO_TURNS:
        return ()
    place = np.unravel_index(int(size.argmax()), array.shape)
    where = f"/{name} is {array[place]:.4g} at step {place[0]}, joint {place[-1]}"
    if largest > IMPOSSIBLE:
        raise ValueError(f"{source.path}: {where}, which no joint reaches")
    return (f"{where}; in radians no joint turns so far",)


def read_labels(source: Source, length: int, width: int) -> dict[str, np.ndarray]:
    """Returns the arrays named in `LABELS` that the file has. Raises ValueError when they do not fit together."""
    path = source.path
    labels = {name: _read_label(source, name) for name in LABELS if name in source.links}
    driven = [labels[name] for name in ("executed_action", "intervention") if name in labels]
    chunks = [labels[name] for name in ("action_chunk", "action_chunk_t") if name in labels]
    if len(driven) == 1 or any(len(array) != length for array in driven):
        raise ValueError(f"{path}: /executed_action and /intervention must both have {length} steps like /action")
    if len(chunks) == 1 or len({len(array) for array in chunks}) > 1 or (chunks and chunks[0].ndim != 3):
        raise ValueError(f"{path}: /action_chunk (n, K, 14) and /action_chunk_t (n,) must both be present")
    wide = [labels[name].shape[-1] for name in ("executed_action", "action_chunk") if name in labels]
    if any(other != width for other in wide):
        raise ValueError(f"{path}: /executed_action and /action_chunk must have {width} columns like /action")
    if chunks and not np.all((chunks[1] >= 0) & (chunks[1] < length)):
        raise ValueError(f"{path}: /action_chunk_t must be in 0 to {length - 1}")
    if any(not np.isfinite(array).all() for array in labels.values()):
        raise ValueError(f"{path}: /executed_action or /action_chunk has values that are not finite")
    for name in ("executed_action", "action_chunk"):
        if name in labels:
            check_joints(source, name, labels[name])
    return labels


def _read_label(source: Source, name: str) -> np.ndarray:
    """Returns a label as an array with at least one axis. Raises ValueError for what is no array of numbers."""
    dataset = find_dataset(source, name)
    if dataset.shape in (None, ()) or dataset.dtype.kind not in "biuf":
        raise ValueError(f"{source.path}: /{name} has shape {dataset.shape} and type {dataset.dtype}, not numbers")
    with np.errstate(over="ignore"):
        return np.asarray(read_whole(source, dataset, name), LABELS[name])


def _without_path(source: Source, error: Any) -> str:
    return str(error).removeprefix(f"{source.path}: ")
