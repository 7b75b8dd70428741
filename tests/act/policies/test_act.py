"""ACT: the parts of its loss, and the noise on its inputs."""

import dataclasses

import pytest
import torch

from act.policies import act
from act.training.preparation import load_data, make_policy
from tests.fakes.tiny_run import TINY, make


def test_the_loss_is_l1_and_the_weighted_divergence_from_the_prior(tmp_path, monkeypatch):
    config = make(tmp_path)
    train, _, spec = load_data(config)
    policy, batch = make_policy(config, train, spec).eval(), train.draw(0, 0, 8)
    assert isinstance(policy, act.Policy) and policy.cvae is not None and batch.action is not None
    mu, logvar = 2 * torch.ones(8, TINY.latent_dim), torch.zeros(8, TINY.latent_dim)
    monkeypatch.setattr(policy.cvae, "forward", lambda *_: (mu, logvar))
    losses = {name: value.item() for name, value in policy.loss(batch).items()}
    assert losses["kl"] == pytest.approx(TINY.latent_dim * 2.0)  # mu^2 / 2 in each dimension
    assert losses["loss"] == pytest.approx(losses["l1"] + TINY.kl_weight * losses["kl"], rel=1e-5)
    target = policy.normalizer.encode("action", batch.action)
    for loss, distance in (("l1", 2.0), ("l2", 4.0)):
        monkeypatch.setattr(policy, "config", dataclasses.replace(TINY, loss=loss))
        monkeypatch.setattr(policy, "_decode", lambda batch, latent: target + 2)
        assert policy.loss(batch)[loss].item() == pytest.approx(distance, rel=1e-5)


def test_inputs_are_noisy_in_training_only(tmp_path):
    config = make(tmp_path, policy=dataclasses.replace(TINY, input_noise=0.5))
    train, _, spec = load_data(config)
    policy, batch = make_policy(config, train, spec).eval(), train.draw(0, 0, 200)
    assert isinstance(policy, act.Policy)
    for read in (policy.joints, policy.object_poses):
        clean = read(batch)
        assert torch.equal(read(batch), clean)
        policy.train()
        noise = read(batch) - clean
        policy.eval()
        assert float(noise.std()) == pytest.approx(0.5, rel=0.1) and abs(float(noise.mean())) < 0.05
