"""What observing policies share: joints, object poses and images as normalised vectors, backbones, and their flags.

Letters: B batch, T history, N cameras, F numbers of a backbone's vector of one image, V numbers of one observation.
"""

import dataclasses
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from einops import rearrange
from torch import Tensor, nn
from tyro.conf import Suppress

from act.data.batch import Batch
from act.data.normalize import Normalizer
from act.nn import device
from act.nn.resnet import ResNet18Trunk
from act.nn.trunk import Trunk
from act.nn.vision import KeypointConfig, KeypointTrunk, SpatialSoftmax
from act.policies.base import policy
from act.policies.base.policy import PolicyConfig, TrainingData
from act.types import PolicySpec

FEATURE_LIMIT = 5.0  # normalised keypoints are clipped here: a lost keypoint stays near what training saw
N_UNIT_FRAMES, ENCODE_BATCH = 512, 32  # frames whose keypoints give the unit of a backbone that is trained, too
N_POOLED = 32  # points that a spatial softmax looks for in a feature map


@dataclass(frozen=True, kw_only=True)
class ObservingConfig(PolicyConfig):
    """What a policy observes, and through which visual backbone."""

    use_images: bool = True
    """Use the camera images."""
    use_env_state: bool = False
    """Use the objects' poses (state track: instead of images, or as privileged information beside them)."""
    backbone: Literal["resnet18", "keypoints"] = "resnet18"
    """Visual backbone: ResNet-18 (a feature map per camera, as in the paper) or a keypoint detector."""
    backbone_weights: Literal["imagenet", "sim", "none"] = "imagenet"
    """Initial backbone weights: ImageNet (resnet18 only), sim (`python -m act pretrain` on random scenes) or random."""
    trunk: str = ""
    """Folder of the weights that `python -m act pretrain` wrote; read once, when training begins."""
    keypoints: Annotated[dict[str, Any], Suppress] = dataclasses.field(default_factory=dict)
    """Shape of the keypoint detector, filled in from `trunk`."""
    freeze_backbone: bool = False
    """Do not train the backbone; its features are then computed once per frame and cached."""
    input_noise: float = 0.0
    """Standard deviation of noise on normalised qpos, keypoints and env_state in training (preset fast: 0.03)."""

    @property
    def uses_images(self) -> bool:
        return self.use_images

    @property
    def trains_backbone(self) -> bool:
        return self.use_images and not self.freeze_backbone

    @property
    def without_effect(self) -> dict[str, str]:
        if self.use_images:
            return {} if self.backbone_weights == "sim" else {"trunk": "with --backbone_weights sim"}
        names: list[str] = ["backbone", "backbone_weights", "trunk", "freeze_backbone"]
        return dict.fromkeys(names, "with --use_images")

    def with_paths(self, env_name: str) -> Self:
        if not self.use_images or self.backbone_weights != "sim" or self.trunk:
            return self
        name = "trunk" if self.backbone == "keypoints" else self.backbone
        return dataclasses.replace(self, trunk=f"runs/{env_name}_{name}")

    @classmethod
    def preset(cls, name: str) -> Self:
        """ "fast": the frozen keypoint detector; "state": object poses instead of images; "paper": the defaults."""
        return cls(**cls.observes(name))

    @staticmethod
    def observes(name: str) -> dict[str, Any]:
        """What the preset `name` says of observing."""
        state = {"chunk_size": 60, "input_noise": 0.03, "use_images": False, "use_env_state": True}
        aloha = {"chunk_size": 60, "backbone_weights": "sim", "freeze_backbone": True, "input_noise": 0.03}
        return {"fast": {**aloha, "backbone": "keypoints"}, "aloha": aloha, "state": state}.get(name, {})

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.use_images and not self.use_env_state:
            raise ValueError("the policy would see neither images nor env_state; use at least one of them")
        if not self.use_images:
            return
        if self.backbone == "keypoints" and self.backbone_weights == "imagenet":
            raise ValueError("backbone keypoints has no weights 'imagenet'; it takes sim or none")
        if self.freeze_backbone and self.backbone_weights == "none":
            raise ValueError("freeze_backbone with backbone_weights 'none' would freeze random weights")


