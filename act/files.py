"""Writes files atomically, and locks files and folders against other processes."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yields a temporary path in the same folder. On success it replaces `path`; on an error it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.touch()
        permissions = temporary.stat().st_mode  # from the umask; safetensors alone makes its files private
        yield temporary
        temporary.chmod(permissions)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, values: Any) -> None:
    """Writes `values` to `path` as JSON, atomically."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(values, indent=1) + "\n")


def _sync(folder: Path) -> None:
    """Flushes the entries of a folder to disk, because a power failure may otherwise undo a rename."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def lock_file(path: Path) -> Iterator[None]:
    """Holds an exclusive lock for `path`, and waits for it: for files that several programs read and rewrite."""
    import fcntl  # here, because this module must also be imported where fcntl does not exist (Windows)

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def lock_folder(folder: Path, done: str, flag: str) -> Iterator[None]:
    """Holds an exclusive lock on `folder`, without waiting. The lock of a program that died is released by the system.

    Raises ValueError when another process holds the lock. The message is made from `done`, what that process does with
    the folder ("trained"), and `flag`, the flag that chooses another folder.
    """
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ".lock"
    while True:
        with path.open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ValueError(
                    f"{folder} is being {done} by another process; wait, or choose another {flag}"
                ) from None
            if not _is_open_as(path, lock.fileno()):  # the previous holder removed the file just before
                continue
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


def _is_open_as(path: Path, descriptor: int) -> bool:
    """Returns whether `path` still names the open file."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
