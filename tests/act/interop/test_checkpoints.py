"""Checkpoints of LeRobot and of the original come in and go out with the same answers; what does not fit is refused."""

import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from act.data.normalize import Normalizer
from act.interop import export, import_checkpoint
from act.interop.checkpoints import keys
from act.interop.checkpoints.network import weights_for_lerobot
from act.interop.checkpoints.numpy_pickle import read_arrays
from act.interop.checkpoints.reading import read_lerobot, read_original
from act.interop.checkpoints.writing import write_lerobot
from act.interop.lerobot.layout import read_json
from act.policies.act import Config, Policy
from act.policies.base.policy import Policy as BasePolicy
from act.policies.base.storage import load_policy, save_policy
from act.types import PolicySpec

SPEC = PolicySpec(("wrist", "top"), (64, 96), recorded_size=(64, 96))


@pytest.fixture(autouse=True)
def exact_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both sides answer in fp32, also where this machine would be faster in bf16."""
    monkeypatch.setattr("act.nn.device.bf16_is_fast", lambda *_: False)
    monkeypatch.setattr("act.nn.resnet.bf16_is_fast", lambda *_: False)


def paper(**changes: Any) -> Config:
    small: dict[str, Any] = {"chunk_size": 12, "hidden_dim": 32, "n_heads": 4, "dim_feedforward": 48, "latent_dim": 6}
    small |= {"n_encoder_layers": 2, "n_cvae_layers": 2, "decoder_input": "zeros", "camera_embedding": False}
    return Config(**(small | changes))


def made(config: Config | None = None, spec: PolicySpec = SPEC) -> Policy:
    """A policy with random weights, statistics and batch norms."""
    torch.manual_seed(0)
    normalizer = Normalizer.of(spec)
    for name, buffer in normalizer.named_buffers():
        buffer.copy_(torch.rand_like(buffer) + 0.1 if name.endswith("scale") else torch.randn_like(buffer))
    policy = Policy(config or paper(), spec, normalizer).eval()
    for name, buffer in policy.named_buffers():
        if name.endswith((".scale", ".shift")):
            buffer.copy_(torch.rand_like(buffer) * 0.1 + (0.95 if name.endswith("scale") else 0))
    return policy


def answers(policy: BasePolicy) -> np.ndarray:
    rng = np.random.default_rng(0)
    images = {
        camera: rng.integers(0, 256, (*policy.spec.image_size, 3)).astype(np.uint8) for camera in policy.spec.cameras
    }
    vectors = {name: rng.normal(size=14).astype(np.float32) for name in ("qpos", "qvel")}
    env_state = rng.normal(size=7).astype(np.float32)
    return policy.predict_chunk([[{**vectors, "images": images, "env_state": env_state}]])


@pytest.mark.parametrize("changes", [{}, {"dropout": 0.0}, {"n_decoder_layers": 2}, {"use_env_state": True}])
def test_a_policy_that_went_to_lerobot_and_came_back_answers_the_same(tmp_path: Path, changes: dict[str, Any]) -> None:
    spec = replace(SPEC, env_state_dim=7 if "use_env_state" in changes else 0)
    policy = made(paper(**changes), spec)
    write_lerobot(policy, tmp_path / "lerobot")
    back = read_lerobot(tmp_path / "lerobot")
    assert back.spec == spec and back.config.chunk_size == 12
    np.testing.assert_allclose(answers(back), answers(policy), atol=1e-5)
    assert np.abs(answers(policy)).max() > 0.1
    for name, value in policy.state_dict().items():
        torch.testing.assert_close(back.state_dict()[name], value, rtol=1e-5, atol=1e-6)


def as_original(policy: Policy) -> dict[str, torch.Tensor]:
    """The weights under the original's names, with what it stores and never uses."""
    state = {}
    for name, value in weights_for_lerobot(policy).items():
        for original, other in keys._ORIGINAL.items():
            if name.startswith(other):
                state[original + name.removeprefix(other)] = value
    unused = {"model.pos_table": torch.zeros(1, 14, 32), "model.is_pad_head.weight": torch.zeros(1, 32)}
    return state | unused | {"model.transformer.decoder.layers.3.norm1.weight": torch.zeros(32)}


