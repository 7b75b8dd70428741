"""Checksums of HDF5 files: they find every flipped bit before HDF5, which can crash on damaged bytes, sees it.

A file with checksums has a trailer behind the end of its HDF5 data. HDF5 does not look there, so every HDF5 reader
still reads the file:

    MARK        8 bytes
    blocks      n of `BLOCK`: where the rows of image datasets are in the file, and their CRC-32
    footer      bytes of HDF5 data, n, CRC-32 of everything that is in no block, of the blocks and of their number; MARK

HDF5's own checksum (the filter Fletcher-32) covers neither attributes nor datasets that are stored in one piece. CRC-32
is the fastest checksum of the standard library; it finds damage, and protects against nobody who forges files.

The attribute `checksums` inside the file says that a trailer belongs to it. HDF5 cuts the trailer off when a program
changes the file, and the file is then refused instead of being read without checksums.
"""

import os
import stat
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

MARK = b"ACTSUMS1"
BLOCK = np.dtype([("dataset", "<u2"), ("row", "<u4"), ("offset", "<u8"), ("size", "<u4"), ("crc", "<u4")])
ATTRIBUTE, VALUE = "checksums", "crc32, behind the HDF5 data"
_FOOTER = struct.Struct("<QII8s")
_PIECE = 1 << 24  # bytes that are read at once
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_LAST_USER_BLOCK = 1 << 24  # HDF5 data may begin at byte 0, 512, 1024, 2048, ...
Read = Callable[[int, int], bytes]  # (offset, size) -> bytes


class DamagedFile(ValueError):
    """A file is truncated, or its bytes cannot be decoded or are not those that were written."""


@dataclass(frozen=True)
class Seal:
    """The checksums of one file. `blocks` are in the order of datasets and rows."""

    crc: int  # of everything that is in no block
    blocks: np.ndarray  # (n,) BLOCK
    stamp: tuple[int, int, int]  # size, time of change and inode of the file when its structure was verified


# ----------------------------------------------------------------------------------------------------------- writing
def make_trailer(read: Read, length: int, blocks: np.ndarray) -> bytes:
    """Returns the trailer of `length` bytes of HDF5 data.

    Args:
        blocks: (n,) BLOCK without checksums; the dataset numbers count image datasets in alphabetical order.
    """
    blocks = blocks[np.lexsort((blocks["row"], blocks["dataset"]))]
    blocks["crc"] = [zlib.crc32(read(int(block["offset"]), int(block["size"]))) for block in blocks]
    crc = _crc_of_structure(read, length, blocks)
    return MARK + blocks.tobytes() + _FOOTER.pack(length, len(blocks), crc, MARK)


def _crc_of_structure(read: Read, length: int, blocks: np.ndarray) -> int:
    """Returns the CRC-32 of all HDF5 data outside the blocks, of the blocks and of the length."""
    crc = zlib.crc32(blocks.tobytes(), length & 0xFFFFFFFF)
    for start, stop in _between(blocks, length):
        for offset in range(start, stop, _PIECE):
            crc = zlib.crc32(read(offset, min(_PIECE, stop - offset)), crc)
    return crc


def _between(blocks: np.ndarray, length: int) -> Iterator[tuple[int, int]]:
    """Yields (start, stop) of the bytes before, between and behind the blocks."""
    starts = np.sort(blocks["offset"]).astype(np.int64)
    ends = np.sort(blocks["offset"] + blocks["size"]).astype(np.int64)
    opens, closes = np.append(0, ends), np.append(starts, length)
    filled = closes > opens
    yield from zip(opens[filled].tolist(), closes[filled].tolist(), strict=True)


# ----------------------------------------------------------------------------------------------------------- reading
def read_seal(path: Path) -> Seal | None:
    """Verifies all bytes of a file except image rows, and returns its checksums; None for a file that has none.

    Raises DamagedFile when the bytes differ from their checksums, for a truncated file and for one that is no HDF5
    file; ValueError for what is not a regular file, cannot be opened or is being written by another program.
    """
    descriptor = _open_regular(path)
    try:
        return _verified(descriptor, path)
    except DamagedFile:
        if _is_locked(descriptor):
            raise ValueError(f"{path}: another program has locked the file, perhaps to write it; wait for it") from None
        raise
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror or error})") from error
    finally:
        os.close(descriptor)


