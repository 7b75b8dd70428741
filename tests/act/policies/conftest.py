"""Tiny tensors are fastest on one thread, and then tests that run side by side do not wait for one another."""

import torch

torch.set_num_threads(1)
