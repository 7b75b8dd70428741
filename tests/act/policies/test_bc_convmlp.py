"""BC-ConvMLP has the original's sizes and learns the mean or the median of the demonstrations."""

from typing import Any

import pytest
import torch

from act.data.normalize import Normalizer
from act.policies import bc_convmlp
from act.policies.bc_convmlp import Config, MapHead, Policy
from act.types import PolicySpec
from tests.fakes.two_ways import answers, learn

STATE: dict[str, Any] = {"use_images": False, "use_env_state": True, "hidden_dim": 64}


def test_the_paper_network_has_the_papers_parameters():
    spec = PolicySpec(("top",), (480, 640))
    policy = Policy(Config.preset("paper"), spec, Normalizer.of(spec))
    convolutions = 25 * (512 * 128 + 128 * 64 + 64 * 32) + 128 + 64 + 32
    mlp = (768 + 14 + 1) * 1024 + 1025 * 1024 + 1025 * 14
    assert sum(p.numel() for p in policy.head_parameters()) == convolutions + mlp
    assert policy.chunk_size == 1


@pytest.mark.parametrize(("image_size", "outputs"), [((480, 640), 32 * 3 * 8), ((240, 320), 32 * 8 * 10)])
def test_maps_too_small_for_the_convolutions_are_padded(image_size, outputs):
    head = MapHead(8, image_size)
    cells = [-(-pixels // 32) for pixels in image_size]
    assert head.n_outputs == outputs and head(torch.zeros(2, 8, *cells)).shape == (2, outputs)


def test_l2_learns_the_mean_of_two_ways_and_l1_the_more_frequent_one():
    mean = answers(learn(bc_convmlp, Config(**STATE)), n=1)
    assert float(mean.abs().max()) < 0.05
    three_of_four = answers(learn(bc_convmlp, Config(**STATE), plus=3), n=1)
    assert torch.allclose(three_of_four, torch.tensor(0.5), atol=0.05)
    median = answers(learn(bc_convmlp, Config(**STATE, loss="l1"), plus=3), n=1)
    assert torch.allclose(median, torch.tensor(1.0), atol=0.1)
