"""k-means clustering, for policies that choose among cluster centres (BeT, categorical)."""

import warnings

import numpy as np
import torch
from scipy.cluster.vq import kmeans2
from torch import Tensor

ITERATIONS = 20  # 50 lower the squared distance by one or two hundredths
POINTS_PER_CENTRE = 16  # that the starting centres are drawn from; the time for it grows with the square of the centres


def kmeans(points: Tensor, n_centres: int) -> Tensor:
    """Centres (n_centres, D) of points (n, D) by Lloyd's algorithm from the starts of k-means++, both of SciPy.

    k-means++ draws starting centres that lie far apart (Arthur and Vassilvitskii 2007). A centre that loses its last
    point stays where it is. Random numbers come from torch's global generator.

    Raises ValueError when there are fewer points than centres.
    """
    if len(points) < n_centres:
        raise ValueError(f"{n_centres} centres need as many points, not {len(points)}; record more, or use fewer")
    rng = np.random.default_rng(int(torch.randint(2**31, ())))
    values = points.detach().cpu().float().numpy()
    some = values[rng.permutation(len(values))[: POINTS_PER_CENTRE * n_centres]]
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):  # fewer different points than centres
        warnings.filterwarnings("ignore", "One of the clusters is empty")
        starts, _ = kmeans2(some, n_centres, iter=1, minit="++", rng=rng)
        centres, _ = kmeans2(values, starts.astype(values.dtype), iter=ITERATIONS, minit="matrix")
    return torch.from_numpy(centres).to(points)


def nearest(points: Tensor, centres: Tensor) -> Tensor:
    """Index (n,) of the centre (c, D) nearest to each of the points (n, D)."""
    with torch.autocast(points.device.type, enabled=False):  # bf16 would confuse neighbouring centres
        return (centres.square().sum(-1) - 2 * points @ centres.T).argmin(-1)
