"""Converts numbers to classes and back, with equal bins in each dimension (the action tokens of RT-1)."""

import torch
from torch import Tensor, nn

NARROWEST = 1e-3  # width of the range of a dimension that never changes


class UniformBins(nn.Module):
    """`n_bins` equal bins between the smallest and the largest value of each of `dim` dimensions."""

    def __init__(self, dim: int, n_bins: int):
        super().__init__()
        self.n_bins = n_bins
        self.register_buffer("low", torch.full((dim,), -1.0))
        self.register_buffer("width", torch.full((dim,), 2.0 / n_bins))
        self.low: Tensor
        self.width: Tensor

    def fit(self, values: Tensor) -> None:
        """Sets the range of each dimension from values (n, dim)."""
        low, high = values.amin(0), values.amax(0)
        self.low.copy_(low)
        self.width.copy_((high - low).clamp_min(NARROWEST) / self.n_bins)

    def encode(self, values: Tensor) -> Tensor:
        """Values (..., dim) to indices 0 ... n_bins - 1, int64; values outside the range go to the outermost bins."""
        return ((values - self.low) / self.width).floor().long().clamp(0, self.n_bins - 1)

    def decode(self, indices: Tensor) -> Tensor:
        """Indices (..., dim) to the centres of their bins: at most half a bin from an encoded value in the range."""
        return self.low + (indices + 0.5) * self.width
