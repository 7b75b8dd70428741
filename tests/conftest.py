"""Both worlds meet in one process here, in an order that works: Mesa's LLVM must not be loaded before Triton's."""

import torch._dynamo  # noqa: F401  (loads Triton where there is one)
