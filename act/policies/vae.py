"""VAE: a conditional variational autoencoder of chunks with MLPs for encoder and decoder: ACT without its transformer.

What is seen and the demonstrated chunk -> z; what is seen and z -> the whole chunk at once, with no query per action.
Weights of the losses mean what they mean in ACT (arXiv 2304.13705).

Letters: B batch, K chunk, A action, L latent.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from act.data.batch import Batch
from act.data.normalize import Normalizer
from act.nn.chunks import normal
from act.nn.mlp import Mlp
from act.policies.base.observing import ObservingConfig, ObservingPolicy
from act.policies.base.policy import masked_mean
from act.types import PolicySpec


@dataclass(frozen=True)
class Config(ObservingConfig):
    """Sizes of the VAE."""

    hidden_dim: int = 1024
    """Units of each hidden layer, in encoder and decoder."""
    n_layers: int = 2
    """Hidden layers of each."""
    latent_dim: int = 32
    """L: size of the latent z."""
    latent: Literal["zero", "prior"] = "zero"
    """z when the policy acts: the prior's mean (ACT) or a sample of N(0, I)."""
    kl_weight: float = 10.0
    """Weight of the KL divergence beside the reconstruction: z is used where it saves more than this per nat."""
    loss: Literal["l1", "l2"] = "l1"
    """Reconstruction error of the chunk, a mean over the actions that are not padding."""


class Policy(ObservingPolicy):
    """Two MLPs."""

    def __init__(self, config: Config, spec: PolicySpec, normalizer: Normalizer):
        super().__init__(config, spec, normalizer)
        seen, chunk = self.vector_dim, config.chunk_size * spec.action_dim
        self.encoder = Mlp(seen + chunk, config.hidden_dim, config.n_layers, 2 * config.latent_dim)
        self.decoder = Mlp(seen + config.latent_dim, config.hidden_dim, config.n_layers, chunk)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """ "loss" = reconstruction + kl_weight * "kl" [nats]; the reconstruction is named after the config ("l1")."""
        assert batch.action is not None and batch.is_pad is not None, "a training batch has actions"
        target, seen = self.normalizer.encode("action", batch.action), self.vectors(batch)[:, -1]
        shown = target.masked_fill(batch.is_pad[..., None], 0).flatten(1)
        mu, logvar = self.encoder(torch.cat([seen, shown], dim=-1)).chunk(2, dim=-1)
        kl = -0.5 * (1 + logvar - mu.square() - logvar.exp()).sum(-1).mean()
        error = self._decode(seen, mu + (0.5 * logvar).exp() * torch.randn_like(mu)) - target
        reconstruction = masked_mean(error.abs() if self.config.loss == "l1" else error.square(), batch.is_pad)
        return {"loss": reconstruction + self.config.kl_weight * kl, self.config.loss: reconstruction, "kl": kl}

    def predict(self, batch: Batch) -> Tensor:
        seen, n_latent = self.vectors(batch)[:, -1], self.config.latent_dim
        if self.config.latent == "zero":
            return self._decode(seen, seen.new_zeros(len(seen), n_latent))
        return self._decode(seen, normal(len(seen), (n_latent,), seen.device))

    def _decode(self, seen: Tensor, latent: Tensor) -> Tensor:
        """Normalised chunk (B, K, A) from what is seen (B, V) and z (B, L)."""
        return self.decoder(torch.cat([seen, latent], dim=-1)).unflatten(-1, (self.chunk_size, -1))
