"""What a policy and a robot say to one another over a network: msgpack, in which nothing can run.

    on connecting   <- {protocol, weights, engine, chunk_size, n_obs_steps, spec}
    each query      -> {histories: B lists of n_obs_steps observations, oldest first}
                    <- {chunks: (B, K, A) float32, query_ms} or {error: one sentence}

An observation is that of act/types.py, cut down to what the policy looks at: qpos, env_state, images at the size it
looks at them, each an array or the bytes of a JPEG. An array is msgpack's extension type 1: its dtype, shape and data,
little endian. Whatever else arrives is refused with a sentence.
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
ARRAY = 1  # the extension type
DTYPES = ("<f4", "|u1")
MOST_AXES = 4
MOST_BYTES = 64 * 2**20  # of a message: 18 observations of four raw 480x640 images
MOST_HISTORIES = 64
MOST_DECODED = 512 * 2**20  # bytes of the images of a query, whose JPEGs may be a hundred times smaller
LIMITS: dict[str, Any] = {"max_array_len": 1000, "max_map_len": 100}  # of one list, of one map
MOST_PARTS = 100_000  # lists, maps and what is in them, so that a message does not grow when it is read


# ------------------------------------------------------------------------------------------------------------ messages
def encode(message: Mapping[str, Any]) -> bytes:
    """A message of numbers, strings, bytes, lists, dicts and arrays (float32 or uint8)."""
    return msgpack.Packer(default=_drawn).pack(message)


def decode(data: bytes | str) -> dict[str, Any]:
    """The message; its arrays cannot be written to. ValueError for anything that `encode` would not have made."""
    if isinstance(data, str):
        raise ValueError("a message of text, expected msgpack")
    try:
        message = msgpack.unpackb(data, ext_hook=_array, **_counting(MOST_PARTS))
    except (ValueError, msgpack.UnpackException) as error:
        raise ValueError(f"{len(data)} bytes that are no message ({error})") from None
    if not isinstance(message, dict):
        raise ValueError(f"a message that is a {type(message).__name__}, expected a map")
    return message


def _counting(most: int) -> dict[str, Any]:
    """How to unpack at most so many parts: an empty list is one byte in a message and sixty in memory."""
    seen = 0

    def count(part: Any) -> Any:
        nonlocal seen
        seen += 1 + len(part)
        if seen > most:
            raise ValueError(f"more than {most} lists, maps and parts of them")
        return part

    return {"list_hook": count, "object_hook": count, **LIMITS}


def _drawn(value: Any) -> msgpack.ExtType:
    if not isinstance(value, np.ndarray) or value.dtype.str not in DTYPES:
        raise TypeError(f"{type(value).__name__} cannot be sent; arrays of float32 and uint8 can")
    return msgpack.ExtType(ARRAY, msgpack.packb([value.dtype.str, list(value.shape), value.tobytes()]))


def _array(code: int, data: bytes) -> np.ndarray:
    if code != ARRAY:
        raise ValueError(f"extension type {code}")
    match msgpack.unpackb(data, **_counting(3 + 2 + MOST_AXES)):
        case [str(dtype), [*shape], bytes(content)] if dtype in DTYPES and len(shape) <= MOST_AXES:
            whole = all(type(side) is int and side >= 0 for side in shape)
            if whole and math.prod(shape) * np.dtype(dtype).itemsize == len(content):
                return np.frombuffer(content, dtype).reshape(shape)
    raise ValueError("an array whose type, shape and data do not go together")


# -------------------------------------------------------------------------------------------------------- observations
def pack_histories(
    histories: Sequence[Sequence[Observation]], spec: PolicySpec, jpeg_quality: int | None = None
) -> list[list[dict[str, Any]]]:
    """What a query sends of them. ValueError naming what the policy looks at and an observation lacks."""
    return [[_cut_down(obs, spec, jpeg_quality) for obs in history] for history in histories]


def most_at_once(packed: Sequence[Sequence[Mapping[str, Any]]], spec: PolicySpec) -> int:
    """How many of these packed histories one query may carry within the limits above; at least 1."""
    largest = max(sum(map(_sent_bytes, history)) for history in packed)
    drawn = len(packed[0]) * _drawn_bytes(spec)
    return max(1, min(MOST_HISTORIES, MOST_BYTES // largest, MOST_DECODED // max(drawn, 1)))


def _sent_bytes(obs: Mapping[str, Any]) -> int:
    """Of a packed observation in a message, rounded up."""
    images = obs.get("images", {}).values()
    vectors = sum(value.nbytes for name, value in obs.items() if name != "images")
    return 2048 + vectors + sum(len(image) if isinstance(image, bytes) else image.nbytes for image in images)


def _drawn_bytes(spec: PolicySpec) -> int:
    """Of an observation's images once they are decoded."""
    return len(spec.cameras) * math.prod(spec.image_size) * 3


