"""Inspects single episode files in a process of its own with a time and a memory limit.

HDF5 can crash, loop or ask for gigabytes on the bytes of a damaged file without checksums. Then only that process ends,
and the file costs one sentence.
"""

import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from act.data.checksums import DamagedFile
from act.data.episodes import Episode, read_episode
from act.data.images import PNG_SIGNATURE, encoded_size, is_whole
from act.data.memory import address_space
from act.workers import Worker, use_one_core

MEMORY = 2 << 30  # [bytes] that reading one file may take
CPU_SECONDS, CPU_SECONDS_PER_MB = 60.0, 2.0  # that it may compute; decoding every image takes 0.3 s per MB
WALL_SECONDS = 600.0  # more than it may compute, because disks and networks can be slow


@dataclass(frozen=True)
class Finding:
    """What is known about a file after its inspection."""

    path: Path
    problem: str | None = None  # one sentence that names the file; None for a sound file
    damaged: bool = False  # truncated or undecodable, and not merely unreadable for this program or user
    notes: tuple[str, ...] = ()  # sentences on what looks wrong or is left out
    line: str = ""  # that describes a sound file
    sealed: bool = False  # the file has checksums


# --------------------------------------------------------------------------------------------------------- one episode
def examine(path: Path, decode_all: bool = False, cameras: Sequence[str] | None = None) -> Finding:
    """Returns what is wrong with an episode.

    The checksums of all bytes are verified. The beginning, end and size of every encoded frame are compared; the first
    and the last image of each camera are decoded, or all images with `decode_all`.
    """
    try:
        episode = read_episode(path, cameras)
        for camera in episode.cameras:
            _examine_camera(episode, camera, decode_all)
    except (ValueError, OSError) as error:
        return Finding(path, str(error), damaged=isinstance(error, DamagedFile))
    return Finding(path, notes=episode.notes, sealed=episode.stored.seal is not None)


def _examine_camera(episode: Episode, camera: str, decode_all: bool) -> None:
    """Raises DamagedFile for a frame that is not whole, or has another size than the first frame of its camera."""
    first: tuple[int, int] | None = None
    for t in range(len(episode)):
        data = episode.read_stored(camera, t)
        if isinstance(data, bytes):
            size = encoded_size(data) if is_whole(data) else None
            first = first or size
            if size is None or size != first:
                form = "PNG" if data.startswith(PNG_SIGNATURE) else "JPEG"
                what = f"an incomplete {form}" if size is None else f"an image of {size}, not {first},"
                raise DamagedFile(f"{episode.path}: camera {camera} has {what} at step {t}")
        if decode_all or t in (0, len(episode) - 1):
            _decode(episode, camera, t)


def _decode(episode: Episode, camera: str, t: int) -> None:
    try:
        episode.read_images(camera, t, t + 1)
    except DamagedFile:
        raise
    except ValueError as error:
        raise DamagedFile(str(error)) from None


def describe(path: Path) -> Finding:
    """Returns one line about an episode, or why it cannot be read."""
    try:
        return Finding(path, line=describe_episode(path))
    except (ValueError, OSError) as error:
        return Finding(path, str(error), damaged=isinstance(error, DamagedFile))


def describe_episode(path: Path) -> str:
    """Returns one line about an episode. Raises ValueError for a file that cannot be read."""
    episode = read_episode(path)
    size, form = episode.image_size, "JPEG" if episode.compressed else "raw"
    images = f"{form} {size[0]}x{size[1]} {','.join(episode.cameras)}" if size else "no cameras"
    attributes = " ".join(
        f"{name}={episode.attrs.get(name, '?')}" for name in ("task_name", "source", "seed", "strict_success")
    )
    shape = f"{len(episode)} steps  {episode.action.shape[1]}-D"
    return f"{path.name}  {shape}  {images}  {attributes}  {path.stat().st_size / 1e6:.1f} MB"


