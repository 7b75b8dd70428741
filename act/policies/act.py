"""ACT: action chunking with transformers (Zhao et al. 2023, arXiv 2304.13705, section IV and appendix C).

            CVAE encoder, training only                            policy: CVAE decoder
                                                  queries (K, D)
      [CLS] qpos a_t ... a_(t+K-1)                     |
        |     |   |         |                          v
    +---v-----v---v---------v---+           +------------------------+      chunk (K, A)
    |    transformer encoder    |           |  transformer decoder   |---->  a_t ... a_(t+K-1)
    +---+-----------------------+           +-----------^------------+
        v                                               | memory (S, D)
     mu, logvar                             +-----------+------------+
        |                                   |  transformer encoder   |
        v                                   +--^-----^---------^-----+
    z ~ N(mu, exp(logvar))  ----- token ------>z   qpos   image tokens
    z = 0 when acting                                      ^
                                            backbone: N images -> maps (N, C, h, w), a token per cell

Letters: B batch, K chunk, A action, N cameras, S tokens, D width, L latent, P keypoints. `Config()` is the paper's
network with two repairs (the decoder starts from its queries, and a learned code distinguishes the cameras); preset
`paper` undoes them. Code of the original: github.com/tonyzhaozh/act.
"""

from dataclasses import dataclass
from typing import Annotated, Literal, Self

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from tyro.conf import Suppress

from act.data.batch import Batch, SceneBatch
from act.data.normalize import Normalizer
from act.nn import device
from act.nn.chunks import cubic_spline, normal
from act.nn.positions import sine_1d
from act.nn.tokens import KeypointTokens, MapTokens
from act.nn.transformer import Decoder, Encoder
from act.policies.base.observing import ObservingConfig, ObservingPolicy
from act.policies.base.policy import masked_mean
from act.types import PolicySpec

SEEN_WEIGHT = 0.1  # of the visibility answer beside the places, in `scene_loss`


