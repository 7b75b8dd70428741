"""VAE: a conditional variational autoencoder of chunks, made of two MLPs: ACT without its transformer.

The encoder turns the observation and the demonstrated chunk into z. The decoder turns the observation and z into the
whole chunk at once, without a query per action. The losses have the same weights as in ACT (arXiv 2304.13705).

Letters: B batch, K chunk, A action, L latent, V numbers of one observation.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from einops import rearrange
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
    """Units of each hidden layer, in the encoder and in the decoder."""
    n_layers: int = 2
    """Number of hidden layers of each."""
    latent_dim: int = 32
    """L: size of the latent z."""
    latent: Literal["zero", "prior"] = "zero"
    """z when the policy acts: the mean of the prior (as in ACT) or a sample of N(0, I)."""
    kl_weight: float = 10.0
    """Weight of the KL divergence in the loss: z is used where each nat of it saves more reconstruction error."""
    loss: Literal["l1", "l2"] = "l1"
    """Reconstruction error of the chunk, a mean over the actions that are not padding."""


class Policy(ObservingPolicy):
    """The two MLPs."""

    def __init__(self, config: Config, spec: PolicySpec, normalizer: Normalizer):
        super().__init__(config, spec, normalizer)
        observed, chunk = self.vector_dim, config.chunk_size * spec.action_dim
        self.encoder = Mlp(observed + chunk, config.hidden_dim, config.n_layers, 2 * config.latent_dim)
        self.decoder = Mlp(observed + config.latent_dim, config.hidden_dim, config.n_layers, chunk)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """ "loss" = reconstruction + kl_weight * "kl" [nats]; the reconstruction is named after the config ("l1")."""
        assert batch.action is not None and batch.is_pad is not None, "a training batch has actions"
        target, observed = self.normalizer.encode("action", batch.action), self.vectors(batch)[:, -1]
        chunk = target.masked_fill(batch.is_pad[..., None], 0).flatten(1)  # the padding is no demonstration
        mu, logvar = self.encoder(torch.cat([observed, chunk], dim=-1)).chunk(2, dim=-1)
        kl = -0.5 * (1 + logvar - mu.square() - logvar.exp()).sum(-1).mean()
        error = self._decode(observed, mu + (0.5 * logvar).exp() * torch.randn_like(mu)) - target
        reconstruction = masked_mean(error.abs() if self.config.loss == "l1" else error.square(), batch.is_pad)
        return {"loss": reconstruction + self.config.kl_weight * kl, self.config.loss: reconstruction, "kl": kl}

    def predict(self, batch: Batch) -> Tensor:
        observed, n_latent = self.vectors(batch)[:, -1], self.config.latent_dim
        if self.config.latent == "zero":
            return self._decode(observed, observed.new_zeros(len(observed), n_latent))
        return self._decode(observed, normal(len(observed), (n_latent,), observed.device))

    def _decode(self, observed: Tensor, latent: Tensor) -> Tensor:
        """Normalised chunk (B, K, A) from observations (B, V) and z (B, L)."""
        chunk = self.decoder(torch.cat([observed, latent], dim=-1))
        return rearrange(chunk, "b (k a) -> b k a", k=self.chunk_size)
