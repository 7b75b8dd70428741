"""--unfreeze_at: a run that begins with a frozen backbone trains it, too, from a step on."""

import dataclasses

import pytest
import torch

from act.nn.resnet import ResNet18Trunk
from act.policies.base.storage import load_policy
from act.training.fit import fit
from act.training.preparation import load_data, make_policy
from tests.act.training.test_cotraining import config_of, folder, train

__all__ = ["folder"]  # the fixture
UNFROZEN = {"unfreeze_at": 4, "unfrozen_batch_size": 2, "lr_backbone": 1e-3}


def trunk_of(run) -> dict[str, torch.Tensor]:
    return {key: value for key, value in load_policy(run).state_dict().items() if key.startswith("trunk.body")}


def test_the_backbone_is_unchanged_before_that_step_and_trained_from_it_on(folder):
    config = config_of(folder, "phases", **UNFROZEN)
    episodes, held_out, spec = load_data(config)
    policy = make_policy(config, episodes, spec)
    assert isinstance(policy.trunk, ResNet18Trunk)
    first = {key: value.clone() for key, value in policy.trunk.state_dict().items()}
    for metrics in fit(policy, episodes, held_out, config):
        changed = any(not torch.equal(value, first[key]) for key, value in policy.trunk.state_dict().items())
        assert changed == (metrics.step > 4)
        assert (episodes.frames.features is None) == (metrics.step > 4)
    weights = trunk_of(config.run_dir)
    assert any(not torch.equal(value, first[key.removeprefix("trunk.")]) for key, value in weights.items())


@pytest.mark.parametrize("unfreeze_at", [2, 4])
def test_a_run_that_stopped_at_step_4_resumes_exactly(folder, unfreeze_at):
    changes = UNFROZEN | {"unfreeze_at": unfreeze_at}
    whole = train(config_of(folder, f"whole_{unfreeze_at}", **changes))
    config = config_of(folder, f"parts_{unfreeze_at}", **changes)
    episodes, held_out, spec = load_data(config)
    for metrics in fit(make_policy(config, episodes, spec), episodes, held_out, config):
        if metrics.step > 4:
            break
    resumed = train(config)
    assert resumed[0].step == 6 and resumed[-1].losses == whole[-1].losses
    for key, value in trunk_of(config.run_dir).items():
        assert torch.equal(value, trunk_of(folder / f"whole_{unfreeze_at}")[key])


def test_a_backbone_that_is_trained_from_the_start_reads_images_of_scenes(folder):
    config = config_of(folder, "end_to_end", scene_batch_size=2, batch_size=2, steps=2)
    config = dataclasses.replace(config, policy=dataclasses.replace(config.policy, freeze_backbone=False))
    assert "keypoints" in train(config)[-1].losses


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unfreeze_at": 8}, "unfreeze_at 8 must be at least 1 and below steps 8"),
        ({"unfreeze_at": 0}, "unfreeze_at 0 must be at least 1"),
        ({"unfreeze_at": 4, "processes": 2}, "need a single process"),
        ({"unfreeze_at": 4, "unfrozen_batch_size": 0}, "unfrozen_batch_size 0 must be at least 1"),
    ],
)
def test_steps_at_which_nothing_can_be_unfrozen_are_refused(folder, changes, message):
    with pytest.raises(ValueError, match=message):
        config_of(folder, "refused", **changes)