@dataclass(frozen=True)
class Config(ObservingConfig):
    """Sizes and ablations of ACT."""

    may_be_zero = frozenset({"n_points"})

    hidden_dim: int = 512
    """D: width of every token."""
    dim_feedforward: int = 3200
    """Width between the two linear layers of each transformer layer."""
    n_heads: int = 8
    """Attention heads; hidden_dim must be a multiple of it."""
    n_encoder_layers: int = 4
    """Encoder layers over the tokens [latent, qpos, images]."""
    n_decoder_layers: int = 1
    """Decoder layers over the K queries, all of them used (the original computes 7 and uses the first)."""
    actions_per_query: int = 1
    """Actions between two queries. 1: a query per action, as in the paper. More: queries are the control points of a
    uniform cubic B-spline, which makes chunks smooth (shaking hands drop things) and a step about 3 times cheaper."""
    decoder_input: Literal["queries", "zeros"] = "queries"
    """Input of the first decoder layer: the learned queries, or zeros as in the paper (self-attention then only adds
    a bias there)."""
    use_cvae: bool = True
    """Train with a CVAE encoder that reads the demonstrated chunk (the paper's Fig. 8c: 35 against 2 % without)."""
    n_cvae_layers: int = 4
    """Layers of the CVAE encoder over the tokens [CLS, qpos, actions]."""
    cvae_stride: int = 1
    """The CVAE encoder reads every Nth action of the chunk (1 in the paper; 4 saves a third at chunk_size 400)."""
    latent_dim: int = 32
    """L: size of the latent z."""
    latent: Literal["zero", "prior"] = "zero"
    """z when the policy acts: the mean of the prior (the paper) or a sample of N(0, I)."""
    kl_weight: float = 10.0
    """Weight of the KL divergence in the loss (10 in the paper; others suggest 80 for varied demonstrations)."""
    loss: Literal["l1", "l2"] = "l1"
    """Reconstruction loss of the chunk, a mean over the actions that are not padding."""
    dropout: float = 0.1
    """Dropout in attention, feed-forward and residuals of all transformer layers."""
    n_points: Annotated[int, Suppress] = 0
    """Keypoints per camera that the encoder also learns to locate in random scenes; set by --scenes."""
    map_noise: float = 0.0
    """Standard deviation of noise on feature maps in training, in units of the maps' own standard deviation."""
    token_dropout: float = 0.0
    """Fraction of the image tokens that are set to zero in training, drawn for every sample."""
    camera_embedding: bool = True
    """Add a learned code per camera; without it, as in the original, the same cell of two images looks the same."""

    @classmethod
    def preset(cls, name: str) -> Self:
        """ "paper": the network of the paper, first decoder layer and all; "aloha": the same in a size for CPUs."""
        if name == "paper":
            return cls(decoder_input="zeros", camera_embedding=False)
        if name == "aloha":
            return cls(
                **cls.observes(name),
                hidden_dim=256,
                dim_feedforward=1024,
                n_heads=4,
                n_encoder_layers=2,
                n_decoder_layers=1,
                actions_per_query=4,
                n_cvae_layers=2,
                cvae_stride=4,
                dropout=0.0,  # noise on the maps, and random scenes, keep it from fitting 50 places by heart
                map_noise=0.2,
            )
        return cls(
            **cls.observes(name),
            hidden_dim=192,
            dim_feedforward=512,
            n_heads=4,
            n_encoder_layers=2,
            n_decoder_layers=2,
            actions_per_query=4,
            use_cvae=False,  # one scripted way needs no latent; --use_cvae for human demonstrations
            n_cvae_layers=2,
            cvae_stride=4,
            dropout=0.0,
        )

    @property
    def learns_from_scenes(self) -> bool:
        return self.use_images and not self.use_env_state

    @property
    def without_effect(self) -> dict[str, str]:
        unused = super().without_effect
        if not self.use_cvae:
            names = ("kl_weight", "latent_dim", "cvae_stride", "n_cvae_layers")
            unused |= dict.fromkeys(names, "with --use_cvae")
        if self.backbone == "keypoints" or not self.use_images:
            unused["camera_embedding"] = "with --backbone resnet18"  # keypoints always have such codes
            unused |= dict.fromkeys(("map_noise", "token_dropout"), "with --backbone resnet18")
        return unused

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden_dim % self.n_heads or self.hidden_dim % 4:
            raise ValueError(f"hidden_dim {self.hidden_dim} must be a multiple of 4 and of n_heads {self.n_heads}")
        if self.dropout >= 1:
            raise ValueError(f"dropout {self.dropout} must be in [0, 1)")
        if self.token_dropout >= 1:
            raise ValueError(f"token_dropout {self.token_dropout} must be in [0, 1)")
        if self.latent == "prior" and not self.use_cvae:
            raise ValueError("latent 'prior' needs use_cvae: without a CVAE there is no latent")
        if self.chunk_size % self.actions_per_query:
            raise ValueError(
                f"chunk_size {self.chunk_size} must be a multiple of actions_per_query {self.actions_per_query}"
            )


