"""The contract that every policy keeps, and what is special to ACT."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from act import policies
from act.data.batch import Batch
from act.data.dataset import EpisodeDataset, Sampling
from act.data.episodes import Episode
from act.data.frames import Features
from act.data.normalize import Normalizer
from act.nn.chunks import cubic_spline
from act.nn.vision import KeypointConfig, KeypointTrunk
from act.policies import bc_convmlp, bet, categorical, diffusion, gmm, rt1, vae, vinn
from act.policies.act import Config, Policy
from act.policies.base.policy import masked_mean
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


@pytest.mark.parametrize(("name", "index", "n_cameras"), LEARNING)
def test_the_loss_falls_on_one_batch_and_every_parameter_gets_a_gradient(name, index, n_cameras):
    policy = make(name, index, n_cameras)
    batch = make_batch(policy)
    before = seeded_loss(policy, batch)["loss"]
    optimizer = torch.optim.AdamW(policy.parameter_groups(3e-3, 0.0))
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    for step in range(8):
        torch.manual_seed(step)
        optimizer.zero_grad()
        policy.loss(batch)["loss"].backward()
        if step == 1:
            for key, parameter in policy.named_parameters():
                assert id(parameter) in trained, f"{key} is in no parameter group"
                assert parameter.grad is not None and bool(parameter.grad.abs().sum() > 0), f"{key} gets no gradient"
        optimizer.step()
    after = seeded_loss(policy, batch)["loss"]
    assert np.isfinite(before) and after < before


@pytest.mark.parametrize("name", ["act", "bet", "rt1", "categorical", "diffusion"])
def test_relative_chunks_begin_at_the_newest_joints(name):
    policy = make(name)
    seen = observations(policy, 2)
    torch.manual_seed(0)
    absolute = policy.predict_chunk(seen)
    policy.config = dataclasses.replace(policy.config, relative_actions=True)
    torch.manual_seed(0)
    newest = np.stack([history[-1]["qpos"] for history in seen])[:, None]
    assert np.allclose(policy.predict_chunk(seen), absolute + newest, atol=1e-6)


def test_vinn_recalls_absolute_targets_only():
    with pytest.raises(ValueError, match="VINN recalls demonstrated joint targets, which are absolute"):
        dataclasses.replace(TINY["vinn"][1], relative_actions=True)


@pytest.mark.parametrize(("name", "index", "n_cameras"), [case for case in CASES if case not in LEARNING])
def test_a_policy_that_learns_without_gradients_has_none(name, index, n_cameras):
    policy = make(name, index, n_cameras)
    assert not any(parameter.requires_grad for parameter in policy.parameters())
    assert np.isfinite(seeded_loss(policy, make_batch(policy))["loss"])


@pytest.mark.parametrize(("name", "index", "n_cameras"), CASES)
def test_padded_actions_do_not_change_the_loss(name, index, n_cameras):
    policy = make(name, index, n_cameras)
    batch = make_batch(policy)
    assert batch.action is not None
    other = batch.action.clone()
    other[0, 4:] = 1e3
    changed = dataclasses.replace(batch, action=other)
    if batch.past_action is not None and batch.past_is_pad is not None:
        batch.past_is_pad[1, 0] = True
        past = batch.past_action.clone()
        past[1, 0] = 1e3
        changed = dataclasses.replace(changed, past_action=past)
    assert seeded_loss(policy, batch) == seeded_loss(policy, changed)


@pytest.mark.parametrize(("name", "index", "n_cameras"), CASES)
def test_the_loss_is_the_same_in_train_and_eval_mode(name, index, n_cameras):
    policy = make(name, index, n_cameras)
    batch = make_batch(policy)
    assert seeded_loss(policy.train(), batch) == pytest.approx(seeded_loss(policy.eval(), batch), rel=1e-5)


@pytest.mark.parametrize(("name", "index", "n_cameras"), CASES)
def test_predict_chunk_is_physical_and_repeatable(name, index, n_cameras):
    policy = make(name, index, n_cameras).train()
    histories = observations(policy, 2)
    torch.manual_seed(0)
    chunks = policy.predict_chunk(histories)
    assert policy.training and chunks.shape == (2, policy.chunk_size, 14) and chunks.dtype == np.float32
    torch.manual_seed(0)
    assert np.array_equal(chunks, policy.predict_chunk(histories))
    policy.normalizer.action_shift += 10.0
    torch.manual_seed(0)
    assert np.allclose(policy.predict_chunk(histories), chunks + 10, atol=1e-3)


@pytest.mark.parametrize(("name", "index", "n_cameras"), CASES)
def test_a_batch_of_two_is_two_batches_of_one(name, index, n_cameras):
    policy = make(name, index, n_cameras)
    histories = observations(policy, 2)
    torch.manual_seed(0)  # policies draw random numbers sample by sample, in order
    ones = [policy.predict_chunk([history])[0] for history in histories]
    torch.manual_seed(0)
    assert np.allclose(policy.predict_chunk(histories), np.stack(ones), atol=1e-4)


@pytest.mark.parametrize(("name", "index", "n_cameras"), CASES)
def test_a_saved_policy_answers_the_same(name, index, n_cameras):
    policy = make(name, index, n_cameras)
    config = type(policy.config).from_json(json.loads(json.dumps(policy.config.to_json())))
    spec = PolicySpec.from_json(json.loads(json.dumps(policy.spec.to_json())))
    again = type(policy)(config, spec, Normalizer.of(spec))
    again.load_state_dict(policy.state_dict())
    histories, answers = observations(policy, 1), []
    for either in (policy, again):
        torch.manual_seed(0)
        answers.append(either.predict_chunk(histories))
    assert np.array_equal(*answers)


def test_registration_is_the_file_name():
    assert "act" in policies.available() and "policy" not in policies.available()
    assert policies.load("ACT").Policy is Policy
    with pytest.raises(ValueError, match="unknown policy 'pi0'; available: act"):
        policies.load("pi0")
    for name in (3, None, ["act"], "../act", "base.storage", "__init__"):  # what a policy.json may hold
        with pytest.raises(ValueError, match=r"unknown policy .*; available: act"):
            policies.load(name)  # type: ignore[arg-type]


def test_the_paper_network_has_the_papers_parameters():
    config = Config(n_decoder_layers=1, camera_embedding=False)
    spec = PolicySpec(("top",), (480, 640))
    policy = Policy(config, spec, Normalizer.of(spec))
    assert (
        sum(p.numel() for p in policy.parameters() if p.requires_grad) == 51_613_582
    )  # the original's, less the pad head


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"chunk_size": 0}, "chunk_size 0 must be at least 1"),
        ({"n_heads": 0}, "n_heads 0 must be at least 1"),
        ({"actions_per_query": 0}, "actions_per_query 0 must be at least 1"),
        ({"kl_weight": -1.0}, "kl_weight -1.0 must be a number that is not negative"),
        ({"input_noise": float("nan")}, "input_noise nan must be a number"),
        ({"hidden_dim": 100}, "multiple of 4 and of n_heads"),
        ({"actions_per_query": 7}, "chunk_size 100 must be a multiple of actions_per_query 7"),
        ({"latent": "prior", "use_cvae": False}, "needs use_cvae"),
        ({"use_images": False}, "neither images nor env_state"),
        ({"backbone": "keypoints"}, "keypoints has no weights 'imagenet'; it takes sim or none"),
        ({"backbone": "keypoints", "backbone_weights": "none", "freeze_backbone": True}, "random weights"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Config(**values)


def test_a_masked_mean_divides_by_the_entries_that_are_not_padding():
    error, is_pad = torch.tensor([[[1.0], [3.0]], [[5.0], [99.0]]]), torch.tensor([[False, False], [False, True]])
    assert float(masked_mean(error, is_pad)) == 3.0


def test_a_keypoint_trunk_is_loaded_once_and_its_features_replace_images(tmp_path):
    trunk = KeypointTrunk(KeypointConfig(("cube", "hand"), ("cam0", "cam1", "cam2"), IMAGE_SIZE))
    trunk.folded().save(tmp_path)
    config = dataclasses.replace(
        TINY["act"][1], backbone_weights="sim", freeze_backbone=True, trunk=str(tmp_path), input_noise=0.1
    )
    spec = PolicySpec(("cam2", "cam0"), IMAGE_SIZE)
    policy = Policy.create(config, spec, Normalizer.of(spec))
    assert policy.has_frozen_backbone and not any(p.requires_grad for p in policy.backbone_parameters())
    batch = make_batch(policy)
    assert batch.images is not None
    cached = dataclasses.replace(batch, images=None, features=policy.encode_images(batch.images))
    assert cached.features is not None and cached.features.shape == (2, 1, 2, 6)
    policy.eval()
    assert torch.allclose(policy.predict(batch), policy.predict(cached))
    again = Policy(Config.from_json(json.loads(json.dumps(policy.config.to_json()))), spec, Normalizer.of(spec))
    again.load_state_dict(policy.state_dict())
    assert torch.equal(again.eval().predict(batch), policy.predict(batch))
    with pytest.raises(ValueError, match="not trained on camera 'top'"):
        Policy.create(config, PolicySpec(("top",), IMAGE_SIZE), Normalizer.of(spec))


def test_the_prior_latent_gives_different_chunks_and_zero_the_same():
    policy = make("act")
    histories = observations(policy, 1)
    assert np.array_equal(policy.predict_chunk(histories), policy.predict_chunk(histories))
    policy.config = dataclasses.replace(policy.config, latent="prior")
    assert not np.array_equal(policy.predict_chunk(histories), policy.predict_chunk(histories))


def test_the_cvae_reads_every_nth_action_and_no_padding():
    spec = PolicySpec((), IMAGE_SIZE, env_state_dim=7)
    config = dataclasses.replace(TINY["act"][2], use_cvae=True, cvae_stride=2)
    cvae = Policy(config, spec, Normalizer.of(spec)).eval().cvae
    assert cvae is not None
    qpos, action, is_pad = torch.rand(1, 14), torch.rand(1, 6, 14), torch.zeros(1, 6, dtype=torch.bool)
    is_pad[:, 4:] = True
    mu = cvae(qpos, action, is_pad)[0]
    for t, is_read in enumerate([True, False, True, False, False, False]):
        other = action.clone()
        other[:, t] += 1
        assert torch.equal(cvae(qpos, other, is_pad)[0], mu) != is_read


def test_the_spline_is_smooth_and_reproduces_straight_lines():
    basis = cubic_spline(12, 4)
    assert basis.shape == (12, 6) and torch.allclose(basis.sum(1), torch.ones(12))
    line = basis @ (4.0 * torch.arange(-1, 5))  # control points of the identity
    assert torch.allclose(line, torch.arange(12.0), atol=1e-5)
    assert torch.equal(cubic_spline(5, 1), torch.eye(5))
