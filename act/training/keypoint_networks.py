"""The networks that visual backbones are pretrained in: a backbone, and a head that locates keypoints.

Letters: B images, S scenes, N cameras, P keypoints, C channels, h w cells of a map.
"""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from act.nn.device import bf16_is_fast
from act.nn.resnet import STRIDE, ResNet18Trunk
from act.nn.vision import KeypointConfig, KeypointTrunk, to_float
from act.training.scenes import Scenes

OFFSET_RADIUS = 1  # cells around the true one that also learn their offset to the keypoint
OFFSET_WEIGHT = 2.0  # of the offset error [cells], relative to the cross-entropy


class KeypointNetwork(nn.Module):
    """A network from images (B, 3, H, W) in [0, 1] and their cameras (B,) to predictions, and their loss."""

    def loss(self, predictions: Any, points: Tensor, visible: Tensor) -> Tensor:
        """Mean loss of `predictions` against points (B, P, 2) [pixels], where visible (B, P)."""
        raise NotImplementedError

    def locate(self, images: Tensor) -> Tensor:
        """(S, N, H, W, 3) uint8 -> (S, N, P, 3): x and y [pixels], and the probability that the keypoint is visible."""
        raise NotImplementedError

    def save(self, directory: Path) -> None:
        """Writes the backbone, for train.py."""
        raise NotImplementedError


class HeatMapNetwork(KeypointNetwork):
    """The keypoint detector itself: a heat map per keypoint, trained by cross-entropy."""

    def __init__(self, scenes: Scenes, channels: tuple[int, int, int, int]):
        super().__init__()
        self.trunk = KeypointTrunk(KeypointConfig(scenes.keypoints, scenes.cameras, scenes.image_size, channels))

    def forward(self, images: Tensor, camera: Tensor) -> tuple[Tensor, Tensor]:
        return self.trunk(images, camera)

    def loss(self, predictions: tuple[Tensor, Tensor], points: Tensor, visible: Tensor) -> Tensor:
        return heat_map_loss(*predictions, points, visible, self.trunk.stride)

    def locate(self, images: Tensor) -> Tensor:
        height, width = images.shape[-3:-1]
        found = torch.cat([self.trunk.keypoints(part) for part in images.split(8)])
        pixels = (found[..., :2] + 1) * torch.tensor([width, height], device=images.device) / 2 - 0.5
        return torch.cat([pixels, found[..., 2:]], dim=-1)

    def save(self, directory: Path) -> None:
        self.trunk.save(directory)


