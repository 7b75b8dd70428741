"""Mlp: a network from one vector to another."""

from itertools import pairwise

import torch
from torch import Tensor, nn


class Mlp(nn.Module):
    """`n_layers` hidden layers of `hidden` units with ReLU, and a linear layer that always computes in float32."""

    def __init__(self, inputs: int, hidden: int, n_layers: int, outputs: int):
        super().__init__()
        widths = (inputs, *[hidden] * n_layers)
        self.hidden = nn.Sequential(*[layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), nn.ReLU())])
        self.out = nn.Linear(widths[-1], outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs)"""
        x = self.hidden(x)
        with torch.autocast(x.device.type, enabled=False):  # millimetres need more than bf16's 8 bits
            return self.out(x.float())
