"""What policies that look and feel share: joints, object poses and images as normalised vectors; trunks; their flags.

Letters: B batch, T history, N cameras, F numbers a trunk says of one image, V numbers of one observation in all.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from act.data.batch import Batch
from act.data.normalize import Normalizer
from act.nn import device
from act.nn.resnet import ResNet18Trunk
from act.nn.vision import KeypointConfig, KeypointTrunk, SpatialSoftmax, to_float
from act.policies.base import policy
from act.policies.base.policy import PolicyConfig, TrainingData
from act.types import PolicySpec

FEATURE_LIMIT = 5.0  # normalised keypoints are clipped here: a lost keypoint stays near what training saw
MOST_LOOKS, LOOKS_AT_ONCE = 512, 32  # frames whose keypoints give the unit of a trunk that is trained along
N_POOLED = 32  # points that a spatial softmax looks for in a feature map
SEES_FAST: dict[str, Any] = {
    "chunk_size": 60,
    "backbone": "keypoints",
    "backbone_weights": "sim",
    "freeze_backbone": True,
    "input_noise": 0.03,
}  # of the preset "fast"


@dataclass(frozen=True, kw_only=True)
class ObservingConfig(PolicyConfig):
    """What a policy observes, and through which trunk."""

    use_images: bool = True
    """Whether the policy looks through the cameras."""
    use_env_state: bool = False
    """Whether the policy sees the objects' poses (the state track: no cameras, or a cheat beside them)."""
    backbone: Literal["resnet18", "keypoints"] = "resnet18"
    """The visual trunk: a feature map of 300 cells per camera, or P keypoints per camera."""
    backbone_weights: Literal["imagenet", "sim", "none"] = "imagenet"
    """Where the trunk learned to see: ImageNet (resnet18), random scenes (keypoints, `python -m act pretrain`)."""
    trunk: str = ""
    """Directory of the keypoint trunk; read once, when training begins."""
    keypoints: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Shape of the keypoint trunk, filled in from `trunk`."""
    freeze_backbone: bool = False
    """Whether the trunk stays as it is; its features are then computed once per frame."""
    input_noise: float = 0.0
    """Standard deviation of noise on normalised qpos, keypoints and env_state in training (lab: 0.03)."""

    @property
    def without_effect(self) -> dict[str, str]:
        of_eyes = () if self.use_images else ("backbone", "backbone_weights", "trunk", "freeze_backbone")
        return dict.fromkeys(of_eyes, "with --use_images")

    @classmethod
    def preset(cls, name: str) -> Self:
        """ "fast": the frozen keypoint trunk; "state": object poses instead of images; "paper": the defaults."""
        return cls(**cls.sees(name))

    @staticmethod
    def sees(name: str) -> dict[str, Any]:
        """What the preset `name` says of observing."""
        state = {"chunk_size": 60, "input_noise": 0.03, "use_images": False, "use_env_state": True}
        return {"fast": SEES_FAST, "state": state}.get(name, {})

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.use_images and not self.use_env_state:
            raise ValueError("the policy would see neither images nor env_state; use at least one of them")
        if not self.use_images:
            return
        fitting = {"resnet18": ("imagenet", "none"), "keypoints": ("sim", "none")}[self.backbone]
        if self.backbone_weights not in fitting:
            raise ValueError(
                f"backbone {self.backbone} has no weights {self.backbone_weights!r}; it takes {' or '.join(fitting)}"
            )
        if self.freeze_backbone and self.backbone_weights == "none":
            raise ValueError("freeze_backbone with backbone_weights 'none' would freeze random weights")
        if self.freeze_backbone and self.backbone == "resnet18":
            raise ValueError("freeze_backbone works with backbone keypoints; resnet18 is always trained")


class ObservingPolicy(policy.Policy):
    """A policy with a trunk. `vectors` is all most heads need; `features` and `maps` say more of where things are."""

    pools_maps: ClassVar[bool] = True  # False where a policy reads `maps` itself: then `vectors` has no ResNet part

    def __init__(self, config: Any, spec: PolicySpec, normalizer: Normalizer):
        super().__init__(config, spec, normalizer)
        if config.use_images != bool(spec.cameras) or config.use_env_state != bool(spec.env_state_dim):
            raise ValueError(
                f"use_images {config.use_images} and use_env_state {config.use_env_state} do not fit the data: "
                f"cameras {spec.cameras}, {spec.env_state_dim} numbers of env_state"
            )
        self.trunk = _trunk(config, spec) if config.use_images else None
        self.pool = None
        if isinstance(self.trunk, KeypointTrunk):
            normalizer.add("features", len(spec.cameras) * self.trunk.config.n_features)
        elif self.trunk is not None and self.pools_maps:
            self.pool = SpatialSoftmax(self.trunk.n_channels, N_POOLED)

    @classmethod
    def create(cls, config: Any, spec: PolicySpec, normalizer: Normalizer) -> Self:
        if not config.use_images or config.backbone_weights == "none":
            return cls(config, spec, normalizer)
        if config.backbone == "resnet18":
            self = cls(config, spec, normalizer)
            assert isinstance(self.trunk, ResNet18Trunk)
            self.trunk.load_imagenet()
            return self
        trunk = KeypointTrunk.load(Path(config.trunk)).folded().select(spec.cameras)
        self = cls(dataclasses.replace(config, keypoints=dataclasses.asdict(trunk.config)), spec, normalizer)
        assert self.trunk is not None
        self.trunk.load_state_dict(trunk.state_dict())
        return self

    @property
    def vector_dim(self) -> int:
        """V"""
        seen = 0
        if isinstance(self.trunk, KeypointTrunk):
            seen = self.trunk.config.n_features
        elif self.pool is not None:
            seen = 2 * N_POOLED
        return self.spec.qpos_dim + self.spec.env_state_dim + len(self.spec.cameras) * seen

    def vectors(self, batch: Batch) -> Tensor:
        """(B, T, V) float32, normalised: joints, object poses, and what the trunk sees; noisy in training."""
        parts = [self.joints(batch)]
        if self.spec.env_state_dim:
            parts.append(self.object_poses(batch))
        if isinstance(self.trunk, KeypointTrunk):
            parts.append(self.features(batch).flatten(2))
        elif self.pool is not None:
            parts.append(self.image_features(batch).flatten(2))
        return torch.cat([part.float() for part in parts], dim=-1)

    def joints(self, batch: Batch) -> Tensor:
        """(B, T, Q) normalised qpos."""
        return self._noisy(self.normalizer.encode("qpos", batch.qpos))

    def object_poses(self, batch: Batch) -> Tensor:
        """(B, T, E) normalised env_state."""
        assert batch.env_state is not None, "the policy needs env_state"
        return self._noisy(self.normalizer.encode("env_state", batch.env_state))

    def features(self, batch: Batch) -> Tensor:
        """(B, T, N, F) normalised keypoints, of batch.features or, where none are given, of batch.images."""
        features = self.image_features(batch)
        encoded = self.normalizer.encode("features", features.flatten(2)).clamp(-FEATURE_LIMIT, FEATURE_LIMIT)
        return self._noisy(encoded).unflatten(2, features.shape[2:])

    def image_features(self, batch: Batch) -> Tensor:
        """(B, T, N, F): batch.features or, where none are given, what `encode_images` says of batch.images."""
        if batch.features is not None:
            return batch.features
        assert batch.images is not None, "the policy needs images or their features"
        return self.encode_images(batch.images)

    def maps(self, batch: Batch) -> Tensor:
        """(B, T, N, C, h, w): the ResNet's feature maps."""
        assert batch.images is not None, "feature maps are made of images"
        return self.image_maps(batch.images)

    def image_maps(self, images: Tensor) -> Tensor:
        """(B, T, N, C, h, w) of images (B, T, N, H, W, 3)."""
        assert isinstance(self.trunk, ResNet18Trunk), "feature maps are a ResNet's"
        if torch.is_grad_enabled():  # training chooses its arithmetic itself
            return self.trunk(to_float(images)).unflatten(0, images.shape[:3])
        with torch.autocast(images.device.type, torch.bfloat16, enabled=device.bf16_is_fast(images.device)):
            return self.trunk(to_float(images)).float().unflatten(0, images.shape[:3])

    def answer(self, batch: Batch) -> Tensor:
        if not isinstance(self.trunk, KeypointTrunk) or batch.images is None or self.device.type != "cpu":
            return self.predict(batch)
        batch = dataclasses.replace(batch, features=self.encode_images(batch.images), images=None)
        if batch.batch_size > 1:
            return self.predict(batch)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # threads that wait for more of so little work would keep the trunk's from their cores
        try:
            return self.predict(batch)
        finally:
            torch.set_num_threads(threads)

    def _noisy(self, x: Tensor) -> Tensor:
        if self.training and self.config.input_noise:
            return x + self.config.input_noise * torch.randn_like(x)
        return x

    @property
    def has_frozen_trunk(self) -> bool:
        return self.config.use_images and self.config.freeze_backbone

    def encode_images(self, images: Tensor) -> Tensor:
        """Keypoints, or the points a spatial softmax finds in the ResNet's maps."""
        if isinstance(self.trunk, KeypointTrunk):
            return self.trunk.features(images)
        assert self.pool is not None, "the policy reads feature maps itself"
        return self.pool(self.image_maps(images).flatten(0, 2)).unflatten(0, images.shape[:3])

    def before_training(self, dataset: TrainingData) -> None:
        features = None if dataset.features is None else dataset.features[dataset.observed]
        if features is None and isinstance(self.trunk, KeypointTrunk):  # trained along: what it says at first
            among = torch.linspace(0, len(dataset.observed) - 1, min(len(dataset.observed), MOST_LOOKS))
            parts = dataset.observed[among.long()].split(LOOKS_AT_ONCE)
            with torch.no_grad():
                looks = [self.encode_images(dataset.images(rows).to(self.device)).cpu() for rows in parts]
            features = torch.cat(looks)
        if features is not None:
            self.normalizer.fit("features", features.flatten(1))

    def backbone_parameters(self) -> list[nn.Parameter]:
        return [] if self.trunk is None else list(self.trunk.parameters())

    def head_parameters(self) -> Iterator[nn.Parameter]:
        """All parameters but the trunk's."""
        backbone = {id(parameter) for parameter in self.backbone_parameters()}
        return (parameter for parameter in self.parameters() if id(parameter) not in backbone)


def _trunk(config: Any, spec: PolicySpec) -> ResNet18Trunk | KeypointTrunk:
    if config.backbone == "resnet18":
        return ResNet18Trunk(frozen_norm=config.backbone_weights == "imagenet")
    shape = config.keypoints or {"cameras": spec.cameras, "image_size": spec.image_size, "norm": False}
    shape = KeypointConfig.from_json(shape)
    if shape.cameras != spec.cameras or shape.image_size != spec.image_size:
        told = f"looks through {', '.join(shape.cameras)} at {shape.image_size}"
        raise ValueError(
            f"The keypoint trunk {told}, the policy through {', '.join(spec.cameras)} at {spec.image_size}; "
            "give train.py the same --cameras and --image_size, or record --random_scenes with the policy's"
        )
    trunk = KeypointTrunk(shape)
    trunk.requires_grad_(not config.freeze_backbone)
    return trunk