class ObservingPolicy(policy.Policy):
    """A policy with a visual backbone. `vectors` is all most heads need; `maps` and `keypoints` say more of places."""

    pools_maps: ClassVar[bool] = True  # False where a policy reads `maps` itself: `vectors` then has no part of them

    def __init__(self, config: Any, spec: PolicySpec, normalizer: Normalizer):
        super().__init__(config, spec, normalizer)
        if config.use_images != bool(spec.cameras) or config.use_env_state != bool(spec.env_state_dim):
            raise ValueError(
                f"use_images {config.use_images} and use_env_state {config.use_env_state} do not fit the data: "
                f"cameras {spec.cameras}, {spec.env_state_dim} numbers of env_state"
            )
        self.trunk = _make_trunk(config, spec) if config.use_images else None
        self.pool = None
        if self.trunk is None:
            return
        if not self.trunk.makes_maps:
            normalizer.add("features", len(spec.cameras) * self.trunk.n_channels)
        elif self.pools_maps:
            self.pool = SpatialSoftmax(self.trunk.n_channels, N_POOLED)

    @classmethod
    def create(cls, config: Any, spec: PolicySpec, normalizer: Normalizer) -> Self:
        if not config.use_images or config.backbone_weights == "none":
            return cls(config, spec, normalizer)
        if config.backbone == "resnet18":
            self = cls(config, spec, normalizer)
            assert isinstance(self.trunk, ResNet18Trunk)
            if config.backbone_weights == "sim":
                self.trunk.load_state_dict(ResNet18Trunk.load(Path(config.trunk)).state_dict())
            else:
                self.trunk.load_imagenet()
            return self
        trunk = KeypointTrunk.load(Path(config.trunk)).folded().select(spec.cameras)
        self = cls(dataclasses.replace(config, keypoints=dataclasses.asdict(trunk.config)), spec, normalizer)
        assert self.trunk is not None
        self.trunk.load_state_dict(trunk.state_dict())
        return self

    @property
    def reads_keypoints(self) -> bool:
        return self.trunk is not None and not self.trunk.makes_maps

    @property
    def vector_dim(self) -> int:
        """V"""
        seen = 0
        if self.trunk is not None and not self.trunk.makes_maps:
            seen = self.trunk.n_channels
        elif self.pool is not None:
            seen = 2 * N_POOLED
        return self.spec.qpos_dim + self.spec.env_state_dim + len(self.spec.cameras) * seen

    def vectors(self, batch: Batch) -> Tensor:
        """(B, T, V) float32, normalised: joints, object poses, and what the backbone says; noisy in training."""
        parts = [self.joints(batch)]
        if self.spec.env_state_dim:
            parts.append(self.object_poses(batch))
        if self.reads_keypoints:
            parts.append(self.keypoints(batch).flatten(2))
        elif self.pool is not None:
            points = self.pool(rearrange(self.maps(batch), "b t n c h w -> (b t n) c h w"))
            b, t = batch.qpos.shape[:2]
            parts.append(rearrange(points, "(b t n) f -> b t (n f)", b=b, t=t))
        return torch.cat([part.float() for part in parts], dim=-1)

    def joints(self, batch: Batch) -> Tensor:
        """(B, T, Q) normalised qpos."""
        return self._noisy(self.normalizer.encode("qpos", batch.qpos))

    def object_poses(self, batch: Batch) -> Tensor:
        """(B, T, E) normalised env_state."""
        assert batch.env_state is not None, "the policy needs env_state"
        return self._noisy(self.normalizer.encode("env_state", batch.env_state))

    def keypoints(self, batch: Batch) -> Tensor:
        """(B, T, N, F) normalised keypoints."""
        features = self._features(batch)
        encoded = self.normalizer.encode("features", features.flatten(2)).clamp(-FEATURE_LIMIT, FEATURE_LIMIT)
        return self._noisy(encoded).unflatten(2, features.shape[2:])

    def maps(self, batch: Batch) -> Tensor:
        """(B, T, N, C, h, w): the backbone's feature maps, in bf16 only where the network computes in it."""
        maps = self._features(batch)
        return maps if torch.is_autocast_enabled(maps.device.type) else maps.float()

    def _features(self, batch: Batch) -> Tensor:
        """What the backbone says: `batch.features` or, where none are given, of `batch.images`."""
        if batch.features is not None:
            return batch.features
        assert batch.images is not None, "the policy needs images or their features"
        return self.encode_images(batch.images)

    def encode_images(self, images: Tensor) -> Tensor:
        """(B, T, N, H, W, 3) uint8 -> the backbone's features (B, T, N, F) or (B, T, N, C, h, w)."""
        assert self.trunk is not None, "the policy has no visual backbone"
        return self.trunk.features(images)

    def act_on(self, batch: Batch) -> Tensor:
        if self.trunk is not None and batch.images is not None:
            batch = dataclasses.replace(batch, features=self.encode_images(batch.images), images=None)
        # A head that works on few numbers is faster on one thread: threads that wait for more of so little work would
        # keep those of the keypoint detector from their cores.
        small = self.reads_keypoints and self.device.type == "cpu" and batch.batch_size == 1
        with device.threads(1) if small else nullcontext():
            return self.predict(batch)

    def _noisy(self, x: Tensor) -> Tensor:
        if self.training and self.config.input_noise:
            return x + self.config.input_noise * torch.randn_like(x)
        return x

    @property
    def has_frozen_backbone(self) -> bool:
        return self.config.use_images and self.config.freeze_backbone

    def before_training(self, dataset: TrainingData) -> None:
        """Fits the normaliser of keypoints; maps are not normalised."""
        if not self.reads_keypoints:
            return
        if self.has_frozen_backbone:
            features = dataset.features(dataset.observed)
        else:  # the backbone is trained, too: what it says at first gives the unit
            among = torch.linspace(0, len(dataset.observed) - 1, min(len(dataset.observed), N_UNIT_FRAMES))
            parts = dataset.observed[among.long()].split(ENCODE_BATCH)
            with torch.no_grad():
                features = torch.cat([self.encode_images(dataset.images(rows).to(self.device)).cpu() for rows in parts])
        self.normalizer.fit("features", features.flatten(1))

    def backbone_parameters(self) -> list[nn.Parameter]:
        return [] if self.trunk is None else list(self.trunk.parameters())

    def head_parameters(self) -> Iterator[nn.Parameter]:
        """All parameters but the backbone's."""
        backbone = {id(parameter) for parameter in self.backbone_parameters()}
        return (parameter for parameter in self.parameters() if id(parameter) not in backbone)


def _make_trunk(config: Any, spec: PolicySpec) -> Trunk:
    trunk: Trunk
    if config.backbone == "resnet18":
        trunk = ResNet18Trunk("group" if config.backbone_weights == "none" else "frozen")
    else:
        trunk = KeypointTrunk(_keypoint_config(config, spec))
    return trunk.requires_grad_(not config.freeze_backbone)


def _keypoint_config(config: Any, spec: PolicySpec) -> KeypointConfig:
    """The shape of the detector. Raises ValueError when it was trained for other cameras or another size."""
    shape = KeypointConfig.from_json(
        config.keypoints or {"cameras": spec.cameras, "image_size": spec.image_size, "norm": False}
    )
    if shape.cameras != spec.cameras or shape.image_size != spec.image_size:
        raise ValueError(
            f"The keypoint trunk uses {', '.join(shape.cameras)} at {shape.image_size}, "
            f"the policy {', '.join(spec.cameras)} at {spec.image_size}; "
            "give train.py the same --cameras and --image_size, or record --random_scenes with the policy's"
        )
    return shape
