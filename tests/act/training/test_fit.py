"""fit(): it learns, resumes exactly, refuses what does not fit, and keeps the best weights."""

import dataclasses
import json
import math
import os
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch

import train
from act.distributed import ALONE
from act.files import lock_folder
from act.nn.device import choose_device
from act.nn.vision import KeypointConfig, KeypointTrunk
from act.policies.base.storage import load_policy
from act.run_folder import RunFolder
from act.training.checkpoint import MetricsLog, load_state
from act.training.fit import fit
from act.training.preparation import load_data, make_policy
from act.training.trainer import Trainer, TrainingDiverged
from tests.act.data.test_dataset import SIZE
from tests.fakes.tiny_run import TINY, make, run


def test_training_lowers_the_loss_and_saves_a_policy(tmp_path):
    config = make(tmp_path, steps=40, log_every=10)
    metrics = run(config)
    assert [line.step for line in metrics if line.validation] == list(range(4, 41, 4))
    assert metrics[-1].losses["loss"] < metrics[0].losses["loss"]
    assert {"loss", "l1", "kl", "deployed_l1"} <= set(metrics[-1].validation)
    policy = load_policy(tmp_path / "run")
    obs = {"qpos": np.zeros(14, np.float32), "env_state": np.zeros(7, np.float32)}
    assert policy.predict_chunk([[obs]]).shape == (1, 6, 14)
    about = json.loads((tmp_path / "run" / "policy.json").read_text())
    assert about["policy"] == "act" and about["step"] == 40 and about["train"]["lr"] == 3e-3


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(tmp_path):
    whole = run(make(tmp_path, run_dir=tmp_path / "whole"))
    config = make(tmp_path, run_dir=tmp_path / "cut")
    first = run(config, stop=6)  # the checkpoint is of step 4, so steps 5 and 6 are done again
    second = run(config)
    assert [line.step for line in first] == [2, 4, 6] and [line.step for line in second] == [6, 8]
    assert [line.losses for line in second] == [line.losses for line in whole[2:]]
    assert second[-1].validation == whole[-1].validation
    cut, expected = (load_policy(tmp_path / name).state_dict() for name in ("cut", "whole"))
    assert all(torch.equal(cut[key], expected[key]) for key in expected)


def test_a_resumed_run_that_trains_its_backbone_equals_an_uninterrupted_one(tmp_path):
    """Weights of convolutions have their own memory layout; moments in another layout would belong to other weights."""
    KeypointTrunk(KeypointConfig(("cube",), ("cam0", "cam1"), SIZE)).folded().save(tmp_path / "trunk")
    backbone = {"backbone": "keypoints", "backbone_weights": "sim", "trunk": str(tmp_path / "trunk")}
    policy = dataclasses.replace(TINY, use_images=True, use_env_state=False, **backbone)
    changes = {"policy": policy, "precision": "fp32", "lr_backbone": 3e-3, "batch_size": 2}
    run(make(tmp_path, run_dir=tmp_path / "whole", **changes))
    config = make(tmp_path, run_dir=tmp_path / "cut", **changes)
    run(config, stop=4)
    run(config)
    cut, expected = (load_policy(tmp_path / name).state_dict() for name in ("cut", "whole"))
    assert [key for key in expected if not torch.equal(cut[key], expected[key])] == []


def test_no_line_of_the_log_is_lost_where_a_run_is_interrupted(tmp_path):
    config, logged = make(tmp_path), []
    data, held_out, spec = load_data(config)
    for metrics in fit(make_policy(config, data, spec), data, held_out, config):
        if metrics.step == 4:  # before it is written
            break
        logged.append(metrics.step)
    start = (load_state(tmp_path / "run", config) or SimpleNamespace(step=0)).step
    assert [step for step in logged if step <= start] + [line.step for line in run(config)] == [2, 4, 6, 8]


def test_validation_does_not_depend_on_the_batch_size(tmp_path):
    losses = []
    for size in (2, 7):
        config = make(tmp_path, batch_size=size)
        data, held_out, spec = load_data(config)
        assert held_out is not None
        losses.append(Trainer(make_policy(config, data, spec), config).validate(held_out))
    assert losses[0] == losses[1]


def test_a_finished_run_has_nothing_left_to_do(tmp_path):
    config = make(tmp_path)
    run(config)
    assert run(config) == []


def test_another_configuration_does_not_resume(tmp_path):
    run(make(tmp_path), stop=4)
    with pytest.raises(ValueError, match=r"trained with lr 0.003, not 0.001; n_heads 2, not 4.*--run_dir"):
        run(make(tmp_path, lr=1e-3, policy=dataclasses.replace(TINY, n_heads=4)))
    assert load_state(tmp_path / "run", make(tmp_path, log_every=7)) is not None


def test_a_run_does_not_resume_with_other_episodes(tmp_path):
    config = make(tmp_path)
    run(config, stop=4)
    (tmp_path / "data" / "episode_1.hdf5").rename(tmp_path / "data" / "episode_9.hdf5")
    with pytest.raises(ValueError, match="trained on other episodes"):
        run(config)
    again = (tmp_path / "data" / "episode_9.hdf5").rename(tmp_path / "data" / "episode_1.hdf5")
    before, size = put(again, 7.0), again.stat().st_size
    with pytest.raises(ValueError, match="trained on other episodes"):  # although the file has the same size
        run(config)
    put(again, before)
    assert again.stat().st_size == size and [line.step for line in run(config)] == [6, 8]


