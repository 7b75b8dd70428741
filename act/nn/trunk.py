"""The interface of all visual backbones: uint8 images of N cameras in, features of each camera out."""

import json
from pathlib import Path
from typing import Any, ClassVar

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from act.files import whole_file, write_json


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
    """Writes trunk.safetensors (weights) and trunk.json (shape), each whole or not at all."""
    state = {key: value.detach().cpu().contiguous() for key, value in trunk.state_dict().items()}
    with whole_file(directory / "trunk.safetensors") as temporary:
        save_file(state, temporary)
    write_json(directory / "trunk.json", shape)


def read_trunk(directory: Path, backbone: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Reads the shape and the weights that `save_trunk` wrote.

    Raises ValueError naming the folder when it holds no backbone, or another one than `backbone`.
    """
    try:
        shape = json.loads((directory / "trunk.json").read_text())
        state = load_file(directory / "trunk.safetensors")
    except (OSError, json.JSONDecodeError, SafetensorError) as error:
        raise ValueError(
            f"{directory} holds no backbone (trunk.json, trunk.safetensors); python -m act pretrain makes one."
        ) from error
    found = shape.pop("backbone", "keypoints")
    if found != backbone:
        raise ValueError(f"{directory} holds a backbone {found}, not {backbone}; give --backbone {found}")
    return shape, state
