"""Both worlds meet in one process here, in an order that works: Mesa's LLVM must not be loaded before Triton's."""

import signal

import torch._dynamo  # noqa: F401  (loads Triton where there is one)

# A shell's background jobs ignore Ctrl-C, and so would the programs that tests start and stop.
signal.signal(signal.SIGINT, signal.default_int_handler)
