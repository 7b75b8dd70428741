"""Builds this project's ACT from weights under LeRobot's names, and gives its weights under those names."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from act.data.normalize import Normalizer
from act.interop.checkpoints.keys import backbone_from_lerobot, backbone_to_lerobot, lerobot_name
from act.policies.act import Config, Policy
from act.types import PolicySpec

LARGEST = 16_384  # of any size of a network that is built


@dataclass(frozen=True)
class Statistics:
    """Mean and scale (W,) of joint positions, actions and, where the policy looks at them, object poses."""

    values: dict[str, tuple[Tensor, Tensor]]  # "qpos", "action", "env_state" -> mean, scale

    def normalizer(self, spec: PolicySpec) -> Normalizer:
        """Returns the normalizer of a policy. Raises ValueError for statistics that are missing or do not fit."""
        normalizer = Normalizer.of(spec)
        for name, buffer in normalizer.named_buffers():
            key, part = name.rsplit("_", 1)
            if key not in self.values:
                raise ValueError(f"the checkpoint has no statistics of {key}")
            value = self.values[key][part == "scale"].flatten().float()
            if value.shape != buffer.shape or not bool(torch.isfinite(value).all()):
                raise ValueError(f"the statistics of {key} have shape {tuple(value.shape)}, not {tuple(buffer.shape)}")
            if part == "scale" and not bool((value > 0).all()):
                raise ValueError(f"the standard deviation of {key} must be above 0")
            buffer.copy_(value)
        return normalizer


def config_of(state: Mapping[str, Tensor], n_heads: int, dropout: float, kl_weight: float, has_images: bool) -> Config:
    """Returns the configuration that the shapes of the weights imply; they say nothing of heads, dropout, KL weight.

    Raises ValueError for weights that are not those of an ACT with a CVAE.
    """
    chunk, dim = _shape(state, "model.decoder_pos_embed.weight", 2)
    feedforward = _shape(state, "model.encoder.layers.0.linear1.weight", 2)[0]
    latent = _shape(state, "model.encoder_latent_input_proj.weight", 2)[1]
    layers = [_layers(state, f"model.{stack}") for stack in ("encoder", "decoder", "vae_encoder")]
    if max(chunk, dim, feedforward, latent, *layers) > LARGEST:
        raise ValueError(f"sizes above {LARGEST} are refused")
    return Config(
        chunk_size=chunk,
        hidden_dim=dim,
        dim_feedforward=feedforward,
        n_heads=n_heads,
        n_encoder_layers=layers[0],
        n_decoder_layers=layers[1],
        n_cvae_layers=layers[2],
        latent_dim=latent,
        kl_weight=kl_weight,
        dropout=dropout,
        decoder_input="zeros",
        camera_embedding=False,
        use_images=has_images,
        use_env_state="model.encoder_env_state_input_proj.weight" in state,
        backbone_weights="imagenet",
    )


def _shape(state: Mapping[str, Tensor], name: str, axes: int) -> tuple[int, ...]:
    if name not in state or state[name].ndim != axes:
        raise ValueError(f"the checkpoint is no ACT with a CVAE: the weight {name} is missing or has another shape")
    return tuple(state[name].shape)


def _layers(state: Mapping[str, Tensor], stack: str) -> int:
    found = {int(match[1]) for name in state if (match := re.match(rf"{re.escape(stack)}\.layers\.(\d+)\.", name))}
    if not found or found != set(range(len(found))):
        raise ValueError(f"the checkpoint is no ACT with a CVAE: layers of {stack} are missing")
    return len(found)


def build(state: Mapping[str, Tensor], config: Config, spec: PolicySpec, statistics: Statistics) -> Policy:
    """Returns a policy with the weights `state`, which have LeRobot's names. Every weight must fit and be used.

    Raises ValueError that names the first weight that does not.
    """
    policy = Policy(config, spec, statistics.normalizer(spec))
    expected = policy.state_dict()
    body = {
        name.removeprefix("trunk.body."): value for name, value in expected.items() if name.startswith("trunk.body.")
    }
    names = {name: lerobot_name(name) for name in _own_names(expected)}
    if missing := [other for other in names.values() if other not in state]:
        raise ValueError(f"the checkpoint has no weight {missing[0]}")
    known = {*names.values(), *backbone_to_lerobot(body)}
    if unknown := sorted(name for name in state if name not in known and not _is_buffer(name)):
        raise ValueError(f"the checkpoint has a weight that ACT does not know: {unknown[0]}")
    found = {name: state[other] for name, other in names.items()}
    try:
        found |= {f"trunk.body.{name}": value for name, value in backbone_from_lerobot(state, body).items()}
        policy.load_state_dict({**expected, **found})
    except KeyError as error:
        raise ValueError(f"the checkpoint has no weight {error}") from None
    except RuntimeError as error:
        raise ValueError(f"the weights do not fit: {str(error).splitlines()[-1].strip()}") from None
    return policy.eval()


def _own_names(state: Mapping[str, Tensor]) -> list[str]:
    """Returns the names of weights that LeRobot's ACT has, too; `to_points` answers in random scenes, in training."""
    return [name for name in state if not name.startswith(("trunk.", "normalizer.", "to_points."))]


def _is_buffer(name: str) -> bool:
    return name.endswith("num_batches_tracked") or name == "model.vae_encoder_pos_enc"


def weights_for_lerobot(policy: Policy) -> dict[str, Tensor]:
    """Returns the weights of a policy under LeRobot's names. Raises ValueError where LeRobot has no such weight."""
    state = policy.state_dict()
    body = {name.removeprefix("trunk.body."): value for name, value in state.items() if name.startswith("trunk.body.")}
    found = {lerobot_name(name): state[name] for name in _own_names(state)} | backbone_to_lerobot(body)
    if policy.cvae is not None:
        found["model.vae_encoder_pos_enc"] = dict(policy.cvae.named_buffers())["position"][None]
    return {name: value.detach().cpu().float().contiguous().clone() for name, value in found.items()}
