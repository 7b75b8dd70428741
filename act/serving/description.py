"""Reads what a server says about its policy, and believes nothing: types, names and sizes are checked."""

import json
import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from act.serving.wire import LIMITS, MOST_BYTES
from act.types import PolicySpec

MOST_NUMBERS = 100_000  # of a vector, or of a chunk


def check_json(about: Mapping[str, Any]) -> None:
    """Raises ValueError unless the values are JSON: only these can be compared and written into results."""
    try:
        json.dumps(about, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise ValueError("its values are not JSON") from None


def read_spec(values: Any) -> PolicySpec:
    """Returns the PolicySpec that a server sent as a dict. Raises ValueError naming a key that is wrong."""
    if not isinstance(values, Mapping):
        raise ValueError("its spec is missing")
    expected = [field.name for field in fields(PolicySpec)]
    for name in (*values, *expected):
        if name not in values or name not in expected:
            raise ValueError(f"key {name!r} of its spec is {'missing' if name in expected else 'unknown'}")
    dims = {"qpos_dim": 1, "action_dim": 1, "env_state_dim": 0}
    wrong = [name for name, least in dims.items() if not _is_whole(values[name], least, MOST_NUMBERS)]
    if not _are_names(values["cameras"]):
        wrong.append("cameras")
    if not _is_size(values["image_size"]):
        wrong.append("image_size")
    if values["recorded_size"] is not None and not _is_size(values["recorded_size"]):
        wrong.append("recorded_size")
    if wrong:
        raise ValueError(f"{wrong[0]!r} of its spec is {values[wrong[0]]!r}")
    return PolicySpec.from_json(values)


def _are_names(value: Any) -> bool:
    """Whether this is a list of different strings, as many as a message can name."""
    if not isinstance(value, list) or len(value) > LIMITS["max_map_len"]:
        return False
    return all(isinstance(name, str) for name in value) and len(set(value)) == len(value)


def _is_size(value: Any) -> bool:
    """Whether this is an (H, W) whose image fits into a message."""
    if not isinstance(value, list) or len(value) != 2 or not all(_is_whole(side, 1, MOST_BYTES) for side in value):
        return False
    return 3 * math.prod(value) <= MOST_BYTES


def _is_whole(value: Any, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


def read_sizes(about: Mapping[str, Any], spec: PolicySpec) -> tuple[int, int]:
    """The chunk_size and n_obs_steps that a server sent. Raises ValueError naming the one that is wrong."""
    most = {"chunk_size": MOST_NUMBERS // spec.action_dim, "n_obs_steps": LIMITS["max_array_len"]}
    for name, limit in most.items():
        if not _is_whole(about.get(name), 1, limit):
            raise ValueError(f"{name!r} is {about.get(name)!r}")
    return about["chunk_size"], about["n_obs_steps"]
