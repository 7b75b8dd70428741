"""A visual backbone that detects keypoints, and layers that read feature maps.

Images enter networks as (B, 3, H, W) float in [0, 1], channels last in memory; `to_float` converts them from uint8.
Letters: B images, N cameras, P keypoints, C channels, h w cells of a map.
"""

import copy
import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from act.nn import device
from act.nn.tensors import check_form
from act.nn.trunk import Trunk, load_weights, read_trunk, save_trunk
from act.types import known_camera

GATE = 20.0  # steepness of the sigmoid that turns the detector's confidence into visible or not


def to_float(images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """(..., H, W, 3) uint8 -> (B, 3, H, W) in [0, 1], B the product of the leading axes, channels last in memory."""
    return images.reshape(-1, *images.shape[-3:]).permute(0, 3, 1, 2).to(dtype).mul_(1 / 255)


@dataclass(frozen=True)
class KeypointConfig:
    """The shape of a KeypointTrunk, saved as JSON beside its weights."""

    keypoints: tuple[str, ...] = ("object",)  # names of the points that are detected, in every camera
    cameras: tuple[str, ...] = ("top",)  # one output head each
    image_size: tuple[int, int] = (240, 320)  # (H, W) of the images it was trained on; multiples of 16
    channels: tuple[int, int, int, int] = (8, 16, 32, 64)  # at stride 2, 4, 8, 16: fewer where there are more pixels
    n_blocks: int = 1  # residual blocks at each of strides 4, 8, 16
    norm: bool = True  # with batch norms, during pretraining; they are folded into the convolutions afterwards

    def __post_init__(self) -> None:
        if any(side % 16 for side in self.image_size):
            raise ValueError(f"image_size {self.image_size} must be multiples of 16 (240 320, 480 640)")
        if not self.keypoints or not self.cameras:
            raise ValueError("a keypoint detector needs at least one keypoint and one camera")

    @property
    def n_features(self) -> int:
        return 3 * len(self.keypoints)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "KeypointConfig":
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**fields)


class ConvNorm(nn.Module):
    """A 3x3 convolution and a batch norm, or the convolution alone after `fold`."""

    def __init__(self, inputs: int, outputs: int, norm: bool, stride: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=not norm)
        self.norm = nn.BatchNorm2d(outputs) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))

    def fold(self) -> None:
        if isinstance(self.norm, nn.BatchNorm2d):
            self.conv, self.norm = cast(nn.Conv2d, fuse_conv_bn_eval(self.conv, self.norm)), nn.Identity()


class Block(nn.Module):
    """A residual block: x plus two convolutions of x."""

    def __init__(self, channels: int, norm: bool):
        super().__init__()
        self.first, self.second = ConvNorm(channels, channels, norm), ConvNorm(channels, channels, norm)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(F.relu(self.first(x), inplace=True)), inplace=True)