def _cut_down(obs: Observation, spec: PolicySpec, jpeg_quality: int | None) -> dict[str, Any]:
    images = obs.get("images", {})
    needed = ["qpos", *["env_state"] * bool(spec.env_state_dim), *spec.cameras]
    missing = [name for name in needed if name not in obs and name not in images]
    if missing:
        have = ", ".join([*(name for name in obs if name != "images"), *images])
        raise ValueError(f"the policy looks at {missing[0]!r}, but the observation has {have}")
    values: dict[str, Any] = {"qpos": np.asarray(obs["qpos"], np.float32)}
    if spec.env_state_dim:
        values["env_state"] = np.asarray(obs["env_state"], np.float32)
    if spec.cameras:
        seen = {camera: resize_image(images[camera], spec.image_size) for camera in spec.cameras}
        values["images"] = seen if jpeg_quality is None else {c: encode_image(i, jpeg_quality) for c, i in seen.items()}
    return values


def unpack_histories(message: Mapping[str, Any], spec: PolicySpec, n_obs_steps: int) -> list[list[Observation]]:
    """The histories of a query, every number of them checked. ValueError saying what is wrong."""
    histories = message.get("histories")
    if not isinstance(histories, list) or not 1 <= len(histories) <= MOST_HISTORIES:
        raise ValueError(f"a query has 'histories', a list of 1 to {MOST_HISTORIES}")
    for history in histories:
        if not isinstance(history, list) or len(history) != n_obs_steps:
            raise ValueError(f"a history of this policy is a list of {n_obs_steps} observations, oldest first")
    images = len(histories) * n_obs_steps * _drawn_bytes(spec)
    if images > MOST_DECODED:
        raise ValueError(
            f"{len(histories)} histories of {n_obs_steps} observations are {images >> 20} MiB of images, at most "
            f"{MOST_DECODED >> 20}: ask for fewer at once"
        )
    return [[_checked(obs, spec) for obs in history] for history in histories]


def _checked(obs: Any, spec: PolicySpec) -> Observation:
    if not isinstance(obs, dict):
        raise ValueError("an observation is a map")
    checked: Observation = {"qpos": _vector(obs, "qpos", spec.qpos_dim)}
    if spec.env_state_dim:
        checked["env_state"] = _vector(obs, "env_state", spec.env_state_dim)
    if spec.cameras:
        images = obs.get("images")
        if not isinstance(images, dict):
            raise ValueError(f"this policy looks through {', '.join(spec.cameras)}: an observation has 'images'")
        checked["images"] = {camera: _image(images.get(camera), camera, spec) for camera in spec.cameras}
    return checked


def _vector(obs: Mapping[str, Any], name: str, dim: int) -> np.ndarray:
    value = obs.get(name)
    if not isinstance(value, np.ndarray) or value.dtype != np.float32 or value.shape != (dim,):
        raise ValueError(f"{name!r} is {_told(value)}, expected ({dim},) float32")
    if not np.isfinite(value).all():
        raise ValueError(f"{name!r} has numbers that are not finite")
    return value


def _image(value: Any, camera: str, spec: PolicySpec) -> np.ndarray:
    expected = (*spec.image_size, 3)
    if isinstance(value, bytes):
        value = _decoded(value, camera, expected)
    if not isinstance(value, np.ndarray) or value.dtype != np.uint8 or value.shape != expected:
        raise ValueError(f"camera {camera!r} sends {_told(value)}, expected {expected} uint8 or a JPEG of that size")
    return value


def _decoded(data: bytes, camera: str, expected: tuple[int, ...]) -> np.ndarray:
    """Of a JPEG whose size is looked at before anything is decoded: a few bytes can promise gigabytes."""
    from PIL import Image  # only servers decode

    try:
        with Image.open(BytesIO(data), formats=["JPEG"]) as head:
            size = head.size[::-1]
        if size == expected[:2]:
            return decode_image(data)
    except (OSError, ValueError, Image.DecompressionBombError):
        raise ValueError(f"camera {camera!r} sends {len(data)} bytes that are no JPEG") from None
    raise ValueError(f"camera {camera!r} sends a JPEG of {size[0]} x {size[1]}, expected {expected[0]} x {expected[1]}")


def _told(value: Any) -> str:
    if value is None:
        return "missing"
    return f"{value.shape} {value.dtype}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
