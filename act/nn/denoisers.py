"""Denoisers of chunks: networks from noisy points, a time and an observation to one prediction per point.

Letters: B batch, P points, A numbers of a point, V numbers of one observation, D width.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from act.nn.positions import sine_1d
from act.nn.transformer import Decoder

GROUPS, KERNEL = 8, 5  # of the U-Net's group norms and convolutions
TIMES, TIME_DIM = 1000, 128  # number of distinct time codes, and their width


class Unet(nn.Module):
    """A U-Net along the chunk: residual convolutions, conditioned on the time and the observation."""

    def __init__(self, point_dim: int, vector_dim: int, channels: Sequence[int]):
        super().__init__()
        condition = TIME_DIM + vector_dim
        self.n_halvings = len(channels) - 1
        self.time = TimeCode(TIME_DIM)

        def blocks(inputs: int, outputs: int) -> nn.ModuleList:
            return nn.ModuleList([FilmBlock(inputs, outputs, condition), FilmBlock(outputs, outputs, condition)])

        self.down = nn.ModuleList([blocks(a, b) for a, b in pairwise((point_dim, *channels))])
        self.shrink = nn.ModuleList([nn.Conv1d(n, n, 3, stride=2, padding=1) for n in channels[:-1]])
        self.middle = blocks(channels[-1], channels[-1])
        self.up = nn.ModuleList([blocks(2 * b, a) for a, b in reversed(list(pairwise(channels)))])
        self.grow = nn.ModuleList([nn.ConvTranspose1d(n, n, 4, stride=2, padding=1) for n in reversed(channels[:-1])])
        self.smooth = ConvBlock(channels[0], channels[0])
        self.out = nn.Conv1d(channels[0], point_dim, 1)

    def forward(self, noisy: Tensor, time: Tensor, observed: Tensor) -> Tensor:
        """(B, P, A) from noisy points (B, P, A), times (B,) and observations (B, V)."""
        condition = torch.cat([self.time(time), observed], dim=-1)
        n = noisy.shape[1]
        x = F.pad(noisy.mT, (0, -n % 2**self.n_halvings))  # the length must be divisible by 2 that often
        skips = []
        for i, (first, second) in enumerate(self.down):  # type: ignore[reportGeneralTypeIssues]
            x = second(first(x, condition), condition)
            skips.append(x)
            if i < self.n_halvings:
                x = self.shrink[i](x)
        for block in self.middle:
            x = block(x, condition)
        for (first, second), grow in zip(self.up, self.grow, strict=True):  # type: ignore[reportGeneralTypeIssues]
            x = torch.cat([x, skips.pop()], dim=1)
            x = grow(second(first(x, condition), condition))
        x = self.smooth(x)
        with torch.autocast(x.device.type, enabled=False):
            return self.out(x.float()).mT[:, :n]


class ConvBlock(nn.Sequential):
    """Convolution, group norm, Mish. (Statistics of a batch norm do not fit a moving average of the weights.)"""

    def __init__(self, inputs: int, outputs: int):
        super().__init__(nn.Conv1d(inputs, outputs, KERNEL, padding="same"), nn.GroupNorm(GROUPS, outputs), nn.Mish())


class FilmBlock(nn.Module):
    """Two convolutions and a shortcut; the condition scales and shifts the values between them (arXiv 1709.07871)."""

    def __init__(self, inputs: int, outputs: int, condition: int):
        super().__init__()
        self.first, self.second = ConvBlock(inputs, outputs), ConvBlock(outputs, outputs)
        self.film = nn.Sequential(nn.Mish(), nn.Linear(condition, 2 * outputs))
        self.shortcut = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(B, inputs, P) -> (B, outputs, P)"""
        scale, shift = self.film(condition)[..., None].chunk(2, dim=1)
        return self.second(self.first(x) * (1 + scale) + shift) + self.shortcut(x)


class Transformer(nn.Module):
    """A transformer over tokens of `per_token` points, with cross-attention to the time and the observation."""

    def __init__(
        self, point_dim: int, vector_dim: int, n_points: int, *, dim: int, n_heads: int, n_layers: int, per_token: int
    ):
        super().__init__()
        self.from_actions = nn.Linear(per_token * point_dim, dim)
        self.time, self.from_seen = TimeCode(dim), nn.Linear(vector_dim, dim)
        self.position = nn.Parameter(0.02 * torch.randn(n_points // per_token, dim))
        self.memory_position = nn.Parameter(0.02 * torch.randn(2, dim))  # of the time and the observation
        self.decoder = Decoder(n_layers, dim, n_heads, 4 * dim)
        self.to_actions = nn.Linear(dim, per_token * point_dim)

    def forward(self, noisy: Tensor, time: Tensor, observed: Tensor) -> Tensor:
        """(B, P, A) from noisy points (B, P, A), times (B,) and observations (B, V)."""
        memory = torch.stack([self.time(time), self.from_seen(observed)], dim=1)
        tokens = rearrange(noisy, "b (s p) a -> b s (p a)", s=len(self.position))
        x = self.from_actions(tokens) + self.position
        x = self.decoder(x, memory, self.position, self.memory_position)
        with torch.autocast(x.device.type, enabled=False):
            return self.to_actions(x.float()).view_as(noisy)


class ResidualMlp(nn.Module):
    """A residual MLP on the whole chunk as one vector; every layer also gets the time and the observation."""

    def __init__(self, point_dim: int, vector_dim: int, n_points: int, *, dim: int, n_layers: int):
        super().__init__()
        n_numbers = n_points * point_dim
        self.time = TimeCode(TIME_DIM)
        self.from_chunk, self.to_chunk = nn.Linear(n_numbers, dim), nn.Linear(dim, n_numbers)
        self.layers = nn.ModuleList(
            [
                nn.Sequential(
                    nn.Linear(dim + TIME_DIM + vector_dim, dim), nn.LayerNorm(dim), nn.Mish(), nn.Linear(dim, dim)
                )
                for _ in range(n_layers)
            ]
        )

    def forward(self, noisy: Tensor, time: Tensor, observed: Tensor) -> Tensor:
        """(B, P, A) from noisy points (B, P, A), times (B,) and observations (B, V)."""
        condition = torch.cat([self.time(time), observed], dim=-1)
        x = self.from_chunk(noisy.flatten(1)).float()  # the residual sums stay in float32
        for layer in self.layers:
            x = x + layer(torch.cat([x, condition], dim=-1))
        with torch.autocast(x.device.type, enabled=False):
            return self.to_chunk(x.float()).view_as(noisy)


class TimeCode(nn.Module):
    """Encodes a time in [0, 1] by sines and two linear layers."""

    table: Tensor

    def __init__(self, dim: int):
        super().__init__()
        self.register_buffer("table", sine_1d(TIMES + 1, TIME_DIM), persistent=False)
        self.layers = nn.Sequential(nn.Linear(TIME_DIM, 4 * TIME_DIM), nn.Mish(), nn.Linear(4 * TIME_DIM, dim))

    def forward(self, time: Tensor) -> Tensor:
        """(B,) -> (B, dim)"""
        return self.layers(self.table[(time * TIMES).long()])
