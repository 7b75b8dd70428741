"""The base of all policies: a stateless network with its normalizer. The agent keeps the history and executes chunks.

A policy file adds a frozen `Config(PolicyConfig)`, `Policy.loss` and `Policy.predict`, and the hooks it needs.
Letters: B batch, T history, K chunk, A action, Q joints, E object poses, N cameras, H W image, F features of one
camera, C h w feature map, n rows.
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
    """What `before_training` can read: every frame of the training episodes, on the CPU."""

    qpos: Tensor  # (frames, Q)
    action: Tensor  # (frames, A)
    env_state: Tensor | None  # (frames, E)
    observed: Tensor  # rows of the frames with an observation
    trainable: Tensor  # those of them that can be drawn: not all frames of a DAgger episode have labels
    starts: Tensor  # (episodes + 1,) int64: episode e is frames starts[e] ... starts[e + 1] - 1
    last: Tensor  # (frames,) int64: the last row of the chunk that begins at each frame, however long it is

    @property
    def targets(self) -> Tensor:
        """(n, A): every action that a chunk can hold, as the policy is to predict it."""
        ...

    def features(self, rows: Tensor) -> Tensor:
        """(n, N, F) or (n, N, C, h, w) of observed rows (n,), for a policy with a frozen backbone."""
        ...

    def images(self, rows: Tensor) -> Tensor:
        """(n, N, H, W, 3) uint8 of rows (n,), for a policy whose backbone is not frozen."""
        ...

    def labels(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The chunks (n, K, A) that begin at rows (n,), and where they are padding (n, K)."""
        ...

    def spans(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The same chunks as rows first ... last (n,) of all actions (rows, A); the last action is then repeated."""
        ...


@dataclass(frozen=True)
class PolicyConfig:
    """The settings that all policies have."""

    learns_by_gradient: ClassVar[bool] = True  # if not, `before_training` is the whole training
    may_be_zero: ClassVar[frozenset[str]] = frozenset()  # integer fields that may be 0

    chunk_size: int = 100
    """K: number of actions predicted at once, 0.02 s each."""
    relative_actions: bool = dataclasses.field(default=False, kw_only=True)
    """Predict joint positions relative to the newest qpos instead of absolute ones (the paper: absolute)."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, kind = getattr(self, field.name), type(field.default)
            if kind is int and value < 1 and field.name not in self.may_be_zero:
                raise ValueError(f"{field.name} {value} must be at least 1")
            if kind in (int, float) and not 0 <= value < math.inf:
                raise ValueError(f"{field.name} {value} must be a number that is not negative")

    @property
    def n_obs_steps(self) -> int:
        """T: number of observations in the history that the policy gets."""
        return 1

    @property
    def uses_images(self) -> bool:
        """Whether the policy uses cameras."""
        return True

    @property
    def learns_from_scenes(self) -> bool:
        """Whether the policy learns from random scenes, which hold images and nothing else: it has a `scene_loss`."""
        return False

    @property
    def trains_backbone(self) -> bool:
        """Whether training changes the visual backbone, so that augmented images have an effect."""
        return self.uses_images

    def with_paths(self, env_name: str) -> Self:
        """The same config with the default folder of the task's backbone, if one is needed and none is given."""
        return self

    @property
    def needs_whole_chunks(self) -> bool:
        """Whether chunks that a change of driver cuts short are left out: the loss cannot ignore a part of a chunk."""
        return False

    @property
    def without_effect(self) -> dict[str, str]:
        """Settings without an effect, given the others, and when they have one: train.py refuses their flags."""
        return {}

    @classmethod
    def preset(cls, name: str) -> Self:
        """The policy's part of a training preset ("paper", "fast", ...); a policy file overrides what differs."""
        return cls()

    @classmethod
    def training(cls, name: str) -> dict[str, Any]:
        """Fields of TrainConfig in which the preset `name` differs for this policy."""
        return {}

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """The config that `to_json` wrote. Raises ValueError naming fields that this version does not have."""
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ValueError(f"the saved config has {', '.join(unknown)}, which this version's {cls.__module__} lacks")
        return cls(**tuples(values))


class Policy(nn.Module):
    """The base class. `loss` and `predict` take a Batch; `predict_chunk` takes observations in physical units."""

    def __init__(self, config: Any, spec: PolicySpec, normalizer: Normalizer):
        super().__init__()
        self.config, self.spec, self.normalizer = config, spec, normalizer

    @classmethod
    def create(cls, config: Any, spec: PolicySpec, normalizer: Normalizer) -> Self:
        """A new policy to train. Pretrained weights are loaded here and only here."""
        return cls(config, spec, normalizer)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Scalars for a training batch, one of which is "loss" (to minimise); the same in train and eval mode."""
        raise NotImplementedError

    def scene_loss(self, scenes: SceneBatch) -> Tensor:
        """The loss of locating keypoints in random scenes (co-training), a scalar."""
        raise NotImplementedError(f"{type(self).__module__} does not learn from random scenes")

    def predict(self, batch: Batch) -> Tensor:
        """Normalised chunks (B, K, A) for the newest observations of `batch`."""
        raise NotImplementedError

    def act_on(self, batch: Batch) -> Tensor:
        """`predict`, computed as fast as possible; batch norms and dropout are in eval mode."""
        return self.predict(batch)

    @torch.no_grad()
    def predict_chunk(self, histories: Sequence[Sequence[Observation]]) -> np.ndarray:
        """Chunks (B, K, A) float32 in physical units for B histories of `n_obs_steps` observations, oldest first."""
        cameras = self.spec.cameras if self.needs_images else ()
        batch = Batch.from_histories(histories, cameras, self.spec.image_size, self.spec.env_state_dim > 0)
        with self._acting():
            batch = batch.to(self.device)
            chunks = self.in_physical_units(self.act_on(batch), batch)
        return chunks.cpu().numpy()

    def in_physical_units(self, chunks: Tensor, batch: Batch) -> Tensor:
        """Joint targets (B, K, A) float32 of the normalised chunks that were predicted from `batch`."""
        targets = self.normalizer.decode("action", chunks.float())
        return targets + batch.qpos[:, -1:] if self.config.relative_actions else targets

    @torch.no_grad()
    def encode_observations(self, observations: Sequence[Observation]) -> list[Observation]:
        """The observations with `features` in place of images; an agent keeps these for `predict_chunk`."""
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
        return next(self.buffers()).device  # of the normalizer, because a policy may have no parameters

    @property
    def has_frozen_backbone(self) -> bool:
        """Whether `encode_images` never changes, so that features can be computed once per frame."""
        return False

    def encode_images(self, images: Tensor) -> Tensor:
        """(B, T, N, H, W, 3) uint8 -> features (B, T, N, F) or (B, T, N, C, h, w), which then replace the images.

        Features of a frozen backbone are computed once per recorded frame, those of an agent once per control step.
        """
        raise NotImplementedError(f"{type(self).__module__} has no features of images")

    def before_training(self, dataset: TrainingData) -> None:
        """Runs once before the first step, when features are cached: statistics of features, k-means, an index, ..."""

    def backbone_parameters(self) -> list[nn.Parameter]:
        """The parameters of the visual backbone, which have a learning rate of their own."""
        return []

    def parameter_groups(self, lr: float, weight_decay: float, lr_backbone: float | None = None) -> list[dict]:
        """Groups for AdamW: matrices decay, vectors (biases, norms) do not; the backbone has its own learning rate."""
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
    """Mean of `error` (B, K, A) over the entries that are not padding (B, K), so that padding never changes a loss."""
    return (error * (~is_pad)[..., None].to(error.dtype)).sum() / (n_real(is_pad) * error.shape[-1])


def n_real(is_pad: Tensor) -> Tensor:
    """How many actions (B, K) are not padding, at least 1; the mean over processes that share a batch."""
    return averaged((~is_pad).sum()).clamp_min(1)
