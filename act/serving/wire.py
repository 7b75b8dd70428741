"""Defines the messages between a policy server and its clients: msgpack, whose decoding never executes code.

    on connecting   <- {protocol, weights, engine, chunk_size, n_obs_steps, spec}
    each query      -> {histories: B lists of n_obs_steps observations, oldest first}
                    <- {chunks: (B, K, A) float32, query_ms} or {error: one sentence}

An observation is that of act/types.py, reduced to the inputs of the policy: qpos, env_state and images at its
image_size, each an array or the bytes of a JPEG. An array is msgpack's extension type 1: its dtype, shape and data,
little endian. Everything else is refused with a sentence.
"""

import math
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import msgpack
import numpy as np

from act.data.images import decode_image, encode_image, resize_image
from act.types import Observation, PolicySpec

PROTOCOL = 1
SUBPROTOCOL = "act"  # of WebSocket: what our clients ask for, so that a server can speak to others in their way
ARRAY = 1  # msgpack's extension type of an array
DTYPES = ("<f4", "|u1")
MOST_AXES = 4
MOST_BYTES = 64 * 2**20  # of a message: 18 observations of four raw 480x640 images
MOST_HISTORIES = 64  # of a query
MOST_DECODED = 512 * 2**20  # bytes of the images of a query after decoding; JPEGs may be a hundred times smaller
LIMITS: dict[str, Any] = {"max_array_len": 1000, "max_map_len": 100}  # of one list, of one map
UNREADABLE = (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException)  # what msgpack can raise
MOST_PARTS = 100_000  # lists, maps and their items in a message, which bounds the memory that decoding takes


# ------------------------------------------------------------------------------------------------------------ messages
def encode(message: Mapping[str, Any]) -> bytes:
    """Encodes a message of numbers, strings, bytes, lists, dicts and arrays (float32 or uint8).

    Raises TypeError for anything else.
    """
    return msgpack.Packer(default=_extension).pack(message)


def decode(data: bytes | str) -> dict[str, Any]:
    """Decodes a message; its arrays are read-only. Raises ValueError for anything that `encode` does not produce."""
    if isinstance(data, str):
        raise ValueError("the message is text, expected msgpack")
    try:
        message = msgpack.unpackb(data, ext_hook=_array, **_counting(MOST_PARTS))
    except UNREADABLE as error:
        raise ValueError(f"{len(data)} bytes are not a message ({error})") from None
    if not isinstance(message, dict):
        raise ValueError(f"the message is a {type(message).__name__}, expected a map")
    return message


class PartCounter:
    """Limits unpacking to `most` parts: an empty list takes one byte sent, but sixty in memory."""

    def __init__(self, most: int):
        self.most, self.seen = most, 0

    def count(self, part: Any) -> Any:
        """Returns the list or map. Raises ValueError when it is one too many."""
        self.seen += 1 + len(part)
        if self.seen > self.most:
            raise ValueError(f"more than {self.most} lists, maps and items")
        return part


def _counting(most: int) -> dict[str, Any]:
    counter = PartCounter(most)
    return {"list_hook": counter.count, "object_hook": counter.count, **LIMITS}


def _extension(value: Any) -> msgpack.ExtType:
    if not isinstance(value, np.ndarray) or value.dtype.str not in DTYPES:
        raise TypeError(f"a value of type {type(value).__name__} cannot be sent; arrays of float32 and uint8 can")
    return msgpack.ExtType(ARRAY, msgpack.packb([value.dtype.str, list(value.shape), value.tobytes()]))


def _array(code: int, data: bytes) -> np.ndarray:
    if code != ARRAY:
        raise ValueError(f"unknown extension type {code}")
    match msgpack.unpackb(data, **_counting(3 + 2 + MOST_AXES)):
        case [str(dtype), [*shape], bytes(content)] if dtype in DTYPES and len(shape) <= MOST_AXES:
            whole = all(type(side) is int and side >= 0 for side in shape)
            if whole and math.prod(shape) * np.dtype(dtype).itemsize == len(content):
                return np.frombuffer(content, dtype).reshape(shape)
    raise ValueError("the type, shape and data of an array do not fit together")


# ---------------------------------------------------------------------------------------------- observations to a query
def pack_histories(
    histories: Sequence[Sequence[Observation]], spec: PolicySpec, jpeg_quality: int | None = None
) -> list[list[dict[str, Any]]]:
    """Reduces observations to the inputs of the policy, ready for `encode`; images become JPEG with `jpeg_quality`.

    Raises ValueError naming an input that an observation lacks.
    """
    return [[_reduce(obs, spec, jpeg_quality) for obs in history] for history in histories]


