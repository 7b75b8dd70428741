"""One optimizer step: learning rate, clipping, augmentation, and the moving average that is deployed."""

import dataclasses
from pathlib import Path

import pytest
import torch

from act.data.dataset import EpisodeDataset
from act.nn.vision import KeypointConfig, KeypointTrunk
from act.policies.base.storage import load_policy
from act.training import trainer as trainer_module
from act.training.checkpoint import load_state
from act.training.preparation import load_data, make_policy
from act.training.trainer import Trainer
from tests.act.data.test_dataset import SIZE
from tests.fakes.tiny_run import TINY, make, run


def trainer_of(directory: Path, **changes) -> tuple[Trainer, EpisodeDataset]:
    config = make(directory, **changes)
    train, _, spec = load_data(config)
    return Trainer(make_policy(config, train, spec), config), train


def test_the_moving_average_is_deployed(tmp_path):
    trainer, train = trainer_of(tmp_path, ema_decay=0.3)
    expected = [parameter.detach().clone() for parameter in trainer.parameters]
    for step in range(4):
        trainer.train_step(train.draw(0, step, 8))
        decay = min(0.3, (2 + step) / (11 + step))  # it forgets faster at first
        expected = [decay * a + (1 - decay) * p.detach() for a, p in zip(expected, trainer.parameters, strict=True)]
    for average, value in zip(trainer.averages, expected, strict=True):
        torch.testing.assert_close(average, value)


def test_the_policy_of_a_run_is_the_moving_average(tmp_path):
    config, judged = make(tmp_path, eval_every=8, ema_decay=0.9), []
    run(config, evaluate=lambda policy: judged.append({k: v.clone() for k, v in policy.state_dict().items()}) or 0.5)
    state = load_state(tmp_path / "run", config)
    assert state is not None
    saved = load_policy(tmp_path / "run").state_dict()
    differs = [key for key, value in saved.items() if not torch.equal(value, state.tensors[f"policy.{key}"])]
    assert differs and all(torch.equal(saved[key], state.tensors[f"deployed.{key}"]) for key in saved)
    assert all(torch.equal(judged[0][key], saved[key]) for key in saved)


def test_validation_measures_the_moving_average(tmp_path):
    trainer, train = trainer_of(tmp_path)
    before = trainer.validate(train)
    with torch.no_grad():
        for parameter in trainer.parameters:
            parameter.mul_(2)
    assert trainer.validate(train) == before
    with torch.no_grad():
        for average in trainer.averages:
            average.mul_(2)
    assert trainer.validate(train) != before


def test_a_step_has_the_scheduled_learning_rate(tmp_path):
    trainer, train = trainer_of(tmp_path, steps=100, warmup_steps=10, lr=1e-3)
    trainer.train_step(train.draw(0, 0, 8))
    assert [group["lr"] for group in trainer.optimizer.param_groups] == [pytest.approx(1e-4)] * 2


def test_a_long_gradient_is_clipped(tmp_path, monkeypatch):
    trainer, train = trainer_of(tmp_path, grad_clip=1e-3)
    lengths = []
    gradients = lambda: torch.cat([p.grad.flatten() for p in trainer.parameters if p.grad is not None])  # noqa: E731
    monkeypatch.setattr(trainer.optimizer, "step", lambda: lengths.append(float(gradients().norm())))
    trainer.train_step(train.draw(0, 0, 8))
    assert lengths == [pytest.approx(1e-3, rel=1e-2)]


def test_training_batches_are_augmented_as_configured(tmp_path, monkeypatch):
    policy = dataclasses.replace(TINY, use_images=True, use_env_state=False, backbone_weights="none")
    trainer, train = trainer_of(tmp_path, policy=policy, augmentation="shift", image_size=(32, 32))
    kinds = []
    monkeypatch.setattr(trainer_module, "augment", lambda batch, kind: kinds.append(kind) or batch)
    train.frames.keep("stream", torch.device("cpu"))
    trainer.train_step(train.draw(0, 0, 2))
    assert kinds == ["shift"]


def test_matrices_decay_vectors_do_not_and_the_backbone_has_its_own_learning_rate(tmp_path):
    KeypointTrunk(KeypointConfig(("cube",), ("cam0", "cam1"), SIZE)).folded().save(tmp_path / "trunk")
    backbone = {"backbone": "keypoints", "backbone_weights": "sim", "trunk": str(tmp_path / "trunk")}
    policy = dataclasses.replace(TINY, use_images=True, use_env_state=False, **backbone)
    trainer, _ = trainer_of(tmp_path, policy=policy, lr=1e-3, lr_backbone=1e-5, weight_decay=0.1)
    trunk = {id(parameter) for parameter in trainer.policy.backbone_parameters()}
    seen = 0
    for group, peak in zip(trainer.optimizer.param_groups, trainer.peaks, strict=True):
        for parameter in group["params"]:
            assert group["weight_decay"] == (0.1 if parameter.ndim > 1 else 0.0)
            assert peak == (1e-5 if id(parameter) in trunk else 1e-3)
            seen += id(parameter) in trunk
    assert seen == len(trunk) > 0


def test_the_schedule_warms_up_and_then_falls(tmp_path):
    trainer, _ = trainer_of(tmp_path, steps=100, warmup_steps=10)
    assert trainer.schedule(0) == 0.1 and trainer.schedule(10) == 1.0
    assert trainer.schedule(55) == pytest.approx(0.5) and trainer.schedule(99) < 0.001
    trainer.config = dataclasses.replace(trainer.config, steps=12)  # shorter than two warm-ups
    assert trainer.schedule(6) == 1.0 and trainer.schedule(11) < 0.1
