"""The contract that every policy keeps, and what is special to ACT."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from act import policies
from act.data.normalize import Normalizer
from act.nn.chunks import cubic_spline
from act.nn.vision import KeypointConfig, KeypointTrunk
from act.policies.act import Config, Policy
from act.policies.base.policy import masked_mean
from act.types import PolicySpec
from tests.fakes.tiny_policies import CASES, IMAGE_SIZE, LEARNING, TINY, make, make_batch, observations, seeded_loss


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
    with pytest.raises(ValueError, match="the keypoint detector: unknown camera 'top'"):
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
