"""Normalizer: encoding and decoding, the smallest scale, and the state_dict."""

import pytest
import torch

from act.data.normalize import STD_FLOOR, Normalizer


def test_encoded_values_have_unit_variance_and_still_axes_a_smallest_scale():
    torch.manual_seed(0)
    values = torch.randn(500, 3) * torch.tensor([2.0, 0.5, 1e-5]) + 7
    normalizer = Normalizer({"qpos": 3})
    normalizer.fit("qpos", values)
    encoded = normalizer.encode("qpos", values)
    assert torch.allclose(encoded.std(0)[:2], torch.ones(2), atol=0.01) and float(encoded[:, 2].std()) < 0.01
    assert float(normalizer.state_dict()["qpos_scale"][2]) == pytest.approx(STD_FLOOR)
    assert torch.allclose(normalizer.decode("qpos", encoded), values, atol=1e-5)


def test_an_unfitted_key_is_the_identity_and_an_unknown_one_is_named():
    normalizer = Normalizer({"qpos": 2})
    normalizer.add("features", 3)
    assert torch.equal(normalizer.encode("features", torch.ones(3)), torch.ones(3)) and "features" in normalizer
    with pytest.raises(KeyError, match="does not know 'force'; it knows features, qpos"):
        normalizer.encode("force", torch.ones(3))


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="'qpos' are not all finite"):
        Normalizer({"qpos": 1}).fit("qpos", torch.tensor([[1.0], [float("nan")]]))
