"""Diffusion: a denoiser turns noise into a chunk, step by step; three objectives share everything else.

ddpm        Diffusion Policy (Chi et al. 2023, arXiv 2303.04137) with the noise schedule of arXiv 2102.09672 and the
            sampler of arXiv 2010.02502 (DDIM)
flow        flow matching along straight lines (arXiv 2210.02747), as in pi0
regression  two supervised steps and no randomness when acting: the control that shows whether modelling the
            distribution matters at all (MIP, Pan et al. 2025, arXiv 2512.01809)

Actions are z-scored. Chi et al. scale them to [-1, 1]; the small motions of a joint with a few wide swings are then
hidden in the noise for most of the schedule. Beyond the end of an episode its last action is repeated, so that the
denoiser never has to remove anything but noise.

Letters: B batch, K chunk, P points, A action, V numbers of one observation, D width.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, Self

import torch
from einops import repeat
from torch import Tensor, nn

from act.data.batch import Batch
from act.data.normalize import Normalizer
from act.nn.chunks import cubic_spline, hold, normal, spline_fit
from act.nn.denoisers import GROUPS, TIMES, ResidualMlp, Transformer, Unet
from act.policies.base.observing import ObservingConfig, ObservingPolicy
from act.policies.base.policy import TrainingData
from act.types import PolicySpec

Denoise = Callable[[Tensor, float], Tensor]  # noisy points (B, P, A), time in [0, 1] -> prediction (B, P, A)
MOST_CHUNKS = 10_000  # from which the range of the points is computed


@dataclass(frozen=True)
class Config(ObservingConfig):
    """The objective, the sampler, and the sizes of the denoiser."""

    objective: Literal["ddpm", "flow", "regression"] = "ddpm"
    """What the denoiser learns: to remove noise, the velocity from noise to chunk, or the chunk itself in two steps."""
    predicts: Literal["noise", "chunk"] = "noise"
    """What it predicts from a noisy chunk: the noise (ddpm; flow: the velocity) or the clean chunk. Each follows from
    the other, but the noise needs a network that is wide enough to pass all its numbers on."""
    train_steps: int = 100
    """Number of noise levels of ddpm."""
    inference_steps: int = 10
    """Calls of the denoiser per chunk (ddpm and flow); one call costs as much as a whole query of a regression."""
    eta: float = 0.0
    """Share of fresh noise per step of ddpm: 0 is DDIM; 1 with inference_steps = train_steps is the sampler of DDPM."""
    actions_per_point: int = 1
    """Actions between two denoised points. 1: the actions are denoised. More: the points are control points of a
    uniform cubic B-spline, as in preset `fast` of ACT; chunks are then smooth and have fewer numbers to denoise."""
    network: Literal["unet", "transformer", "mlp"] = "unet"
    """The denoiser: convolutions along time at several resolutions (unet), attention between actions (transformer), or
    the chunk as one vector (mlp), which is many times cheaper and good enough for observations that are vectors."""
    channels: tuple[int, ...] = (256, 512, 1024)
    """unet: channels at each resolution, half as fine as the one before; multiples of 8."""
    hidden_dim: int = 256
    """D: width of every token (transformer), or of the one vector (mlp)."""
    n_heads: int = 4
    """transformer: attention heads; hidden_dim must be a multiple of it."""
    n_layers: int = 8
    """transformer and mlp: number of layers."""
    actions_per_token: int = 1
    """transformer: consecutive actions (or points) in one token; 4 makes a step about 4 times cheaper."""

    @property
    def needs_whole_chunks(self) -> bool:
        return True

    @property
    def without_effect(self) -> dict[str, str]:
        only = {"eta": ("ddpm",), "train_steps": ("ddpm",), "inference_steps": ("ddpm", "flow")}
        only["predicts"] = only["inference_steps"]
        networks = {"channels": ("unet",), "n_heads": ("transformer",), "actions_per_token": ("transformer",)}
        networks |= dict.fromkeys(("hidden_dim", "n_layers"), ("transformer", "mlp"))
        return super().without_effect | {
            name: f"with --{switch} {' or '.join(values)}"
            for switch, names in (("objective", only), ("network", networks))
            for name, values in names.items()
            if getattr(self, switch) not in values
        }

    @classmethod
    def preset(cls, name: str) -> Self:
        """ "paper": the U-Net of Chi et al. for vectors, and chunks of 64; else: a network for two CPU cores."""
        if name == "paper":
            return cls(chunk_size=64)
        small = {"network": "mlp", "hidden_dim": 512, "n_layers": 4}
        return cls(**cls.observes(name), **small, predicts="chunk", actions_per_point=4)

    @classmethod
    def training(cls, name: str) -> dict[str, Any]:
        """ "paper": as Chi et al. train with images, without their 3050 epochs, two observations and AdamW's betas;
        else: a learning rate with which an MLP learns faster."""
        if name != "paper":
            return {"lr": 1e-3}
        schedule = {"lr": 1e-4, "lr_backbone": 1e-4, "warmup_steps": 500, "schedule": "cosine"}
        schedule |= {"weight_decay": 1e-6, "ema_decay": 0.9999}
        return {"steps": 50_000, "batch_size": 64, **schedule}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.inference_steps < 1 or (self.objective == "ddpm" and self.inference_steps > self.train_steps):
            raise ValueError(f"inference_steps {self.inference_steps} must be 1 to train_steps {self.train_steps}")
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta {self.eta} must be in [0, 1]")
        if not self.channels or any(n < GROUPS or n % GROUPS for n in self.channels):
            raise ValueError(f"channels {self.channels} must be multiples of {GROUPS}")
        if self.objective == "ddpm" and self.train_steps > TIMES:
            raise ValueError(
                f"train_steps {self.train_steps} must be at most {TIMES}, the number of distinct time codes"
            )
        if self.network == "transformer" and self.hidden_dim % self.n_heads:
            raise ValueError(f"hidden_dim {self.hidden_dim} must be a multiple of n_heads {self.n_heads}")
        if self.chunk_size % self.actions_per_point:
            raise ValueError(
                f"chunk_size {self.chunk_size} must be a multiple of actions_per_point {self.actions_per_point}"
            )
        if self.network == "transformer" and self.n_points % self.actions_per_token:
            raise ValueError(
                f"{self.n_points} points per chunk must be a multiple of actions_per_token {self.actions_per_token}"
            )

    @property
    def n_points(self) -> int:
        """P: how many points of a chunk are denoised: its actions, or the control points of its spline."""
        return cubic_spline(self.chunk_size, self.actions_per_point).shape[1]


class Policy(ObservingPolicy):
    """A denoiser and its objective."""

    spline: Tensor  # (K, P): from points to actions
    to_points: Tensor  # (P, K): from actions to the points that come nearest to them
    limits: Tensor  # (2, A): smallest and largest value of the demonstrated points

    def __init__(self, config: Config, spec: PolicySpec, normalizer: Normalizer):
        super().__init__(config, spec, normalizer)
        spline = cubic_spline(config.chunk_size, config.actions_per_point)
        self.register_buffer("spline", spline, persistent=False)
        self.register_buffer("to_points", spline_fit(spline), persistent=False)
        self.register_buffer("limits", torch.tensor([-torch.inf, torch.inf])[:, None].repeat(1, spec.action_dim))
        self.objective = {"ddpm": Ddpm, "flow": Flow, "regression": TwoSteps}[config.objective](config)
        self.denoiser = make_denoiser(config, spec.action_dim, self.vector_dim)

    def before_training(self, dataset: TrainingData) -> None:
        super().before_training(dataset)
        rows = dataset.trainable[torch.randperm(len(dataset.trainable))[:MOST_CHUNKS]]
        points = self._points(*(part.to(self.device) for part in dataset.labels(rows)))
        self.limits.copy_(torch.stack([points.amin((0, 1)), points.amax((0, 1))]))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """ "loss": mean squared error of the prediction, repeated last actions included."""
        assert batch.action is not None and batch.is_pad is not None, "a training batch has actions"
        noisy, time, target = self.objective.training_example(self._points(batch.action, batch.is_pad))
        observed = repeat(self.vectors(batch)[:, -1], "b v -> (n b) v", n=len(noisy) // batch.batch_size)
        return {"loss": (self.denoiser(noisy, time, observed) - target).square().mean()}

    def predict(self, batch: Batch) -> Tensor:
        observed, n = self.vectors(batch)[:, -1], batch.batch_size
        noise = normal(n, (self.objective.n_noises, self.config.n_points, self.spec.action_dim), observed.device)

        def denoise(noisy: Tensor, time: float) -> Tensor:
            return self.denoiser(noisy, observed.new_full((n,), time), observed)

        return self.spline @ self.objective.generate(denoise, noise, self.limits)

    def _points(self, action: Tensor, is_pad: Tensor) -> Tensor:
        """(B, P, A) normalised points of chunks (B, K, A); the last action is repeated over the padding (B, K)."""
        with torch.autocast(action.device.type, enabled=False):  # millimetres need more than bf16's 8 bits
            return self.to_points @ self.normalizer.encode("action", hold(action, is_pad))


def make_denoiser(config: Config, point_dim: int, vector_dim: int) -> nn.Module:
    """The denoiser of a configuration: noisy points (B, P, A), times (B,), observations (B, V) -> (B, P, A)."""
    if config.network == "unet":
        return Unet(point_dim, vector_dim, config.channels)
    sizes = {"n_points": config.n_points, "dim": config.hidden_dim, "n_layers": config.n_layers}
    if config.network == "mlp":
        return ResidualMlp(point_dim, vector_dim, **sizes)
    heads = {"n_heads": config.n_heads, "per_token": config.actions_per_token}
    return Transformer(point_dim, vector_dim, **sizes, **heads)


# ------------------------------------------------------------------------------------------------------- objectives
class Objective(nn.Module, ABC):
    """How a denoiser is trained, and how its predictions become a chunk."""

    n_noises = 1  # chunks of noise that `generate` takes

    def __init__(self, config: Config):
        super().__init__()
        self.config = config

    @abstractmethod
    def training_example(self, clean: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Noisy points (n B, P, A), their times (n B,) and the targets (n B, P, A), from clean points (B, P, A)."""

    @abstractmethod
    def generate(self, denoise: Denoise, noise: Tensor, limits: Tensor) -> Tensor:
        """Points (B, P, A) from noise (B, n_noises, P, A); `limits` (2, A): smallest and largest possible values."""


