"""ResNet-18 feature maps: the visual backbone of ACT (Zhao et al. 2023)."""

import copy
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from act.nn.device import bf16_is_fast, over_cores
from act.nn.trunk import Trunk, load_weights, read_trunk, save_trunk
from act.nn.vision import to_float

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
STRIDE = 32  # pixels per cell of the map
Norm = Literal["frozen", "batch", "group"]


class FrozenNormConv(nn.Module):
    """A convolution without bias and the batch norm with fixed statistics behind it, computed as one convolution.

    The convolution's weights are trained; scaling them costs a thousandth of what scaling its output would cost.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d):
        super().__init__()
        self.conv = conv
        assert norm.running_mean is not None and norm.running_var is not None, "batch norm without statistics"
        scale = norm.weight.detach() * (norm.running_var + norm.eps).rsqrt()
        self.register_buffer("scale", scale[:, None, None, None].clone())
        self.register_buffer("shift", norm.bias.detach() - norm.running_mean * scale)
        self._kept: tuple[tuple[object, ...], Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        conv = self.conv
        return F.conv2d(x, self._weights(x), self.shift, conv.stride, conv.padding)  # type: ignore[arg-type]

    def _weights(self, x: Tensor) -> Tensor:
        """The scaled weights; without gradients they are kept until they change, in the form that a convolution needs.

        To scale, cast and rearrange 11 million numbers again would take a third of a query.
        """
        weight, place = self.conv.weight, x.device.type
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            return weight * self.scale
        dtype = torch.get_autocast_dtype(place) if torch.is_autocast_enabled(place) else weight.dtype
        state = (weight.data_ptr(), weight._version, self.scale._version, dtype)
        if self._kept is None or self._kept[0] != state:
            self._kept = state, (weight * self.scale).to(dtype, memory_format=torch.channels_last)
        return self._kept[1]


class ResNet18Trunk(Trunk):
    """A ResNet-18 from images (B, 3, H, W) to feature maps (B, 512, H / 32, W / 32).

    `norm` is "frozen" (batch norm with fixed statistics, as in ACT, for pretrained weights), "batch" (while such
    weights are learned; `frozen` then fixes the statistics) or "group" (16 channels per group, as diffusion policies
    have it when they learn from scratch).
    """

    makes_maps = True
    n_channels = 512  # type: ignore[assignment]
    mean: Tensor
    std: Tensor

    def __init__(self, norm: Norm = "frozen"):
        super().__init__()
        self.body = _body(_resnet18(group_norm=norm == "group"))
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD)[:, None, None], persistent=False)
        if norm == "frozen":
            _freeze_norms(self.body)

    def forward(self, images: Tensor) -> Tensor:
        return self.body((images - self.mean) / self.std)

    def features(self, images: Tensor) -> Tensor:
        """(..., N, H, W, 3) uint8 -> maps (..., N, 512, h, w) float32; with gradients in the caller's arithmetic."""
        lead = images.shape[:-3]
        if torch.is_grad_enabled():
            return self(to_float(images)).unflatten(0, lead)
        return over_cores(self._fast_maps, images.flatten(0, -4)).unflatten(0, lead)

    def _fast_maps(self, images: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 -> maps (B, 512, h, w) float32, in bf16 where the device is fast at that."""
        with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16_is_fast(images.device)):
            return self(to_float(images)).float()

    def frozen(self) -> "ResNet18Trunk":
        """A copy with fixed batch norms, for a policy: same outputs as in eval mode."""
        trunk = copy.deepcopy(self).eval()
        _freeze_norms(trunk.body)
        return trunk

    def save(self, directory: Path) -> None:
        """Writes the weights, with fixed batch norms, for `load`."""
        save_trunk(directory, {"backbone": "resnet18"}, self.frozen())

    @classmethod
    def load(cls, directory: Path) -> "ResNet18Trunk":
        """Reads what `save` wrote. Raises ValueError naming the folder when it holds no ResNet-18."""
        _, state = read_trunk(directory, "resnet18")
        trunk = cls()
        load_weights(trunk, state, directory)
        return trunk

    def load_imagenet(self) -> None:
        """Loads torchvision's ImageNet weights, downloaded once. Raises ValueError with alternatives when offline."""
        from torchvision.models import ResNet18_Weights

        try:
            state = ResNet18_Weights.IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True)
        except Exception as error:
            raise ValueError(
                "The ImageNet weights of ResNet-18 cannot be downloaded here "
                f"({type(error).__name__}: {error}); use --backbone_weights sim (python -m act pretrain makes them) "
                "or --backbone_weights none."
            ) from error
        net = _resnet18()
        net.load_state_dict(state)
        body = _body(net)
        _freeze_norms(body)
        self.body.load_state_dict(body.state_dict())


def _resnet18(group_norm: bool = False) -> Any:
    """Torchvision's network with random weights."""
    from torchvision.models import resnet18  # here, because the import takes a second and most programs do not need it

    norm: Any = (lambda channels: nn.GroupNorm(channels // 16, channels)) if group_norm else nn.BatchNorm2d
    return resnet18(weights=None, norm_layer=norm)


def _body(net: Any) -> nn.Sequential:
    """Everything up to the feature map."""
    return nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool, net.layer1, net.layer2, net.layer3, net.layer4)


def _freeze_norms(module: nn.Module) -> None:
    """Joins every batch norm below `module` with the convolution before it."""
    for before, name in pairwise(list(module._modules)):
        conv, norm = module._modules[before], module._modules[name]
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            module._modules[before], module._modules[name] = FrozenNormConv(conv, norm), nn.Identity()
    for child in module.children():
        _freeze_norms(child)
