"""Co-training: an ACT behind a frozen ResNet-18 also learns to locate keypoints in random scenes."""

import dataclasses
import json
import os

import pytest
import torch

from act.data.frames import Frames
from act.nn.resnet import ResNet18Trunk
from act.policies.base.storage import load_policy
from act.recording.attempts import Recording
from act.recording.scenes import record_scenes
from act.training.config import TrainConfig
from act.training.cotraining import CoTraining
from act.training.fit import fit
from act.training.preparation import load_data, make_policy
from tests.act.data.test_dataset import SIZE, write
from tests.fakes.tiny_run import TINY, make
from tests.fakes.toy_scenes import BLOB_SIZE, CAMERAS, BlobSampler

N_SCENES = 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A ResNet with random weights, four episodes and a file of scenes, all of the same two cameras."""
    folder = tmp_path_factory.mktemp("cotraining")
    torch.manual_seed(0)
    ResNet18Trunk("batch").save(folder / "trunk")
    (folder / "data").mkdir()
    write(folder / "data", lengths=(12, 9, 11), cameras=CAMERAS)
    recording = Recording("sim_blob_scripted", cameras=CAMERAS, image_size=BLOB_SIZE)
    record_scenes(recording, BlobSampler, folder / "scenes.hdf5", N_SCENES, workers=1)
    return folder


def config_of(folder, run: str, **changes) -> TrainConfig:
    sees = {"use_images": True, "use_env_state": False, "backbone_weights": "sim", "freeze_backbone": True}
    policy = dataclasses.replace(TINY, **sees, trunk=str(folder / "trunk"), map_noise=0.1, token_dropout=0.2)
    values = {"policy": policy, "cameras": CAMERAS, "scenes": folder / "scenes.hdf5", "scene_batch_size": 4}
    config = make(folder, **values | changes)
    return dataclasses.replace(config, run_dir=folder / run)


def train(config: TrainConfig, stop: int | None = None) -> list:
    episodes, held_out, spec = load_data(config)
    lines = []
    for metrics in fit(make_policy(config, episodes, spec), episodes, held_out, config):
        lines.append(metrics)
        if stop is not None and metrics.step > stop:
            break
    return lines


def test_the_keypoint_loss_is_part_of_the_loss_and_the_policy_keeps_its_head(folder):
    lines = train(config_of(folder, "run"))
    losses = lines[0].losses
    expected = losses["l1"] + 10 * losses["kl"] + losses["keypoints"]
    assert losses["loss"] == pytest.approx(expected, rel=1e-3)
    policy = load_policy(folder / "run")
    assert (
        policy.config.n_points == 1 and json.loads((folder / "run" / "policy.json").read_text())["config"]["n_points"]
    )


def test_an_interrupted_co_training_resumes_exactly(folder):
    whole = train(config_of(folder, "whole"))
    train(config_of(folder, "parts"), stop=4)
    resumed = train(config_of(folder, "parts"))
    assert resumed[-1].losses == whole[-1].losses


def test_points_are_in_units_of_the_image_and_scenes_follow_from_the_step(folder):
    config = config_of(folder, "unused")
    episodes, _, spec = load_data(config)
    policy = make_policy(config, episodes, spec)
    cotraining = CoTraining(folder / "scenes.hdf5", policy, "key")
    drawn = cotraining.draw(0, 3, 4)
    assert drawn.points.shape == (4, 2, 1, 2) and bool((drawn.points.abs() <= 1).all())
    assert drawn.seen.features is not None and drawn.seen.features.shape[:4] == (4, 1, 2, 512)
    again = CoTraining(folder / "scenes.hdf5", policy, "key").draw(0, 3, 4)
    assert torch.equal(again.points, drawn.points) and not torch.equal(cotraining.draw(0, 4, 4).points, drawn.points)
    height, width = BLOB_SIZE
    pixels = (cotraining.points[0, 0, 0] + 1) * torch.tensor([width, height]) / 2 - 0.5
    assert torch.allclose(pixels, cotraining.labels.points[0, 0, 0], atol=1e-4)


def test_a_hidden_keypoint_is_nowhere_in_the_loss_of_places(folder):
    config = config_of(folder, "unused")
    episodes, _, spec = load_data(config)
    policy = make_policy(config, episodes, spec).eval()
    scenes = CoTraining(folder / "scenes.hdf5", policy, "key").draw(0, 0, 4)
    hidden = dataclasses.replace(scenes, visible=torch.zeros_like(scenes.visible))
    moved = dataclasses.replace(hidden, points=hidden.points + 0.5)
    assert torch.equal(policy.scene_loss(hidden), policy.scene_loss(moved))
    assert not torch.equal(policy.scene_loss(hidden), policy.scene_loss(scenes))


def test_features_of_scenes_are_computed_once(folder, monkeypatch):
    config = config_of(folder, "unused")
    episodes, _, spec = load_data(config)
    policy = make_policy(config, episodes, spec)
    key = Frames.features_key(episodes.frames, {})
    first = CoTraining(folder / "scenes.hdf5", policy, key)
    monkeypatch.setattr(type(policy), "encode_images", lambda *_: pytest.fail("computed again"))
    again = CoTraining(folder / "scenes.hdf5", policy, key)
    assert first.features is not None and again.features is not None
    assert torch.equal(again.features, first.features)


def test_features_of_scenes_that_were_recorded_again_are_computed_again(folder, monkeypatch):
    episodes, _, spec = load_data(config_of(folder, "unused"))
    policy = make_policy(config_of(folder, "unused"), episodes, spec)
    CoTraining(folder / "scenes.hdf5", policy, "recorded")
    os.utime(folder / "scenes.hdf5", ns=(0, 0))  # as many scenes under the same name, but others
    calls = []
    encode = type(policy).encode_images
    monkeypatch.setattr(type(policy), "encode_images", lambda *given: calls.append(1) or encode(*given))
    CoTraining(folder / "scenes.hdf5", policy, "recorded")
    assert calls


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"policy": TINY}, "only ACT with images and without object poses learns"),
        ({"scene_batch_size": 0}, "scene_batch_size 0 must be at least 1"),
        ({"scenes": "missing.hdf5"}, "missing.hdf5 not found; create it with record_sim_episodes.py"),
    ],
)
def test_scenes_that_cannot_help_are_refused(folder, changes, message):
    from pathlib import Path

    changes = {key: Path(value) if key == "scenes" else value for key, value in changes.items()}
    with pytest.raises(ValueError, match=message):
        train(config_of(folder, "refused", **changes))


def test_a_run_of_an_older_version_resumes_with_the_defaults_of_new_fields(folder):
    from act.training.checkpoint import differences

    config = make(folder)
    saved = json.loads(json.dumps(config.to_json()))
    del saved["scenes"], saved["scene_weight"], saved["policy"]["map_noise"]
    assert differences(saved, config) == []
    changed = dataclasses.replace(config, policy=dataclasses.replace(config.policy, map_noise=0.5))
    assert differences(saved, changed) == ["map_noise 0.0, not 0.5"]


assert SIZE != BLOB_SIZE, "scenes are resized to what the policy looks at"
