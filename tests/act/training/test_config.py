"""Configurations: the command line, its contradictions, and the JSON form."""

import dataclasses
import json
from pathlib import Path

import pytest

from act.policies import act as act_policy
from act.training import config as configs
from act.training.config import TrainConfig
from tests.fakes.tiny_run import make


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--kl_weight", "80"], "--kl_weight 80.0 has an effect only with --use_cvae; leave it out"),
        (["--policy_class", "diffusion", "--objective", "flow", "--eta", "1"], "--eta 1.0 .* --objective ddpm"),
        (["--policy_class", "diffusion", "--objective", "regression", "--inference_steps", "5"], "ddpm or flow"),
        (["--policy_class", "diffusion", "--channels", "64", "64"], "--channels .* only with --network unet"),
        (["--policy_class", "diffusion", "--n_heads", "8"], "--n_heads 8 .* only with --network transformer"),
        (["--freeze_backbone"], "--freeze_backbone True .* only with --use_images"),
        (["--no_camera_embedding"], "--camera_embedding False .* only with --backbone resnet18"),
    ],
)
def test_flags_without_effect_are_refused(flags, message):
    with pytest.raises(ValueError, match=message):
        configs.parse(["--task_name", "sim_toy_scripted", "--preset", "state", *flags])


def test_augmentation_without_a_trained_backbone_is_refused(tmp_path):
    with pytest.raises(ValueError, match="augmentation photometric changes images"):
        make(tmp_path, augmentation="photometric")


def test_an_epoch_is_divided_among_the_processes(tmp_path):
    config = make(tmp_path, num_epochs=100, batch_size=4)
    assert [dataclasses.replace(config, processes=n).resolved(40).steps for n in (1, 2)] == [1000, 500]


@pytest.mark.parametrize("flag", [["--policy_class", "vae"], ["--policy-class=vae"], ["--policy-class", "vae"]])
def test_a_flag_may_be_spelled_with_hyphens(flag):
    config = configs.parse(["--task_name", "sim_toy_scripted", "--preset", "state", *flag])
    assert type(config.policy).__module__ == "act.policies.vae"


def test_help_spells_flags_as_the_documentation_does(capsys):
    with pytest.raises(SystemExit, match="0"):
        configs.parse(["--help"])
    text = capsys.readouterr().out
    assert "--policy_class" in text and "--ckpt_dir" in text and "--policy-class" not in text


def test_a_configuration_survives_json(tmp_path):
    config = make(tmp_path).with_paths()
    assert TrainConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_the_original_command_line_is_understood():
    line = "--task_name sim_transfer_cube_scripted --policy_class ACT --kl_weight 10 --chunk_size 100 --hidden_dim 512"
    line += " --batch_size 8 --dim_feedforward 3200 --num_epochs 2000 --lr 1e-5 --seed 0 --ckpt_dir D"
    config = configs.parse(line.split()).resolved(40)
    assert config.steps == 10_000 and config.run_dir == Path("D") and config.policy == act_policy.Config.preset("paper")
    for flag in ("--temporal_agg", "--eval"):
        with pytest.raises(ValueError, match=r"belongs to evaluation: python eval\.py"):
            configs.parse([*line.split(), flag])
    fast = configs.parse(["--task_name", "sim_insertion_human", "--preset=fast", "--use_cvae"]).with_paths()
    assert fast.policy.chunk_size == 60 and fast.policy.use_cvae and fast.policy.trunk == "runs/insertion_trunk"  # type: ignore[attr-defined]
    assert str(fast.run_dir) == "runs/sim_insertion_human_act_fast_seed0"


@pytest.mark.parametrize(
    "change",
    [{"steps": 0}, {"lr": -1.0}, {"lr": float("nan")}, {"num_epochs": 0}, {"ema_decay": 1.0}, {"image_size": (0, 0)}],
)
def test_values_out_of_range_are_refused(tmp_path, change):
    with pytest.raises(ValueError, match=next(iter(change))):
        make(tmp_path, **change)


def test_preset_aloha_takes_the_scenes_beside_its_episodes():
    task = ["--preset", "aloha", "--task_name", "sim_transfer_cube_scripted"]
    config = configs.parse([*task, "--dataset_dir", "demos", "more"]).with_paths()
    assert config.scenes == Path("demos/scenes.hdf5")
    assert config.policy.to_json()["trunk"] == "runs/transfer_cube_resnet18"
    assert configs.parse([*task, "--scenes", "other.hdf5"]).with_paths().scenes == Path("other.hdf5")
    assert configs.parse([*task, "--scene_weight", "0"]).with_paths().scenes is None
    assert configs.parse([*task, "--scene_weight", "0.5"]).with_paths().scenes is not None
    assert configs.parse([*task, "--policy_class", "BC_ConvMLP"]).with_paths().scenes is None
    assert configs.parse([*task, "--use_env_state"]).with_paths().scenes is None
    assert configs.parse(["--preset", "fast", *task[2:]]).with_paths().scenes is None


def test_random_scenes_beside_object_poses_are_refused(capsys: pytest.CaptureFixture[str]):
    line = ["--preset", "aloha", "--task_name", "sim_insertion_scripted", "--use_env_state", "--scenes", "scenes.hdf5"]
    with pytest.raises(SystemExit) as refused:
        configs.parse(line)
    said = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert refused.value.code == 2 and "only ACT with images and without object poses learns from random scenes" in said


@pytest.mark.parametrize("flag", ["--lr", "--ema_decay", "--batch_size", "--weight_decay"])
def test_flags_of_gradients_are_refused_for_a_policy_that_has_none(flag: str):
    line = ["--preset", "state", "--task_name", "sim_insertion_scripted", "--policy_class", "VINN", flag]
    with pytest.raises(ValueError, match=f"{flag} .*for a policy that learns by gradient"):
        configs.parse([*line, "3" if flag == "--batch_size" else "0.5"])


def test_vinn_says_which_presets_it_has():
    with pytest.raises(ValueError, match="so it has no preset 'aloha'; use fast, state or paper"):
        configs.preset("aloha", "VINN")


@pytest.mark.parametrize("flag", ["--n_points", "--keypoints"])
def test_what_training_fills_in_is_no_flag(flag: str):
    with pytest.raises(SystemExit) as refused:
        configs.parse(["--preset", "fast", "--task_name", "sim_insertion_scripted", flag, "3"])
    assert refused.value.code == 2
