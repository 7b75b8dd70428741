"""One thread is fastest for tiny tensors, and tests that run in parallel then do not wait for each other."""

import torch

torch.set_num_threads(1)
