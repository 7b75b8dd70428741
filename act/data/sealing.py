"""Adds checksums to episode files of other programs: `python -m act episodes seal DIR`."""

import shutil
from pathlib import Path

import h5py
import numpy as np

from act.data.checksums import ATTRIBUTE, VALUE, read_seal
from act.data.episodes import find_episodes
from act.data.hdf5 import append_trailer, image_blocks
from act.data.inspection import Inspector, examine
from act.data.source import hdf5_errors
from act.files import full_disk_names, whole_file


def seal(directory: Path) -> int:
    """Adds checksums to the sound episodes of a folder that have none, each atomically. Returns 1 if one is not sound.

    The arrays and attributes stay as they are; the file gains the attribute `checksums`.
    """
    paths = find_episodes(directory)
    sealed = broken = 0
    with Inspector() as inspector:
        for path in paths:
            finding = inspector.inspect(examine, path, True)
            if finding.problem:
                print(f"{finding.problem}; it gets no checksums")
                broken += 1
            elif not finding.sealed:
                seal_file(path)
                sealed += 1
    print(f"{sealed} of {len(paths)} episodes in {directory} got checksums, {len(paths) - sealed - broken} had them")
    return 1 if broken else 0


def seal_file(path: Path) -> None:
    """Adds checksums to one HDF5 file, atomically. Raises ValueError for a file that cannot be read."""
    with hdf5_errors(path), full_disk_names(path), whole_file(path) as temporary:
        shutil.copyfile(path, temporary)
        with h5py.File(temporary, "r+") as root:
            root.attrs[ATTRIBUTE] = np.bytes_(VALUE)
            root.flush()
            blocks = image_blocks(root)
        append_trailer(temporary, blocks)
    assert read_seal(path) is not None, "the file has just got its checksums"
