"""Diffusion: chunks out of noise, step by step; one denoiser, three objectives that differ in nothing else.

ddpm: Diffusion Policy (Chi et al. 2023, arXiv 2303.04137) with the schedule of arXiv 2102.09672 and the sampler of
arXiv 2010.02502. flow: flow matching along straight lines (arXiv 2210.02747), the head of pi0. regression: two
supervised steps and no chance at test, the control that asks whether the distribution matters at all (MIP, Pan et al.
2025, arXiv 2512.01809). Tables name them by `--objective`.

Letters: B batch, K chunk, P points, A action, V numbers of what is seen, D width. Actions are z-scored: Chi et al.
scale them to [-1, 1], where a joint with a few wide swings lies hidden in the noise for most of the schedule. Beyond
the end of an episode the last action is held, so that noise is all a denoiser ever has to remove.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from act.data.batch import Batch
from act.data.normalize import Normalizer
from act.nn.chunks import cubic_spline, hold, normal, spline_fit
from act.nn.denoisers import GROUPS, TIMES, ResidualMlp, Transformer, Unet
from act.policies.base.observing import ObservingConfig, ObservingPolicy
from act.policies.base.policy import TrainingData
from act.types import PolicySpec

Denoise = Callable[[Tensor, float], Tensor]  # noisy points (B, P, A), time in [0, 1] -> what the objective asks for
MOST_CHUNKS = 10_000  # whose range is looked at


@dataclass(frozen=True)
class Config(ObservingConfig):
    """Objective, sampler and sizes of the denoiser."""

    objective: Literal["ddpm", "flow", "regression"] = "ddpm"
    """What the denoiser learns: to undo noise; the velocity from noise to chunk; the chunk, twice."""
    predicts: Literal["noise", "chunk"] = "noise"
    """What it says of a noisy chunk: the noise in it (ddpm; flow: the velocity), which takes a network wide enough to
    let all numbers of the noise through; or the chunk without noise. Each follows from the other."""
    train_steps: int = 100
    """Levels of noise of ddpm."""
    inference_steps: int = 10
    """Calls of the denoiser per chunk, ddpm and flow; a call takes as long as a whole regression policy."""
    eta: float = 0.0
    """Fresh noise per step of ddpm: 0 is DDIM; 1 with inference_steps = train_steps is DDPM's own sampler."""
    actions_per_point: int = 1
    """1: actions are denoised. More: control points, so many actions apart, of a uniform cubic B-spline, as in preset
    `fast` of ACT: chunks are smooth and fewer numbers have to be told from noise."""
    network: Literal["unet", "transformer", "mlp"] = "unet"
    """The denoiser: convolutions along time at several resolutions; attention between actions; or all of the chunk in
    one vector, which is many times cheaper and enough where vectors are seen."""
    channels: tuple[int, ...] = (256, 512, 1024)
    """unet: channels of each resolution, every one half as fine as the one before; multiples of 8."""
    hidden_dim: int = 256
    """transformer and mlp, D: width of every token, or of the one vector."""
    n_heads: int = 4
    """transformer: attention heads; they divide hidden_dim."""
    n_layers: int = 8
    """transformer and mlp: layers."""
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
        """ "paper": the U-Net of Chi et al. for vectors, chunks of 64; else: minutes on two CPU cores."""
        if name == "paper":
            return cls(chunk_size=64)
        small = {"network": "mlp", "hidden_dim": 512, "n_layers": 4}
        return cls(**cls.sees(name), **small, predicts="chunk", actions_per_point=4)

    @classmethod
    def training(cls, name: str) -> dict[str, Any]:
        """ "paper": what Chi et al. say of images, but for their 3050 epochs, two observations and AdamW's betas; else:
        what an MLP learns faster with."""
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
                f"train_steps {self.train_steps} must be at most {TIMES}, which the code of time tells apart"
            )
        if self.network == "transformer" and self.hidden_dim % self.n_heads:
            raise ValueError(f"hidden_dim {self.hidden_dim} must be a multiple of n_heads {self.n_heads}")
        if self.chunk_size % self.actions_per_point:
            raise ValueError(
                f"chunk_size {self.chunk_size} must be a multiple of actions_per_point {self.actions_per_point}"
            )
        if self.network == "transformer" and self.n_points % self.actions_per_token:
            raise ValueError(f"{self.n_points} must be a multiple of actions_per_token {self.actions_per_token}")

    @property
    def n_points(self) -> int:
        """What is denoised of a chunk: its actions, or the control points of its spline."""
        return cubic_spline(self.chunk_size, self.actions_per_point).shape[1]


