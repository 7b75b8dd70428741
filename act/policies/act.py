"""ACT: action chunking with transformers (Zhao et al. 2023, arXiv 2304.13705): a CVAE whose decoder sees the scene.

Letters: B batch, K chunk, A action, N cameras, S tokens, D width, L latent, P keypoints. `Config()` is the paper's
network with two repairs (all decoder layers count; cameras are told apart); the preset `paper` undoes them.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from act.batch import Batch
from act.nn.positions import sine_1d, sine_2d
from act.nn.transformer import Decoder, Encoder
from act.nn.vision import KeypointConfig, KeypointTrunk, ResNet18Trunk, to_float
from act.normalize import Normalizer
from act.policies import policy
from act.policies.policy import DataSpec, PolicyConfig, TrainingData, masked_mean

GATE = 20.0  # steepness of the step from unseen to seen, over the trunk's confidence
FEATURE_LIMIT = 5.0  # normalised keypoints are clipped here: a lost keypoint stays near what training saw


@dataclass(frozen=True)
class Config(PolicyConfig):
    """Sizes and ablations of ACT."""

    hidden_dim: int = 512
    """D: width of every token."""
    dim_feedforward: int = 3200
    """Width between the two linear layers of each transformer layer."""
    n_heads: int = 8
    """Attention heads; they divide hidden_dim."""
    n_encoder_layers: int = 4
    """Layers over [latent, qpos, what the cameras see]."""
    n_decoder_layers: int = 1
    """Layers over the K queries, all of them used (the original computes 7 and uses the first)."""
    actions_per_query: int = 1
    """Consecutive actions one query answers for; 1 is the paper, 4 makes a step about 3 times cheaper."""
    decoder_input: Literal["queries", "zeros"] = "queries"
    """What the first decoder layer refines: the learned queries, or zeros as in the paper (self-attention then only
    adds a bias there)."""
    use_cvae: bool = True
    """Whether a CVAE encoder reads the demonstrated chunk in training (Fig. 8c: 35 against 2 % on human data)."""
    n_cvae_layers: int = 4
    """Layers of the CVAE encoder over [CLS, qpos, K actions]."""
    latent_dim: int = 32
    """L: size of the latent z."""
    latent: Literal["zero", "prior"] = "zero"
    """z when the policy acts: the prior's mean (the paper) or a sample of N(0, I)."""
    kl_weight: float = 10.0
    """Weight of the KL divergence beside the reconstruction (10 scripted, 80 suggested for human data)."""
    loss: Literal["l1", "l2"] = "l1"
    """Reconstruction error of the chunk, a mean over the actions that are not padding."""
    dropout: float = 0.1
    """In attention, feed-forward and residuals of all transformer layers."""
    use_images: bool = True
    """Whether the policy looks through the cameras."""
    use_env_state: bool = False
    """Whether the policy sees the objects' poses (the state track: no cameras, or a cheat beside them)."""
    backbone: Literal["resnet18", "keypoints"] = "resnet18"
    """The visual trunk: a feature map of 300 tokens per camera, or one token per camera with P keypoints."""
    backbone_weights: Literal["imagenet", "sim", "none"] = "imagenet"
    """Where the trunk learned to see: ImageNet (resnet18), random scenes (keypoints, `python -m act.pretrain`)."""
    trunk: str = ""
    """Directory of the keypoint trunk; read once, when training begins."""
    keypoints: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Shape of the keypoint trunk, filled in from `trunk`."""
    freeze_backbone: bool = False
    """Whether the trunk stays as it is; its features are then computed once per frame."""
    camera_embedding: bool = True
    """A learned code per camera; without it, as in the original, equal places in two images look the same."""
    input_noise: float = 0.0
    """Standard deviation of noise on normalised qpos, keypoints and env_state in training (lab: 0.03)."""

    @classmethod
    def preset(cls, name: str) -> Self:
        """ "paper": the network of the paper, first decoder layer and all. "fast": minutes on two CPU cores."""
        if name == "paper":
            return cls(decoder_input="zeros", camera_embedding=False)
        return cls(
            chunk_size=60,
            hidden_dim=192,
            dim_feedforward=512,
            n_heads=4,
            n_encoder_layers=2,
            n_decoder_layers=2,
            actions_per_query=4,
            use_cvae=False,  # one scripted way needs no latent; --use_cvae for human demonstrations
            n_cvae_layers=2,
            dropout=0.0,
            backbone="keypoints",
            backbone_weights="sim",
            freeze_backbone=True,
            input_noise=0.03,
        )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden_dim % self.n_heads or self.hidden_dim % 4:
            raise ValueError(f"hidden_dim {self.hidden_dim} must be a multiple of 4 and of n_heads {self.n_heads}")
        layers = (self.n_encoder_layers, self.n_decoder_layers, self.n_cvae_layers, self.latent_dim)
        if min(layers) < 1 or not 0 <= self.dropout < 1:
            raise ValueError(f"layers and latent_dim {layers} must be at least 1, dropout {self.dropout} in [0, 1)")
        if self.latent == "prior" and not self.use_cvae:
            raise ValueError("latent 'prior' needs use_cvae: without a CVAE there is no latent")
        if not self.use_images and not self.use_env_state:
            raise ValueError("the policy would see neither images nor env_state; use at least one of them")
        if self.chunk_size % self.actions_per_query:
            raise ValueError(
                f"chunk_size {self.chunk_size} must be a multiple of actions_per_query {self.actions_per_query}"
            )
        self._check_backbone()

    def _check_backbone(self) -> None:
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


class Policy(policy.Policy):
    """The network. Module names say what the tokens are."""

    def __init__(self, config: Config, spec: DataSpec, normalizer: Normalizer):
        super().__init__(config, spec, normalizer)
        if config.use_images != bool(spec.cameras) or config.use_env_state != bool(spec.env_state_dim):
            raise ValueError(
                f"use_images {config.use_images} and use_env_state {config.use_env_state} do not fit the data: "
                f"cameras {spec.cameras}, {spec.env_state_dim} numbers of env_state"
            )
        dim = config.hidden_dim
        sizes = (dim, config.n_heads, config.dim_feedforward, config.dropout)
        self.encoder = Encoder(config.n_encoder_layers, *sizes)
        self.decoder = Decoder(config.n_decoder_layers, *sizes)
        self.queries = nn.Parameter(torch.randn(config.chunk_size // config.actions_per_query, dim))
        self.from_qpos = nn.Linear(spec.qpos_dim, dim)
        self.from_env_state = nn.Linear(spec.env_state_dim, dim) if config.use_env_state else None
        n_vectors = 1 + int(config.use_cvae) + int(config.use_env_state)
        self.vector_position = nn.Parameter(torch.randn(n_vectors, dim))  # of the tokens latent, qpos, env_state
        self.to_action = nn.Linear(dim, spec.action_dim * config.actions_per_query)
        self.eyes = _eyes(config, spec, normalizer)
        for parameter in self.parameters():
            if parameter.ndim == 2 and not self._is_position(parameter):
                nn.init.xavier_uniform_(parameter)
        self.cvae = Cvae(config, spec) if config.use_cvae else None

    def _is_position(self, parameter: nn.Parameter) -> bool:
        return parameter is self.queries or parameter is self.vector_position

    @classmethod
    def create(cls, config: Config, spec: DataSpec, normalizer: Normalizer) -> Self:
        if not config.use_images or config.backbone_weights == "none":
            return cls(config, spec, normalizer)
        if config.backbone == "resnet18":
            self = cls(config, spec, normalizer)
            assert isinstance(self.eyes, MapEyes)
            self.eyes.trunk.load_imagenet()
            return self
        trunk = KeypointTrunk.load(Path(config.trunk)).folded().select(spec.cameras)
        config = dataclasses.replace(config, keypoints=dataclasses.asdict(trunk.config))
        self = cls(config, spec, normalizer)
        assert isinstance(self.eyes, KeypointEyes)
        self.eyes.trunk.load_state_dict(trunk.state_dict())
        return self

    @property
    def has_frozen_trunk(self) -> bool:
        return self.config.use_images and self.config.freeze_backbone

    def encode_images(self, images: Tensor) -> Tensor:
        assert isinstance(self.eyes, KeypointEyes)
        return self.eyes.features(images)

    def before_training(self, dataset: TrainingData) -> None:
        if dataset.features is not None:
            self.normalizer.fit("features", dataset.features[dataset.observed].flatten(1))

    def backbone_parameters(self) -> list[nn.Parameter]:
        return [] if self.eyes is None else list(self.eyes.trunk.parameters())

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """ "loss" = reconstruction + kl_weight * "kl"; the reconstruction is named after the config ("l1")."""
        assert batch.action is not None and batch.is_pad is not None, "a training batch has actions"
        target = self.normalizer.encode("action", batch.action)
        latent, kl = None, None
        if self.cvae is not None:
            qpos = self.normalizer.encode("qpos", batch.qpos[:, -1])
            mu, logvar = self.cvae(qpos, target, batch.is_pad)
            latent = mu + (0.5 * logvar).exp() * torch.randn_like(mu)
            kl = -0.5 * (1 + logvar - mu.square() - logvar.exp()).sum(-1).mean()
        error = self._decode(batch, latent) - target
        reconstruction = masked_mean(error.abs() if self.config.loss == "l1" else error.square(), batch.is_pad)
        losses = {"loss": reconstruction, self.config.loss: reconstruction}
        if kl is not None:
            losses |= {"loss": reconstruction + self.config.kl_weight * kl, "kl": kl}
        return losses

    def predict(self, batch: Batch) -> Tensor:
        latent = None
        if self.config.use_cvae:
            shape = (batch.batch_size, self.config.latent_dim)
            latent = (torch.zeros if self.config.latent == "zero" else torch.randn)(shape, device=batch.qpos.device)
        return self._decode(batch, latent)

    def _decode(self, batch: Batch, latent: Tensor | None) -> Tensor:
        """Normalised chunk (B, K, A) from what is seen and z (B, L)."""
        memory, memory_position = self._look(batch, latent)
        memory = self.encoder(memory, memory_position)
        x = self.queries[None] if self.config.decoder_input == "queries" else torch.zeros_like(self.queries)[None]
        if self.training and self.config.dropout:
            x = x.expand(batch.batch_size, -1, -1)  # every sample drops its own
        x = self.decoder(x, memory, self.queries, memory_position)
        with torch.autocast(x.device.type, enabled=False):  # millimetres need more than bf16's 8 bits
            return self.to_action(x.float()).reshape(batch.batch_size, self.chunk_size, -1)

    def _look(self, batch: Batch, latent: Tensor | None) -> tuple[Tensor, Tensor]:
        """Tokens (B, S, D) of latent, qpos, env_state and images, and their positions (S, D)."""
        vectors = [self.from_qpos(self._noisy(self.normalizer.encode("qpos", batch.qpos[:, -1])))]
        if self.cvae is not None:
            vectors.insert(0, self.cvae.from_latent(latent))
        if self.from_env_state is not None:
            assert batch.env_state is not None, "the policy needs env_state"
            env_state = self.normalizer.encode("env_state", batch.env_state[:, -1])
            vectors.append(self.from_env_state(self._noisy(env_state)))
        tokens, position = torch.stack(vectors, dim=1), self.vector_position
        if self.eyes is None:
            return tokens, position
        seen, seen_position = self.eyes(batch, self._features)
        return torch.cat([tokens, seen.to(tokens.dtype)], dim=1), torch.cat([position, seen_position])

    def _features(self, features: Tensor) -> Tensor:
        """Keypoints (B, N F) as the network sees them."""
        return self._noisy(self.normalizer.encode("features", features).clamp(-FEATURE_LIMIT, FEATURE_LIMIT))

    def _noisy(self, x: Tensor) -> Tensor:
        if self.training and self.config.input_noise:
            return x + self.config.input_noise * torch.randn_like(x)
        return x


class Cvae(nn.Module):
    """The encoder of the CVAE: [CLS, qpos, K actions] -> mean and log variance of z; and z -> its token."""

    def __init__(self, config: Config, spec: DataSpec):
        super().__init__()
        dim = config.hidden_dim
        self.cls = nn.Parameter(torch.randn(1, dim))
        self.from_qpos, self.from_action = nn.Linear(spec.qpos_dim, dim), nn.Linear(spec.action_dim, dim)
        self.encoder = Encoder(config.n_cvae_layers, dim, config.n_heads, config.dim_feedforward, config.dropout)
        self.to_latent, self.from_latent = nn.Linear(dim, 2 * config.latent_dim), nn.Linear(config.latent_dim, dim)
        self.register_buffer("position", sine_1d(config.chunk_size + 2, dim), persistent=False)

    def forward(self, qpos: Tensor, action: Tensor, is_pad: Tensor) -> tuple[Tensor, Tensor]:
        """mu, logvar (B, L), of normalised qpos (B, Q) and actions (B, K, A); padded actions are never looked at."""
        action = action.masked_fill(is_pad[..., None], 0)
        actions, joints = self.from_action(action), self.from_qpos(qpos)[:, None]
        cls = self.cls.expand(len(qpos), 1, -1).to(actions.dtype)
        mask = torch.cat([is_pad.new_zeros(len(qpos), 2), is_pad], dim=1)
        x = self.encoder(torch.cat([cls, joints, actions], dim=1), self.position, mask)
        mu, logvar = self.to_latent(x[:, 0]).float().chunk(2, dim=-1)
        return mu, logvar


class MapEyes(nn.Module):
    """ResNet-18: every cell of every camera's feature map is a token with a 2-D sine position."""

    def __init__(self, config: Config, n_cameras: int):
        super().__init__()
        self.trunk = ResNet18Trunk(frozen_norm=config.backbone_weights == "imagenet")
        self.project = nn.Conv2d(self.trunk.n_channels, config.hidden_dim, 1)
        self.camera = (
            nn.Parameter(0.02 * torch.randn(n_cameras, config.hidden_dim)) if config.camera_embedding else None
        )

    def forward(self, batch: Batch, encode: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Tokens (B, S, D) and positions (S, D); nothing to encode here."""
        assert batch.images is not None, "the policy needs images"
        images = batch.images[:, -1]
        maps = self.project(self.trunk(to_float(images)))
        position = _sine_2d(maps.shape[2], maps.shape[3], maps.shape[1], maps.device)
        tokens = maps.flatten(2).mT.unflatten(0, images.shape[:2]).flatten(1, 2)  # (B, N h w, D)
        codes = position.repeat(images.shape[1], 1)
        if self.camera is not None:
            codes = codes + self.camera.repeat_interleave(len(position), dim=0)
        return tokens, codes


class KeypointEyes(nn.Module):
    """Keypoints: every camera is one token that says where things are in its image and how sure it is."""

    def __init__(self, config: Config, spec: DataSpec, normalizer: Normalizer):
        super().__init__()
        shape = config.keypoints or {"cameras": spec.cameras, "image_size": spec.image_size, "norm": False}
        shape = KeypointConfig.from_json(shape)
        if shape.cameras != spec.cameras or shape.image_size != spec.image_size:
            raise ValueError(f"The keypoint trunk looks at {shape.cameras} {shape.image_size}, the data are {spec}")
        self.trunk = KeypointTrunk(shape)
        self.trunk.requires_grad_(not config.freeze_backbone)
        normalizer.add("features", len(spec.cameras) * shape.n_features)
        self.project = nn.ModuleList([nn.Linear(shape.n_features, config.hidden_dim) for _ in spec.cameras])
        self.camera = nn.Parameter(torch.randn(len(spec.cameras), config.hidden_dim))

    def features(self, images: Tensor) -> Tensor:
        """(B, T, N, H, W, 3) uint8 -> (B, T, N, 3 P). What is not seen is at the centre, not wherever noise peaks."""
        found = self.trunk.keypoints(images)
        seen = (GATE * (found[..., 2:] - 0.5)).sigmoid()
        return torch.cat([seen * found[..., :2], found[..., 2:]], dim=-1).flatten(-2)

    def forward(self, batch: Batch, encode: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Tokens (B, N, D) and positions (N, D) of batch.features, or of batch.images where no features are given;
        `encode` normalises features (B, N F)."""
        features = batch.features
        if features is None:
            assert batch.images is not None, "the policy needs images or their features"
            features = self.features(batch.images)
        x = encode(features[:, -1].flatten(1)).unflatten(1, (len(self.project), -1))
        tokens = torch.stack([project(x[:, n]) for n, project in enumerate(self.project)], dim=1)
        return tokens, self.camera


@lru_cache(maxsize=8)
def _sine_2d(height: int, width: int, dim: int, device: torch.device) -> Tensor:
    return sine_2d(height, width, dim).to(device)


def _eyes(config: Config, spec: DataSpec, normalizer: Normalizer) -> MapEyes | KeypointEyes | None:
    if not config.use_images:
        return None
    if config.backbone == "resnet18":
        return MapEyes(config, len(spec.cameras))
    return KeypointEyes(config, spec, normalizer)
