"""Bins: numbers as classes and back, one row of equal bins per dimension (RT-1's action tokens)."""

import torch
from torch import Tensor, nn

NARROWEST = 1e-3  # width of the range of a dimension that never changed


class UniformBins(nn.Module):
    """`n_bins` equal bins between the smallest and the largest value seen in each of `dim` dimensions."""

    def __init__(self, dim: int, n_bins: int):
        super().__init__()
        self.n_bins = n_bins
        self.register_buffer("low", torch.full((dim,), -1.0))
        self.register_buffer("width", torch.full((dim,), 2.0 / n_bins))
        self.low: Tensor
        self.width: Tensor

    def fit(self, values: Tensor) -> None:
        """Range of each dimension from values (n, dim)."""
        low, high = values.amin(0), values.amax(0)
        self.low.copy_(low)
        self.width.copy_((high - low).clamp_min(NARROWEST) / self.n_bins)

    def encode(self, values: Tensor) -> Tensor:
        """Values (..., dim) to indices 0 ... n_bins - 1, int64; what lies outside goes to the outermost bin."""
        return ((values - self.low) / self.width).floor().long().clamp(0, self.n_bins - 1)

    def decode(self, indices: Tensor) -> Tensor:
        """Indices (..., dim) to the centres of their bins: at most half a bin from what was encoded within range."""
        return self.low + (indices + 0.5) * self.width
