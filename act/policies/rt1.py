"""RT-1 (Brohan et al. 2022, arXiv 2212.06817) without language: the last images as a few tokens, actions as classes.

Each camera's feature map becomes a few tokens (TokenLearner, Ryoo et al. 2021). A transformer that is causal over
frames reads the tokens of all frames. The mean of a frame's tokens predicts which of 256 bins each dimension of an
action is in. The backbone is the ResNet-18 or the keypoint detector that all policies share (the ACT paper's baseline
had a MaxViT). Joints, and object poses where they are used, are one more token per frame.

Letters: B batch, T history, K chunk, A action, N cameras, M tokens of one image, S tokens of one frame, D width,
C bins, h w cells of a feature map.
"""

from dataclasses import dataclass
from typing import Any, Self

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from act.data.batch import Batch
from act.data.normalize import Normalizer
from act.nn.bins import UniformBins
from act.nn.gpt import GPT
from act.policies.base.observing import ObservingConfig, ObservingPolicy
from act.policies.base.policy import TrainingData, masked_mean
from act.types import PolicySpec


@dataclass(frozen=True)
class Config(ObservingConfig):
    """Sizes of RT-1. The defaults are those of the baseline in the ACT paper (its table VII)."""

    n_obs_steps: int = 6  # type: ignore[reportIncompatibleVariableOverride]
    """T: number of frames in the history; at the beginning of an episode the first one is repeated."""
    n_tokens: int = 8
    """M: tokens per feature map of a ResNet; the keypoints of a camera are always one token."""
    n_bins: int = 256
    """C: bins between the smallest and the largest action of the demonstrations, per dimension."""
    hidden_dim: int = 512
    """D: width of every token."""
    n_layers: int = 6
    """Number of transformer layers."""
    n_heads: int = 8
    """Attention heads; hidden_dim must be a multiple of it."""
    dropout: float = 0.1
    """Dropout in attention, feed-forward and residuals of all layers."""

    @classmethod
    def preset(cls, name: str) -> Self:
        """ "paper": single actions; else: short chunks (the head has K A C outputs), in minutes on two CPU cores."""
        if name == "paper":
            return cls(chunk_size=1)
        sizes: dict[str, Any] = {"chunk_size": 10, "hidden_dim": 128, "n_layers": 3, "n_heads": 4, "dropout": 0.0}
        return cls(**cls.observes(name) | sizes)

    @classmethod
    def training(cls, name: str) -> dict[str, Any]:
        """ "paper": table VII; else: every frame, for the history, and a smaller batch, for the many logits."""
        if name == "paper":
            return {"lr": 1e-5, "batch_size": 2, "weight_decay": 0.0}
        return {"frame_stride": 1, "batch_size": 32}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_bins < 2 or self.hidden_dim % self.n_heads or not 0 <= self.dropout < 1:
            raise ValueError(
                f"n_bins {self.n_bins} must be at least 2, hidden_dim {self.hidden_dim} a multiple of n_heads "
                f"{self.n_heads}, dropout {self.dropout} in [0, 1)"
            )


class Policy(ObservingPolicy):
    """The network. Tokens of a frame: joints and object poses, then those of each camera."""

    pools_maps = False

    def __init__(self, config: Config, spec: PolicySpec, normalizer: Normalizer):
        super().__init__(config, spec, normalizer)
        dim, n_cameras, per_camera = config.hidden_dim, len(spec.cameras), 1
        self.from_vectors = nn.Linear(spec.qpos_dim + spec.env_state_dim, dim)
        self.learner, self.from_keypoints = None, nn.ModuleList()
        if self.trunk is not None and self.trunk.makes_maps:
            self.learner, per_camera = TokenLearner(self.trunk.n_channels, dim, config.n_tokens), config.n_tokens
        elif self.trunk is not None:
            n_features = self.trunk.n_channels
            self.from_keypoints.extend(nn.Linear(n_features, dim) for _ in range(n_cameras))
        tokens = 1 + n_cameras * per_camera
        self.gpt = GPT(config.n_layers, dim, config.n_heads, config.dropout, config.n_obs_steps, tokens)
        self.bins = UniformBins(spec.action_dim, config.n_bins)  # of normalised actions
        self.to_logits = nn.Linear(dim, config.chunk_size * spec.action_dim * config.n_bins)

    def before_training(self, dataset: TrainingData) -> None:
        super().before_training(dataset)
        self.bins.fit(self.normalizer.encode("action", dataset.targets.to(self.device)))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """ "loss": cross-entropy [nats per dimension] of the bins, a mean over the frames that are not padding."""
        action, is_pad = batch.chunks()
        target = self.bins.encode(self.normalizer.encode("action", action))
        logits = self._logits(self._frames(batch))
        error = F.cross_entropy(logits.flatten(0, -2), target.flatten(), reduction="none").view(target.shape)
        return {"loss": masked_mean(error, is_pad)}

    def predict(self, batch: Batch) -> Tensor:
        return self.bins.decode(self._logits(self._frames(batch)[:, -1]).argmax(-1))

    def _frames(self, batch: Batch) -> Tensor:
        """(B, T, D): the mean of each frame's tokens after the transformer."""
        vectors = [self.joints(batch)] + ([self.object_poses(batch)] if self.spec.env_state_dim else [])
        tokens = [self.from_vectors(torch.cat(vectors, dim=-1))[:, :, None]]
        if self.learner is not None:
            maps = self.maps(batch)
            learned = self.learner(rearrange(maps, "b t n c h w -> (b t n) c h w"))
            tokens.append(rearrange(learned, "(b t n) m d -> b t (n m) d", t=maps.shape[1], n=maps.shape[2]))
        elif self.from_keypoints:
            features = self.keypoints(batch)
            projected = [project(features[:, :, n]) for n, project in enumerate(self.from_keypoints)]
            tokens.append(torch.stack(projected, dim=2))
        x = torch.cat([token.float() for token in tokens], dim=2)
        output = self.gpt(rearrange(x, "b t s d -> b (t s) d"))
        return rearrange(output, "b (t s) d -> b t s d", s=x.shape[2]).mean(2)

    def _logits(self, x: Tensor) -> Tensor:
        """(..., K, A, C) of frames x (..., D)."""
        sizes = {"k": self.chunk_size, "c": self.config.n_bins}
        return rearrange(self.to_logits(x).float(), "... (k a c) -> ... k a c", **sizes)


class TokenLearner(nn.Module):
    """Turns feature maps (B, C, h, w) into M tokens (B, M, D): each is a mean over the cells with learned weights."""

    def __init__(self, n_channels: int, dim: int, n_tokens: int):
        super().__init__()
        self.project = nn.Linear(n_channels, dim)
        self.weigh = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 64), nn.GELU(), nn.Linear(64, n_tokens))

    def weights(self, cells: Tensor) -> Tensor:
        """(B, M, h w): positive weights of the cells (B, h w, D); they sum to 1."""
        return self.weigh(cells).float().softmax(1).mT

    def forward(self, maps: Tensor) -> Tensor:
        cells = self.project(rearrange(maps, "b c h w -> b (h w) c"))
        return self.weights(cells).to(cells.dtype) @ cells
