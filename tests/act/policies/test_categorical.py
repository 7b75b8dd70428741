"""Categorical: independent numbers mix two ways in one chunk; whole chunks as classes do not."""

import dataclasses
from typing import Any

import pytest
import torch

from act.policies import categorical
from act.policies.categorical import Config
from tests.fakes.two_ways import Demonstrations, answers, coverage, holds_both, learn

STATE: dict[str, Any] = {"use_images": False, "use_env_state": True, "hidden_dim": 64}


def with_decode(policy, decode: str):
    policy.config = dataclasses.replace(policy.config, decode=decode)
    return policy


def test_independent_numbers_hold_both_ways_but_a_chunk_mixes_them():
    policy = learn(categorical, Config(**STATE, n_bins=32))
    chunks = answers(policy)
    assert float(((chunks.abs() - 1).abs() < 0.25).float().mean()) > 0.95 and abs(float(chunks.mean())) < 0.2
    assert sum(coverage(chunks)) < 0.1
    assert float(answers(with_decode(policy, "mean"), 1).abs().max()) < 0.1
    assert sum(coverage(answers(with_decode(policy, "argmax")))) in (0, 1)


def test_chunks_as_classes_hold_both_ways_and_their_mean_is_neither():
    policy = learn(categorical, Config(**STATE, joint=True, n_bins=8))
    assert holds_both(policy)
    assert float(answers(with_decode(policy, "mean"), 1).abs().max()) < 0.1
    assert sorted(coverage(answers(with_decode(policy, "argmax")))) == [0, 1]


def test_every_demonstrated_chunk_is_near_its_code():
    policy = learn(categorical, Config(**STATE, joint=True, n_bins=8), steps=0)
    chunks = policy.normalizer.encode("action", Demonstrations().batch().action)
    distance = torch.cdist(chunks.flatten(1), policy.codes.flatten(1)).amin(1)
    assert len(policy.codes) == 8 and float(distance.max()) < 0.2  # the noise of 8 numbers; ways are 5.7 apart


def test_more_codes_than_chunks_are_refused():
    with pytest.raises(ValueError, match="100 centres need"):
        learn(categorical, Config(**STATE, joint=True, n_bins=100), steps=0)
    with pytest.raises(ValueError, match="n_bins 1 must be at least 2"):
        Config(**STATE, n_bins=1)
