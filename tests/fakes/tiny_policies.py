"""Tiny policies of every kind, and data for them: what the contract tests run through."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from act import policies
from act.data.batch import Batch
from act.data.dataset import EpisodeDataset, Sampling
from act.data.episodes import Episode
from act.data.frames import Features
from act.data.normalize import Normalizer
from act.policies import bc_convmlp, bet, categorical, diffusion, gmm, rt1, vae, vinn
from act.policies.act import Config
from act.types import PolicySpec

IMAGE_SIZE = (32, 48)
RESNET: dict[str, Any] = {"backbone_weights": "none", "dropout": 0.0}
POINTS: dict[str, Any] = {**RESNET, "backbone": "keypoints"}
STATE: dict[str, Any] = {"use_images": False, "use_env_state": True}
FROZEN: dict[str, Any] = {"backbone": "keypoints", "backbone_weights": "sim", "freeze_backbone": True}
BET: dict[str, Any] = {"chunk_size": 6, "n_obs_steps": 3, "n_bins": 5, "hidden_dim": 16, "n_layers": 2, "n_heads": 2}
RT1: dict[str, Any] = {**BET, "n_bins": 9}
MLP: dict[str, Any] = {"chunk_size": 6, "hidden_dim": 16, "backbone_weights": "none", "backbone": "keypoints"}
DENOISER: dict[str, Any] = {**MLP, "n_layers": 2, "n_heads": 2, "channels": (16, 16)}
TINY = {
    "act": [
        Config(6, 16, 32, 2, 1, 2, n_cvae_layers=1, latent_dim=4, dropout=0.0, backbone_weights="none"),
        Config(6, 16, 32, 2, 1, 1, n_cvae_layers=1, dropout=0.0, backbone="keypoints", backbone_weights="none"),
        Config(
            6, 16, 32, 2, 1, 2, actions_per_query=2, use_cvae=False, use_images=False, use_env_state=True, dropout=0.0
        ),
        Config(6, 16, 32, 2, 1, 1, n_cvae_layers=1, latent_dim=8, latent="prior", **STATE, dropout=0.0),
    ],
    "bet": [bet.Config(**BET, **POINTS), bet.Config(**BET, **STATE, dropout=0.0)],
    "rt1": [
        rt1.Config(**RT1, n_tokens=2, **RESNET),
        rt1.Config(**RT1, **POINTS),
        rt1.Config(**RT1, **STATE, dropout=0.0),
    ],
    "bc_convmlp": [
        bc_convmlp.Config(6, 16, backbone_weights="none"),
        bc_convmlp.Config(**MLP, **STATE, loss="l1", actions_per_point=2),
    ],
    "gmm": [gmm.Config(**MLP, decode="sample"), gmm.Config(**MLP, **STATE, n_modes=2)],
    "vae": [vae.Config(**MLP, latent_dim=4), vae.Config(**MLP, **STATE, latent_dim=4, latent="prior", loss="l2")],
    "categorical": [
        categorical.Config(**MLP, n_bins=8),
        categorical.Config(**MLP, **STATE, n_bins=8, joint=True),
        categorical.Config(**MLP, **STATE, n_bins=8, decode="mean"),
    ],
    "diffusion": [
        diffusion.Config(**DENOISER),
        diffusion.Config(**DENOISER, **STATE, network="transformer", actions_per_token=2, predicts="chunk", eta=1.0),
        diffusion.Config(**DENOISER, **STATE, network="mlp", objective="flow", actions_per_point=2),
        diffusion.Config(**DENOISER, **STATE, network="mlp", objective="regression"),
    ],
    "vinn": [vinn.Config(chunk_size=6, **FROZEN), vinn.Config(chunk_size=6, k=2, **STATE)],
}
CASES = [(name, i, n) for name in policies.available() for i in range(len(TINY.get(name, [None]))) for n in (1, 4)]
LEARNING = [case for case in CASES if policies.load(case[0]).Config.learns_by_gradient]


def make(name: str, index: int = 0, n_cameras: int = 1):
    """Returns a tiny policy of that name."""
    torch.manual_seed(0)
    module = policies.load(name)
    config = TINY[name][index] if name in TINY else module.Config(chunk_size=6)
    use_images = getattr(config, "use_images", True)
    cameras = tuple(f"cam{i}" for i in range(n_cameras)) if use_images else ()
    spec = PolicySpec(cameras, IMAGE_SIZE, env_state_dim=7 if getattr(config, "use_env_state", False) else 0)
    normalizer = Normalizer.of(spec)
    normalizer.fit("action", torch.randn(100, 14) * 0.3 + 0.5)
    normalizer.fit("qpos", torch.randn(100, 14) * 0.3 + 0.5)
    policy = module.Policy(config, spec, normalizer)
    policy.before_training(make_dataset(policy))
    return policy


def make_dataset(policy) -> EpisodeDataset:
    """Returns two short episodes of noise, with features where the policy's backbone is frozen, else with images."""

    def episode(length: int) -> Episode:
        qpos, qvel, action = (rng.random((length, 14), np.float32) for _ in range(3))
        return Episode(Path("none"), qpos, qvel, action, rng.random((length, 7), np.float32), None, (), True, {})

    rng, spec = np.random.default_rng(0), policy.spec
    sampling = Sampling(policy.chunk_size, policy.n_obs_steps, use_env_state=spec.env_state_dim > 0)
    dataset = EpisodeDataset([episode(20), episode(15)], sampling)
    if policy.has_frozen_backbone:
        vectors = torch.rand(35, len(spec.cameras), policy.trunk.n_channels)
        dataset.frames.features = Features(list(vectors.split([20, 15])), dataset.starts, 1)
    else:
        images = rng.integers(0, 256, (35, len(spec.cameras), *spec.image_size, 3), dtype=np.uint8)
        dataset.frames.cameras, dataset.frames.images = spec.cameras, torch.from_numpy(images)
    return dataset


def make_batch(policy, batch_size: int = 2) -> Batch:
    torch.manual_seed(1)
    spec, k, t = policy.spec, policy.chunk_size, policy.n_obs_steps
    is_pad = torch.zeros(batch_size, k, dtype=torch.bool)
    is_pad[0, 4:] = True
    shape = (batch_size, t, len(spec.cameras), *spec.image_size, 3)
    return Batch(
        qpos=torch.rand(batch_size, t, 14),
        env_state=torch.rand(batch_size, t, spec.env_state_dim) if spec.env_state_dim else None,
        images=torch.randint(0, 256, shape, dtype=torch.uint8) if spec.cameras else None,
        action=torch.rand(batch_size, k, 14),
        is_pad=is_pad,
        past_action=torch.rand(batch_size, t - 1, k, 14) if t > 1 else None,
        past_is_pad=torch.zeros(batch_size, t - 1, k, dtype=torch.bool) if t > 1 else None,
    )


def seeded_loss(policy, batch: Batch) -> dict[str, float]:
    torch.manual_seed(3)
    with torch.no_grad():
        return {key: float(value) for key, value in policy.loss(batch).items()}


def observations(policy, n: int) -> list[list[dict]]:
    rng = np.random.default_rng(0)

    def obs() -> dict:
        images = {camera: rng.integers(0, 256, (*IMAGE_SIZE, 3), dtype=np.uint8) for camera in policy.spec.cameras}
        return {"qpos": rng.random(14, np.float32), "env_state": rng.random(7, np.float32), "images": images}

    return [[obs() for _ in range(policy.n_obs_steps)] for _ in range(n)]