class Policy(ObservingPolicy):
    """The network of the drawing above."""

    pools_maps = False
    spline: Tensor

    def __init__(self, config: Config, spec: PolicySpec, normalizer: Normalizer):
        super().__init__(config, spec, normalizer)
        dim = config.hidden_dim
        sizes = (dim, config.n_heads, config.dim_feedforward, config.dropout)
        self.encoder = Encoder(config.n_encoder_layers, *sizes)
        self.decoder = Decoder(config.n_decoder_layers, *sizes)
        self.register_buffer("spline", cubic_spline(config.chunk_size, config.actions_per_query), persistent=False)
        self.queries = nn.Parameter(torch.randn(self.spline.shape[1], dim))
        self.from_qpos = nn.Linear(spec.qpos_dim, dim)
        self.from_env_state = nn.Linear(spec.env_state_dim, dim) if config.use_env_state else None
        n_vectors = 1 + int(config.use_cvae) + int(config.use_env_state)
        self.vector_position = nn.Parameter(torch.randn(n_vectors, dim))  # of the tokens latent, qpos, env_state
        self.to_action = nn.Linear(dim, spec.action_dim)
        self.tokens: MapTokens | KeypointTokens | None = None
        if self.trunk is not None and self.trunk.makes_maps:
            self.tokens = MapTokens(self.trunk.n_channels, dim, len(spec.cameras) if config.camera_embedding else 0)
        elif self.trunk is not None:
            self.tokens = KeypointTokens(self.trunk.n_channels, dim, len(spec.cameras))
        for parameter in self.head_parameters():  # camera codes, too
            if parameter.ndim == 2 and not self._is_position(parameter):
                nn.init.xavier_uniform_(parameter)
        self.cvae = Cvae(config, spec) if config.use_cvae else None
        self.to_points = nn.Linear(dim, len(spec.cameras) * config.n_points * 3) if config.n_points else None

    def _is_position(self, parameter: nn.Parameter) -> bool:
        return parameter is self.queries or parameter is self.vector_position

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """ "loss" = reconstruction + kl_weight * "kl"; the reconstruction is named after the config ("l1")."""
        assert batch.action is not None and batch.is_pad is not None, "a training batch has actions"
        target = self.normalizer.encode("action", batch.action)
        latent, kl = None, None
        if self.cvae is not None:
            qpos = self.normalizer.encode("qpos", batch.qpos[:, -1])
            mu, logvar = self.cvae(qpos, target, batch.is_pad)
            latent = mu + (0.5 * logvar).exp() * torch.randn_like(mu)  # reparameterised: gradients reach mu, logvar
            # The KL divergence from N(0, I), in closed form: what z says of the chunk beyond the observation costs
            # kl_weight. Without it, acting with z = 0 would be far from every z of training (section IV-B).
            kl = -0.5 * (1 + logvar - mu.square() - logvar.exp()).sum(-1).mean()
        error = self._decode(batch, latent) - target
        # Near the end of an episode the chunk runs past it. The padding is no demonstration, so it counts nowhere: not
        # in this mean, and not in the mean's divisor (the original divides by all K).
        reconstruction = masked_mean(error.abs() if self.config.loss == "l1" else error.square(), batch.is_pad)
        losses = {"loss": reconstruction, self.config.loss: reconstruction}
        if kl is not None:
            losses |= {"loss": reconstruction + self.config.kl_weight * kl, "kl": kl}
        return losses

    def scene_loss(self, scenes: SceneBatch) -> Tensor:
        """L1 of x and y in [-1, 1] where visible, and the cross-entropy of being visible.

        They are read from the encoder's output at the token of qpos, so that the encoder gathers there what the decoder
        needs to know of places.
        """
        assert self.to_points is not None, "the policy was made without n_points"
        memory, position = self._memory(scenes.seen, self._prior(scenes.seen))
        index = int(self.config.use_cvae)  # of the token of qpos
        token = self.encoder(memory, position, n=index + 1)[:, index]
        found = rearrange(self.to_points(token).float(), "b (n p c) -> b n p c", n=len(self.spec.cameras), c=3)
        visible = scenes.visible.to(found.dtype)
        apart = (found[..., :2] - scenes.points).abs().sum(-1)
        seen = F.binary_cross_entropy_with_logits(found[..., 2], visible)
        return (apart * visible).sum() / visible.sum().clamp_min(1) + SEEN_WEIGHT * seen

    def predict(self, batch: Batch) -> Tensor:
        latent = self._prior(batch)
        reads_maps = self.trunk is not None and self.trunk.makes_maps  # hundreds of tokens: bf16 pays
        bf16 = reads_maps and device.bf16_is_fast(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            return self._decode(batch, latent)

    def _prior(self, batch: Batch) -> Tensor | None:
        """z (B, L) without a demonstrated chunk to encode; None without a CVAE."""
        if not self.config.use_cvae:
            return None
        n, dim, place = batch.batch_size, self.config.latent_dim, batch.qpos.device
        # z = 0, the mean of the prior: the most likely way of acting, and the same at every query.
        return torch.zeros(n, dim, device=place) if self.config.latent == "zero" else normal(n, (dim,), place)

    def _decode(self, batch: Batch, latent: Tensor | None) -> Tensor:
        """Normalised chunk (B, K, A) from what is seen and z (B, L)."""
        memory, memory_position = self._memory(batch, latent)
        memory = self.encoder(memory, memory_position)
        x = self.queries[None] if self.config.decoder_input == "queries" else torch.zeros_like(self.queries)[None]
        if self.training and self.config.dropout:
            x = x.expand(batch.batch_size, -1, -1)  # every sample has its own dropout
        x = self.decoder(x, memory, self.queries, memory_position)
        with torch.autocast(x.device.type, enabled=False):  # millimetres need more than bf16's 8 bits
            points = self.to_action(x.float())
            return points if self.config.actions_per_query == 1 else self.spline @ points

    def _memory(self, batch: Batch, latent: Tensor | None) -> tuple[Tensor, Tensor]:
        """Tokens (B, S, D) of latent, qpos, env_state and images, and their positions (S, D)."""
        vectors = [self.from_qpos(self.joints(batch)[:, -1])]
        if self.cvae is not None:
            vectors.insert(0, self.cvae.from_latent(latent))
        if self.from_env_state is not None:
            vectors.append(self.from_env_state(self.object_poses(batch)[:, -1]))
        tokens, position = torch.stack(vectors, dim=1), self.vector_position
        if self.tokens is None:
            return tokens, position
        source = self.keypoints(batch) if self.reads_keypoints else self._noisy_maps(self.maps(batch))
        seen, seen_position = self.tokens(source[:, -1])
        if self.training and self.config.token_dropout:
            seen = seen * (torch.rand_like(seen[..., :1]) >= self.config.token_dropout)
        return torch.cat([tokens, seen.to(tokens.dtype)], dim=1), torch.cat([position, seen_position])

    def _noisy_maps(self, maps: Tensor) -> Tensor:
        if not self.training or not self.config.map_noise:
            return maps
        unit = maps[:1].std()  # one sample has 160,000 numbers; the others would cost a twentieth of the step
        return maps + self.config.map_noise * unit * torch.randn_like(maps)


class Cvae(nn.Module):
    """The encoder of the CVAE, [CLS, qpos, every cvae_stride-th action] -> mu and logvar of z, and z -> its token."""

    def __init__(self, config: Config, spec: PolicySpec):
        super().__init__()
        dim, self.stride = config.hidden_dim, config.cvae_stride
        self.cls = nn.Parameter(torch.randn(1, dim))
        self.from_qpos, self.from_action = nn.Linear(spec.qpos_dim, dim), nn.Linear(spec.action_dim, dim)
        self.encoder = Encoder(config.n_cvae_layers, dim, config.n_heads, config.dim_feedforward, config.dropout)
        self.to_latent, self.from_latent = nn.Linear(dim, 2 * config.latent_dim), nn.Linear(config.latent_dim, dim)
        self.register_buffer("position", sine_1d(-(-config.chunk_size // self.stride) + 2, dim), persistent=False)

    def forward(self, qpos: Tensor, action: Tensor, is_pad: Tensor) -> tuple[Tensor, Tensor]:
        """mu, logvar (B, L), of normalised qpos (B, Q) and actions (B, K, A); attention never reads padded actions."""
        action, is_pad = action[:, :: self.stride], is_pad[:, :: self.stride]
        action = action.masked_fill(is_pad[..., None], 0)
        actions, joints = self.from_action(action), self.from_qpos(qpos)[:, None]
        cls = self.cls.expand(len(qpos), 1, -1).to(actions.dtype)
        mask = torch.cat([is_pad.new_zeros(len(qpos), 2), is_pad], dim=1)
        x = self.encoder(torch.cat([cls, joints, actions], dim=1), self.position, mask, n=1)
        mu, logvar = self.to_latent(x[:, 0]).float().chunk(2, dim=-1)
        return mu, logvar