def verify_rows(path: Path, seal: Seal, dataset: int, start: int, stop: int) -> list[bytes]:
    """Returns the stored blocks that hold rows start..stop-1 of an image dataset, in order.

    Raises DamagedFile when they differ from their checksums.
    """
    begin, end = np.searchsorted(seal.blocks["dataset"], (dataset, dataset + 1))
    rows = seal.blocks["row"][begin:end]
    before = rows[max(0, np.searchsorted(rows, start, "right") - 1)] if len(rows) else 0
    first, last = np.searchsorted(rows, before), np.searchsorted(rows, stop)
    found: list[bytes] = []
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if _stamp(os.fstat(descriptor)) != seal.stamp:
            _check_same(path, seal)
        for _, row, offset, size, crc in seal.blocks[begin + first : begin + last].tolist():
            found.append(os.pread(descriptor, size, offset))
            if zlib.crc32(found[-1]) != crc:
                raise DamagedFile(f"{path}: damaged: images from step {row} on differ from their checksum")
        return found
    finally:
        os.close(descriptor)


def _check_same(path: Path, seal: Seal) -> None:
    """Raises ValueError when a file that looks changed has other content than when it was read."""
    now = read_seal(path)
    if now is None or now.crc != seal.crc:
        raise ValueError(f"{path}: the file was changed while it was in use; start again")


def _open_regular(path: Path) -> int:
    """Returns a descriptor of a regular file. Raises ValueError for a FIFO, a folder and anything else, at once."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except OSError as error:
        raise ValueError(f"{path}: not a readable HDF5 file ({error.strerror or error})") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError(f"{path}: not a regular file, so it is not read; episodes are HDF5 files")
    return descriptor


def _is_locked(descriptor: int) -> bool:
    """Returns whether another program has the file open for writing: HDF5 locks it then."""
    try:
        import fcntl  # here, because Windows has none

        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (ImportError, OSError):  # a file system without locks
        return False
    return False


def _stamp(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ino


def hdf5_bytes(path: Path) -> int:
    """Returns the size of a file [bytes] without its checksums, which HDF5 removes when it changes the file."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _FOOTER.size))
        footer = file.read()
    return _FOOTER.unpack(footer)[0] if footer.endswith(MARK) and len(footer) == _FOOTER.size else size


def _verified(descriptor: int, path: Path) -> Seal | None:
    status = os.fstat(descriptor)
    size = status.st_size
    footer = os.pread(descriptor, _FOOTER.size, max(0, size - _FOOTER.size))
    if not footer.endswith(MARK):
        return _without_trailer(descriptor, size, path)
    length, count, crc, _ = _FOOTER.unpack(footer)
    n_bytes = count * BLOCK.itemsize
    if length + len(MARK) + n_bytes + _FOOTER.size != size:
        raise DamagedFile(f"{path}: damaged: it has {size} bytes, which do not fit its checksums")
    mark = os.pread(descriptor, len(MARK), length)
    blocks = np.frombuffer(os.pread(descriptor, n_bytes, length + len(MARK)), BLOCK)
    outside = len(blocks) and int((blocks["offset"].astype(float) + blocks["size"]).max()) > length
    if mark != MARK or outside or crc != _crc_of_structure(lambda at, n: os.pread(descriptor, n, at), length, blocks):
        raise DamagedFile(f"{path}: damaged: vectors, labels or attributes differ from their checksum")
    return Seal(crc, blocks, _stamp(status))


def _without_trailer(descriptor: int, size: int, path: Path) -> None:
    """Raises DamagedFile for a file without checksums that does not have as many bytes as its header declares."""
    declared = _declared_size(descriptor, size)
    if declared is None:
        raise DamagedFile(f"{path}: not a readable HDF5 file (its {size} bytes have no HDF5 signature)")
    if size < declared:
        raise DamagedFile(f"{path}: not a readable HDF5 file (truncated file: {size} of {declared} bytes)")
    if size > declared:
        if os.pread(descriptor, len(MARK), declared) == MARK:
            raise DamagedFile(f"{path}: truncated or damaged: the checksums at its end are not whole")
        raise ValueError(f"{path}: {size - declared} unknown bytes stand behind its HDF5 data, so it is not read")


def _declared_size(descriptor: int, size: int) -> int | None:
    """Returns the size that the header of an HDF5 file declares [bytes], or None when there is no header."""
    at = 0
    while at < min(size, _LAST_USER_BLOCK):
        header = os.pread(descriptor, 48, at)
        if header.startswith(_HDF5_SIGNATURE):
            break
        at = 512 if at == 0 else 2 * at
    else:
        return None
    if len(header) < 48:
        return size + 1  # truncated within its header
    base, end = (24, 40) if header[8] < 2 else (12, 28)
    if header[13 if header[8] < 2 else 9] != 8:  # addresses of another width; HDF5 itself then checks the size
        return size
    (moved,), (declared,) = struct.unpack_from("<Q", header, base), struct.unpack_from("<Q", header, end)
    return declared + at - moved
