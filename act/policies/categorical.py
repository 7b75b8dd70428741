"""Categorical: actions as classes, so that a distribution over them may have any shape.

per dimension: the range of every number of the chunk in equal bins, each chosen alone; what belongs together across
numbers is lost. joint: the class is a whole chunk, one of the k-means centres of the demonstrated ones (the bins of
BeT, arXiv 2206.11251, for chunks and without its offsets); a chunk is then of one piece, but only as near as a centre.

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

MOST_CHUNKS = 10_000  # that k-means looks at
RANK = 16  # numbers that say where in 256 bins the probability lies; one hump needs 3


@dataclass(frozen=True)
class Config(ObservingConfig):
    """What the classes are, and which one is executed."""

    joint: bool = False
    """Whether a class is a whole chunk, instead of one number of it."""
    n_bins: int = 256
    """C: classes."""
    decode: Literal["sample", "argmax", "mean"] = "sample"
    """Which one is executed: drawn by its probability, the likeliest, or the mean of all (which is l2 again)."""
    hidden_dim: int = 1024
    """Units of each hidden layer."""
    n_layers: int = 2
    """Hidden layers."""

    @property
    def needs_whole_chunks(self) -> bool:
        return self.joint

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_bins < 2:
            raise ValueError(f"n_bins {self.n_bins} must be at least 2")


class Policy(ObservingPolicy):
    """An MLP that says the logits of all classes."""

    codes: Tensor  # (C, K, A): the normalised chunks that joint classes stand for

    def __init__(self, config: Config, spec: PolicySpec, normalizer: Normalizer):
        super().__init__(config, spec, normalizer)
        shape = (config.chunk_size, spec.action_dim)
        if config.joint:
            self.to_logits = Mlp(self.vector_dim, config.hidden_dim, config.n_layers, config.n_bins)
            self.register_buffer("codes", torch.zeros(config.n_bins, *shape))
        else:
            where = Mlp(self.vector_dim, config.hidden_dim, config.n_layers, shape[0] * shape[1] * RANK)
            self.to_logits = nn.Sequential(where, nn.Unflatten(-1, (*shape, RANK)), nn.Linear(RANK, config.n_bins))
            self.bins = UniformBins(spec.action_dim, config.n_bins)

    def before_training(self, dataset: TrainingData) -> None:
        super().before_training(dataset)
        if not self.config.joint:
            self.bins.fit(self.normalizer.encode("action", dataset.action.to(self.device)))
            return
        rows = dataset.trainable[torch.randperm(len(dataset.trainable))[:MOST_CHUNKS]]
        chunks = self.normalizer.encode("action", hold(*dataset.labels(rows)).to(self.device))
        self.codes.copy_(kmeans(chunks.flatten(1), self.config.n_bins).view_as(self.codes))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """ "loss": cross-entropy [nats] of the true class, or its mean over the numbers that are not padding."""
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
            chances = logits.softmax(-1)
            if self.config.joint:
                return torch.tensordot(chances, self.codes, dims=1)
            return self.bins.decode(chances @ torch.arange(self.config.n_bins, device=logits.device).float())
        index = draw(logits) if self.config.decode == "sample" else logits.argmax(-1)
        return self.codes[index] if self.config.joint else self.bins.decode(index)

    def _logits(self, batch: Batch) -> Tensor:
        """(B, C) of the chunk, or (B, K, A, C) of its numbers."""
        return self.to_logits(self.vectors(batch)[:, -1]).float()
