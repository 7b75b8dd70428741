"""The protocol of openpi-client, the client of github.com/Physical-Intelligence/openpi: `python -m act serve --openpi`.

    on connecting   <- metadata: {weights, engine, chunk_size, n_obs_steps, spec}
    each query      -> {state: (S,), images: {camera: (3, H, W) or (H, W, 3) uint8}}, one observation
                    <- {actions: (K, A) float32, server_timing: {infer_ms}}, or one sentence as text

Messages are msgpack. An array is a map with the keys __ndarray__, data, dtype and shape, a NumPy scalar one with
__npgeneric__, data and dtype; these keys are bytes. Arrays that hold anything but numbers are refused.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

import msgpack
import numpy as np

from act.data.images import resize_image
from act.runtime.checks import NUMBERS, finite_in_float32
from act.serving.wire import LIMITS, MOST_AXES, MOST_PARTS, UNREADABLE, PartCounter, describe
from act.types import Observation, PolicySpec

ARRAY = {b"__ndarray__", b"data", b"dtype", b"shape"}
SCALAR = {b"__npgeneric__", b"data", b"dtype"}
MOST_DISTORTION = 0.02  # of the ratio of height and width


# ------------------------------------------------------------------------------------------------------------ messages
def pack(message: Mapping[str, Any]) -> bytes:
    """Encodes a message of numbers, strings, lists, dicts and arrays as openpi-client reads it."""
    return msgpack.Packer(default=_array_as_map).pack(message)


def unpack(data: bytes | str) -> dict[str, Any]:
    """Decodes a message of openpi-client; its arrays are read-only. Raises ValueError for anything else."""
    if isinstance(data, str):
        raise ValueError("the message is text, expected msgpack")
    counter = PartCounter(MOST_PARTS)
    try:
        message = msgpack.unpackb(
            data, object_hook=lambda part: _value(counter.count(part)), list_hook=counter.count, **LIMITS
        )
    except UNREADABLE as error:
        raise ValueError(f"{len(data)} bytes are not a message of openpi-client ({error})") from None
    if not isinstance(message, dict):
        raise ValueError(f"the message is {describe(message)}, expected a map with 'state' and 'images'")
    return message


def _array_as_map(value: Any) -> dict[bytes, Any]:
    if not isinstance(value, np.ndarray) or value.dtype.kind not in NUMBERS:
        raise TypeError(f"a value of type {type(value).__name__} cannot be sent; arrays of numbers can")
    return {b"__ndarray__": True, b"data": value.tobytes(), b"dtype": value.dtype.str, b"shape": value.shape}


def _value(part: dict[Any, Any]) -> Any:
    """Returns the array or the number that a map stands for; any other map as it is."""
    if b"__ndarray__" not in part and b"__npgeneric__" not in part:
        return part
    dtype = part.get(b"dtype")
    if not isinstance(dtype, str) or not re.fullmatch(r"[<|=][biuf][1248]", dtype):
        raise ValueError(f"an array of type {str(dtype)[:20]!r}, expected numbers")
    match part:
        case {b"data": bool() | int() | float() as number} if set(part) == SCALAR:
            return number
        case {b"data": bytes(content), b"shape": [*shape]} if set(part) == ARRAY and len(shape) <= MOST_AXES:
            whole = all(type(side) is int and side >= 0 for side in shape)
            if whole and math.prod(shape) * np.dtype(dtype).itemsize == len(content):
                return np.frombuffer(content, dtype).reshape(shape)
    raise ValueError("the type, shape and data of an array do not fit together")


# ------------------------------------------------------------------------------------------ a query to one observation
def read_query(data: bytes | str, spec: PolicySpec) -> list[list[Observation]]:
    """Returns the one history of one observation that a query holds, with images at the size of the policy.

    Keys that the policy does not look at, such as `prompt`, are ignored. Raises ValueError saying what is wrong.
    """
    message = unpack(data)
    obs: Observation = {"qpos": _vector(message, "state", spec.qpos_dim)}
    if spec.env_state_dim:
        obs["env_state"] = _vector(message, "env_state", spec.env_state_dim)
    if spec.cameras:
        images = message.get("images")
        if not isinstance(images, dict):
            raise ValueError(f"'images' is {describe(images)}, expected a map with {', '.join(spec.cameras)}")
        obs["images"] = {camera: _image(images.get(camera), camera, spec) for camera in spec.cameras}
    return [[obs]]


def _vector(message: Mapping[str, Any], name: str, dim: int) -> np.ndarray:
    value = message.get(name)
    if not isinstance(value, np.ndarray) or value.dtype.kind not in NUMBERS or value.shape != (dim,):
        raise ValueError(f"{name!r} is {describe(value)}, expected ({dim},) numbers")
    if not finite_in_float32(value).all():
        raise ValueError(f"{name!r} has values that are not finite")
    return value.astype(np.float32)


def _image(value: Any, camera: str, spec: PolicySpec) -> np.ndarray:
    """Returns an image as (H, W, 3) of the policy. It must have the shape of the demonstrations, at any size."""
    if isinstance(value, np.ndarray) and value.ndim == 3 and value.shape[0] == 3 != value.shape[2]:
        value = value.transpose(1, 2, 0)
    height, width = spec.rendered_size
    if not isinstance(value, np.ndarray) or value.dtype != np.uint8 or value.ndim != 3 or value.shape[2] != 3:
        raise ValueError(f"the image of camera {camera!r} is {describe(value)}, expected ({height}, {width}, 3) uint8")
    shape = value.shape[:2]
    if not all(shape) or abs(shape[0] * width / (shape[1] * height) - 1) > MOST_DISTORTION:
        raise ValueError(
            f"the image of camera {camera!r} has {shape[0]}x{shape[1]} pixels, the policy learned from "
            f"{height}x{width}: send that size, or another one of the same ratio, without padding"
        )
    return resize_image(np.ascontiguousarray(value), spec.image_size)


def write_answer(answer: Mapping[str, Any]) -> bytes | str:
    """Encodes the answer of the server; a sentence goes as text, which openpi-client raises as RuntimeError."""
    if "error" in answer:
        return answer["error"]
    return pack({"actions": answer["chunks"][0], "server_timing": {"infer_ms": answer["query_ms"]}})
