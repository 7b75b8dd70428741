"""Sine positions: fixed codes for the place of a token in a sequence (1-D) or in an image (2-D)."""

import math

import torch
from torch import Tensor

TEMPERATURE = 10_000.0  # ratio of the longest to the shortest wavelength, Vaswani et al. 2017


def sine_1d(length: int, dim: int) -> Tensor:
    """Codes (length, dim): sine in the even channels, cosine in the odd ones, position 0, 1, ...; `dim` is even."""
    return _waves(torch.arange(length, dtype=torch.float32), dim)


def sine_2d(height: int, width: int, dim: int) -> Tensor:
    """Codes (height * width, dim), row by row: the first half of the channels encodes y, the second half x.

    Both axes run from just above 0 to 2 pi for a map of any size (DETR's convention); `dim` is a multiple of 4.
    """
    if dim % 4:
        raise ValueError(f"2-D sine positions need a width that is a multiple of 4, not {dim}")
    y = _waves(torch.arange(1, height + 1) / height * 2 * math.pi, dim // 2)
    x = _waves(torch.arange(1, width + 1) / width * 2 * math.pi, dim // 2)
    rows = y[:, None].expand(height, width, -1)
    columns = x[None].expand(height, width, -1)
    return torch.cat([rows, columns], dim=-1).reshape(height * width, dim)


def _waves(position: Tensor, dim: int) -> Tensor:
    """(S,) -> (S, dim), sine and cosine interleaved."""
    if dim % 2:
        raise ValueError(f"sine positions need an even width, not {dim}")
    rate = TEMPERATURE ** (-torch.arange(0, dim, 2, dtype=torch.float32) / dim)
    angle = position[:, None].float() * rate
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)