def most_at_once(packed: Sequence[Sequence[Mapping[str, Any]]], spec: PolicySpec) -> int:
    """Returns how many of these packed histories one query may carry within the limits above; at least 1."""
    largest = max(sum(map(_sent_bytes, history)) for history in packed)
    decoded = len(packed[0]) * _decoded_bytes(spec)
    return max(1, min(MOST_HISTORIES, MOST_BYTES // largest, MOST_DECODED // max(decoded, 1)))


def _sent_bytes(obs: Mapping[str, Any]) -> int:
    """Returns how many bytes a packed observation takes in a message, rounded up."""
    images = obs.get("images", {}).values()
    vectors = sum(value.nbytes for name, value in obs.items() if name != "images")
    return 2048 + vectors + sum(len(image) if isinstance(image, bytes) else image.nbytes for image in images)


def _decoded_bytes(spec: PolicySpec) -> int:
    """Returns how many bytes the images of one observation take after decoding."""
    return len(spec.cameras) * math.prod(spec.image_size) * 3


def _reduce(obs: Observation, spec: PolicySpec, jpeg_quality: int | None) -> dict[str, Any]:
    images = obs.get("images", {})
    needed = ["qpos", *["env_state"] * bool(spec.env_state_dim), *spec.cameras]
    missing = [name for name in needed if name not in obs and name not in images]
    if missing:
        available = ", ".join([*(name for name in obs if name != "images"), *images])
        raise ValueError(f"the policy needs {missing[0]!r}, but the observation has only {available}")
    values: dict[str, Any] = {"qpos": np.asarray(obs["qpos"], np.float32)}
    if spec.env_state_dim:
        values["env_state"] = np.asarray(obs["env_state"], np.float32)
    if spec.cameras:
        resized = {camera: resize_image(images[camera], spec.image_size) for camera in spec.cameras}
        values["images"] = resized
        if jpeg_quality is not None:
            values["images"] = {camera: encode_image(image, jpeg_quality) for camera, image in resized.items()}
    return values


# -------------------------------------------------------------------------------------------- a query to observations
def unpack_histories(message: Mapping[str, Any], spec: PolicySpec, n_obs_steps: int) -> list[list[Observation]]:
    """Returns the histories of a query and checks every number. Raises ValueError saying what is wrong."""
    histories = message.get("histories")
    if not isinstance(histories, list) or not 1 <= len(histories) <= MOST_HISTORIES:
        raise ValueError(f"a query needs 'histories', a list of 1 to {MOST_HISTORIES}")
    for history in histories:
        if not isinstance(history, list) or len(history) != n_obs_steps:
            raise ValueError(f"a history of this policy is a list of {n_obs_steps} observations, oldest first")
    images = len(histories) * n_obs_steps * _decoded_bytes(spec)
    if images > MOST_DECODED:
        raise ValueError(
            f"{len(histories)} histories of {n_obs_steps} observations have {images >> 20} MiB of images, at most "
            f"{MOST_DECODED >> 20} MiB are allowed: send fewer at once"
        )
    return [[_checked(obs, spec) for obs in history] for history in histories]


def _checked(obs: Any, spec: PolicySpec) -> Observation:
    if not isinstance(obs, dict):
        raise ValueError(f"an observation is {describe(obs)}, expected a map")
    checked: Observation = {"qpos": _vector(obs, "qpos", spec.qpos_dim)}
    if spec.env_state_dim:
        checked["env_state"] = _vector(obs, "env_state", spec.env_state_dim)
    if spec.cameras:
        images = obs.get("images")
        if not isinstance(images, dict):
            raise ValueError(f"'images' is {describe(images)}, expected a map with {', '.join(spec.cameras)}")
        checked["images"] = {camera: _image(images.get(camera), camera, spec) for camera in spec.cameras}
    return checked


def _vector(obs: Mapping[str, Any], name: str, dim: int) -> np.ndarray:
    value = obs.get(name)
    if not isinstance(value, np.ndarray) or value.dtype != np.float32 or value.shape != (dim,):
        raise ValueError(f"{name!r} is {describe(value)}, expected ({dim},) float32")
    if not np.isfinite(value).all():
        raise ValueError(f"{name!r} has values that are not finite")
    return value


def _image(value: Any, camera: str, spec: PolicySpec) -> np.ndarray:
    expected = (*spec.image_size, 3)
    if isinstance(value, bytes):
        value = _decoded(value, camera, expected)
    if not isinstance(value, np.ndarray) or value.dtype != np.uint8 or value.shape != expected:
        raise ValueError(
            f"the image of camera {camera!r} is {describe(value)}, expected {expected} uint8 or a JPEG of that size"
        )
    return value


def _decoded(data: bytes, camera: str, expected: tuple[int, ...]) -> np.ndarray:
    """Decodes a JPEG. Its size is checked first, because a few bytes can announce gigabytes."""
    from PIL import Image  # here, because only servers decode images

    try:
        with Image.open(BytesIO(data), formats=["JPEG"]) as head:
            size = head.size[::-1]
        if size == expected[:2]:
            return decode_image(data)
    except (OSError, ValueError, Image.DecompressionBombError):
        raise ValueError(f"the image of camera {camera!r} is {len(data)} bytes that are not a JPEG") from None
    raise ValueError(
        f"the image of camera {camera!r} is a JPEG of {size[0]} x {size[1]}, expected {expected[0]} x {expected[1]}"
    )


def describe(value: Any) -> str:
    """Returns what a value is, for a sentence about it: "missing", "a list", "(14,) float32"."""
    if value is None:
        return "missing"
    return f"{value.shape} {value.dtype}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
