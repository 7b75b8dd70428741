"""Limits the memory of this process while it opens files that may ask for any amount of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

GIGABYTE = 1 << 30


@contextmanager
def limited_memory(more: int) -> Iterator[None]:
    """Inside, this process gets at most `more` bytes of address space beyond what it has now.

    An allocation beyond that fails at once with the error of its library (MemoryError, or RuntimeError of torch), and
    the machine does not run out of memory. Systems that have no such limit, such as macOS, ignore it.
    """
    used = address_space()
    if used is None:
        yield
        return
    import resource  # here, because Windows has none

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limits = [limit for limit in (used + more, soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min(limits), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def address_space() -> int | None:
    """Bytes of address space that this process has; None where the system does not say."""
    try:
        import resource

        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except (ImportError, OSError):
        return None
