"""GMM: a mixture of Gaussians over whole chunks, one mode per way of doing a task (Mandlekar et al. 2021, 2108.03298).

The paper mixes single actions. Here one mode is chosen per chunk, so that the policy keeps to its way for as long as
the chunk lasts. The paper squashes the means with tanh into [-1, 1]; here means are free and actions are z-scored.

Letters: B batch, M modes, K chunk, A action.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from act.data.batch import Batch
from act.data.normalize import Normalizer
from act.nn.chunks import choose, normal
from act.nn.mlp import Mlp
from act.policies.base.observing import ObservingConfig, ObservingPolicy
from act.policies.base.policy import n_real
from act.types import PolicySpec


@dataclass(frozen=True)
class Config(ObservingConfig):
    """Sizes of the mixture, and which part of it is executed."""

    n_modes: int = 5
    """M: number of Gaussians."""
    hidden_dim: int = 1024
    """Units of each hidden layer."""
    n_layers: int = 2
    """Number of hidden layers."""
    min_std: float = 0.03
    """Smallest standard deviation [normalised]: it bounds the likelihood of an action that never changes."""
    mode: Literal["sample", "argmax"] = "sample"
    """How a mode is chosen when the policy acts: sampled by weight, or the one with the largest weight."""
    decode: Literal["mean", "sample"] = "mean"
    """What is executed of the chosen mode: its mean (the paper's "low-noise evaluation"), or a sample."""

    @classmethod
    def training(cls, name: str) -> dict[str, Any]:
        """ "paper": as Mandlekar et al. train with images."""
        return {"lr": 1e-4, "lr_backbone": 1e-4, "batch_size": 16} if name == "paper" else {}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.min_std == 0:
            raise ValueError(f"min_std {self.min_std} must be above 0")


class Policy(ObservingPolicy):
    """An MLP that predicts the weights, means and standard deviations of the mixture."""

    def __init__(self, config: Config, spec: PolicySpec, normalizer: Normalizer):
        super().__init__(config, spec, normalizer)
        self.n_numbers = config.chunk_size * spec.action_dim
        outputs = config.n_modes * (1 + 2 * self.n_numbers)
        self.to_mixture = Mlp(self.vector_dim, config.hidden_dim, config.n_layers, outputs)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """ "loss": negative log likelihood per number that is not padding [nats]."""
        assert batch.action is not None and batch.is_pad is not None, "a training batch has actions"
        target = self.normalizer.encode("action", batch.action)
        likelihood = log_likelihood(target, batch.is_pad, *self.mixture(batch))
        return {"loss": -likelihood.sum() / (n_real(batch.is_pad) * target.shape[-1])}

    def predict(self, batch: Batch) -> Tensor:
        logits, mean, std = self.mixture(batch)
        noise = normal(len(mean), (1 + self.n_numbers,), mean.device)  # one number chooses the mode
        uniform = torch.special.ndtr(noise[:, 0])
        index = choose(logits, uniform) if self.config.mode == "sample" else logits.argmax(-1)
        rows = torch.arange(len(index), device=index.device)
        if self.config.decode == "mean":
            return mean[rows, index]
        return mean[rows, index] + std[rows, index] * noise[:, 1:].view_as(mean[:, 0])

    def mixture(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (B, M), means and standard deviations (B, M, K, A) of the normalised chunk."""
        output = rearrange(self.to_mixture(self.vectors(batch)[:, -1]), "b (m n) -> b m n", m=self.config.n_modes)
        mean = rearrange(output[..., 1 : 1 + self.n_numbers], "b m (k a) -> b m k a", k=self.chunk_size)
        std = rearrange(F.softplus(output[..., 1 + self.n_numbers :]), "b m (k a) -> b m k a", k=self.chunk_size)
        return output[..., 0], mean, std + self.config.min_std


def log_likelihood(target: Tensor, is_pad: Tensor, logits: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """(B,) log likelihood of chunks (B, K, A), without their padding (B, K), under mixtures (B, M), (B, M, K, A)."""
    each = -0.5 * ((target[:, None] - mean) / std).square() - std.log() - 0.5 * math.log(2 * math.pi)
    each = each.masked_fill(is_pad[:, None, :, None], 0)
    return torch.logsumexp(logits.log_softmax(-1) + each.sum((2, 3)), dim=-1)