class CellNetwork(KeypointNetwork):
    """ResNet-18 with a linear head per camera that predicts a keypoint's cell of the map and its place in that cell.

    The head is linear because a policy reads the map through a linear projection, too. The logit of one more cell,
    "nowhere", follows from the pooled map. The cells around the true one also learn their offset to the keypoint, so
    that a policy finds the place in several tokens.
    """

    def __init__(self, scenes: Scenes):
        super().__init__()
        self.trunk = ResNet18Trunk("batch")
        n_cameras, n_points, n_channels = len(scenes.cameras), len(scenes.keypoints), self.trunk.n_channels
        self.cells = nn.Parameter(torch.randn(n_cameras, 3 * n_points, n_channels) / n_channels)  # logits, x, y
        self.nowhere = nn.Parameter(torch.zeros(n_cameras, n_points, n_channels))
        self.nowhere_bias = nn.Parameter(torch.zeros(n_cameras, n_points))

    def forward(self, images: Tensor, camera: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of the cells (B, P, h, w), offsets from their centres (B, 2, P, h, w) [cells], "nowhere" (B, P)."""
        maps = self.trunk(images)
        with torch.autocast(images.device.type, enabled=False):
            maps = maps.float()
            outputs = torch.einsum("bchw,bpc->bphw", maps, self.cells[camera])
            logits, *offsets = outputs.chunk(3, dim=1)
            nowhere = (self.nowhere[camera] * maps.mean((2, 3))[:, None]).sum(-1) + self.nowhere_bias[camera]
        return logits, torch.stack(offsets, dim=1), nowhere

    def loss(self, predictions: tuple[Tensor, Tensor, Tensor], points: Tensor, visible: Tensor) -> Tensor:
        logits, offsets, nowhere = predictions
        height, width = logits.shape[-2:]
        place = ((points + 0.5) / STRIDE - 0.5).clamp(min=0.0)  # [cells], 0 at the centre of the first
        place = place.minimum(place.new_tensor([width - 1.0, height - 1.0]))
        cell = place.round().long()
        index = torch.where(visible, cell[..., 1] * width + cell[..., 0], height * width)
        scores = torch.cat([logits.flatten(2), nowhere[..., None]], dim=-1)
        entropy = F.cross_entropy(scores.flatten(0, 1), index.flatten())
        rows = torch.arange(height, device=logits.device)[:, None].expand(height, width)
        columns = torch.arange(width, device=logits.device).expand(height, width)
        target = torch.stack(
            [place[..., 0, None, None] - columns, place[..., 1, None, None] - rows], dim=1
        )  # (B, 2, P, h, w)
        near = (columns - cell[..., 0, None, None]).abs() <= OFFSET_RADIUS
        near &= (rows - cell[..., 1, None, None]).abs() <= OFFSET_RADIUS
        near = (near & visible[..., None, None])[:, None].to(target.dtype)
        error = ((offsets - target).abs() * near).sum() / near.sum().clamp_min(1) / 2
        return entropy + OFFSET_WEIGHT * error

    def locate(self, images: Tensor) -> Tensor:
        n_cameras = images.shape[1]
        return torch.cat([self._locate(part, n_cameras) for part in images.split(4)])

    def _locate(self, images: Tensor, n_cameras: int) -> Tensor:
        camera = torch.arange(n_cameras, device=images.device).repeat(len(images))
        with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16_is_fast(images.device)):
            logits, offsets, nowhere = self(to_float(images), camera)
        width = logits.shape[-1]
        best = logits.flatten(2).argmax(-1)  # (B, P)
        shift = offsets.flatten(3).gather(3, best[:, None, :, None].expand(-1, 2, -1, 1))[..., 0]  # (B, 2, P)
        cells = torch.stack([best % width, best // width], dim=1) + shift
        pixels = (cells + 0.5) * STRIDE - 0.5
        visible = (logits.flatten(2).logsumexp(-1) - nowhere).sigmoid()
        return torch.cat([pixels, visible[:, None]], dim=1).mT.unflatten(0, (-1, n_cameras))

    def save(self, directory: Path) -> None:
        self.trunk.save(directory)


def heat_map_loss(maps: Tensor, nowhere: Tensor, points: Tensor, visible: Tensor, stride: int) -> Tensor:
    """Mean cross-entropy of logits (B, P, h, w) and of "nowhere" (B, P) against points (B, P, 2) [pixels] or hidden.

    The target of a visible point is spread bilinearly over the four cell centres around it; its mean is the point.
    """
    height, width = maps.shape[-2:]
    cells = (points + 0.5) / stride - 0.5  # in units of cells, 0 at the centre of the first
    limit = torch.tensor([width - 1.0, height - 1.0], device=maps.device)
    cells = cells.clamp(min=torch.zeros_like(limit), max=limit)
    low = cells.floor().minimum(limit - 1)
    share = cells - low  # (B, P, 2) towards the next cell
    flat = maps.flatten(2)
    expected = torch.zeros_like(nowhere)  # logit under the target distribution
    for dx in (0, 1):
        for dy in (0, 1):
            index = ((low[..., 1] + dy) * width + low[..., 0] + dx).long()
            weight = (share[..., 0] if dx else 1 - share[..., 0]) * (share[..., 1] if dy else 1 - share[..., 1])
            expected = expected + weight * flat.gather(2, index[..., None])[..., 0]
    total = torch.logaddexp(flat.logsumexp(-1), nowhere)
    return (total - torch.where(visible, expected, nowhere)).mean()
