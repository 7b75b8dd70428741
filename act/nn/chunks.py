"""Chunks of actions: held beyond an episode's end, drawn at random sample by sample, smooth as splines.

Letters: B batch, K chunk, A action, C classes. Draws are made one sample after the other, so that a batch of two gets
the random numbers of two batches of one.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def hold(action: Tensor, is_pad: Tensor) -> Tensor:
    """(B, K, A) with every padded action (is_pad (B, K), at the end) replaced by the last one that is not."""
    last = (~is_pad).sum(1, keepdim=True).clamp_min(1) - 1
    index = torch.arange(action.shape[1], device=action.device).minimum(last)
    return action.gather(1, index[..., None].expand_as(action))


def normal(batch_size: int, shape: Sequence[int], device: torch.device) -> Tensor:
    """(B, *shape) of N(0, 1)"""
    return torch.stack([torch.randn(*shape, device=device) for _ in range(batch_size)])


def choose(logits: Tensor, chance: Tensor) -> Tensor:
    """(B, ...) int64 in 0 ... C - 1, distributed as softmax(logits) of (B, ..., C) where chance (B, ...) is uniform."""
    cumulative = logits.softmax(-1).cumsum(-1)
    return (cumulative <= chance[..., None]).sum(-1).clamp_max(logits.shape[-1] - 1)


def draw(logits: Tensor) -> Tensor:
    """(B, ...) int64 in 0 ... C - 1 with the probabilities softmax(logits) of logits (B, ..., C)."""
    shape = logits.shape[1:-1]
    return choose(logits, torch.stack([torch.rand(shape, device=logits.device) for _ in range(len(logits))]))


def cubic_spline(n_samples: int, spacing: int) -> Tensor:
    """(n_samples, n_samples / spacing + 3): samples of a uniform cubic B-spline, its control points `spacing` apart.

    Identity for a spacing of 1, where every sample has a point of its own.
    """
    if spacing == 1:
        return torch.eye(n_samples)
    segment, u = torch.arange(n_samples) // spacing, torch.arange(n_samples) % spacing / spacing
    weights = torch.stack([(1 - u) ** 3, 3 * u**3 - 6 * u**2 + 4, -3 * u**3 + 3 * u**2 + 3 * u + 1, u**3], dim=1) / 6
    basis = torch.zeros(n_samples, n_samples // spacing + 3)
    return basis.scatter_(1, segment[:, None] + torch.arange(4), weights)


def spline_fit(spline: Tensor, bend: float = 0.1) -> Tensor:
    """(n_points, n_samples): the control points that come nearest to samples, of a spline (n_samples, n_points).

    Points at the ends hardly touch a sample; `bend`, the price of their second differences, keeps them near the others.
    It smooths what lies between, too: 4 samples a point, waves of 16 samples keep 81 % of their height, of 12 half.
    Nearer fits, of 1e-3, did not act better (benchmarks/LOG.md).
    """
    n_points = spline.shape[1]
    if torch.equal(spline, torch.eye(*spline.shape)):
        return spline
    differences = torch.eye(n_points).diff(n=2, dim=0)
    return torch.linalg.solve(spline.T @ spline + bend * differences.T @ differences, spline.T)
