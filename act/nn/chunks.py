"""Chunks of actions: padding, random draws and splines.

Random numbers are drawn one sample after the other, so that a batch of two gets those of two batches of one.
Letters: B batch, K chunk, A action, C classes.
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
    """Draws (B, *shape) numbers from N(0, 1)."""
    return torch.stack([torch.randn(*shape, device=device) for _ in range(batch_size)])


def choose(logits: Tensor, uniform: Tensor) -> Tensor:
    """Classes (B, ...) int64 by inverse sampling: softmax(logits) of (B, ..., C) at `uniform` numbers (B, ...)."""
    cumulative = logits.softmax(-1).cumsum(-1)
    return (cumulative <= uniform[..., None]).sum(-1).clamp_max(logits.shape[-1] - 1)


def draw(logits: Tensor) -> Tensor:
    """Draws classes (B, ...) int64 with the probabilities softmax(logits) of logits (B, ..., C)."""
    shape = logits.shape[1:-1]
    return choose(logits, torch.stack([torch.rand(shape, device=logits.device) for _ in range(len(logits))]))


def cubic_spline(n_samples: int, spacing: int) -> Tensor:
    """(n_samples, n_samples / spacing + 3): from control points that are `spacing` samples apart to the samples of
    a uniform cubic B-spline. For a spacing of 1 every sample is a control point, and the matrix is the identity.
    """
    if spacing == 1:
        return torch.eye(n_samples)
    segment, u = torch.arange(n_samples) // spacing, torch.arange(n_samples) % spacing / spacing
    weights = torch.stack([(1 - u) ** 3, 3 * u**3 - 6 * u**2 + 4, -3 * u**3 + 3 * u**2 + 3 * u + 1, u**3], dim=1) / 6
    basis = torch.zeros(n_samples, n_samples // spacing + 3)
    return basis.scatter_(1, segment[:, None] + torch.arange(4), weights)


def spline_fit(spline: Tensor, bend: float = 0.1) -> Tensor:
    """(n_points, n_samples): from samples to the control points of `spline` (n_samples, n_points) that fit them best.

    The points at the ends hardly touch a sample; `bend`, the weight of second differences, keeps them near the others.
    It also smooths between them: with 4 samples per point, waves of 16 samples keep 81 % of their height and waves of
    12 samples keep half. Closer fits (1e-3) did not lead to more successful policies (benchmarks/LOG.md).
    """
    n_points = spline.shape[1]
    if torch.equal(spline, torch.eye(*spline.shape)):
        return spline
    differences = torch.eye(n_points).diff(n=2, dim=0)
    return torch.linalg.solve(spline.T @ spline + bend * differences.T @ differences, spline.T)
