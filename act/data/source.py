"""Reads HDF5 files, also those of strangers: nothing is believed that the file only declares.

Errors are one sentence that names the file and the dataset.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from act.data.checksums import ATTRIBUTE, DamagedFile, Seal, read_seal
from act.data.hdf5 import EXTERNAL_LINK, HARD_LINK, find_links, image_names

MOST_VECTOR_BYTES = 1 << 28  # of a dataset that is read into memory as a whole
MOST_CHUNK_BYTES = 1 << 28  # that HDF5 decompresses at once
_MOST_DEFLATED = 1100  # no deflated byte stands for more bytes than 1032
# What HDF5 says about files that another program, user or version can read.
_NOT_DAMAGED = ("lock file", "already open", "Permission denied", "version number", "required filter", "plugin")
HDF5_ERRORS = (OSError, RuntimeError, KeyError, TypeError, OverflowError, MemoryError, AttributeError, IndexError)


@dataclass(frozen=True)
class Source:
    """An open file. Files without `seal` were written by others, so what they declare is checked."""

    root: h5py.File
    path: Path
    seal: Seal | None
    size: int  # [bytes]
    links: Mapping[str, int]  # the type of the link at each name
    images: Sequence[str]  # the names of image datasets, in the order of their checksums


@contextmanager
def open_hdf5(path: Path) -> Iterator[Source]:
    """Yields a file whose checksums, if it has any, were verified.

    Raises DamagedFile for a truncated or damaged file, and ValueError for one that cannot be opened or is none.
    """
    seal = read_seal(path)
    with hdf5_errors(path), h5py.File(path, "r") as root:
        links = find_links(root)
        yield Source(root, path, seal, path.stat().st_size, links, image_names(links))


@contextmanager
def hdf5_errors(path: Path) -> Iterator[None]:
    """Turns whatever HDF5 raises into one sentence that begins with the path: DamagedFile, or ValueError."""
    try:
        yield
    except ValueError as error:
        if str(path) in str(error):
            raise
        raise ValueError(f"{path}: {error}") from error
    except HDF5_ERRORS as error:
        sentence = f"{path}: not a readable HDF5 file ({' '.join(str(error).split())})"
        kind = ValueError if any(words in str(error) for words in _NOT_DAMAGED) else DamagedFile
        raise kind(sentence) from error


def find_dataset(source: Source, name: str) -> h5py.Dataset:
    """Returns the dataset /`name` of an episode file.

    Raises ValueError when there is none, or when it is a link, is stored outside of the file, or declares more values
    than are stored.
    """
    parts = name.split("/")
    for depth in range(1, len(parts) + 1):
        part = "/".join(parts[:depth])
        if source.links.get(part, HARD_LINK) != HARD_LINK:
            kind = "an external link" if source.links[part] == EXTERNAL_LINK else "a link"
            raise ValueError(f"{source.path}: /{part} is {kind}; data must be in the file itself")
    try:
        dataset = h5py.Dataset(h5py.h5d.open(source.root.id, name.encode()))
    except (KeyError, ValueError):
        message = f"{source.path}: no dataset /{name}, so this is not an ALOHA episode"
        raise ValueError(message) from None
    if source.seal is None:
        _check_storage(source, dataset, name)
    return dataset


def _check_storage(source: Source, dataset: h5py.Dataset, name: str) -> None:
    """Compares what a dataset declares with what is stored, before anything is allocated."""
    where, created, stored = f"{source.path}: /{name}", dataset.id.get_create_plist(), dataset.id.get_storage_size()
    layout = created.get_layout()
    if layout == h5py.h5d.VIRTUAL or created.get_external_count():
        kind = "a virtual dataset" if layout == h5py.h5d.VIRTUAL else "stored in another file"
        raise ValueError(f"{where} is {kind}; data must be in the file itself")
    shape, itemsize = dataset.id.shape, dataset.id.get_type().get_size()
    if not shape or 0 in shape:
        return
    declared = math.prod(shape) * itemsize
    missing = f"{where} declares an array {shape} of {declared} bytes, but only {stored} bytes are stored"
    if stored > source.size:
        raise DamagedFile(f"{where} claims {stored} bytes of a file of {source.size}")
    if layout != h5py.h5d.CHUNKED:
        if stored < declared:
            raise DamagedFile(missing)
        return
    chunk = created.get_chunk()
    expected = math.prod(-(-side // part) for side, part in zip(shape, chunk, strict=True))
    if dataset.id.get_num_chunks() < expected or declared > _MOST_DEFLATED * stored:
        raise DamagedFile(missing)
    if (chunk_bytes := math.prod(chunk) * itemsize) > MOST_CHUNK_BYTES:
        raise ValueError(f"{where} has chunks of {chunk_bytes / 1e6:.0f} MB; {MOST_CHUNK_BYTES / 1e6:.0f} are read")


def read_floats(source: Source, name: str, ndim: int) -> np.ndarray:
    """Returns the dataset /`name` as float32 with `ndim` axes, time first; (T, 1) counts as (T,).

    Raises ValueError for another shape or type, and for values that are not finite.
    """
    dataset = find_dataset(source, name)
    path, dtype, shape = source.path, dataset.dtype, dataset.id.shape
    column = ndim == 1 and shape is not None and shape[1:] == (1,)  # act++ and robomimic: reward (T, 1)
    if not shape or not (len(shape) == ndim or column) or dtype.kind not in "fiu" or shape[0] == 0:
        raise ValueError(f"{path}: /{name} has shape {shape} and type {dtype}, expected {ndim}-D numbers")
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes inf, which is refused below
        array = np.asarray(read_whole(source, dataset, name), np.float32)
    if not np.isfinite(array).all():
        t = int(np.argwhere(~np.isfinite(array))[0][0])
        raise ValueError(f"{path}: /{name} is not finite at step {t}")
    return array[:, 0] if column else array


def read_whole(source: Source, dataset: h5py.Dataset, name: str) -> np.ndarray:
    """Returns all values of a dataset. Raises ValueError for one that is too large for a vector of an episode."""
    if (size := math.prod(dataset.id.shape) * dataset.id.get_type().get_size()) > MOST_VECTOR_BYTES:
        sizes = f"{size / 1e6:.0f} MB; at most {MOST_VECTOR_BYTES / 1e6:.0f} MB are read"
        raise ValueError(f"{source.path}: /{name} has {sizes}")
    return dataset[()]


def read_attributes(source: Source) -> tuple[dict[str, Any], list[str]]:
    """Returns the attributes of a file as Python values, JSON text as lists and dicts, and notes on unreadable ones."""
    values, notes, attrs = {}, [], source.root.attrs
    for name in attrs:
        if name == ATTRIBUTE:
            continue
        try:
            values[name] = _python_value(attrs[name])
        except (*HDF5_ERRORS, ValueError) as error:
            notes.append(f"attribute {name} cannot be read and is left out ({error})")
    return values, notes


def _python_value(value: Any) -> Any:
    value = value.decode(errors="replace") if isinstance(value, bytes) else value
    if isinstance(value, str) and value[:1] in ("[", "{"):
        with suppress(json.JSONDecodeError, RecursionError):
            return json.loads(value)
    return value.item() if isinstance(value, np.generic) else value
