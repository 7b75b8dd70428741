"""Categorical: actions as classes, so that their distribution may have any shape.

By default the range of every number of the chunk is cut into equal bins, and each number is chosen independently, so
that dependences between numbers are lost. With `joint`, a class is a whole chunk: one of the k-means centres of the
demonstrated chunks (the bins of BeT, arXiv 2206.11251, without its offsets). The numbers of a chunk then fit each
other, but the chunk is only as accurate as the nearest centre.

Letters: B batch, K chunk, A action, C bins.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from act.data.batch import Batch
from act.data.normalize import Normalizer
from act.nn.bins import UniformBins
from act.nn.chunks import draw, hold
from act.nn.kmeans import kmeans, nearest
from act.nn.mlp import Mlp
from act.policies.base.observing import ObservingConfig, ObservingPolicy
from act.policies.base.policy import TrainingData, masked_mean
from act.types import PolicySpec

MOST_CHUNKS = 10_000  # that k-means clusters
RANK = 16  # numbers from which the logits of 256 bins are computed; a single peak needs 3


@dataclass(frozen=True)
class Config(ObservingConfig):
    """What the classes are, and which of them is executed."""

    joint: bool = False
    """Use whole chunks as classes, instead of each number of the chunk."""
    n_bins: int = 256
    """C: number of classes."""
    decode: Literal["sample", "argmax", "mean"] = "sample"
    """What is executed: a sampled class, the most probable one, or the mean of all (what an l2 loss would learn)."""
    hidden_dim: int = 1024
    """Units of each hidden layer."""
    n_layers: int = 2
    """Number of hidden layers."""

    @property
    def needs_whole_chunks(self) -> bool:
        return self.joint

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_bins < 2:
            raise ValueError(f"n_bins {self.n_bins} must be at least 2")


class Policy(ObservingPolicy):
    """An MLP that predicts the logits of all classes."""

    codes: Tensor  # (C, K, A): the normalised chunks that joint classes stand for

    def __init__(self, config: Config, spec: PolicySpec, normalizer: Normalizer):
        super().__init__(config, spec, normalizer)
        shape = (config.chunk_size, spec.action_dim)
        if config.joint:
            self.to_logits = Mlp(self.vector_dim, config.hidden_dim, config.n_layers, config.n_bins)
            self.register_buffer("codes", torch.zeros(config.n_bins, *shape))
        else:
            code = Mlp(self.vector_dim, config.hidden_dim, config.n_layers, shape[0] * shape[1] * RANK)
            self.to_logits = nn.Sequential(code, nn.Unflatten(-1, (*shape, RANK)), nn.Linear(RANK, config.n_bins))
            self.bins = UniformBins(spec.action_dim, config.n_bins)

    def before_training(self, dataset: TrainingData) -> None:
        super().before_training(dataset)
        if not self.config.joint:
            self.bins.fit(self.normalizer.encode("action", dataset.targets.to(self.device)))
            return
        rows = dataset.trainable[torch.randperm(len(dataset.trainable))[:MOST_CHUNKS]]
        chunks = self.normalizer.encode("action", hold(*dataset.labels(rows)).to(self.device))
        self.codes.copy_(kmeans(chunks.flatten(1), self.config.n_bins).view_as(self.codes))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """ "loss": cross-entropy [nats] of the true class; a mean over the numbers that are not padding."""
        assert batch.action is not None and batch.is_pad is not None, "a training batch has actions"
        target = self.normalizer.encode("action", batch.action)
        logits = self._logits(batch)
        if self.config.joint:
            index = nearest(hold(target, batch.is_pad).flatten(1), self.codes.flatten(1))
            return {"loss": F.cross_entropy(logits, index)}
        index = self.bins.encode(target)
        error = F.cross_entropy(logits.flatten(0, 2), index.flatten(), reduction="none").view_as(target)
        return {"loss": masked_mean(error, batch.is_pad)}

    def predict(self, batch: Batch) -> Tensor:
        logits = self._logits(batch)
        if self.config.decode == "mean":
            probabilities = logits.softmax(-1)
            if self.config.joint:
                return torch.tensordot(probabilities, self.codes, dims=1)
            return self.bins.decode(probabilities @ torch.arange(self.config.n_bins, device=logits.device).float())
        index = draw(logits) if self.config.decode == "sample" else logits.argmax(-1)
        return self.codes[index] if self.config.joint else self.bins.decode(index)

    def _logits(self, batch: Batch) -> Tensor:
        """Logits (B, C) of whole chunks, or (B, K, A, C) of the numbers of a chunk."""
        return self.to_logits(self.vectors(batch)[:, -1]).float()
