"""Names of ACT's weights in this project, in LeRobot and in the original; shapes and values are the same in all three.

Only the ResNet's batch norms differ: their fixed statistics are one scale and one shift here (`FrozenNormConv`).
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

NORM_EPS = 1e-5  # of batch norm, in torchvision
# (here, LeRobot): the first fitting pair of prefixes renames a weight
_LAYER = (("attend.weight", "self_attn.in_proj_weight"), ("attend.bias", "self_attn.in_proj_bias"))
_LAYER += (("attend.out.", "self_attn.out_proj."), ("look.weight", "multihead_attn.in_proj_weight"))
_LAYER += (
    ("look.bias", "multihead_attn.in_proj_bias"),
    ("look.out.", "multihead_attn.out_proj."),
    ("feed.0.", "linear1."),
)
_LAYER += (("norms.0.", "norm1."), ("norms.1.", "norm2."), ("norms.2.", "norm3."))
_STACKS = {"cvae.encoder": "model.vae_encoder", "encoder": "model.encoder", "decoder": "model.decoder"}
_SINGLE = {
    "decoder.norm.weight": "model.decoder.norm.weight",
    "decoder.norm.bias": "model.decoder.norm.bias",
    "cvae.cls": "model.vae_encoder_cls_embed.weight",
    "vector_position": "model.encoder_1d_feature_pos_embed.weight",
    "queries": "model.decoder_pos_embed.weight",
}
_MODULES = {
    "cvae.from_qpos": "model.vae_encoder_robot_state_input_proj",
    "cvae.from_action": "model.vae_encoder_action_input_proj",
    "cvae.to_latent": "model.vae_encoder_latent_output_proj",
    "cvae.from_latent": "model.encoder_latent_input_proj",
    "from_qpos": "model.encoder_robot_state_input_proj",
    "from_env_state": "model.encoder_env_state_input_proj",
    "tokens.project": "model.encoder_img_feat_input_proj",
    "to_action": "model.action_head",
}
_SINGLE |= {f"{a}.{part}": f"{b}.{part}" for a, b in _MODULES.items() for part in ("weight", "bias")}
_STAGES = {"0": ("conv1", "bn1"), "4": ("layer1", ""), "5": ("layer2", ""), "6": ("layer3", ""), "7": ("layer4", "")}
# original -> LeRobot, by prefix
_ORIGINAL = {
    "model.transformer.encoder.layers.": "model.encoder.layers.",
    "model.transformer.decoder.layers.": "model.decoder.layers.",
    "model.transformer.decoder.norm.": "model.decoder.norm.",
    "model.encoder.layers.": "model.vae_encoder.layers.",
    "model.encoder_joint_proj.": "model.vae_encoder_robot_state_input_proj.",
    "model.encoder_action_proj.": "model.vae_encoder_action_input_proj.",
    "model.latent_proj.": "model.vae_encoder_latent_output_proj.",
    "model.latent_out_proj.": "model.encoder_latent_input_proj.",
    "model.input_proj_robot_state.": "model.encoder_robot_state_input_proj.",
    "model.input_proj.": "model.encoder_img_feat_input_proj.",
    "model.additional_pos_embed.": "model.encoder_1d_feature_pos_embed.",
    "model.query_embed.": "model.decoder_pos_embed.",
    "model.cls_embed.": "model.vae_encoder_cls_embed.",
    "model.action_head.": "model.action_head.",
    "model.backbones.0.0.body.": "model.backbone.",
}
_UNUSED = re.compile(r"model\.(pos_table|is_pad_head\..*|transformer\.decoder\.layers\.[1-9]\d*\..*)")


def lerobot_name(name: str) -> str:
    """Returns LeRobot's name of a weight that is not part of the ResNet. Raises ValueError for an unknown one."""
    if name in _SINGLE:
        return _SINGLE[name]
    for stack, other in _STACKS.items():
        if found := re.fullmatch(rf"{re.escape(stack)}\.layers\.(\d+)\.(.+)", name):
            return f"{other}.layers.{found[1]}.{_layer_name(found[2])}"
    raise ValueError(f"LeRobot's ACT has no weight like {name!r}")


def _layer_name(rest: str) -> str:
    """Returns LeRobot's name of a weight inside a transformer layer."""
    for ours, other in (*_LAYER, ("feed.3.", "linear2."), ("feed.2.", "linear2.")):
        if rest.startswith(ours):
            return other + rest.removeprefix(ours)
    raise ValueError(f"LeRobot's ACT has no weight like {rest!r} in a layer")


def from_original(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the weights of the original's policy_best.ckpt under LeRobot's names, without those it never uses.

    Raises ValueError for a name that the original does not have.
    """
    renamed = {}
    for name, value in state.items():
        if _UNUSED.fullmatch(name) or name.endswith("num_batches_tracked"):
            continue
        prefix = next((prefix for prefix in _ORIGINAL if name.startswith(prefix)), None)
        if prefix is None:
            raise ValueError(f"the weight {name!r} is not one of the original's ACT")
        renamed[_ORIGINAL[prefix] + name.removeprefix(prefix)] = value
    return renamed


# ----------------------------------------------------------------------------------------------------------- backbone
def _backbone_names(conv: str) -> tuple[str, str]:
    """Returns LeRobot's names of a convolution "0", "4.0.conv1" or "4.0.downsample.0" of the body, and of its norm."""
    stage, _, rest = conv.partition(".")
    name, norm = _STAGES[stage]
    if not rest:
        return f"model.backbone.{name}", f"model.backbone.{norm}"
    behind = rest.replace("conv", "bn") if "conv" in rest else rest.replace("downsample.0", "downsample.1")
    return f"model.backbone.{name}.{rest}", f"model.backbone.{name}.{behind}"


def backbone_from_lerobot(state: Mapping[str, Tensor], ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the weights of `ours`, a body with fixed norms, from LeRobot's ResNet.

    `ours` are entries "0.conv.weight", "0.scale", "0.shift", ... Raises KeyError for a weight that is missing.
    """
    found = {}
    for name in ours:
        if name.endswith(".conv.weight"):
            conv = name.removesuffix(".conv.weight")
            other, norm = _backbone_names(conv)
            scale = state[f"{norm}.weight"] * (state[f"{norm}.running_var"] + NORM_EPS).rsqrt()
            found[name] = state[f"{other}.weight"]
            found[f"{conv}.scale"] = scale[:, None, None, None]
            found[f"{conv}.shift"] = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale
    return found


def backbone_to_lerobot(ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns LeRobot's ResNet with frozen batch norms that compute what `ours` computes: mean 0, variance 1 - eps."""
    found = {}
    for name, weight in ours.items():
        if name.endswith(".conv.weight"):
            conv = name.removesuffix(".conv.weight")
            other, norm = _backbone_names(conv)
            scale = ours[f"{conv}.scale"].flatten()
            found |= {f"{other}.weight": weight, f"{norm}.weight": scale, f"{norm}.bias": ours[f"{conv}.shift"]}
            found[f"{norm}.running_mean"] = torch.zeros_like(scale)
            found[f"{norm}.running_var"] = torch.full_like(scale, 1 - NORM_EPS)
    return found
