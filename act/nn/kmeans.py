"""k-means clustering, for policies that choose among cluster centres (BeT, categorical)."""

import torch
from torch import Tensor


def kmeans(points: Tensor, n_centres: int, iterations: int = 50) -> Tensor:
    """Centres (n_centres, D) of points (n, D) by Lloyd's algorithm, which starts from random points.

    A centre that loses its last point starts again at a random one. Random numbers come from torch's global generator.
    Raises ValueError when there are fewer points than centres.
    """
    if len(points) < n_centres:
        raise ValueError(f"{n_centres} centres need as many points, not {len(points)}; record more, or use fewer")
    centres = points[torch.randperm(len(points), device=points.device)[:n_centres]]
    for _ in range(iterations):
        members = nearest(points, centres)
        counts = torch.bincount(members, minlength=n_centres)
        sums = torch.zeros_like(centres).index_add_(0, members, points)
        restarts = points[torch.randint(len(points), (n_centres,), device=points.device)]
        centres = torch.where(counts[:, None] > 0, sums / counts[:, None].clamp_min(1), restarts)
    return centres


def nearest(points: Tensor, centres: Tensor) -> Tensor:
    """Index (n,) of the centre (c, D) nearest to each of the points (n, D)."""
    with torch.autocast(points.device.type, enabled=False):  # bf16 would confuse neighbouring centres
        return (centres.square().sum(-1) - 2 * points @ centres.T).argmin(-1)
