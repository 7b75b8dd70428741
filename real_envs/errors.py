"""The error of every part of a robot. It has a file of its own because some parts need no SDK of motors."""


class HardwareError(OSError):
    """A bus, a motor or a camera has failed. The message is one sentence that says what to do."""
