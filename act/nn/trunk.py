"""The interface of all visual backbones: uint8 images of N cameras in, features of each camera out."""

import json
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from act.files import read_json, write_json
from act.nn.tensors import check_finite, check_form, read_with_digest, write_with_digest

WEIGHTS, SHAPE = "trunk.safetensors", "trunk.json"


class Trunk(nn.Module):
    """A visual backbone. Its features of one camera are a feature map (C, h, w) or a vector (C,) of keypoints.

    A policy asks whether a backbone makes maps, not which class it is. It reads the cells of a map as tokens or pools
    them. The features of a frozen backbone never change, so they are computed once per recorded frame.
    """

    makes_maps: ClassVar[bool]

    @property
    def n_channels(self) -> int:
        """C: how many numbers a cell of a map, or the vector of a camera, has."""
        raise NotImplementedError

    def features(self, images: Tensor) -> Tensor:
        """(..., N, H, W, 3) uint8 -> (..., N, C) float, or (..., N, C, h, w) where it makes maps.

        Differentiable, unless called under no_grad; it then computes in bf16 where the device is fast at that.
        """
        raise NotImplementedError


def save_trunk(directory: Path, shape: dict[str, Any], trunk: nn.Module) -> None:
    """Writes trunk.safetensors (weights, shape, digest) and trunk.json (shape), each whole or not at all."""
    write_with_digest(directory / WEIGHTS, trunk.state_dict(), {"shape": json.dumps(shape)})
    write_json(directory / SHAPE, shape)


def read_trunk(directory: Path, backbone: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Reads the shape and the weights that `save_trunk` wrote; those of earlier versions have no digest.

    Raises ValueError naming the folder when it holds no backbone, or another one than `backbone`, and naming the file
    when a bit of the weights has changed, or when trunk.json describes other weights.
    """
    if not (directory / SHAPE).exists() or not (directory / WEIGHTS).exists():
        raise ValueError(f"{directory} holds no backbone ({SHAPE}, {WEIGHTS}); python -m act pretrain makes one.")
    shape = read_json(directory / SHAPE)
    state, header = read_with_digest(directory / WEIGHTS)
    if "shape" in header and json.loads(header["shape"]) != shape:
        raise ValueError(f"{directory / SHAPE} cannot be used: it describes other weights than {WEIGHTS} holds")
    found = shape.pop("backbone", "keypoints")
    if found != backbone:
        raise ValueError(f"{directory} holds a backbone {found}, not {backbone}; give --backbone {found}")
    return shape, state


def load_weights(trunk: nn.Module, state: dict[str, Tensor], directory: Path) -> None:
    """Loads what `read_trunk` returned. Raises ValueError, naming the file, for weights of another network."""
    try:
        check_form(state, trunk.state_dict())
        check_finite(state)
    except ValueError as error:
        raise ValueError(f"{directory / WEIGHTS} cannot be used: {error}") from None
    trunk.load_state_dict(state)
