"""BC-ConvMLP: behavioural cloning by regression, the simplest baseline of the ACT paper (the original's "CNNMLP").

The sizes are those of the original code: convolutions of 512 -> 128 -> 64 -> 32 channels and two hidden layers of 1024
units. The original gives every camera a ResNet of its own; here the cameras share one ResNet, and each camera has its
own convolutions. `--chunk_size 60` adds the chunking that the paper's Fig. 8 tests.

Letters: B batch, K chunk, A action, P control points, N cameras, C h w feature map.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from einops import rearrange
from torch import Tensor, nn

from act.data.batch import Batch
from act.data.normalize import Normalizer
from act.nn.chunks import cubic_spline
from act.nn.mlp import Mlp
from act.nn.resnet import STRIDE
from act.policies.base.observing import ObservingConfig, ObservingPolicy
from act.policies.base.policy import masked_mean
from act.types import PolicySpec

CHANNELS = (128, 64, 32)  # of the convolutions on a feature map
KERNEL = 5


@dataclass(frozen=True)
class Config(ObservingConfig):
    """Sizes of BC-ConvMLP."""

    chunk_size: int = 1
    """K: actions predicted at once, 0.02 s each; 1 is the paper's baseline."""
    hidden_dim: int = 1024
    """Units of each hidden layer."""
    n_layers: int = 2
    """Number of hidden layers."""
    loss: Literal["l1", "l2"] = "l2"
    """Error of the chunk, absolute or squared: a mean over the actions that are not padding."""
    actions_per_point: int = 1
    """Actions between two control points of a uniform cubic B-spline. 1: every action by itself, as in the paper; more:
    smooth chunks, as preset fast of ACT has them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.chunk_size % self.actions_per_point:
            raise ValueError(
                f"chunk_size {self.chunk_size} must be a multiple of actions_per_point {self.actions_per_point}"
            )


class Policy(ObservingPolicy):
    """Convolutions read the feature maps; an MLP reads their output and all other observations."""

    pools_maps = False
    spline: Tensor

    def __init__(self, config: Config, spec: PolicySpec, normalizer: Normalizer):
        super().__init__(config, spec, normalizer)
        n_inputs, self.heads = self.vector_dim, None
        if self.trunk is not None and self.trunk.makes_maps:
            heads = [MapHead(self.trunk.n_channels, spec.image_size) for _ in spec.cameras]
            self.heads, n_inputs = nn.ModuleList(heads), n_inputs + sum(head.n_outputs for head in heads)
        self.register_buffer("spline", cubic_spline(config.chunk_size, config.actions_per_point), persistent=False)
        n_outputs = self.spline.shape[1] * spec.action_dim
        self.to_chunk = Mlp(n_inputs, config.hidden_dim, config.n_layers, n_outputs)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        assert batch.action is not None and batch.is_pad is not None, "a training batch has actions"
        error = self.predict(batch) - self.normalizer.encode("action", batch.action)
        loss = masked_mean(error.abs() if self.config.loss == "l1" else error.square(), batch.is_pad)
        return {"loss": loss, self.config.loss: loss}

    def predict(self, batch: Batch) -> Tensor:
        observed = self.vectors(batch)[:, -1]
        if self.heads is not None:
            maps = self.maps(batch)[:, -1]
            observed = torch.cat([observed, *(head(maps[:, n]) for n, head in enumerate(self.heads))], dim=-1)
        points = rearrange(self.to_chunk(observed), "b (p a) -> b p a", a=self.spec.action_dim)
        return points if self.config.actions_per_point == 1 else self.spline @ points.float()


class MapHead(nn.Sequential):
    """Three 5x5 convolutions with no nonlinearity between them, as in the original; 480x640 pixels give 768 numbers.

    The original's convolutions have no padding, so each removes 4 rows and columns. Maps too small for that are padded.
    """

    def __init__(self, n_channels: int, image_size: tuple[int, int]):
        cells = [-(-pixels // STRIDE) for pixels in image_size]
        shrinks = min(cells) > len(CHANNELS) * (KERNEL - 1)
        convolutions = [
            nn.Conv2d(a, b, KERNEL, padding=0 if shrinks else "same") for a, b in pairwise((n_channels, *CHANNELS))
        ]
        super().__init__(*convolutions, nn.Flatten())
        height, width = (n - shrinks * len(CHANNELS) * (KERNEL - 1) for n in cells)
        self.n_outputs = CHANNELS[-1] * height * width

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, n_outputs)"""
        return super().forward(input).float()
