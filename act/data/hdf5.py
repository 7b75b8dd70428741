"""Writes HDF5 files atomically and with checksums (act/data/checksums.py); act/data/source.py reads them."""

import errno
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import h5py
import numpy as np

from act.data.checksums import ATTRIBUTE, BLOCK, VALUE, make_trailer
from act.files import full_disk_names, whole_file

IMAGE_GROUPS = ("images", "observations/images")  # whose datasets have one checksum per stored block of rows
HARD_LINK, EXTERNAL_LINK = 0, 64  # H5L_TYPE_HARD and H5L_TYPE_EXTERNAL of HDF5
_STRUCTURE_BYTES = 1 << 22  # of a file with raw images, for everything but its arrays


# ----------------------------------------------------------------------------------------------------------- writing
@contextmanager
def whole_hdf5(path: Path, room: int = 0) -> Iterator[h5py.File]:
    """Yields a file to fill; `path` appears, complete and with checksums, once the file is closed without an error.

    HDF5 crashes the interpreter when it cannot finish a file on a full disk. Therefore the file is made in memory and
    then written. For a file too large for memory, `room` [bytes] says how much its arrays take; it is written directly,
    into space that is reserved before.

    Raises OSError, with the path, when the disk has too little space.
    """
    with full_disk_names(path):
        if room:
            with _reserved_hdf5(path, room + _STRUCTURE_BYTES) as file:
                yield file
            return
        with _hdf5_in_memory() as file:
            yield file
            file.attrs[ATTRIBUTE] = np.bytes_(VALUE)
            file.flush()
            blocks, image = image_blocks(file), file.id.get_file_image()
        trailer = make_trailer(lambda at, size: image[at : at + size], len(image), blocks)
        with whole_file(path) as temporary, temporary.open("wb") as target:
            target.write(image)
            target.write(trailer)


def _hdf5_in_memory() -> h5py.File:
    # The random name matters: HDF5 would read an existing file of that name.
    return h5py.File(f".{uuid4().hex}", "w", driver="core", backing_store=False)


@contextmanager
def _reserved_hdf5(path: Path, room: int) -> Iterator[h5py.File]:
    """Yields a file on disk whose space is reserved, so that HDF5 finds room for all it writes."""
    _check_free(path, room)
    with _hdf5_in_memory() as file:
        file.flush()
        empty = file.id.get_file_image()
    with whole_file(path) as temporary:
        with temporary.open("r+b") as target:
            target.write(empty)
            target.flush()
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(target.fileno(), 0, len(empty) + room)
        with h5py.File(temporary, "r+") as file:
            yield file
            file.attrs[ATTRIBUTE] = np.bytes_(VALUE)
            file.flush()
            blocks = image_blocks(file)
        append_trailer(temporary, blocks)


def _check_free(path: Path, room: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if (free := shutil.disk_usage(path.parent).free) < 1.01 * room:
        sentence = f"no space left on device: {room / 1e6:.0f} MB do not fit on the disk ({free / 1e6:.0f} MB free)"
        raise OSError(errno.ENOSPC, sentence, str(path))


def append_trailer(path: Path, blocks: np.ndarray) -> None:
    """Appends checksums to a closed HDF5 file. `blocks` are those of `image_blocks`."""
    with path.open("r+b") as file:
        length = file.seek(0, io.SEEK_END)
        trailer = make_trailer(lambda at, size: os.pread(file.fileno(), size, at), length, blocks)
        file.write(trailer)


def image_blocks(root: h5py.File) -> np.ndarray:
    """Returns where the rows of image datasets are in a file that was flushed, (n,) BLOCK without checksums.

    Datasets are numbered as by `image_names`; what is not listed counts as structure.
    """
    blocks: list[tuple[int, ...]] = []
    for number, name in enumerate(image_names(find_links(root))):
        dataset = root.get(name)
        if not isinstance(dataset, h5py.Dataset) or not dataset.shape:
            continue
        if dataset.chunks is not None:
            found: list[h5py.h5d.StoreInfo] = []
            dataset.id.chunk_iter(found.append)
            blocks += [(number, info.chunk_offset[0], info.byte_offset, info.size, 0) for info in found]
        elif (at := dataset.id.get_offset()) is not None and dataset.shape[0]:
            size = dataset.nbytes // dataset.shape[0]
            blocks += [(number, row, at + row * size, size, 0) for row in range(dataset.shape[0])]
    return np.array(blocks, BLOCK)


def find_links(root: h5py.File) -> dict[str, int]:
    """Returns the type of every link (HARD_LINK, ...) in the groups of an episode or of scenes, by name."""
    found: dict[str, int] = {}
    for group in ("", "observations", *IMAGE_GROUPS):
        if group and found.get(group) != HARD_LINK:
            continue
        with suppress(KeyError, ValueError, TypeError):  # a dataset
            prefix = f"{group}/" if group else ""
            opened = h5py.h5g.open(root.id, (group or "/").encode())
            opened.links.iterate(lambda name, link, p=prefix: found.update({p + _text(name): link.type}), info=True)
    return found


def _text(name: bytes) -> str:
    return name.decode(errors="surrogateescape")


def image_names(links: Mapping[str, int]) -> list[str]:
    """Returns the names of what is in the groups of images, in alphabetical order: its numbers among the checksums."""
    return sorted(name for name in links if name.rpartition("/")[0] in IMAGE_GROUPS)


def store_attributes(root: h5py.File, attrs: Mapping[str, Any]) -> None:
    """Stores attributes in the order of their names; lists and dicts become JSON text.

    Texts have a fixed length, because one flipped bit in HDF5's heap of texts of any length can stop HDF5 for ever.
    Raises ValueError for a text of more than 64 kB, which HDF5 cannot store.
    """
    for name, value in sorted(attrs.items()):
        text = json.dumps(value, sort_keys=True) if isinstance(value, list | tuple | dict) else value
        if not isinstance(text, str):
            root.attrs[name] = text
            continue
        encoded = text.encode() or b"\0"
        if len(encoded) > 60_000:
            raise ValueError(f"attribute {name} has {len(encoded)} bytes; HDF5 stores at most 60000")
        root.attrs.create(name, np.bytes_(encoded), dtype=h5py.string_dtype("utf-8", len(encoded)))
