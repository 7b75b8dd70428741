"""ResNet-18 feature maps, ACT's own visual trunk (Zhao et al. 2023)."""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import ResNet18_Weights, resnet18
from torchvision.models.resnet import BasicBlock, ResNet
from torchvision.ops import FrozenBatchNorm2d

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class FrozenNormConv(nn.Module):
    """A convolution without bias and the batch norm with fixed statistics behind it, as one convolution.

    The weights that train are the convolution's own; scaling them costs a thousandth of scaling what comes out.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, conv: nn.Conv2d, norm: FrozenBatchNorm2d):
        super().__init__()
        self.conv = conv
        weight, bias, mean, var = (norm.get_buffer(name) for name in ("weight", "bias", "running_mean", "running_var"))
        scale = weight * (var + norm.eps).rsqrt()
        self.register_buffer("scale", scale[:, None, None, None])
        self.register_buffer("shift", bias - mean * scale)

    def forward(self, x: Tensor) -> Tensor:
        conv = self.conv
        return F.conv2d(x, conv.weight * self.scale, self.shift, conv.stride, conv.padding)  # type: ignore[arg-type]


class ResNet18Trunk(nn.Module):
    """(B, 3, H, W) -> (B, 512, H / 32, W / 32).

    `frozen_norm`: batch norm with fixed statistics, as in ACT, which only means something with ImageNet weights
    (`load_imagenet`); otherwise group norm with 16 channels per group, as diffusion policies do from scratch.
    """

    n_channels = 512
    mean: Tensor
    std: Tensor

    def __init__(self, frozen_norm: bool):
        super().__init__()
        norm = FrozenBatchNorm2d if frozen_norm else (lambda channels: nn.GroupNorm(channels // 16, channels))
        self.body = _body(resnet18(weights=None, norm_layer=cast(type[nn.Module], norm)))
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return self.body((images - self.mean) / self.std)

    def load_imagenet(self) -> None:
        """Torchvision's ImageNet weights, downloaded once. Raises ValueError with a way out when offline."""
        try:
            state = ResNet18_Weights.IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True)
        except Exception as error:
            raise ValueError(
                "The ImageNet weights of ResNet-18 cannot be downloaded here "
                f"({type(error).__name__}: {error}); use --backbone keypoints --backbone_weights sim "
                "(python -m act pretrain makes those) or --backbone_weights none."
            ) from error
        net = resnet18(weights=None, norm_layer=cast(type[nn.Module], FrozenBatchNorm2d))
        net.load_state_dict({key: value for key, value in state.items() if not key.endswith("num_batches_tracked")})
        self.body.load_state_dict(_body(net).state_dict())


def _body(net: ResNet) -> nn.Sequential:
    """Everything up to the feature map, every frozen norm joined with the convolution before it."""
    for block in (net, *(module for module in net.modules() if isinstance(module, BasicBlock))):
        for i in (1, 2):
            _join(block, f"conv{i}", f"bn{i}")
        if isinstance(block, BasicBlock) and block.downsample is not None:
            _join(block.downsample, "0", "1")
    return nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool, net.layer1, net.layer2, net.layer3, net.layer4)


def _join(parent: nn.Module, conv: str, norm: str) -> None:
    if isinstance(getattr(parent, norm, None), FrozenBatchNorm2d):
        setattr(parent, conv, FrozenNormConv(getattr(parent, conv), getattr(parent, norm)))
        setattr(parent, norm, nn.Identity())
