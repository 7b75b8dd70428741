"""What happens when a part of a robot fails. This file needs no SDK of motors, because some parts need none."""

import contextlib
from collections.abc import Callable, Iterator


class HardwareError(OSError):
    """A bus, a motor or a camera has failed. The message is one sentence that says what to do."""


@contextlib.contextmanager
def holding_on_errors(hold: Callable[[], None]) -> Iterator[None]:
    """Calls `hold` before an error of any kind leaves the block, Ctrl-C included."""
    try:
        yield
    except BaseException:
        hold()
        raise
