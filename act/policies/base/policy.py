"""What every policy is: a stateless network with its normalizer. History and chunk execution live in the agent.

A policy file adds a frozen `Config(PolicyConfig)`, `Policy.loss` and `Policy.predict`, and the hooks it needs.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import torch
from torch import Tensor, nn

from act.data.batch import Batch, SceneBatch
from act.data.normalize import Normalizer
from act.distributed import averaged
from act.types import Observation, PolicySpec, tuples


class TrainingData(Protocol):
    """What the hooks around training may look at: every frame of the training episodes, on the CPU."""

    qpos: Tensor  # (frames, Q)
    action: Tensor  # (frames, A)
    env_state: Tensor | None  # (frames, E)
    observed: Tensor  # rows of the frames with an observation
    trainable: Tensor  # rows among them that are ever drawn: not all frames of a DAgger episode are labelled
    starts: Tensor  # (episodes + 1,) int64: episode e is frames starts[e] ... starts[e + 1] - 1
    last: Tensor  # (frames,) int64: the last row of the chunk that begins at each frame, however long it is

    def features(self, rows: Tensor) -> Tensor:
        """(n, N, F) or (n, N, C, h, w) of observed rows (n,), where the policy has a frozen backbone."""
        ...

    def images(self, rows: Tensor) -> Tensor:
        """(n, N, H, W, 3) uint8 of rows (n,), where the policy's backbone is not frozen."""
        ...

    def labels(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The chunks (n, K, A) that begin at rows (n,), and where they are padding (n, K)."""
        ...

    def spans(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The same without copies: (actions (N, A), first (n,), last (n,)); past its last a chunk repeats that."""
        ...


@dataclass(frozen=True)
class PolicyConfig:
    """What all policies share."""

    learns_by_gradient: ClassVar[bool] = True  # otherwise `before_training` is all there is to training
    may_be_zero: ClassVar[frozenset[str]] = frozenset()  # whole numbers where 0 has a meaning
    learns_from_scenes: ClassVar[bool] = False  # whether the policy has a `scene_loss`

    chunk_size: int = 100
    """K: actions predicted at once, 0.02 s each."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, kind = getattr(self, field.name), type(field.default)
            if kind is int and value < 1 and field.name not in self.may_be_zero:
                raise ValueError(f"{field.name} {value} must be at least 1")
            if kind in (int, float) and not 0 <= value < math.inf:
                raise ValueError(f"{field.name} {value} must be a number that is not negative")

    @property
    def n_obs_steps(self) -> int:
        """T: observations of history the policy sees."""
        return 1

    @property
    def looks(self) -> bool:
        """Whether the policy looks through cameras."""
        return True

    @property
    def trains_backbone(self) -> bool:
        """Whether training changes the visual backbone, so that augmented images mean something."""
        return self.looks

    def with_paths(self, env_name: str) -> Self:
        """The same with the default folder of this task's backbone, where one is wanted and none is named."""
        return self

    @property
    def needs_whole_chunks(self) -> bool:
        """Whether a chunk that a hand-over cuts short teaches nothing: its loss cannot leave out a part of one."""
        return False

    @property
    def without_effect(self) -> dict[str, str]:
        """Settings that mean nothing beside the others, and when they do: train.py refuses flags for them."""
        return {}

    @classmethod
    def preset(cls, name: str) -> Self:
        """The policy's part of a training preset ("paper", "fast"); a policy file overrides what differs."""
        return cls()

    @classmethod
    def training(cls, name: str) -> dict[str, Any]:
        """Fields of TrainConfig in which the preset `name` differs for this policy."""
        return {}

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """From what `to_json` gave. Raises ValueError naming fields this version does not have."""
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ValueError(f"The saved config has {', '.join(unknown)}, which this version's {cls.__module__} lacks.")
        return cls(**tuples(values))


class Policy(nn.Module):
    """Base of all policies. `loss` and `predict` speak Batch, `predict_chunk` observations and physical units."""

    def __init__(self, config: Any, spec: PolicySpec, normalizer: Normalizer):
        super().__init__()
        self.config, self.spec, self.normalizer = config, spec, normalizer

    @classmethod
    def create(cls, config: Any, spec: PolicySpec, normalizer: Normalizer) -> Self:
        """A fresh policy to train: pretrained weights, where asked for, are loaded here and only here."""
        return cls(config, spec, normalizer)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Scalars of a training batch, "loss" (to minimise) among them; the same meaning in train and eval mode."""
        raise NotImplementedError

    def scene_loss(self, scenes: SceneBatch) -> Tensor:
        """The loss of locating keypoints in random scenes (co-training), a scalar."""
        raise NotImplementedError(f"{type(self).__module__} does not learn from random scenes")

    def predict(self, batch: Batch) -> Tensor:
        """Normalised chunks (B, K, A) for the newest observations of `batch`."""
        raise NotImplementedError

    def act_on(self, batch: Batch) -> Tensor:
        """`predict`, in the way that takes the least time; batch norms and dropout are in eval mode."""
        return self.predict(batch)

    @torch.no_grad()
    def predict_chunk(self, histories: Sequence[Sequence[Observation]]) -> np.ndarray:
        """Chunks (B, K, A) float32 in physical units for B histories of `n_obs_steps` observations, oldest first."""
        cameras = self.spec.cameras if self.needs_images else ()
        batch = Batch.from_histories(histories, cameras, self.spec.image_size, self.spec.env_state_dim > 0)
        with self._acting():
            chunks = self.normalizer.decode("action", self.act_on(batch.to(self.device)).float())
        return chunks.cpu().numpy()

    @torch.no_grad()
    def encode_observations(self, observations: Sequence[Observation]) -> list[Observation]:
        """The observations with `features` in place of images: what an agent keeps for `predict_chunk`."""
        if not self.needs_images:
            return list(observations)
        batch = Batch.from_histories([[obs] for obs in observations], self.spec.cameras, self.spec.image_size)
        assert batch.images is not None
        with self._acting():
            features = self.encode_images(batch.images.to(self.device))[:, 0].float().cpu().numpy()
        return [
            {key: value for key, value in obs.items() if key != "images"} | {"features": feature}
            for obs, feature in zip(observations, features, strict=True)
        ]

    @contextmanager
    def _acting(self) -> Iterator[None]:
        """Inside, dropout and batch norms are in eval mode."""
        was_training = self.training
        self.eval()
        try:
            yield
        finally:
            self.train(was_training)

    @property
    def chunk_size(self) -> int:
        return self.config.chunk_size

    @property
    def n_obs_steps(self) -> int:
        return self.config.n_obs_steps

    @property
    def needs_images(self) -> bool:
        return bool(self.spec.cameras)

    @property
    def device(self) -> torch.device:
        return next(self.buffers()).device  # the normalizer's; a policy may have no parameters

    @property
    def has_frozen_trunk(self) -> bool:
        """Whether `encode_images` never changes, so that features can be computed once per frame."""
        return False

    def encode_images(self, images: Tensor) -> Tensor:
        """(B, T, N, H, W, 3) uint8 -> features (B, T, N, F) or (B, T, N, C, h, w): all that is kept of images.

        Those of a frozen backbone are computed once per frame of the data, an agent's once per control step.
        """
        raise NotImplementedError(f"{type(self).__module__} has no features of images")

    def before_training(self, dataset: TrainingData) -> None:
        """Once, before the first step, with features cached: statistics of features, k-means, an index, ..."""

    def backbone_parameters(self) -> list[nn.Parameter]:
        """Parameters that get their own learning rate: a pretrained visual trunk."""
        return []

    def parameter_groups(self, lr: float, weight_decay: float, lr_backbone: float | None = None) -> list[dict]:
        """Groups for AdamW: matrices decay, vectors (biases, norms) do not; the backbone has its own rate."""
        backbone = {id(parameter) for parameter in self.backbone_parameters()}
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for parameter in self.parameters():
            if parameter.requires_grad:
                groups.setdefault((id(parameter) in backbone, parameter.ndim > 1), []).append(parameter)
        rate = {False: lr, True: lr if lr_backbone is None else lr_backbone}
        return [
            {"params": parameters, "lr": rate[is_backbone], "weight_decay": weight_decay if decays else 0.0}
            for (is_backbone, decays), parameters in groups.items()
        ]


def masked_mean(error: Tensor, is_pad: Tensor) -> Tensor:
    """Mean of error (B, K, A) over the entries that are not padding (B, K): padding never changes a loss."""
    return (error * (~is_pad)[..., None].to(error.dtype)).sum() / (n_real(is_pad) * error.shape[-1])


def n_real(is_pad: Tensor) -> Tensor:
    """How many actions (B, K) are not padding, at least 1; its mean, where several processes share a batch."""
    return averaged((~is_pad).sum()).clamp_min(1)
