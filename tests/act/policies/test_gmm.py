"""GMM: its likelihood equals torch's, and two ways become two modes."""

import dataclasses
from typing import Any

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from act.data.batch import Batch
from act.data.normalize import Normalizer
from act.policies import gmm
from act.policies.gmm import Config, log_likelihood
from act.types import PolicySpec
from tests.fakes.two_ways import answers, coverage, holds_both, learn

STATE: dict[str, Any] = {"use_images": False, "use_env_state": True, "hidden_dim": 64}


def test_the_likelihood_is_that_of_torchs_mixture_without_the_padding():
    torch.manual_seed(0)
    logits, mean, std = torch.randn(2, 3), torch.randn(2, 3, 4, 5), torch.rand(2, 3, 4, 5) + 0.1
    target, is_pad = torch.randn(2, 4, 5), torch.tensor([[False] * 4, [False, False, True, True]])
    found = log_likelihood(target, is_pad, logits, mean, std)
    for b, real in enumerate((4, 2)):
        modes = Independent(Normal(mean[b, :, :real], std[b, :, :real]), 2)
        mixture = MixtureSameFamily(Categorical(logits=logits[b]), modes)
        assert torch.allclose(found[b], mixture.log_prob(target[b, :real]), rtol=1e-5)


def test_modes_are_the_two_ways_and_the_largest_weight_chooses_one():
    policy = learn(gmm, Config(**STATE))
    assert holds_both(policy)
    policy.config = dataclasses.replace(policy.config, decode="sample")
    assert holds_both(policy)
    policy.config = dataclasses.replace(policy.config, mode="argmax", decode="mean")
    assert sorted(coverage(answers(policy))) == [0, 1]


def test_samples_have_the_mean_and_deviation_of_their_mode():
    torch.manual_seed(0)
    spec = PolicySpec(env_state_dim=1)
    policy = gmm.Policy(Config(4, **STATE, n_modes=1, decode="sample"), spec, Normalizer.of(spec)).eval()
    batch = Batch(torch.zeros(2000, 1, 14), torch.zeros(2000, 1, 1))
    with torch.no_grad():
        _, mean, std = policy.mixture(batch[:1])
        samples = policy.predict(batch)
    assert torch.allclose(samples.mean(0), mean[0, 0], atol=0.1)
    assert torch.allclose(samples.std(0), std[0, 0], rtol=0.1)


@pytest.mark.parametrize(("values", "message"), [({"n_modes": 0}, "n_modes 0"), ({"min_std": 0.0}, "min_std 0.0")])
def test_sizes_that_cannot_work_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Config(**STATE, **values)
