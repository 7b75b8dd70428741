"""Reads files that may be anything, writes files and folders atomically, and locks them against other processes."""

import errno
import json
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

MOST_JSON_BYTES = 64 << 20  # of a JSON file; those of this project have kilobytes, the results of 500 rollouts 1 MB
FULL = (errno.ENOSPC, errno.EDQUOT)  # what the system says when the disk, or this user's part of it, is full


def check_regular(path: Path) -> None:
    """Raises ValueError for a FIFO, a folder or a device, whose reading could wait for ever or never end.

    Raises FileNotFoundError where there is nothing.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError(f"{path} cannot be read: it is no regular file")


def read_text(path: Path) -> str:
    """The text of a small file. Raises FileNotFoundError where there is none, and otherwise ValueError with the path.

    A ValueError says that the file is no regular file, larger than 64 MB, not readable for this user, or no UTF-8.
    """
    try:
        check_regular(path)
        if (size := path.stat().st_size) > MOST_JSON_BYTES:
            raise ValueError(f"{path} cannot be read: it has {size / 1e6:.0f} MB, where some kB are expected")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} cannot be read: it is no text in UTF-8 ({error.reason})") from error


def read_json(path: Path) -> dict[str, Any]:
    """The values of a JSON file, which must be an object. Errors as those of `read_text`."""
    text = read_text(path)
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: also numbers with thousands of digits
        raise ValueError(f"{path} cannot be read: it is no JSON ({error})") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} cannot be read: it holds a {type(values).__name__}, not an object")
    return values


@contextmanager
def full_disk_names(path: Path) -> Iterator[None]:
    """Puts the path into the error of a full disk: "no space left on device: PATH"."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL or (error.strerror or "").startswith("no space left on device"):
            raise
        raise OSError(error.errno, "no space left on device", str(path)) from None


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yields a temporary path in the same folder. On success it replaces `path`; on an error it is removed.

    Raises OSError, "no space left on device: PATH", when the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with full_disk_names(path):
            path.parent.mkdir(parents=True, exist_ok=True)
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
    with _open_lock(path.with_name(f".{path.name}.lock")) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def lock_folder(folder: Path, done: str, flag: str) -> Iterator[None]:
    """Holds an exclusive lock on `folder`, without waiting. The lock of a program that died is released by the system.

    Raises ValueError when another process holds the lock, and where no folder can be. The message is made from `done`,
    what that process does with the folder ("trained"), and `flag`, the flag that chooses another folder.
    """
    import fcntl

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        reason = "a file or a broken link is in its place or above it"
        raise ValueError(f"{folder} is no folder: {reason}; choose another {flag}") from error
    path = folder / ".lock"
    while True:
        with _open_lock(path) as lock:
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


def _open_lock(path: Path) -> IO[bytes]:
    """Opens the file of a lock, which is made where it is missing and never written to.

    Raises ValueError for a link, a FIFO or a folder in its place: a run from the network may hold one, and the link
    may name any file of this user.
    """
    refused = f"{path} cannot be locked, because it is no regular file; remove it"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):  # a link, a folder, a socket
            raise ValueError(refused) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError(refused)
    return os.fdopen(descriptor, "rb+")


def _is_open_as(path: Path, descriptor: int) -> bool:
    """Returns whether `path` still names the open file."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Yields a folder to work in, `.NAME.partial` beside `target`; its subfolder `result` becomes `target` in the end.

    After wrong input (ValueError) the working folder is removed. After Ctrl-C, a full disk or a crash it stays, so that
    the same command can go on from what it finds there.

    Raises ValueError when `target` exists and is not an empty folder, or when another process works on it.
    """
    target = Path(os.path.abspath(target))  # noqa: PTH100 (resolve() would follow a link)
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise ValueError(f"{target} exists already; choose another folder, or remove it")
    partial = target.with_name(f".{target.name}.partial")
    with lock_folder(partial, "written", "folder"):
        try:
            yield partial
        except ValueError:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        (partial / "result").replace(target)
        shutil.rmtree(partial)
