"""BeT, the behavior transformer (Shafiullah et al. 2022, arXiv 2206.11251): a bin of actions and an offset from it.

The demonstrated actions are clustered into bins. A causal transformer over the history of observations predicts, at
every position, the probability of each bin and an offset from its centre. Two ways of doing a task are then two bins,
not their mean. Bins and offsets are whole chunks, because the first actions of two ways are often the same; with
chunk_size 1 this is the paper's method.

Letters: B batch, T history, K chunk, A action, C bins, D width, V numbers of one observation.
"""

from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
from einops import rearrange
from torch import Tensor, nn

from act.data.batch import Batch
from act.data.normalize import Normalizer
from act.nn.chunks import draw
from act.nn.gpt import GPT
from act.nn.kmeans import kmeans
from act.policies.base.observing import ObservingConfig, ObservingPolicy
from act.policies.base.policy import TrainingData, masked_mean
from act.types import PolicySpec

MAX_CHUNKS = 8192  # that k-means clusters; more of them hardly change a few dozen centres


@dataclass(frozen=True)
class Config(ObservingConfig):
    """Sizes of BeT. The defaults are those of the baseline in the ACT paper (its table V)."""

    n_obs_steps: int = 100  # type: ignore[reportIncompatibleVariableOverride]
    """T: number of observations in the history; at the beginning of an episode the first one is repeated."""
    n_bins: int = 64
    """C: number of bins into which the demonstrated chunks are clustered."""
    hidden_dim: int = 768
    """D: width of every token."""
    n_layers: int = 6
    """Number of transformer layers."""
    n_heads: int = 6
    """Attention heads; hidden_dim must be a multiple of it."""
    dropout: float = 0.1
    """Dropout in attention, feed-forward and residuals of all layers."""
    focal_gamma: float = 2.0
    """Exponent of the focal loss (Lin et al. 2017): how little bins count that are predicted well; 0: cross-entropy."""
    offset_weight: float = 1000.0
    """Weight of the squared error of the offset, relative to the focal loss."""
    decode: Literal["sample", "argmax"] = "sample"
    """How a bin is chosen when the policy acts: sampled by probability (the paper), or the most probable one."""

    @classmethod
    def preset(cls, name: str) -> Self:
        """ "paper": single actions and a history of 100 frozen features; else: chunks, in minutes on two CPU cores."""
        if name == "paper":
            return cls(chunk_size=1, backbone="keypoints", backbone_weights="sim", freeze_backbone=True)
        sizes: dict[str, Any] = {"n_bins": 16, "hidden_dim": 128, "n_layers": 3, "n_heads": 4, "dropout": 0.0}
        return cls(**cls.observes(name), **sizes, n_obs_steps=10, offset_weight=10.0)

    @classmethod
    def training(cls, name: str) -> dict[str, Any]:
        """ "paper": table V, and the original's clipping without its betas; else: every frame, for the history."""
        if name == "paper":
            return {"lr": 1e-4, "batch_size": 64, "weight_decay": 0.1, "grad_clip": 1.0}
        return {"frame_stride": 1}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_bins < 2 or self.hidden_dim % self.n_heads or not 0 <= self.dropout < 1:
            raise ValueError(
                f"n_bins {self.n_bins} must be at least 2, hidden_dim {self.hidden_dim} a multiple of n_heads "
                f"{self.n_heads}, dropout {self.dropout} in [0, 1)"
            )


class Policy(ObservingPolicy):
    """One token per observation; one linear head predicts the bins and another their offsets."""

    centres: Tensor

    def __init__(self, config: Config, spec: PolicySpec, normalizer: Normalizer):
        super().__init__(config, spec, normalizer)
        dim, chunk = config.hidden_dim, config.chunk_size * spec.action_dim
        self.from_vectors = nn.Linear(self.vector_dim, dim)
        self.gpt = GPT(config.n_layers, dim, config.n_heads, config.dropout, config.n_obs_steps)
        self.to_logits = nn.Linear(dim, config.n_bins)
        self.to_offsets = nn.Linear(dim, config.n_bins * chunk)
        self.register_buffer("centres", torch.zeros(config.n_bins, config.chunk_size, spec.action_dim))  # normalised

    def before_training(self, dataset: TrainingData) -> None:
        super().before_training(dataset)
        rows = dataset.trainable[torch.randperm(len(dataset.trainable))[:MAX_CHUNKS]]
        chunks = self.normalizer.encode("action", dataset.labels(rows)[0].to(self.device))
        self.centres.copy_(kmeans(chunks.flatten(1), self.config.n_bins).unflatten(1, chunks.shape[1:]))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """ "loss" = "focal" + offset_weight * "offset", means over the positions that are not padding."""
        action, is_pad = batch.chunks()
        target = self.normalizer.encode("action", action)
        bins = self.encode(target, is_pad)
        x = self._positions(batch)
        bin_loss = focal(self.to_logits(x).float(), bins, self.config.focal_gamma)  # (B, T)
        error = (self.centres[bins] + self._offsets(x, bins) - target).square()
        losses = {"focal": masked_mean(bin_loss[..., None], is_pad[..., 0]), "offset": masked_mean(error, is_pad)}
        return {"loss": losses["focal"] + self.config.offset_weight * losses["offset"], **losses}

    def predict(self, batch: Batch) -> Tensor:
        x = self._positions(batch)[:, -1]
        logits = self.to_logits(x).float()
        bins = logits.argmax(-1) if self.config.decode == "argmax" else draw(logits)
        return self.centres[bins] + self._offsets(x, bins)

    def encode(self, chunks: Tensor, is_pad: Tensor) -> Tensor:
        """The bin (...) nearest to each of the normalised chunks (..., K, A), without their padding (..., K)."""
        real = (~is_pad).to(chunks.dtype)
        with torch.autocast(chunks.device.type, enabled=False):  # bf16 would confuse neighbouring centres
            products = (chunks * real[..., None]).flatten(-2) @ self.centres.flatten(1).T
            return (real @ self.centres.square().sum(-1).T - 2 * products).argmin(-1)

    def _positions(self, batch: Batch) -> Tensor:
        """(B, T, D): the output of the transformer at each observation."""
        return self.gpt(self.from_vectors(self.vectors(batch)))

    def _offsets(self, x: Tensor, bins: Tensor) -> Tensor:
        """Offsets (..., K, A) from the centres of the bins (...), predicted from tokens x (..., D)."""
        offsets = rearrange(self.to_offsets(x), "... (c k a) -> (... c) k a", c=len(self.centres), k=self.chunk_size)
        first = torch.arange(0, len(offsets), len(self.centres), device=bins.device)  # row of each token's first bin
        return offsets.index_select(0, first + bins.flatten()).unflatten(0, bins.shape).float()


def focal(logits: Tensor, target: Tensor, gamma: float) -> Tensor:
    """-(1 - p)^gamma log p for the probability p of the classes `target` (...) under logits (..., C)."""
    log_p = logits.log_softmax(-1).gather(-1, target[..., None])[..., 0]
    missing = (1 - log_p.exp()).clamp_min(torch.finfo(log_p.dtype).tiny)  # powers below 1 have no derivative at 0
    return -(missing**gamma) * log_p
