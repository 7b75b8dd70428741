"""What a conversion does in its working folder: empties it, recognises its content, fills it in threads."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, TypeVar

Result = TypeVar("Result")


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
