"""BeT, the behavior transformer (Shafiullah et al. 2022, arXiv 2206.11251): which of the bins, and how far from it.

Actions are clustered into bins; a causal transformer over the history of observations says, at every position, how
likely each bin is and an offset from its centre, so that two ways of doing a thing are two bins and not their mean.
Letters: B batch, T history, K chunk, A action, C bins, D width, V numbers of one observation.

With chunks, bins and offsets are of whole chunks (the first actions of two ways are the same); K = 1 is the paper.
"""

from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from act.data.batch import Batch
from act.data.normalize import Normalizer
from act.nn.chunks import draw
from act.nn.gpt import GPT
from act.nn.kmeans import kmeans
from act.policies.base.observing import ObservingConfig, ObservingPolicy
from act.policies.base.policy import TrainingData, masked_mean
from act.types import PolicySpec

MAX_CHUNKS = 8192  # that k-means looks at; more say little more of a few dozen centres


@dataclass(frozen=True)
class Config(ObservingConfig):
    """Sizes of BeT; defaults are those of the ACT paper's baseline (its table V)."""

    n_obs_steps: int = 100  # type: ignore[reportIncompatibleVariableOverride]
    """T: observations of history; before the episode's beginning the first one stands, in training as in acting."""
    n_bins: int = 64
    """C: bins the chunks of the demonstrations are clustered into."""
    hidden_dim: int = 768
    """D: width of every token."""
    n_layers: int = 6
    """Transformer layers."""
    n_heads: int = 6
    """Attention heads; they divide hidden_dim."""
    dropout: float = 0.1
    """In attention, feed-forward and residuals."""
    focal_gamma: float = 2.0
    """How much the loss forgets what is already right (focal loss, Lin et al. 2017); 0: cross-entropy."""
    offset_weight: float = 1000.0
    """Weight of the squared error of the offset beside the focal loss."""
    decode: Literal["sample", "argmax"] = "sample"
    """Which bin acts: one drawn by its probability (the paper), or the likeliest."""

    @classmethod
    def preset(cls, name: str) -> Self:
        """ "paper": single steps after 100 frozen features; else: chunks, and minutes on two CPU cores."""
        if name == "paper":
            return cls(chunk_size=1, backbone="keypoints", backbone_weights="sim", freeze_backbone=True)
        sizes: dict[str, Any] = {"n_bins": 16, "hidden_dim": 128, "n_layers": 3, "n_heads": 4, "dropout": 0.0}
        return cls(**cls.sees(name), **sizes, n_obs_steps=10, offset_weight=10.0)

    @classmethod
    def training(cls, name: str) -> dict[str, Any]:
        """Table V but for its betas, and the clipping of the original; else what a history needs: every frame."""
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
    """The network: one token per observation, one linear head for the bins and one for their offsets."""

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
        """ "loss" = "focal" + offset_weight * "offset", means over all positions of the window that are real."""
        action, is_pad = batch.chunks()
        target = self.normalizer.encode("action", action)
        bins = self.encode(target, is_pad)
        x = self._positions(batch)
        wrong = focal(self.to_logits(x).float(), bins, self.config.focal_gamma)  # (B, T)
        error = (self.centres[bins] + self._offsets(x, bins) - target).square()
        losses = {"focal": masked_mean(wrong[..., None], is_pad[..., 0]), "offset": masked_mean(error, is_pad)}
        return {"loss": losses["focal"] + self.config.offset_weight * losses["offset"], **losses}

    def predict(self, batch: Batch) -> Tensor:
        x = self._positions(batch)[:, -1]
        logits = self.to_logits(x).float()
        bins = logits.argmax(-1) if self.config.decode == "argmax" else draw(logits)
        return self.centres[bins] + self._offsets(x, bins)

    def encode(self, chunks: Tensor, is_pad: Tensor) -> Tensor:
        """Bin (...) nearest to each of the normalised chunks (..., K, A), by what of them is not padding (..., K)."""
        real = (~is_pad).to(chunks.dtype)
        with torch.autocast(chunks.device.type, enabled=False):  # bf16 would mistake neighbours for each other
            products = (chunks * real[..., None]).flatten(-2) @ self.centres.flatten(1).T
            return (real @ self.centres.square().sum(-1).T - 2 * products).argmin(-1)

    def _positions(self, batch: Batch) -> Tensor:
        """(B, T, D): what the transformer says after each observation."""
        return self.gpt(self.from_vectors(self.vectors(batch)))

    def _offsets(self, x: Tensor, bins: Tensor) -> Tensor:
        """(..., K, A): offsets from the centres of the bins (...), after tokens x (..., D)."""
        offsets = self.to_offsets(x).view(-1, *self.centres.shape[1:])  # (all tokens' bins, K, A)
        first = torch.arange(0, len(offsets), len(self.centres), device=bins.device)  # of each token
        return offsets.index_select(0, first + bins.flatten()).unflatten(0, bins.shape).float()


def focal(logits: Tensor, target: Tensor, gamma: float) -> Tensor:
    """-(1 - p)^gamma log p for the probability p of the classes `target` (...), of logits (..., C)."""
    log_p = logits.log_softmax(-1).gather(-1, target[..., None])[..., 0]
    doubt = (1 - log_p.exp()).clamp_min(torch.finfo(log_p.dtype).tiny)  # of 0 a power below 1 has no derivative
    return -(doubt**gamma) * log_p
