"""Reads checkpoints of LeRobot (its ACT, new and old) and of the original (policy_best.ckpt, dataset_stats.pkl)."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from act.files import check_regular
from act.interop.checkpoints.keys import from_original
from act.interop.checkpoints.network import Statistics, build, config_of
from act.interop.checkpoints.numpy_pickle import read_arrays
from act.interop.lerobot.layout import camera_name, read_json
from act.nn.resnet import IMAGENET_MEAN, IMAGENET_STD
from act.nn.tensors import check_finite, read_tensors
from act.policies.act import Policy
from act.types import PolicySpec

STATE, ENV_STATE, ACTION = "observation.state", "observation.environment_state", "action"
KEYS = {"qpos": STATE, "action": ACTION, "env_state": ENV_STATE}
LEROBOT_EPS = 1e-8  # LeRobot divides by the standard deviation plus this
PREPROCESSOR = "policy_preprocessor.json"
_EXPECTED = {"vision_backbone": "resnet18", "pre_norm": False, "feedforward_activation": "relu", "use_vae": True}
_EXPECTED |= {"replace_final_stride_with_dilation": False, "n_obs_steps": 1}


# ------------------------------------------------------------------------------------------------------------- LeRobot
def read_lerobot(folder: Path) -> Policy:
    """Returns the policy of a LeRobot checkpoint (the folder `pretrained_model`), which answers as it does there.

    Raises ValueError for another policy, and for settings and statistics that cannot be carried over.
    """
    values = read_json(folder / "config.json")
    if values.get("type", "act") != "act":
        raise ValueError(f"{folder}: holds a policy of type {values['type']!r}; only 'act' can be imported")
    for name, expected in _EXPECTED.items():
        if values.get(name, expected) not in (expected, int(expected) if isinstance(expected, bool) else expected):
            raise ValueError(f"{folder}: {name} is {values[name]!r}; only {expected!r} can be imported")
    state = read_weights(folder / "model.safetensors")
    stored = _stored_statistics(folder, state)
    state = {name: value for name, value in state.items() if name.startswith("model.")}
    spec = _spec(folder, values, state)
    _check_image_statistics(folder, stored, list(_cameras(folder, values)))
    heads, dropout = _number(folder, values, "n_heads", 8), float(values.get("dropout", 0.1))
    config = config_of(state, int(heads), dropout, float(values.get("kl_weight", 10.0)), bool(spec.cameras))
    spec = replace(spec, env_state_dim=spec.env_state_dim if config.use_env_state else 0)
    return build(state, config, spec, _statistics(stored))


def read_weights(path: Path) -> dict[str, Tensor]:
    """Returns the tensors of a safetensors file.

    Raises ValueError, with the path, for one that cannot be read or whose network has weights that are not finite.
    """
    try:
        tensors = read_tensors(path)[0]
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error})") from None
    _check_finite(path, {name: value for name, value in tensors.items() if name.startswith("model.")})
    return tensors


def _check_finite(path: Path, weights: Mapping[str, Tensor]) -> None:
    try:
        check_finite(weights)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _number(folder: Path, values: Mapping[str, Any], name: str, default: int) -> int:
    value = values.get(name, default)
    if not isinstance(value, int) or not 1 <= value <= 1024:
        raise ValueError(f"{folder}: {name} is {value!r}, expected a whole number from 1 to 1024")
    return value


def _cameras(folder: Path, values: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """Returns the (H, W) of every camera's feature, in the order in which LeRobot's ACT takes them."""
    features = values.get("input_features")
    if not isinstance(features, dict) or STATE not in features:
        raise ValueError(f"{folder}: config.json has no input_features with {STATE!r}")
    found = {}
    for name, feature in features.items():
        if isinstance(feature, dict) and feature.get("type") == "VISUAL":
            shape = feature.get("shape")
            if (
                not isinstance(shape, list)
                or len(shape) != 3
                or shape[0] != 3
                or not all(isinstance(n, int) for n in shape)
            ):
                raise ValueError(f"{folder}: {name} has shape {shape!r}, expected [3, height, width]")
            found[name] = (shape[1], shape[2])
    return found


def _spec(folder: Path, values: Mapping[str, Any], state: Mapping[str, Tensor]) -> PolicySpec:
    cameras = _cameras(folder, values)
    if len(set(cameras.values())) > 1:
        raise ValueError(
            f"{folder}: cameras of different sizes cannot be carried over: {sorted(set(cameras.values()))}"
        )
    size = next(iter(cameras.values()), (480, 640))
    return _spec_of(state, tuple(map(camera_name, cameras)), size)


def _spec_of(state: Mapping[str, Tensor], cameras: tuple[str, ...], size: tuple[int, int]) -> PolicySpec:
    """Returns the spec whose widths are those of the weights."""
    names = ("encoder_robot_state_input_proj", "encoder_env_state_input_proj")
    widths = [state[f"model.{n}.weight"].shape[1] if f"model.{n}.weight" in state else 0 for n in names]
    if not widths[0] or "model.action_head.weight" not in state:
        raise ValueError("the checkpoint has no weights for joint positions and actions")
    return PolicySpec(cameras, size, widths[0], state["model.action_head.weight"].shape[0], widths[1], size)


def _stored_statistics(folder: Path, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns {"action.mean": ...} from the preprocessor's file or, before LeRobot 0.4, from buffers of the model."""
    if (folder / PREPROCESSOR).is_file():
        steps = read_json(folder / PREPROCESSOR).get("steps", [])
        files = [step.get("state_file") for step in steps if isinstance(step, dict) and "normalizer" in str(step)]
        named = [Path(str(file)).name for file in files if file]
        if len(named) != 1:
            raise ValueError(f"{folder / PREPROCESSOR}: names {len(named)} files of statistics, expected one")
        return read_weights(folder / named[0])
    found = {}
    for name, value in state.items():
        for group in ("normalize_inputs.", "unnormalize_outputs."):
            if name.startswith(f"{group}buffer_"):
                key, part = name.removeprefix(f"{group}buffer_").rsplit(".", 1)
                found[f"{_dotted(key)}.{part}"] = value
    if not found:
        raise ValueError(f"{folder}: no {PREPROCESSOR} and no statistics beside the weights")
    return found


