"""VINN: visual imitation by nearest neighbours (Pari et al. 2021, arXiv 2112.01511).

The policy repeats what was demonstrated in similar situations. Its memory holds all frames of the demonstrations, and
its answer is a mean of the chunks that begin at the k nearest frames, with weights exp(-distance). Nothing is trained:
`before_training` fills the memory, which is saved with the weights. The paper's features come from BYOL; here they are
the keypoints of a frozen detector that was pretrained on random scenes, or the poses of the objects.

Letters: B batch, K chunk, A action, Q joints, n frames in memory, V features of one frame, N all frames.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from act.data.batch import Batch
from act.data.normalize import Normalizer
from act.policies.base.observing import ObservingConfig, ObservingPolicy
from act.policies.base.policy import TrainingData, masked_mean
from act.types import PolicySpec

MOST_NEIGHBOURS = 50  # the largest adaptive k, as in the paper
N_TRIALS, TRIAL_BATCH = 512, 32  # frames whose chunks are predicted to choose k, and how many at once


@dataclass(frozen=True)
class Config(ObservingConfig):
    """How frames are compared, and how many neighbours are used."""

    learns_by_gradient: ClassVar[bool] = False
    may_be_zero: ClassVar[frozenset[str]] = frozenset({"k"})

    k: int = 0
    """Number of neighbours; 0: the number, at most 50, that predicts the training episodes from each other best."""
    state_weight: float = 10.0
    """Weight of the distance between joints [rad, grippers 0-1], relative to that of features (ACT paper: 10, or 0)."""
    temperature: float = 1.0
    """Distance over which the weight of a neighbour falls to 1/e."""

    @property
    def needs_whole_chunks(self) -> bool:
        return True

    @classmethod
    def preset(cls, name: str) -> Self:
        """ "paper": single actions; "fast": chunks, images alone; "state": chunks, object poses and joints.

        Distances between neighbours differ by tenths only, so the last two have a low temperature.
        """
        if name == "paper":
            return cls(chunk_size=1, backbone="keypoints", backbone_weights="sim", freeze_backbone=True)
        if name == "aloha":
            raise ValueError("VINN trains no backbone, so it has no preset 'aloha'; use fast, state or paper")
        values: dict[str, Any] = {
            "state_weight": 0.0 if name == "fast" else 10.0,
            "temperature": 0.1,
            "input_noise": 0.0,
        }
        return cls(**cls.observes(name) | values)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.relative_actions:
            raise ValueError("VINN recalls demonstrated joint targets, which are absolute; leave relative_actions out")
        if self.use_images and not (self.freeze_backbone and self.backbone == "keypoints"):
            raise ValueError("VINN trains no backbone; use --backbone keypoints --freeze_backbone, or --no_use_images")
        if self.input_noise:
            raise ValueError(f"input_noise {self.input_noise} has no effect on VINN, which trains nothing; use 0")
        if self.temperature == 0:
            raise ValueError(f"temperature {self.temperature} must be positive")


class Policy(ObservingPolicy):
    """The memory, held in buffers: n frames that can be neighbours, and the actions of their episodes."""

    seen_there: Tensor  # (n, V) normalised
    qpos_there: Tensor  # (n, Q) [rad, grippers 0-1]
    row: Tensor  # (n,) row of `actions` where the chunk of a frame begins
    last: Tensor  # (n,) row beyond which that chunk repeats its last action
    actions: Tensor  # (N, A) normalised: of all frames, then of the chunks that were given as labels
    k: Tensor  # () number of neighbours

    def __init__(self, config: Config, spec: PolicySpec, normalizer: Normalizer):
        super().__init__(config, spec, normalizer)
        self.requires_grad_(False)
        self.register_buffer("seen_there", torch.zeros(0, self.vector_dim - spec.qpos_dim))
        self.register_buffer("qpos_there", torch.zeros(0, spec.qpos_dim))
        self.register_buffer("row", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("last", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("actions", torch.zeros(0, spec.action_dim))
        self.register_buffer("k", torch.tensor(config.k))
        self.register_load_state_dict_pre_hook(_make_room)

    def before_training(self, dataset: TrainingData) -> None:
        """Fills the memory with the trainable frames; chooses k where it is adaptive."""
        super().before_training(dataset)
        rows, device = dataset.trainable, self.device
        optional: dict[str, Tensor] = {}
        if dataset.env_state is not None:
            optional["env_state"] = dataset.env_state[rows, None]
        if self.spec.cameras:
            optional["features"] = dataset.features(rows)[:, None]
        self.seen_there, self.qpos_there = self._keys(Batch(dataset.qpos[rows, None], **optional).to(device))
        actions, first, last = dataset.spans(rows)
        self.actions = self.normalizer.encode("action", actions.to(device))
        self.row, self.last = first.to(device), last.to(device)
        if self.config.k == 0:
            self.k.fill_(self._best_k(torch.searchsorted(dataset.starts, rows, right=True).to(device)))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """ "loss": L1 error of the recalled chunks, without a gradient. Frames in memory recall themselves."""
        assert batch.action is not None and batch.is_pad is not None, "a training batch has actions"
        error = self.predict(batch) - self.normalizer.encode("action", batch.action)
        return {"loss": masked_mean(error.abs(), batch.is_pad)}

    def predict(self, batch: Batch) -> Tensor:
        distances = self._distances(*self._keys(batch))
        if int(self.k) > distances.shape[1]:
            raise ValueError(f"k {int(self.k)} exceeds the {distances.shape[1]} frames in memory; train with more")
        distances, index = distances.topk(int(self.k), largest=False)
        return torch.einsum("bn,bnka->bka", (-distances / self.config.temperature).softmax(-1), self._chunks(index))

    def _keys(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The newest observations as normalised features (B, V), and their joints (B, Q) in physical units."""
        parts = [self.object_poses(batch)[:, -1]] if self.spec.env_state_dim else []
        parts += [self.keypoints(batch)[:, -1].flatten(1)] if self.spec.cameras else []
        return torch.cat(parts, dim=-1), batch.qpos[:, -1]

    def _distances(self, features: Tensor, qpos: Tensor) -> Tensor:
        """(B, n) from all frames in memory, of features (B, V) and joints (B, Q)."""
        exactly = "donot_use_mm_for_euclid_dist"  # matmuls lose the millimetres between neighbouring frames
        distance = torch.cdist(features, self.seen_there, compute_mode=exactly)
        return distance + self.config.state_weight * torch.cdist(qpos, self.qpos_there, compute_mode=exactly)

    def _chunks(self, index: Tensor) -> Tensor:
        """Chunks (..., K, A) that begin at frames `index` (...); past an episode's end its last action is repeated."""
        steps = self.row[index][..., None] + torch.arange(self.chunk_size, device=index.device)
        return self.actions[steps.minimum(self.last[index][..., None])]

    def _best_k(self, episode: Tensor) -> int:
        """The k with the least squared error on frames in memory that recall other episodes than their own (n,)."""
        others = len(episode) - int(torch.bincount(episode).amax())
        most = min(MOST_NEIGHBOURS, others)
        if most == 0:
            raise ValueError("an adaptive k needs two episodes, and there is one; record more, or choose --k 1")
        trials = torch.linspace(0, len(episode) - 1, min(N_TRIALS, len(episode)), device=episode.device).long()
        errors = torch.zeros(most, device=episode.device)
        for trial in trials.split(TRIAL_BATCH):
            distances = self._distances(self.seen_there[trial], self.qpos_there[trial])
            distances[episode[trial][:, None] == episode] = torch.inf
            distances, index = distances.topk(most, largest=False)
            weights = ((distances[:, :1] - distances) / self.config.temperature).exp()[..., None, None]
            means = (weights * self._chunks(index)).cumsum(1) / weights.cumsum(1)  # (B, k, K, A): of the first k
            errors += (means - self._chunks(trial)[:, None]).square().mean((0, 2, 3)) * len(trial)
        return int(errors.argmin()) + 1


def _make_room(policy: Policy, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Resizes the buffers of the memory to those that are about to be loaded."""
    for name in ("seen_there", "qpos_there", "row", "last", "actions"):
        if prefix + name in state:
            setattr(policy, name, getattr(policy, name).new_empty(state[prefix + name].shape))