class Ddpm(Objective):
    """Denoising diffusion: noisy = sqrt(a) clean + sqrt(1 - a) noise; a falls from 1 to 0 as time goes from 0 to 1."""

    alpha_bar: Tensor

    def __init__(self, config: Config):
        super().__init__(config)
        self.n_noises = 1 + (config.inference_steps if config.eta else 0)
        self.register_buffer("alpha_bar", cosine_schedule(config.train_steps), persistent=False)

    def training_example(self, clean: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        step = torch.randint(self.config.train_steps, (len(clean),), device=clean.device)
        alpha, noise = self.alpha_bar[step][:, None, None], torch.randn_like(clean)
        noisy = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
        return noisy, self._time(step), noise if self.config.predicts == "noise" else clean

    def generate(self, denoise: Denoise, noise: Tensor, limits: Tensor) -> Tensor:
        """DDIM with clipping: estimate the clean chunk, then go to the next lower noise level around that estimate."""
        config, x = self.config, noise[:, 0]
        steps = torch.linspace(config.train_steps - 1, 0, config.inference_steps).round().long()
        alphas = [*self.alpha_bar[steps], self.alpha_bar.new_ones(())]
        for i, (step, (alpha, lower)) in enumerate(zip(steps.tolist(), pairwise(alphas), strict=True)):
            predicted = denoise(x, self._time(step))
            clean = (x - (1 - alpha).sqrt() * predicted) / alpha.sqrt() if config.predicts == "noise" else predicted
            clean = clean.clamp(*limits)
            direction = (x - alpha.sqrt() * clean) / (1 - alpha).sqrt()
            sigma = config.eta * ((1 - lower) / (1 - alpha) * (1 - alpha / lower)).sqrt()
            x = lower.sqrt() * clean + (1 - lower - sigma.square()).clamp_min(0).sqrt() * direction
            if config.eta:
                x = x + sigma * noise[:, 1 + i]
        return x

    def _time(self, step: Any) -> Any:
        """Time in [0, 1), just above step / train_steps: float32 could round that down to the time code before."""
        return (step + 1e-3) / self.config.train_steps


def cosine_schedule(n_steps: int) -> Tensor:
    """(n_steps,) variance left of the clean signal: cos^2, at most 0.999 lost per step (arXiv 2102.09672)."""
    time = torch.arange(n_steps + 1, dtype=torch.float64) / n_steps
    signal = ((time + 0.008) / 1.008 * torch.pi / 2).cos().square()
    beta = (1 - signal[1:] / signal[:-1]).clamp_max(0.999)
    return (1 - beta).cumprod(0).float()


class Flow(Objective):
    """Flow matching: noisy = (1 - t) noise + t clean moves with the velocity clean - noise, and is clean at t = 1."""

    def training_example(self, clean: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        time, noise = torch.rand(len(clean), device=clean.device), torch.randn_like(clean)
        target = clean - noise if self.config.predicts == "noise" else clean
        return torch.lerp(noise, clean, time[:, None, None]), time, target

    def generate(self, denoise: Denoise, noise: Tensor, limits: Tensor) -> Tensor:
        """Euler integration with steps of equal size."""
        x, n = noise[:, 0], self.config.inference_steps
        for i in range(n):
            predicted = denoise(x, i / n)
            x = x + (predicted / n if self.config.predicts == "noise" else (predicted - x) / (n - i))
        return x


class TwoSteps(Objective):
    """Regression in two steps: the chunk from zeros, then from a slightly wrong chunk.

    When the policy acts, the second step starts from the result of the first.
    """

    n_noises = 0
    time, std = 0.9, 0.1  # of the second step, as in MIP

    def training_example(self, clean: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        time = torch.tensor([0.0, self.time], device=clean.device).repeat_interleave(len(clean))
        wrong = clean + self.std * torch.randn_like(clean)
        return torch.cat([torch.zeros_like(clean), wrong]), time, torch.cat([clean, clean])

    def generate(self, denoise: Denoise, noise: Tensor, limits: Tensor) -> Tensor:
        return denoise(denoise(torch.zeros_like(noise.sum(1)), 0.0), self.time)