def write_original(folder: Path, policy: Policy) -> Path:
    folder.mkdir()
    torch.save(as_original(policy), folder / "policy_best.ckpt")
    buffers = {name: value.numpy() for name, value in policy.normalizer.named_buffers()}
    stats = {"example_qpos": np.zeros((3, 14), np.float32)}
    for key in ("qpos", "action"):
        stats |= {f"{key}_mean": buffers[f"{key}_shift"], f"{key}_std": buffers[f"{key}_scale"]}
    (folder / "dataset_stats.pkl").write_bytes(pickle.dumps(stats))
    return folder / "policy_best.ckpt"


def test_the_originals_checkpoint_answers_as_its_weights_say(tmp_path: Path) -> None:
    policy = made()
    checkpoint = write_original(tmp_path / "original", policy)
    imported = read_original(checkpoint, SPEC.cameras, SPEC.image_size, n_heads=4)
    np.testing.assert_allclose(answers(imported), answers(policy), atol=1e-5)


@pytest.mark.parametrize("content", [b"this is no checkpoint", b"stats", b"", b"PK\x03\x04"])
def test_a_file_that_is_no_checkpoint_is_refused_in_one_sentence(tmp_path: Path, content: bytes) -> None:
    checkpoint = write_original(tmp_path / "original", made())
    checkpoint.write_bytes(content)
    with pytest.raises(ValueError, match=r"policy_best\.ckpt: cannot be read") as refused:
        read_original(checkpoint, SPEC.cameras, SPEC.image_size)
    assert "\n" not in str(refused.value)


