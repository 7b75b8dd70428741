"""Writes HDF5 files atomically and reads their content; errors name the file and the dataset."""

import errno
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import h5py
import numpy as np

from act.files import whole_file


@contextmanager
def whole_hdf5(path: Path, room: int = 0) -> Iterator[h5py.File]:
    """Yields a file to fill; `path` appears, complete, once the file is closed without an error.

    HDF5 crashes the interpreter when it cannot finish a file on a full disk. Therefore the file is made in memory and
    then written. For a file too large for memory, `room` [bytes] says how much space it needs on disk; it is written
    directly, and only when that much is free.

    Raises OSError when the disk has too little space.
    """
    if room:
        _check_free(path, room)
        with whole_file(path) as temporary, h5py.File(temporary, "w") as file:
            yield file
        return
    # The random name matters: HDF5 would read an existing file of that name.
    with h5py.File(f".{uuid4().hex}", "w", driver="core", backing_store=False) as file:
        yield file
        file.flush()
        image = file.id.get_file_image()
    with whole_file(path) as temporary:
        temporary.write_bytes(image)


def _check_free(path: Path, room: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if (free := shutil.disk_usage(path.parent).free) < 1.01 * room:
        sentence = f"{room / 1e6:.0f} MB do not fit on the disk, which has {free / 1e6:.0f} MB free"
        raise OSError(errno.ENOSPC, sentence, str(path))


def find_dataset(root: h5py.File, name: str, path: Path) -> h5py.Dataset:
    """Returns the dataset /`name` of an episode file. Raises ValueError when there is none."""
    value = root.get(name)
    if not isinstance(value, h5py.Dataset):
        raise ValueError(f"{path}: no dataset /{name}, so this is not an ALOHA episode")
    return value


def read_floats(root: h5py.File, name: str, path: Path, ndim: int) -> np.ndarray:
    """Returns the dataset /`name` as float32 with `ndim` axes, time first.

    Raises ValueError for another shape or type, and for values that are not finite.
    """
    dataset = find_dataset(root, name, path)
    if dataset.ndim != ndim or dataset.dtype.kind not in "fiu" or dataset.shape[0] == 0:
        raise ValueError(
            f"{path}: /{name} has shape {dataset.shape} and type {dataset.dtype}, expected {ndim}-D numbers"
        )
    array = np.asarray(dataset[()], np.float32)
    if not np.isfinite(array).all():
        t = int(np.argwhere(~np.isfinite(array))[0][0])
        raise ValueError(f"{path}: /{name} is not finite at step {t}")
    return array


def read_attributes(root: h5py.File) -> dict[str, Any]:
    """Returns the attributes of a file as Python values; JSON text becomes lists and dicts."""
    return {name: _python_value(value) for name, value in root.attrs.items()}


def _python_value(value: Any) -> Any:
    value = value.decode() if isinstance(value, bytes) else value
    if isinstance(value, str) and value[:1] in ("[", "{"):
        with suppress(json.JSONDecodeError):
            return json.loads(value)
    return value.item() if isinstance(value, np.generic) else value
