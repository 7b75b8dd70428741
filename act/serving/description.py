"""Reads what a server says about its policy, and believes nothing: types, names and sizes are checked."""

import json
import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from act.serving.wire import LIMITS, MOST_BYTES
from act.types import MOST_NUMBERS, PolicySpec


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
    try:
        spec = PolicySpec.from_json(values)
    except TypeError as error:
        raise ValueError(f"its spec has {error!s:.200}") from None
    for name in ("qpos_dim", "action_dim"):
        if values[name] < 1:
            raise ValueError(f"{name!r} of its spec is {values[name]}")
    if len(spec.cameras) > LIMITS["max_map_len"]:
        raise ValueError(f"its {len(spec.cameras)} cameras do not fit into a message")
    for size in (spec.image_size, spec.recorded_size or spec.image_size):
        if 3 * math.prod(size) > MOST_BYTES:
            raise ValueError(f"an image of {size[0]}x{size[1]} pixels does not fit into a message")
    return spec


def _is_whole(value: Any, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


def read_sizes(about: Mapping[str, Any], spec: PolicySpec) -> tuple[int, int]:
    """The chunk_size and n_obs_steps that a server sent. Raises ValueError naming the one that is wrong."""
    most = {"chunk_size": MOST_NUMBERS // spec.action_dim, "n_obs_steps": LIMITS["max_array_len"]}
    for name, limit in most.items():
        if not _is_whole(about.get(name), 1, limit):
            raise ValueError(f"{name!r} is {about.get(name)!r}")
    return about["chunk_size"], about["n_obs_steps"]
