"""The cameras of an episode file: in which form their frames are stored, and how rows of them are read.

Forms: raw (T, H, W, 3) uint8; encoded (T, bytes) uint8, one JPEG or PNG per row; encoded (T,) fixed byte strings or
arrays of uint8 of any length.
"""

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from act.data.checksums import DamagedFile, Seal, verify_rows
from act.data.images import MOST_PIXELS
from act.data.source import Source, find_dataset, hdf5_errors
from act.types import known_camera

FOLDER = "observations/images"


@dataclass(frozen=True)
class Camera:
    """How the frames of one camera are stored."""

    encoded: bool  # JPEG or PNG, not raw
    name: str = ""  # of its dataset in the file
    number: int = 0  # its place among the checksums
    row_shape: tuple[int, ...] = ()
    rows_per_block: int = 0  # where blocks hold whole rows, deflated or as they are, so that they are read without HDF5
    deflated: bool = False


@dataclass(frozen=True)
class Cameras:
    """The cameras of one file that were chosen, by name and in order, and the checksums of their frames."""

    stored: dict[str, Camera] = field(default_factory=dict)
    seal: Seal | None = field(default=None, repr=False, compare=False)


NONE = Cameras()


def find_cameras(
    source: Source, chosen: Sequence[str] | None, attrs: Mapping[str, Any], length: int
) -> tuple[Cameras, list[str]]:
    """Returns the chosen cameras, and notes on what else is stored beside them.

    A camera may be chosen under its other name (act.types.camera_named). With `chosen` None these are all cameras whose
    frames fit to `length` control steps, in the recorded order. Raises ValueError for a chosen camera that is missing
    or does not fit, and when none of several fits.
    """
    stored = _stored_cameras(source, attrs)
    wanted = stored if chosen is None else chosen
    known = {camera: known_camera(camera, stored, source.path) for camera in wanted}
    found: dict[str, Camera] = {}
    refused: list[str] = []
    for camera, name in known.items():
        try:
            found[camera] = _find_camera(source, name, length)
        except ValueError as error:
            if chosen is not None or isinstance(error, DamagedFile):
                raise
            refused.append(str(error))
    if refused and not found:
        raise ValueError(refused[0])
    notes = [f"{error.removeprefix(f'{source.path}: ')}; it is left out" for error in refused]
    return Cameras(found, source.seal), notes


def _stored_cameras(source: Source, attrs: Mapping[str, Any]) -> list[str]:
    """Returns the cameras of a file in the recorded order, or in alphabetical order where no order is recorded."""
    stored = [name.rpartition("/")[2] for name in source.images if name.startswith(FOLDER)]
    names = attrs.get("camera_names")
    recorded = [camera for camera in names if camera in stored] if isinstance(names, list) else []
    return recorded if len(recorded) == len(stored) else stored


def _find_camera(source: Source, camera: str, length: int) -> Camera:
    """Returns how the frames of a camera are stored. Raises ValueError when they are no images of `length` steps.

    Depth, grey images, times and frames of another number of control steps are no images here.
    """
    dataset = find_dataset(source, f"{FOLDER}/{camera}")
    shape = tuple(map(int, dataset.id.shape or ()))
    dtype = dataset.dtype
    raw = len(shape) == 4 and shape[-1] == 3 and dtype == np.uint8
    rows = len(shape) == 2 and dtype == np.uint8
    plain_strings = dtype.kind in "SV" and not dtype.names
    strings = len(shape) == 1 and (plain_strings or h5py.check_vlen_dtype(dtype) == np.uint8)
    if not (raw or rows or strings) or shape[:1] != (length,):
        form = f"shape {shape} and type {dtype}"
        expected = f"expected ({length}, H, W, 3) or ({length}, bytes) uint8"
        raise ValueError(f"{source.path}: camera {camera} has {form}, {expected}")
    if raw and math.prod(shape[1:3]) > MOST_PIXELS:
        raise ValueError(f"{source.path}: camera {camera} declares images of {shape[1:3]} pixels")
    if source.seal is None:
        return Camera(not raw, camera)
    number = source.images.index(f"{FOLDER}/{camera}")
    return Camera(not raw, camera, number, tuple(shape[1:]), *_block_layout(dataset, shape, dtype))


def _block_layout(dataset: h5py.Dataset, shape: tuple[int, ...], dtype: np.dtype) -> tuple[int, bool]:
    """Returns how many rows of uint8 each stored block holds, and whether it is deflated; 0 where HDF5 must read."""
    created = dataset.id.get_create_plist()
    if created.get_layout() != h5py.h5d.CHUNKED or dtype != np.uint8:
        return 0, False
    chunk = created.get_chunk()
    filters = [created.get_filter(i)[0] for i in range(created.get_nfilters())]
    if tuple(chunk[1:]) != tuple(shape[1:]) or filters not in ([], [h5py.h5z.FILTER_DEFLATE]):
        return 0, False
    return chunk[0], bool(filters)


def read_rows(path: Path, cameras: Cameras, camera: str, start: int, stop: int) -> Any:
    """Returns the stored rows start..stop-1 of a camera, after their checksums were verified.

    Raises DamagedFile when the rows differ from their checksums or cannot be read.
    """
    about = cameras.stored[camera]
    if cameras.seal is not None:
        blocks = verify_rows(path, cameras.seal, about.number, start, stop)
        if about.rows_per_block and (rows := _rows_of_blocks(blocks, about)) is not None:
            first = start - start % about.rows_per_block
            return rows[start - first : stop - first]
    with hdf5_errors(path), h5py.File(path, "r") as root:
        return root[f"{FOLDER}/{about.name}"][start:stop]  # type: ignore[index]


def _rows_of_blocks(blocks: list[bytes], about: Camera) -> list[np.ndarray] | None:
    """Returns the rows of verified blocks; None where they are not what the layout says, and HDF5 must read them.

    HDF5 would open the file and find the rows first, which takes longer than decoding a small image. Raw images are
    large, so the rows are views of the blocks and not a copy.
    """
    size = about.rows_per_block * int(np.prod(about.row_shape))
    try:
        contents = [zlib.decompress(block) for block in blocks] if about.deflated else blocks
    except zlib.error:
        return None
    if not contents or any(len(content) != size for content in contents):
        return None
    shape = (about.rows_per_block, *about.row_shape)
    return [row for content in contents for row in np.frombuffer(content, np.uint8).reshape(shape)]