def test_a_finished_run_is_refused_with_other_episodes_too(tmp_path, capsys):
    config = make(tmp_path)
    train.train(config, tmp_path / "run", ALONE)
    train.train(config, tmp_path / "run", ALONE)
    assert "is already trained (8 steps)" in capsys.readouterr().out
    (tmp_path / "data" / "episode_1.hdf5").rename(tmp_path / "data" / "episode_9.hdf5")
    with pytest.raises(ValueError, match="trained on other episodes"):
        train.train(config, tmp_path / "run", ALONE)


@pytest.mark.parametrize("name", ["mps", "meta", "cuda:99", "toaster"])
def test_a_device_that_cannot_be_used_is_refused_and_named(name: str):
    with pytest.raises(ValueError, match=f"--device {name}"):
        choose_device(name)


def test_written_files_have_the_permissions_of_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        run(make(tmp_path), stop=4)
    finally:
        os.umask(before)
    for name in ("policy.safetensors", "policy.json", "last/state.safetensors"):
        assert (tmp_path / "run" / name).stat().st_mode & 0o777 == 0o640


def test_two_trainings_do_not_share_a_directory(tmp_path):
    error = pytest.raises(ValueError, match=r"run is being trained by another process")
    lock = partial(lock_folder, tmp_path / "run", "trained", "--run_dir")
    with lock(), error, lock():
        pass
    assert not (tmp_path / "run" / ".lock").exists()
    with lock():
        pass


def put(path: Path, value: float) -> float:
    """Changes one number of an episode's actions and returns the old value."""
    with h5py.File(path, "a") as root:
        actions = root["action"]
        assert isinstance(actions, h5py.Dataset)
        before = float(actions[3, 2])
        actions[3, 2] = value
    return before


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(tmp_path, monkeypatch):
    config = make(tmp_path)
    train, _, spec = load_data(config)
    policy = make_policy(config, train, spec)
    original = policy.loss
    calls = []

    def loss(batch):
        calls.append(0)
        return {key: value * (math.nan if len(calls) > 5 else 1) for key, value in original(batch).items()}

    monkeypatch.setattr(policy, "loss", loss)
    with pytest.raises(TrainingDiverged, match="nan at or shortly before step 6"):
        list(fit(policy, train, None, config))
    state = load_state(tmp_path / "run", config)
    assert state is not None and state.step == 4
    assert all(bool(torch.isfinite(value).all()) for value in load_policy(tmp_path / "run").state_dict().values())


def test_the_most_successful_weights_are_kept(tmp_path):
    rates = iter([0.5, 0.9, 0.2, 0.1])
    metrics = run(make(tmp_path, eval_every=2), evaluate=lambda policy: next(rates))
    assert [line.success for line in metrics] == [0.5, 0.9, 0.2, 0.1]
    about = json.loads((tmp_path / "run" / "policy.json").read_text())
    assert about["step"] == 4 and about["validation_success"] == 0.9


def test_a_resumed_run_remembers_its_best_success_rate(tmp_path):
    config, rates = make(tmp_path, eval_every=4), iter([0.9, 0.2, 0.2])
    run(config, stop=4, evaluate=lambda policy: next(rates))
    run(config, evaluate=lambda policy: next(rates))
    about = json.loads((tmp_path / "run" / "policy.json").read_text())
    assert about["step"] == 4 and about["validation_success"] == 0.9


def test_a_keypoint_detector_computes_in_the_arithmetic_of_its_caller():
    trunk = KeypointTrunk(KeypointConfig(("cube",), ("cam0",), SIZE)).folded()
    images, dtypes = torch.zeros(1, 1, *SIZE, 3, dtype=torch.uint8), []
    convolution = next(module for module in trunk.modules() if isinstance(module, torch.nn.Conv2d))
    convolution.register_forward_hook(lambda module, given, made: dtypes.append(made.dtype))
    trunk.features(images)
    with torch.autocast("cpu", torch.bfloat16):
        trunk.features(images)
    assert dtypes == [torch.float32, torch.bfloat16]


def test_images_train_end_to_end_with_augmentation(tmp_path):
    size = (32, 32)
    policy = dataclasses.replace(TINY, use_images=True, use_env_state=False, backbone_weights="none")
    config = make(
        tmp_path, policy=policy, steps=2, save_every=2, image_size=size, augmentation="photometric", batch_size=2
    )
    assert math.isfinite(run(config)[-1].losses["loss"])


def test_an_unknown_device_is_refused():
    with pytest.raises(ValueError, match="available: auto, cpu"):
        choose_device("tpu7")
    assert choose_device("cpu").type == "cpu"


def test_the_log_loses_lines_after_the_checkpoint_of_a_resumed_run(tmp_path):
    log = MetricsLog(tmp_path, tensorboard=False)
    for step in (1, 2, 3):
        log.write({"step": step, "loss": 1.0 / step})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')
    assert [line["step"] for line in RunFolder(tmp_path).metrics()] == [1, 2, 3]
    MetricsLog(tmp_path, start=2, tensorboard=False)
    assert [line["step"] for line in RunFolder(tmp_path).metrics()] == [1, 2]


def test_a_folder_without_a_policy_of_this_version_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"holds no trained policy"):
        load_policy(tmp_path)
    run(make(tmp_path, steps=1))
    about = json.loads((tmp_path / "run" / "policy.json").read_text())
    for foreign in ({"x": 1}, {**about, "spec": {"wheels": 2}}, {**about, "config": []}):
        (tmp_path / "run" / "policy.json").write_text(json.dumps(foreign))
        with pytest.raises(ValueError, match="describes no policy of this version"):
            load_policy(tmp_path / "run")