def _dotted(key: str) -> str:
    """Returns "observation.images.top" for "observation_images_top"."""
    for prefix in ("observation_images_", "observation_"):
        if key.startswith(prefix):
            return prefix.replace("_", ".") + key.removeprefix(prefix)
    return key


def _statistics(stored: Mapping[str, Tensor]) -> Statistics:
    found = {}
    for ours, name in KEYS.items():
        if f"{name}.mean" in stored and f"{name}.std" in stored:
            found[ours] = (stored[f"{name}.mean"], stored[f"{name}.std"] + LEROBOT_EPS)
    return Statistics(found)


def _check_image_statistics(folder: Path, stored: Mapping[str, Tensor], cameras: list[str]) -> None:
    """Raises ValueError unless images are normalised with ImageNet's mean and std, as the backbone here does."""
    for camera in cameras:
        for part, expected in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            value = stored.get(f"{camera}.{part}")
            if (
                value is None
                or value.numel() != 3
                or not torch.allclose(value.flatten().float(), torch.tensor(expected), atol=1e-4)
            ):
                raise ValueError(
                    f"{folder}: images of {camera} are not normalised with ImageNet's {part}; "
                    "such statistics cannot be carried over (train with --dataset.use_imagenet_stats=true)"
                )


# ------------------------------------------------------------------------------------------------------------ original
def read_original(checkpoint: Path, cameras: tuple[str, ...], image_size: tuple[int, int], n_heads: int = 8) -> Policy:
    """Returns the policy of the original's policy_best.ckpt, with dataset_stats.pkl beside it.

    The file does not say which cameras the policy looks through, in which order and size, nor how many heads it has.

    Raises ValueError for files that cannot be read or are not the original's ACT.
    """
    try:
        check_regular(checkpoint)
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the unpickler raises for bytes that are no checkpoint
        raise ValueError(
            f"{checkpoint}: cannot be read ({str(error).splitlines()[0] if str(error) else error!r})"
        ) from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{checkpoint}: holds no dictionary of weights")
    _check_finite(checkpoint, state)
    renamed = from_original(state)
    arrays = read_arrays(checkpoint.with_name("dataset_stats.pkl"))
    found = {}
    for key in ("qpos", "action"):
        if f"{key}_mean" not in arrays or f"{key}_std" not in arrays:
            raise ValueError(f"{checkpoint.with_name('dataset_stats.pkl')}: has no {key}_mean and {key}_std")
        found[key] = tuple(torch.from_numpy(arrays[f"{key}_{part}"]).float() for part in ("mean", "std"))
    config = config_of(renamed, n_heads, 0.1, 10.0, True)
    return build(renamed, config, _spec_of(renamed, cameras, image_size), Statistics(found))