def check_episode(path: Path, decode_all: bool = False) -> str | None:
    """Returns None for a sound file, otherwise a sentence that says what is wrong. It runs in this process."""
    return examine(path, decode_all).problem


# --------------------------------------------------------------------------------------------- in a process of its own
class Inspector:
    """Calls `examine` and `describe` in a worker process, which is started again after a file has stopped it.

    Example:
        with Inspector() as inspector:
            finding = inspector.inspect(examine, Path("data/cube/episode_0.hdf5"))
            print(finding.problem or "sound")
    """

    def __init__(self, memory: int = MEMORY, cpu_seconds: float = CPU_SECONDS, wall_seconds: float = WALL_SECONDS):
        self.memory, self.cpu_seconds, self.wall_seconds = memory, cpu_seconds, wall_seconds
        self._worker: Worker | None = None

    def inspect(self, function: Callable[..., Finding], path: Path, *arguments: Any) -> Finding:
        """Returns function(path, *arguments), or what stopped it."""
        worker = self._started()
        limit = self.cpu_seconds + CPU_SECONDS_PER_MB * _megabytes(path)
        worker.send(_call, function, limit, path, *arguments)
        try:
            return worker.receive(self.wall_seconds + limit)
        except TimeoutError:
            self._worker = None
            return Finding(path, f"{path}: reading it took longer than {self.wall_seconds + limit:.0f} s")
        except ChildProcessError:
            self._worker = None
            return _stopped(path, worker.exitcode, limit)

    def _started(self) -> Worker:
        if self._worker is None:
            self._worker = Worker(_Limits(self.memory), "the process that reads episodes")
            self._worker.call(_ready)  # raises if the process cannot start, which no file is to blame for
        return self._worker

    def __enter__(self) -> "Inspector":
        return self

    def __exit__(self, *_: object) -> None:
        if self._worker is not None:
            self._worker.close()


def _stopped(path: Path, exitcode: int | None, limit: float) -> Finding:
    """Returns what is known of a file whose reader died. The system kills a process where memory is short."""
    if exitcode == -getattr(signal, "SIGXCPU", 0):
        return Finding(path, f"{path}: damaged: HDF5 did not finish reading it within {limit:.0f} s", damaged=True)
    if exitcode == -getattr(signal, "SIGKILL", 0):
        return Finding(path, f"{path}: the system stopped reading it, perhaps because the memory ran out")
    return Finding(path, f"{path}: damaged: reading it crashes HDF5 (exit code {exitcode})", damaged=True)


def _megabytes(path: Path) -> float:
    try:
        return path.stat().st_size / 1e6
    except OSError:
        return 0.0


@dataclass(frozen=True)
class _Limits:
    """Makes the object of the worker process: it limits the memory and silences libraries that print on stderr."""

    memory: int

    def __call__(self) -> None:
        use_one_core()
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 2)
        try:
            import resource  # here, because Windows has none
        except ImportError:
            return
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if (used := address_space()) is not None:  # macOS does not say, and has no such limit
            resource.setrlimit(resource.RLIMIT_AS, (used + self.memory, resource.RLIM_INFINITY))


def _ready(_: None) -> bool:
    return True


def _call(_: None, function: Callable[..., Finding], cpu_seconds: float, path: Path, *arguments: Any) -> Finding:
    _limit_cpu(cpu_seconds)
    try:
        return function(path, *arguments)
    except MemoryError:
        return Finding(path, f"{path}: reading it takes more memory than it may")
    except Exception as error:  # whatever a library raises for this file must not stop the inspection of the next one
        return Finding(path, f"{path}: cannot be read ({type(error).__name__}: {' '.join(str(error).split())})")


def _limit_cpu(seconds: float) -> None:
    """Has the system end this process when it computes for so many seconds from now on."""
    try:
        import resource
    except ImportError:
        return
    usage = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (int(usage.ru_utime + usage.ru_stime + seconds) + 1, hard))