class Policy(ObservingPolicy):
    """A denoiser and its objective."""

    spline: Tensor  # (K, P): actions of points
    to_points: Tensor  # (P, K): the points nearest to given actions
    limits: Tensor  # (2, A): least and greatest number of demonstrated points

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
        """ "loss": mean squared error of what the denoiser is asked for, over held actions too."""
        assert batch.action is not None and batch.is_pad is not None, "a training batch has actions"
        noisy, time, target = self.objective.exercise(self._points(batch.action, batch.is_pad))
        seen = self.vectors(batch)[:, -1].repeat(len(noisy) // batch.batch_size, 1)
        return {"loss": (self.denoiser(noisy, time, seen) - target).square().mean()}

    def predict(self, batch: Batch) -> Tensor:
        seen, n = self.vectors(batch)[:, -1], batch.batch_size
        noise = normal(n, (self.objective.n_noises, self.config.n_points, self.spec.action_dim), seen.device)
        points = self.objective.solve(lambda x, t: self.denoiser(x, seen.new_full((n,), t), seen), noise, self.limits)
        return self.spline @ points

    def _points(self, action: Tensor, is_pad: Tensor) -> Tensor:
        """(B, P, A) normalised control points of chunks (B, K, A), the last action held over the padding (B, K)."""
        with torch.autocast(action.device.type, enabled=False):  # millimetres need more than bf16's 8 bits
            return self.to_points @ self.normalizer.encode("action", hold(action, is_pad))


def make_denoiser(config: Config, point_dim: int, vector_dim: int) -> nn.Module:
    """The network of a configuration: noisy points (B, P, A), times (B,) and what is seen (B, V) -> (B, P, A)."""
    if config.network == "unet":
        return Unet(point_dim, vector_dim, config.channels)
    sizes = {"n_points": config.n_points, "dim": config.hidden_dim, "n_layers": config.n_layers}
    if config.network == "mlp":
        return ResidualMlp(point_dim, vector_dim, **sizes)
    heads = {"n_heads": config.n_heads, "per_token": config.actions_per_token}
    return Transformer(point_dim, vector_dim, **sizes, **heads)


# ------------------------------------------------------------------------------------------------------- objectives
class Objective(nn.Module, ABC):
    """What a denoiser is asked in training, and how its answers make a chunk."""

    n_noises = 1  # chunks of noise that `solve` takes

    def __init__(self, config: Config):
        super().__init__()
        self.config = config

    @abstractmethod
    def exercise(self, clean: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Noisy points (n B, P, A), their times (n B,) and the answers (n B, P, A), from clean points (B, P, A)."""

    @abstractmethod
    def solve(self, denoise: Denoise, noise: Tensor, limits: Tensor) -> Tensor:
        """Points (B, P, A) from noise (B, n_noises, P, A); `limits` (2, A): the least and greatest there are."""


class Ddpm(Objective):
    """noisy = sqrt(a) clean + sqrt(1 - a) noise, with a falling from 1 to 0 over the train_steps; time 0 is clean."""

    alpha_bar: Tensor

    def __init__(self, config: Config):
        super().__init__(config)
        self.n_noises = 1 + (config.inference_steps if config.eta else 0)
        self.register_buffer("alpha_bar", cosine_schedule(config.train_steps), persistent=False)

    def exercise(self, clean: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        step = torch.randint(self.config.train_steps, (len(clean),), device=clean.device)
        alpha, noise = self.alpha_bar[step][:, None, None], torch.randn_like(clean)
        noisy = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
        return noisy, self._time(step), noise if self.config.predicts == "noise" else clean

    def solve(self, denoise: Denoise, noise: Tensor, limits: Tensor) -> Tensor:
        """DDIM with clipping: guess the clean chunk, then go to the next lower level of noise around that guess."""
        config, x = self.config, noise[:, 0]
        steps = torch.linspace(config.train_steps - 1, 0, config.inference_steps).round().long()
        alphas = [*self.alpha_bar[steps], self.alpha_bar.new_ones(())]
        for i, (step, (alpha, lower)) in enumerate(zip(steps.tolist(), pairwise(alphas), strict=True)):
            answer = denoise(x, self._time(step))
            clean = (x - (1 - alpha).sqrt() * answer) / alpha.sqrt() if config.predicts == "noise" else answer
            clean = clean.clamp(*limits)
            direction = (x - alpha.sqrt() * clean) / (1 - alpha).sqrt()
            sigma = config.eta * ((1 - lower) / (1 - alpha) * (1 - alpha / lower)).sqrt()
            x = lower.sqrt() * clean + (1 - lower - sigma.square()).clamp_min(0).sqrt() * direction
            if config.eta:
                x = x + sigma * noise[:, 1 + i]
        return x

    def _time(self, step: Any) -> Any:
        """In [0, 1); just above step / train_steps, which float32 may round down into the instant before."""
        return (step + 1e-3) / self.config.train_steps


def cosine_schedule(n_steps: int) -> Tensor:
    """(n_steps,) what is left of the clean signal's variance: cos^2, at most 0.999 lost per step (2102.09672)."""
    time = torch.arange(n_steps + 1, dtype=torch.float64) / n_steps
    signal = ((time + 0.008) / 1.008 * torch.pi / 2).cos().square()
    beta = (1 - signal[1:] / signal[:-1]).clamp_max(0.999)
    return (1 - beta).cumprod(0).float()


class Flow(Objective):
    """noisy = (1 - t) noise + t clean; its velocity is clean - noise; time 1 is clean."""

    def exercise(self, clean: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        time, noise = torch.rand(len(clean), device=clean.device), torch.randn_like(clean)
        answer = clean - noise if self.config.predicts == "noise" else clean
        return torch.lerp(noise, clean, time[:, None, None]), time, answer

    def solve(self, denoise: Denoise, noise: Tensor, limits: Tensor) -> Tensor:
        """Euler's steps of equal size."""
        x, n = noise[:, 0], self.config.inference_steps
        for i in range(n):
            answer = denoise(x, i / n)
            x = x + (answer / n if self.config.predicts == "noise" else (answer - x) / (n - i))
        return x


class TwoSteps(Objective):
    """The chunk from nothing, then from a slightly wrong one; what is executed is the second answer to the first."""

    n_noises = 0
    time, std = 0.9, 0.1  # of the second step, as MIP has them

    def exercise(self, clean: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        time = torch.tensor([0.0, self.time], device=clean.device).repeat_interleave(len(clean))
        wrong = clean + self.std * torch.randn_like(clean)
        return torch.cat([torch.zeros_like(clean), wrong]), time, torch.cat([clean, clean])

    def solve(self, denoise: Denoise, noise: Tensor, limits: Tensor) -> Tensor:
        return denoise(denoise(torch.zeros_like(noise.sum(1)), 0.0), self.time)