class KeypointTrunk(Trunk):
    """Detects P keypoints in an image of camera n, with one heat map per keypoint at stride 4.

    Convolutions down to stride 16 cover the whole scene, and two lateral sums bring their result back to stride 4.
    Every camera has its own 1x1 head; all cameras share the rest.
    """

    stride = 4
    makes_maps = False

    def __init__(self, config: KeypointConfig):
        super().__init__()
        self.config = config
        c2, c4, c8, c16 = config.channels
        n_cameras, n_keypoints, norm = len(config.cameras), len(config.keypoints), config.norm

        def stage(inputs: int, outputs: int) -> nn.Sequential:
            blocks = [Block(outputs, norm) for _ in range(config.n_blocks)]
            return nn.Sequential(ConvNorm(inputs, outputs, norm, stride=2), nn.ReLU(inplace=True), *blocks)

        self.stem = nn.Sequential(ConvNorm(3, c2, norm, stride=2), nn.ReLU(inplace=True))
        self.stages = nn.ModuleList([stage(c2, c4), stage(c4, c8), stage(c8, c16)])
        self.lateral = nn.ModuleList([nn.Conv2d(c8, c4, 1), nn.Conv2d(c16, c8, 1)])
        self.merge = nn.ModuleList([Block(c4, norm), Block(c8, norm)])
        self.head = nn.Parameter(torch.randn(n_cameras, n_keypoints, c4) / c4)
        # One more cell, "nowhere", means hidden; its logit follows from pooled features and starts at even odds.
        self.nowhere = nn.Parameter(torch.zeros(n_cameras, n_keypoints, c16))
        cells = config.image_size[0] * config.image_size[1] / self.stride**2
        self.nowhere_bias = nn.Parameter(torch.full((n_cameras, n_keypoints), math.log(cells)))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def n_channels(self) -> int:
        return self.config.n_features

    def forward(self, images: Tensor, camera: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the cells (B, P, h, w) and of "nowhere" (B, P), for images (B, 3, H, W) of cameras (B,) int64."""
        x4 = self.stages[0](self.stem(images))
        x8 = self.stages[1](x4)
        x16 = self.stages[2](x8)
        x8 = self.merge[1](x8 + _double(self.lateral[1](x16)))
        x4 = self.merge[0](x4 + _double(self.lateral[0](x8)))
        with torch.autocast(images.device.type, enabled=False):  # sub-pixel peaks need more than 8 bits of mantissa
            cells = x4.float().permute(0, 2, 3, 1).flatten(1, 2)  # (B, h w, C): no copy, channels are last
            maps = torch.bmm(cells, self.head[camera].mT).mT.contiguous().unflatten(2, x4.shape[-2:])
            pooled = x16.float().mean((2, 3))[:, None]
            nowhere = (self.nowhere[camera] * pooled).sum(-1) + self.nowhere_bias[camera]
        return maps, nowhere

    def keypoints(self, images: Tensor) -> Tensor:
        """(..., N, H, W, 3) uint8 -> (..., N, P, 3): x right and y down in [-1, 1], confidence in [0, 1].

        N is the number of cameras of the config, in its order. Differentiable unless called under no_grad.
        """
        n_cameras = len(self.config.cameras)
        if images.shape[-4] != n_cameras or tuple(images.shape[-3:-1]) != tuple(self.config.image_size):
            raise ValueError(
                f"the keypoint detector needs {n_cameras} cameras of {self.config.image_size} pixels, "
                f"not images of shape {tuple(images.shape)}"
            )
        lead = images.shape[:-4]
        flat = images.reshape(-1, *images.shape[-3:])
        camera = torch.arange(n_cameras, device=images.device).repeat(len(flat) // n_cameras)
        return device.over_cores(self._find, flat, camera).reshape(*lead, n_cameras, -1, 3)

    def features(self, images: Tensor) -> Tensor:
        """(..., N, H, W, 3) uint8 -> (..., N, 3 P). A hidden keypoint is at the centre, not at a random peak."""
        found = self.keypoints(images)
        visible = (GATE * (found[..., 2:] - 0.5)).sigmoid()
        return torch.cat([visible * found[..., :2], found[..., 2:]], dim=-1).flatten(-2)

    def _find(self, images: Tensor, camera: Tensor) -> Tensor:
        if torch.is_grad_enabled():  # in training the caller chooses the arithmetic
            maps, nowhere = self(to_float(images), camera)
        else:
            fast = device.bf16_is_fast(images.device)
            with torch.autocast(images.device.type, torch.bfloat16, enabled=fast):
                maps, nowhere = self(to_float(images, torch.bfloat16 if fast else torch.float32), camera)
        confidence = (maps.flatten(2).logsumexp(-1) - nowhere).sigmoid()
        return torch.cat([peaks(maps), confidence[..., None]], dim=-1)

    def folded(self) -> "KeypointTrunk":
        """A copy for a policy: batch norms folded into the convolutions, same outputs, fewer passes over memory."""
        trunk = copy.deepcopy(self).eval()
        for module in trunk.modules():
            if isinstance(module, ConvNorm):
                module.fold()
        trunk.config = dataclasses.replace(self.config, norm=False)
        return trunk.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def select(self, cameras: Sequence[str]) -> "KeypointTrunk":
        """A copy with the heads of `cameras` only, in that order. Raises ValueError for a camera without a head."""
        known = self.config.cameras
        index = [known.index(known_camera(camera, known, "the keypoint detector")) for camera in cameras]
        trunk = copy.deepcopy(self)
        trunk.config = dataclasses.replace(self.config, cameras=tuple(cameras))
        for name in ("head", "nowhere", "nowhere_bias"):
            setattr(trunk, name, nn.Parameter(getattr(self, name).detach()[index].clone()))
        return trunk

    def save(self, directory: Path) -> None:
        """Writes trunk.safetensors and trunk.json, each whole or not at all."""
        save_trunk(directory, dataclasses.asdict(self.config), self)

    @classmethod
    def load(cls, directory: Path) -> "KeypointTrunk":
        """Reads what `save` wrote. Raises ValueError naming the folder when it holds no keypoint detector."""
        shape, state = read_trunk(directory, "keypoints")
        try:
            config = KeypointConfig.from_json(shape)
            with torch.device("meta"):
                check_form(state, cls(config).state_dict())  # before memory is taken for what the file only declares
        except (TypeError, ValueError, RuntimeError, OverflowError) as error:
            raise ValueError(f"{directory} holds no keypoint detector that fits its trunk.json: {error}") from None
        trunk = cls(config)
        load_weights(trunk, state, directory)
        return trunk


class SpatialSoftmax(nn.Module):
    """Locates P learned points: each is the mean place under a softmax over the cells (Finn et al. 2016)."""

    def __init__(self, n_channels: int, n_points: int):
        super().__init__()
        self.project = nn.Conv2d(n_channels, n_points, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, 2 P): x of all points in [-1, 1], then y."""
        weights = self.project(maps).float().flatten(2).softmax(-1).unflatten(2, maps.shape[2:])
        x, y = (to_unit(torch.arange(n, device=maps.device), n) for n in (maps.shape[3], maps.shape[2]))
        # Sums, because autocast would compute matrix products in bf16 and move places by up to 0.005.
        return torch.cat([(weights.sum(2) * x).sum(-1), (weights.sum(3) * y).sum(-1)], dim=-1)


def peaks(maps: Tensor, radius: int = 2) -> Tensor:
    """Sub-cell peaks (B, P, 2) of logits (B, P, h, w), as x, y in [-1, 1] of the image.

    A softmax over the (2 radius + 1)^2 cells around the highest one. It is exact where a point is split bilinearly
    between its four cells, which is what the detector is trained for, and other peaks do not change it.
    """
    height, width = maps.shape[-2:]
    flat = maps.flatten(2)
    best = flat.argmax(-1, keepdim=True)
    offset = torch.arange(-radius, radius + 1, device=maps.device)
    x = best % width + offset.repeat(2 * radius + 1)  # (B, P, window)
    y = best // width + offset.repeat_interleave(2 * radius + 1)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    cells = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
    weights = flat.gather(2, cells).masked_fill(~inside, -torch.inf).softmax(-1)
    return torch.stack([to_unit((weights * x).sum(-1), width), to_unit((weights * y).sum(-1), height)], dim=-1)


def to_unit(index: Tensor, size: int) -> Tensor:
    """Converts the index of a cell or pixel (centres at 0 ... size - 1) to [-1, 1] from edge to edge of the image."""
    return (index + 0.5) * (2 / size) - 1


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")
