"""BeT: bins, offsets from them, and a loss at every position of the history."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from act.nn.vision import KeypointConfig, KeypointTrunk
from act.policies import bet
from act.policies.base.storage import load_policy
from act.policies.bet import Config, focal
from act.runtime.agents import PolicyAgent
from act.training.config import preset
from tests.act.data.test_dataset import SIZE
from tests.fakes.tiny_policies import BET, make, make_batch
from tests.fakes.tiny_run import make as make_run
from tests.fakes.tiny_run import run
from tests.fakes.two_ways import holds_both, learn

STATE = 1  # of the tiny configurations of the contract tests: object poses, no images


def test_without_gamma_the_focal_loss_is_the_cross_entropy():
    torch.manual_seed(0)
    logits, target = torch.randn(3, 4, 5), torch.randint(5, (3, 4))
    expected = F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none").view(3, 4)
    assert torch.allclose(focal(logits, target, 0.0), expected, atol=1e-6)
    p = logits.softmax(-1).gather(-1, target[..., None])[..., 0]
    assert torch.allclose(focal(logits, target, 2.0), -((1 - p) ** 2) * p.log(), atol=1e-6)
    sure = torch.tensor([[200.0, 0.0]], requires_grad=True)
    focal(sure, torch.tensor([0]), 0.5).sum().backward()
    assert sure.grad is not None and bool(sure.grad.isfinite().all())


def test_the_bin_of_a_chunk_is_the_nearest_without_its_padding():
    policy = make("bet", STATE)
    chunks = torch.randn(500, 6, 14)
    is_pad = torch.arange(6) >= torch.randint(1, 7, (500, 1))
    distance = (chunks[:, None] - policy.centres).square().masked_fill(is_pad[:, None, :, None], 0)
    expected = distance.sum((2, 3)).argmin(1)
    for bf16 in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            assert torch.equal(policy.encode(chunks, is_pad), expected)


def test_the_true_bin_and_offset_give_the_chunk_and_no_loss():
    policy = make("bet", STATE)
    batch = make_batch(policy)[1:]
    action, is_pad = batch.chunks()
    action[:] = action[:, -1:]  # the same chunk everywhere
    target = policy.normalizer.encode("action", action)
    chosen = int(policy.encode(target, is_pad)[0, -1])
    with torch.no_grad():
        policy.to_offsets.weight.zero_()
        policy.to_offsets.bias.view(5, 6, 14)[chosen] = target[0, -1] - policy.centres[chosen]
        policy.to_logits.bias[chosen] = 50.0
        losses = policy.loss(dataclasses.replace(batch, action=action[:, -1], past_action=action[:, :-1]))
        assert losses["focal"] < 1e-6 and losses["offset"] < 1e-10
        assert torch.allclose(policy.predict(batch), target[:, -1], atol=1e-5)


def test_every_position_of_the_history_is_trained():
    policy = make("bet", STATE).eval()
    batch = make_batch(policy)
    assert batch.past_action is not None
    for position in range(2):
        past = batch.past_action.clone()
        past[1, position] += 1.0
        assert policy.loss(batch)["loss"] != policy.loss(dataclasses.replace(batch, past_action=past))["loss"]


def test_a_position_does_not_see_later_observations():
    policy = make("bet", STATE).eval()
    batch = make_batch(policy)
    later = batch.qpos.clone()
    later[:, 2] += 1.0
    before, after = policy._positions(batch), policy._positions(dataclasses.replace(batch, qpos=later))
    assert torch.equal(before[:, :2], after[:, :2]) and not torch.allclose(before[:, 2], after[:, 2])


def test_two_ways_are_two_bins():
    config = Config(n_obs_steps=1, n_bins=2, hidden_dim=16, n_layers=1, n_heads=2, dropout=0.0, offset_weight=1.0)
    policy = learn(bet, config, steps=60)
    assert holds_both(policy)


def test_a_history_trains_on_cached_features_and_each_image_is_encoded_once_when_acting(tmp_path, monkeypatch):
    KeypointTrunk(KeypointConfig(("cube",), ("cam0", "cam1"), SIZE)).folded().save(tmp_path / "trunk")
    backbone = {"backbone": "keypoints", "backbone_weights": "sim", "freeze_backbone": True}
    policy = Config(**BET, **backbone, trunk=str(tmp_path / "trunk"))
    config = make_run(tmp_path, policy_class="bet", policy=policy, steps=3)
    assert np.isfinite([line.losses["loss"] for line in run(config)]).all()
    policy, encoded = load_policy(tmp_path / "run"), []
    encode = policy.encode_images
    monkeypatch.setattr(policy, "encode_images", lambda images: encoded.append(images.shape[:3]) or encode(images))
    agent = PolicyAgent(policy, n_action_steps=2)
    agent.reset(2)
    images = {camera: np.zeros((*SIZE, 3), np.uint8) for camera in ("cam0", "cam1")}
    for t in range(5):
        assert agent.needs_images()
        actions = agent.select_action([{"qpos": np.full(14, t, np.float32), "images": images}] * 2)
        assert actions.shape == (2, 14) and np.isfinite(actions).all()
    assert encoded == [(2, 1, 2)] * 5


def test_presets_have_what_a_history_and_the_paper_need():
    assert preset("fast", "bet").frame_stride == 1 and preset("fast", "act").frame_stride == 2
    paper = preset("paper", "bet")
    assert (paper.lr, paper.batch_size, paper.weight_decay) == (1e-4, 64, 0.1)
    assert (paper.policy.n_obs_steps, paper.policy.chunk_size) == (100, 1)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="hidden_dim 768 a multiple of n_heads 5"):
        Config(n_heads=5)
