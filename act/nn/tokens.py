"""Tokens of images for a transformer: one per cell of a feature map, or one per camera that sees keypoints.

Letters: B batch, N cameras, C h w feature map, F keypoint features of one camera, S tokens, D width.
"""

from functools import lru_cache

import torch
from einops import rearrange
from torch import Tensor, nn

from act.nn.positions import sine_2d


class MapTokens(nn.Module):
    """Every cell of every camera's feature map is a token with a 2-D sine position and, if `n_codes`, a camera code."""

    def __init__(self, n_channels: int, dim: int, n_codes: int):
        super().__init__()
        self.project = nn.Conv2d(n_channels, dim, 1)
        self.camera = nn.Parameter(torch.randn(n_codes, dim)) if n_codes else None

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (B, S, D) and positions (S, D) of maps (B, N, C, h, w)."""
        projected = self.project(rearrange(maps, "b n c h w -> (b n) c h w"))
        position = _sine_2d(maps.shape[3], maps.shape[4], projected.shape[1], maps.device)
        tokens = rearrange(projected, "(b n) d h w -> b (n h w) d", n=maps.shape[1])
        codes = position.repeat(maps.shape[1], 1)
        if self.camera is not None:
            codes = codes + self.camera.repeat_interleave(len(position), dim=0)
        return tokens, codes


class KeypointTokens(nn.Module):
    """Every camera is one token that says where things are in its image and how sure that is."""

    def __init__(self, n_features: int, dim: int, n_cameras: int):
        super().__init__()
        self.project = nn.ModuleList([nn.Linear(n_features, dim) for _ in range(n_cameras)])
        self.camera = nn.Parameter(torch.randn(n_cameras, dim))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (B, N, D) and positions (N, D) of normalised features (B, N, F)."""
        return torch.stack([project(features[:, n]) for n, project in enumerate(self.project)], dim=1), self.camera


@lru_cache(maxsize=8)
def _sine_2d(height: int, width: int, dim: int, device: torch.device) -> Tensor:
    return sine_2d(height, width, dim).to(device)
