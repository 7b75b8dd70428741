"""RT-1: images as tokens, actions as bins, attention that is causal over frames."""

import dataclasses

import torch

from act.policies import rt1
from act.policies.rt1 import Config, TokenLearner
from tests.fakes.tiny_policies import make, make_batch, observations
from tests.fakes.two_ways import answers, learn

RESNET, STATE = 0, 2  # of the tiny configurations of the contract tests


def test_a_token_is_a_weighted_mean_over_the_cells():
    torch.manual_seed(0)
    learner, maps = TokenLearner(6, 8, 3), torch.randn(2, 6, 4, 5)
    cells = learner.project(maps.flatten(2).mT)
    weights = learner.weights(cells)
    assert weights.shape == (2, 3, 20) and bool((weights > 0).all())
    assert torch.allclose(weights.sum(-1), torch.ones(2, 3), atol=1e-6)
    brute = torch.stack([sum(weights[1, m, s] * cells[1, s] for s in range(20)) for m in range(3)])  # type: ignore
    assert torch.allclose(learner(maps)[1], brute, atol=1e-5)


def test_a_frame_does_not_attend_to_later_frames_and_every_frame_is_trained():
    policy = make("rt1", STATE).eval()
    batch = make_batch(policy)
    later = batch.qpos.clone()
    later[:, 2] += 1.0
    before, after = policy._frames(batch), policy._frames(dataclasses.replace(batch, qpos=later))
    assert torch.equal(before[:, :2], after[:, :2]) and not torch.allclose(before[:, 2], after[:, 2])
    assert batch.past_action is not None
    for position in range(2):
        past = batch.past_action.clone()
        past[1, position] += 0.5
        assert policy.loss(batch)["loss"] != policy.loss(dataclasses.replace(batch, past_action=past))["loss"]


def test_cached_features_give_the_same_chunk_as_their_images():
    policy = make("rt1", RESNET, 2)
    (history,) = observations(policy, 1)
    encoded = policy.encode_observations(history)
    assert encoded[0]["features"].shape == (2, 512, 1, 2) and "images" not in encoded[0]
    assert (policy.predict_chunk([history]) == policy.predict_chunk([encoded])).all()


def test_a_certain_class_is_executed_as_the_centre_of_its_bin():
    policy = make("rt1", STATE).eval()
    batch = make_batch(policy)
    with torch.no_grad():
        policy.to_logits.weight.zero_()
        policy.to_logits.bias.view(6, 14, 9)[..., 4] = 50.0
        centre = policy.bins.low + 4.5 * policy.bins.width
        assert torch.allclose(policy.predict(batch), centre.expand(2, 6, 14))
        assert (policy.bins.encode(centre) == 4).all()


def test_it_chooses_one_of_two_ways_and_never_their_mean():
    config = Config(n_obs_steps=1, n_bins=16, hidden_dim=16, n_layers=1, n_heads=2, dropout=0.0)
    chunk = answers(learn(rt1, config, steps=60), 1)
    assert bool(((chunk.abs() - 1).abs() < 0.15).all())
