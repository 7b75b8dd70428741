"""Writes a policy of this project as a LeRobot checkpoint: the folder that `lerobot-eval --policy.path` takes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from act.evaluation.card_text import CARD
from act.files import whole_folder, write_json
from act.interop.checkpoints.network import weights_for_lerobot
from act.interop.checkpoints.reading import ACTION, ENV_STATE, KEYS, LEROBOT_EPS, PREPROCESSOR, STATE
from act.nn.resnet import IMAGENET_MEAN, IMAGENET_STD
from act.policies.act import Config, Policy

POSTPROCESSOR = "policy_postprocessor.json"
STATISTICS = "policy_preprocessor_step_3_normalizer_processor.safetensors"
UNNORMALIZER = "policy_postprocessor_step_0_unnormalizer_processor.safetensors"
_NORMS = {"VISUAL": "MEAN_STD", "STATE": "MEAN_STD", "ACTION": "MEAN_STD", "ENV": "MEAN_STD"}


def write_lerobot(policy: Any, target: Path, card: str = "") -> None:
    """Writes `target`, a new folder, without the head of co-training, which is not used when the policy acts.

    card: the text of its README.md.

    Raises ValueError for a policy that LeRobot's ACT cannot be, with the reason.
    """
    refuse_others(policy)
    with whole_folder(target) as work:
        folder = work / "result"
        folder.mkdir(exist_ok=True)
        save_file(weights_for_lerobot(policy), folder / "model.safetensors", metadata={"format": "pt"})
        write_json(folder / "config.json", _config(policy))
        statistics = _statistics(policy)
        for name, file in ((PREPROCESSOR, STATISTICS), (POSTPROCESSOR, UNNORMALIZER)):
            save_file(statistics, folder / file)
            write_json(folder / name, _processor(policy, name, file))
        if card:
            (folder / CARD).write_text(card, encoding="utf-8")


def is_cotrained(policy: Any) -> bool:
    """Whether an ACT has learned from random scenes, too, with a head that the export leaves out."""
    return policy.config.n_points > 0


def refuse_others(policy: Any) -> None:
    """Raises ValueError that names what LeRobot's ACT does not have, and what would have worked."""
    if not isinstance(policy, Policy):
        raise ValueError(f"{type(policy).__module__} is no ACT; only ACT of preset paper can be a LeRobot checkpoint")
    config: Config = policy.config
    needed = {"decoder_input": "zeros", "camera_embedding": False, "use_cvae": True, "actions_per_query": 1}
    needed |= {"cvae_stride": 1, "latent": "zero", "relative_actions": False}
    if config.use_images:
        needed |= {"backbone": "resnet18"}
        if config.backbone_weights == "none":
            raise ValueError(
                "backbone_weights none has group norms; LeRobot's ACT has frozen batch norms (imagenet, sim)"
            )
    for name, value in needed.items():
        if getattr(config, name) != value:
            raise ValueError(f"{name} is {getattr(config, name)!r}; LeRobot's ACT has {value!r}, as preset paper")


def _features(policy: Policy) -> dict[str, dict[str, Any]]:
    """Returns the inputs; cameras stand in the order in which the policy takes them."""
    spec = policy.spec
    features: dict[str, dict[str, Any]] = {STATE: {"type": "STATE", "shape": [spec.qpos_dim]}}
    for camera in spec.cameras:
        features[f"observation.images.{camera}"] = {"type": "VISUAL", "shape": [3, *spec.image_size]}
    if spec.env_state_dim:
        features[ENV_STATE] = {"type": "ENV", "shape": [spec.env_state_dim]}
    return features


def _config(policy: Policy) -> dict[str, Any]:
    config = policy.config
    return {
        "type": "act",
        "n_obs_steps": 1,
        "input_features": _features(policy),
        "output_features": _output(policy),
        "device": "cpu",
        "use_amp": False,
        "push_to_hub": False,
        "chunk_size": config.chunk_size,
        "n_action_steps": config.chunk_size,
        "normalization_mapping": _NORMS,
        "vision_backbone": "resnet18",
        "pretrained_backbone_weights": None,
        "pre_norm": False,
        "replace_final_stride_with_dilation": False,
        "feedforward_activation": "relu",
        "dim_model": config.hidden_dim,
        "n_heads": config.n_heads,
        "dim_feedforward": config.dim_feedforward,
        "n_encoder_layers": config.n_encoder_layers,
        "n_decoder_layers": config.n_decoder_layers,
        "use_vae": True,
        "latent_dim": config.latent_dim,
        "n_vae_encoder_layers": config.n_cvae_layers,
        "temporal_ensemble_coeff": None,
        "dropout": config.dropout,
        "kl_weight": config.kl_weight,
    }


def _output(policy: Policy) -> dict[str, dict[str, Any]]:
    return {ACTION: {"type": "ACTION", "shape": [policy.spec.action_dim]}}


def _statistics(policy: Policy) -> dict[str, Tensor]:
    """Returns mean and std of every feature; LeRobot adds its eps to the std when it normalises."""
    buffers: Mapping[str, Tensor] = dict(policy.normalizer.named_buffers())
    found = {}
    for key, name in KEYS.items():
        if f"{key}_shift" in buffers:
            found[f"{name}.mean"] = buffers[f"{key}_shift"].clone()
            found[f"{name}.std"] = buffers[f"{key}_scale"] - (LEROBOT_EPS if key != "action" else 0)
    for camera in policy.spec.cameras:
        for part, value in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            found[f"observation.images.{camera}.{part}"] = torch.tensor(value)[:, None, None]
    return found


def _processor(policy: Policy, name: str, file: str) -> dict[str, Any]:
    """Returns the steps of the pre- or postprocessor."""
    before = name == PREPROCESSOR
    features = _features(policy) | _output(policy) if before else _output(policy)
    norm: dict[str, Any] = {
        "registry_name": "normalizer_processor" if before else "unnormalizer_processor",
        "state_file": file,
    }
    norm["config"] = {"eps": LEROBOT_EPS, "features": features, "norm_map": _NORMS}
    device = {"registry_name": "device_processor", "config": {"device": "cpu", "float_dtype": None}}
    rename = {"registry_name": "rename_observations_processor", "config": {"rename_map": {}}}
    batch = {"registry_name": "to_batch_processor", "config": {}}
    return {"name": name.removesuffix(".json"), "steps": [rename, batch, device, norm] if before else [norm, device]}