def test_an_imported_run_is_loaded_like_any_other(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    checkpoint = write_original(tmp_path / "original", made())
    words = [str(checkpoint), str(tmp_path / "run"), "--task_name", "sim_toy", "--n_heads", "4"]
    words += ["--cameras", "wrist", "top", "--image_size", "64", "96"]
    assert import_checkpoint.main(words) == 0
    np.testing.assert_allclose(answers(load_policy(tmp_path / "run")), answers(made()), atol=1e-5)
    assert read_json(tmp_path / "run/policy.json")["train"]["task_name"] == "sim_toy"
    assert import_checkpoint.main(words) == 2 and "holds a policy already" in capsys.readouterr().err


def test_statistics_before_lerobot_0_4_stand_beside_the_weights(tmp_path: Path) -> None:
    policy, folder = made(), tmp_path / "old"
    write_lerobot(policy, folder)
    stored = load_file(folder / "policy_preprocessor_step_3_normalizer_processor.safetensors")
    (folder / "policy_preprocessor.json").unlink()
    old = {
        f"normalize_inputs.buffer_{n.rsplit('.', 1)[0].replace('.', '_')}.{n.rsplit('.', 1)[1]}": v
        for n, v in stored.items()
    }
    save_file(load_file(folder / "model.safetensors") | old, folder / "model.safetensors")
    np.testing.assert_allclose(answers(read_lerobot(folder)), answers(policy), atol=1e-5)


@dataclass
class Program:
    """Pickles as a call of a program, which makes a file."""

    makes: Path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        import os

        return os.system, (f"touch '{self.makes}'",)


def test_a_pickle_that_runs_a_program_is_refused(tmp_path: Path) -> None:
    path, made = tmp_path / "stats.pkl", tmp_path / "made"
    path.write_bytes(pickle.dumps({"qpos_mean": np.ones(2), "x": Program(made)}))
    with pytest.raises(ValueError, match="only NumPy arrays are read"):
        read_arrays(path)
    assert not made.exists()
    path.write_bytes(pickle.dumps({"qpos_mean": np.ones(2, np.float64)}, protocol=2))
    np.testing.assert_array_equal(read_arrays(path)["qpos_mean"], [1, 1])
    path.write_bytes(b"\x80\x04junk")
    with pytest.raises(ValueError, match="not a readable pickle"):
        read_arrays(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"type": "diffusion"}, "only 'act' can be imported"),
        ({"use_vae": False}, "use_vae is False; only True can be imported"),
        ({"vision_backbone": "resnet34"}, "only 'resnet18' can be imported"),
        ({"pre_norm": True}, "pre_norm is True"),
        ({"n_heads": 0}, "n_heads is 0"),
        ({"input_features": {}}, "no input_features with 'observation.state'"),
    ],
)
def test_settings_that_cannot_be_carried_over_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture, changes: dict[str, Any], message: str
) -> None:
    folder = tmp_path / "lerobot"
    write_lerobot(made(), folder)
    (folder / "config.json").write_text(json.dumps(read_json(folder / "config.json") | changes))
    assert import_checkpoint.main([str(folder), str(tmp_path / "run"), "--task_name", "sim_toy"]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_other_image_statistics_and_missing_weights_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "lerobot"
    write_lerobot(made(), folder)
    file = folder / "policy_preprocessor_step_3_normalizer_processor.safetensors"
    save_file(load_file(file) | {"observation.images.top.mean": torch.full((3, 1, 1), 0.5)}, file)
    with pytest.raises(ValueError, match=r"images of observation.images.top are not normalised with ImageNet's mean"):
        read_lerobot(folder)
    write_lerobot(made(), tmp_path / "other")
    state = load_file(tmp_path / "other/model.safetensors")
    save_file({name: v for name, v in state.items() if "action_head" not in name}, tmp_path / "other/model.safetensors")
    with pytest.raises(ValueError, match="no weights for joint positions and actions"):
        read_lerobot(tmp_path / "other")
    save_file(state | {"model.extra": torch.zeros(1)}, tmp_path / "other/model.safetensors")
    with pytest.raises(ValueError, match=r"a weight that ACT does not know: model\.extra"):
        read_lerobot(tmp_path / "other")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decoder_input": "queries"}, "decoder_input is 'queries'; LeRobot's ACT has 'zeros'"),
        ({"camera_embedding": True}, "camera_embedding is True"),
        ({"actions_per_query": 2}, "actions_per_query is 2"),
        ({"use_cvae": False}, "use_cvae is False"),
        ({"backbone_weights": "none"}, "has group norms"),
    ],
)
def test_policies_that_lerobot_cannot_hold_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture, changes: dict[str, Any], message: str
) -> None:
    save_policy(tmp_path / "run", made(paper(**changes)), {"step": 1})
    words = [str(tmp_path / "run"), "--format", "lerobot", "--out", str(tmp_path / "lerobot")]
    assert export.main(words) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "lerobot").exists()


def test_a_policy_that_was_cotrained_goes_to_lerobot_without_the_head_of_the_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = made(paper(n_points=3))
    save_policy(tmp_path / "run", policy, {"step": 1})
    assert export.main([str(tmp_path / "run"), "--format", "lerobot"]) == 0
    assert "left out the head that locates keypoints in random scenes" in capsys.readouterr().out
    assert 'library_name: "lerobot"' in (tmp_path / "run" / "lerobot" / "README.md").read_text()
    back = read_lerobot(tmp_path / "run" / "lerobot")
    assert back.to_points is None and policy.to_points is not None
    np.testing.assert_allclose(answers(back), answers(policy), atol=1e-5)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--format", "lerobot", "--int8"], "--int8 True has an effect only with --format onnx"),
        (["--format", "lerobot", "--dataset_dir", "d"], "--dataset_dir d has an effect only with --format onnx"),
        (["--out", "d"], "--out d has an effect only with --format lerobot"),
    ],
)
def test_flags_of_the_other_format_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    assert export.main([str(tmp_path / "run"), *flags]) == 2
    assert message in capsys.readouterr().err and not list(tmp_path.iterdir())
