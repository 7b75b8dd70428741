"""VAE: z distinguishes two ways where the KL weight is small, and the mean of the prior gives one answer."""

import dataclasses
from typing import Any

import pytest

from act.policies import vae
from act.policies.vae import Config
from tests.fakes.two_ways import Demonstrations, answers, coverage, learn

STATE: dict[str, Any] = {"use_images": False, "use_env_state": True, "hidden_dim": 64, "latent_dim": 4}


def test_samples_of_the_prior_find_both_ways_and_its_mean_gives_one_answer():
    policy = learn(vae, Config(**STATE, kl_weight=0.2, latent="prior"))
    plus, minus = coverage(answers(policy))
    assert plus + minus > 0.6 and min(plus, minus) > 0.25  # the rest lies between the ways, where z is near 0
    policy.config = dataclasses.replace(policy.config, latent="zero")
    chunks = answers(policy)
    assert float((chunks - chunks[0]).abs().max()) < 1e-5


def test_a_latent_that_costs_more_than_it_saves_is_not_used():
    policy = learn(vae, Config(**STATE, kl_weight=10.0), steps=200)
    assert float(policy.loss(Demonstrations().batch())["kl"].detach()) < 0.02


def test_sizes_that_cannot_work_are_refused():
    with pytest.raises(ValueError, match="latent_dim 0"):
        dataclasses.replace(Config(**STATE), latent_dim=0)
    with pytest.raises(ValueError, match="kl_weight -1"):
        Config(**STATE, kl_weight=-1)
