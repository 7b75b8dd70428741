"""Episodes become training data: which are trained on, what is computed from them, and what is refused."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from act.data.dataset import EpisodeDataset
from act.data.episodes import episode_index, episode_path, write_episode
from act.data.loading import find, split
from act.nn.vision import KeypointConfig, KeypointTrunk
from act.policies.base.storage import load_policy
from act.training import preparation
from act.training.fit import fit
from act.training.preparation import load_data, make_policy, prepare
from act.training.trainer import Trainer
from tests.act.data.test_dataset import SIZE
from tests.fakes.tiny_run import TINY, make, run


def drive(directory: Path, index: int, expert: bool) -> None:
    """Writes an episode that the policy drove; with `expert`, an operator drove the last steps."""
    rows = np.random.default_rng(index).random((10, 14), np.float32)
    intervention = np.arange(10) > (5 if expert else 10)
    values = {"qpos": rows, "qvel": rows, "action": rows, "executed_action": rows, "intervention": intervention}
    write_episode(episode_path(directory, index), env_state=np.ones((10, 7), np.float32), images={}, **values)


def test_a_run_of_another_policy_to_start_from_is_refused_in_one_sentence(tmp_path: Path):
    run(make(tmp_path, steps=1))
    wider = make(tmp_path, warm_start=tmp_path / "run", policy=dataclasses.replace(TINY, hidden_dim=32))
    train, _, spec = load_data(wider)
    with pytest.raises(ValueError, match=r"--warm_start .*run holds another policy: tensor .* has shape") as refused:
        make_policy(wider, train, spec)
    assert "\n" not in str(refused.value)
    deeper = dataclasses.replace(wider, policy=dataclasses.replace(TINY, n_encoder_layers=2))
    with pytest.raises(ValueError, match=r"it lacks the tensor .* more"):
        make_policy(deeper, train, spec)


def test_episodes_without_labels_are_used_neither_to_train_nor_to_validate(tmp_path):
    (tmp_path / "data").mkdir()
    for index in range(5):
        drive(tmp_path / "data", index, expert=False)
    config = make(tmp_path, cameras=())
    with pytest.raises(ValueError, match="no expert's label"):
        load_data(config)
    kept, held_out = split(find(tmp_path / "data"), config.val_fraction, config.seed)
    for path in kept:
        path.unlink()
        drive(tmp_path / "data", episode_index(path), expert=True)
    train, validation, _ = load_data(config)
    assert len(train.trainable) == 4 * 4 and validation is None and len(held_out) == 1


def test_statistics_are_those_of_the_training_episodes_only(tmp_path):
    config = make(tmp_path)
    data, held_out, spec = load_data(config)
    assert held_out is not None
    stats = make_policy(config, data, spec).normalizer.state_dict()
    torch.testing.assert_close(stats["action_shift"], data.action.mean(0))
    torch.testing.assert_close(stats["action_scale"], data.action.std(0, correction=0))
    assert not torch.allclose(stats["action_shift"], torch.cat([data.action, held_out.action]).mean(0))


def test_validation_uses_episodes_that_are_not_trained_on(tmp_path, monkeypatch):
    config, validated = make(tmp_path), []
    monkeypatch.setattr(Trainer, "validate", lambda self, held_out: validated.append(held_out) or {"deployed_l1": 0.0})
    train, held_out, spec = load_data(config)
    list(fit(make_policy(config, train, spec), train, held_out, config))
    assert held_out is not None and validated == [held_out] * 2
    trained, others = ({episode.path for episode in part.episodes} for part in (train, held_out))
    assert not trained & others and len(trained | others) == 5


def test_another_seed_gives_other_episodes_another_order_and_other_noise(tmp_path, monkeypatch):
    noisy = dataclasses.replace(TINY, input_noise=0.5)
    one, other = (make(tmp_path, seed=s, policy=noisy, steps=1, run_dir=tmp_path / f"run{s}") for s in (0, 1))
    assert {e.path for e in load_data(one)[0].episodes} != {e.path for e in load_data(other)[0].episodes}
    train, _, spec = load_data(one)
    drawn, draw = [], EpisodeDataset.draw
    monkeypatch.setattr(
        EpisodeDataset, "draw", lambda self, seed, *rest, **size: drawn.append(seed) or draw(self, seed, *rest, **size)
    )
    losses = []
    for config in (one, other):
        list(fit(make_policy(one, train, spec), train, None, config))
        losses.append(Trainer(make_policy(one, train, spec), config).train_step(draw(train, 0, 0, 8))["loss"])
    assert drawn == [0, 1] and losses[0] != losses[1]


def test_the_aggregation_setting_changes_the_weights_of_frames(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    drive(data, 0, expert=True)
    drive(data, 1, expert=False)
    uniform, equal = (
        load_data(make(tmp_path, aggregation=how, val_fraction=0.0))[0] for how in ("uniform", "equal_mass")
    )
    assert not np.array_equal(uniform.weights, equal.weights)  # type: ignore[arg-type]


def test_a_policy_with_a_frozen_backbone_trains_on_cached_features(tmp_path):
    KeypointTrunk(KeypointConfig(("cube",), ("cam0", "cam1"), SIZE)).folded().save(tmp_path / "trunk")
    changes = {
        "backbone": "keypoints",
        "backbone_weights": "sim",
        "freeze_backbone": True,
        "trunk": str(tmp_path / "trunk"),
    }
    policy = dataclasses.replace(TINY, use_images=True, use_env_state=False, **changes)
    config = make(tmp_path, policy=policy, steps=4)
    run(config)
    assert len(list((tmp_path / "data" / ".features").glob("*/episode_*.safetensors"))) == 5
    train, _, spec = load_data(config)
    other = make_policy(config, train, spec)
    other.backbone_parameters()[0].data += 1.0
    prepare(other, train, config, torch.device("cpu"))
    assert len(list((tmp_path / "data" / ".features").glob("*"))) == 2, "another backbone has other features"
    loaded = load_policy(tmp_path / "run")
    assert loaded.has_frozen_backbone and bool((loaded.state_dict()["normalizer.features_scale"] != 1).any())
    trunk = KeypointTrunk.load(tmp_path / "trunk").state_dict()
    assert all(torch.equal(value, loaded.state_dict()[f"trunk.{key}"]) for key, value in trunk.items())

    run(dataclasses.replace(config, run_dir=tmp_path / "cut", steps=8), stop=4)
    torch.manual_seed(1)  # a seed that no step has
    KeypointTrunk(KeypointConfig(("cube",), ("cam0", "cam1"), SIZE)).folded().save(tmp_path / "trunk")
    with pytest.raises(ValueError, match="with another frozen backbone"):
        run(dataclasses.replace(config, run_dir=tmp_path / "cut", steps=8))


def test_keypoints_of_a_trained_backbone_are_normalised_too(tmp_path):
    KeypointTrunk(KeypointConfig(("cube",), ("cam0", "cam1"), SIZE)).folded().save(tmp_path / "trunk")
    changes = {"backbone": "keypoints", "backbone_weights": "sim", "trunk": str(tmp_path / "trunk")}
    policy = dataclasses.replace(TINY, use_images=True, use_env_state=False, **changes)
    run(make(tmp_path, policy=policy, steps=1, lr=0.0, lr_backbone=0.0, weight_decay=0.0))
    loaded = load_policy(tmp_path / "run")
    train, _, _ = load_data(make(tmp_path, policy=policy))
    with torch.no_grad():
        features = loaded.encode_images(train.images(train.observed)).flatten(1)
    encoded = loaded.normalizer.encode("features", features)
    assert torch.allclose(encoded.mean(0), torch.zeros(len(features[0])), atol=0.1)
    assert bool((loaded.state_dict()["normalizer.features_scale"] != 1).all())


def test_a_folder_named_twice_is_refused(tmp_path):
    config = make(tmp_path)
    with pytest.raises(ValueError, match="name each folder once"):
        load_data(dataclasses.replace(config, dataset_dir=(*config.dataset_dir, *config.dataset_dir)))


def test_the_shift_of_real_robots_and_the_colours_of_jpegs_are_flags_of_the_training(tmp_path, monkeypatch):
    asked: list = []
    load = preparation.load_episodes
    monkeypatch.setattr(preparation, "load_episodes", lambda *given: asked.append(given[2]) or load(*given))
    for shift in (True, False):
        train, _, _ = load_data(make(tmp_path, shift_real=shift, jpeg_colors="bgr"))
        assert train.sampling.shift_real is shift
    load_data(make(tmp_path))
    assert asked == ["bgr", "bgr", None]
