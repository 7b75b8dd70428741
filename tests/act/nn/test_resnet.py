"""A ResNet-18 for acting: it keeps scaled weights until they change, and it divides images among cores."""

import pytest
import torch

from act.nn import device
from act.nn.resnet import ResNet18Trunk


@pytest.fixture(scope="module")
def trunk() -> ResNet18Trunk:
    torch.manual_seed(0)
    return ResNet18Trunk().eval()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randint(0, 256, (1, 3, 64, 64, 3), dtype=torch.uint8)


def features(trunk: ResNet18Trunk, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad(), device.fp32_only():
        return trunk.features(images)


def test_features_without_gradients_are_those_with_gradients(trunk, images):
    assert torch.allclose(features(trunk, images), trunk.features(images), atol=1e-4)


@pytest.mark.parametrize("change", ["step of an optimizer", "other weights loaded", "other arithmetic"])
def test_kept_weights_never_outlive_a_change(trunk, images, change):
    changed = ResNet18Trunk().eval()
    changed.load_state_dict(trunk.state_dict())
    before = features(changed, images)
    if change == "step of an optimizer":
        trunk_parameters = list(changed.parameters())
        for parameter in trunk_parameters:
            parameter.grad = torch.ones_like(parameter)
        torch.optim.SGD(trunk_parameters, lr=0.01).step()
    elif change == "other weights loaded":
        changed.load_state_dict({name: 0.5 * value for name, value in trunk.state_dict().items()})
    else:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            changed(torch.rand(1, 3, 64, 64))
        assert torch.equal(features(changed, images), before)
        return
    assert torch.allclose(features(changed, images), changed.features(images), atol=1e-4)
    assert not torch.allclose(features(changed, images), before, atol=1e-2)


def test_a_copy_of_a_trunk_that_has_acted_keeps_weights_of_its_own(trunk, images):
    features(trunk, images)
    copy = trunk.frozen()
    with torch.no_grad():
        for parameter in copy.parameters():
            parameter.zero_()
    assert features(copy, images).abs().max() == 0
    assert features(trunk, images).abs().max() > 0


@pytest.mark.parametrize("n_images", [1, 2, 19])
def test_cores_share_the_rows_in_order_in_the_callers_arithmetic(n_images):
    rows, seen = torch.arange(n_images), []

    def double(part: torch.Tensor) -> torch.Tensor:
        seen.append((device.bf16_is_fast(part.device), torch.is_grad_enabled(), len(part)))
        return 2 * part

    with torch.no_grad(), device.fp32_only(), device.threads(2):
        assert torch.equal(device.over_cores(double, rows), 2 * rows)
        assert torch.get_num_threads() == 2
    assert all(not fast and not grad and n <= device.ROWS_PER_PASS for fast, grad, n in seen)
    assert len(seen) == {1: 1, 2: 2, 19: 3}[n_images]


def test_an_error_in_a_part_reaches_the_caller():
    def refuse(part: torch.Tensor) -> torch.Tensor:
        raise ValueError(f"{len(part)} rows are wrong")

    with torch.no_grad(), device.threads(2), pytest.raises(ValueError, match="rows are wrong"):
        device.over_cores(refuse, torch.zeros(4))
