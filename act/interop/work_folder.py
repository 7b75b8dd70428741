"""Makes a folder as a whole: it appears under its name when everything in it is done, and not before."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from act.files import lock_folder

Result = TypeVar("Result")


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


def emptied(folder: Path) -> Path:
    """Makes an empty folder and returns it; what an interrupted program left there is removed."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def fingerprint(*values: Any, files: Sequence[Path] = ()) -> str:
    """Returns 16 hexadecimal digits of values (as JSON) and of the places, sizes and times of files."""
    stats = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.sha256(json.dumps([values, stats], sort_keys=True, default=str).encode()).hexdigest()[:16]


def in_threads(jobs: Iterator[Callable[[], Result]], workers: int) -> Iterator[Result]:
    """Yields the results of jobs as they end, `workers` at a time. Jobs are taken from the iterator when they start.

    The first error ends everything: jobs that run are waited for, others are not begun.
    """
    running: set[Future[Result]] = set()
    with ThreadPoolExecutor(workers) as pool:
        for job in jobs:
            running.add(pool.submit(job))
            if len(running) == workers:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
