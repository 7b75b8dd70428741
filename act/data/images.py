"""Encodes, decodes and resizes images. Training and rollouts resize in the same way.

RGB arrays are given to `cv2.imencode` and `imdecode` unchanged, as in act++. OpenCV takes them for BGR, so a round trip
through this module is RGB -> RGB, but an ordinary JPEG viewer shows red and blue swapped. JPEGs that a viewer shows
rightly have the colours "bgr" here: that is the order in which OpenCV returns them.
"""

import struct
from typing import Literal

import cv2
import numpy as np

JPEG_QUALITY = 85  # of the images in episodes
MOST_PIXELS = 1 << 25  # 33 megapixels, 100 MB; more is no image of a robot's camera
Colors = Literal["rgb", "bgr"]
PNG_SIGNATURE, PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # JPEG markers that are followed by height and width
_STANDALONE = frozenset((0x01, *range(0xD0, 0xD9)))  # JPEG markers without a length


def encode_image(image: np.ndarray, quality: int = JPEG_QUALITY) -> bytes:
    """Encodes an image (H, W, 3) uint8 RGB as JPEG bytes. `quality` is 1 to 100."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(
            f"cannot encode an image of shape {image.shape} and type {image.dtype} as JPEG, expected (H, W, 3) uint8"
        )
    _, data = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, quality))
    return data.tobytes()


def decode_image(
    data: bytes | np.ndarray, image_size: tuple[int, int] | None = None, colors: Colors = "rgb"
) -> np.ndarray:
    """Decodes JPEG or PNG bytes to (H, W, 3) uint8 RGB, resized to `image_size` (H, W) if given.

    `colors` is the order in which OpenCV returns the channels, see above.

    Raises ValueError for bytes that are no JPEG or PNG, and for an image that declares more than `MOST_PIXELS`.
    """
    data = np.frombuffer(data, np.uint8)
    size = encoded_size(data)
    if size is None:
        raise ValueError(f"cannot decode {len(data)} bytes as an image, expected a JPEG or PNG")
    if size[0] * size[1] > MOST_PIXELS:
        raise ValueError(f"an image declares {size[0]}x{size[1]} pixels; at most {MOST_PIXELS} pixels are decoded")
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ValueError(f"cannot decode {len(data)} bytes as an image ({error.err})") from error
    if image is None:
        raise ValueError(f"cannot decode {len(data)} bytes as an image, expected a JPEG or PNG")
    image = resize_image(np.asarray(image), image_size)
    return image if colors == "rgb" else np.ascontiguousarray(image[..., ::-1])


def encoded_size(data: bytes | np.ndarray) -> tuple[int, int] | None:
    """Returns the (H, W) that the header of a JPEG or PNG declares; None for other bytes. Nothing is decoded."""
    view = memoryview(data if isinstance(data, bytes) else np.ascontiguousarray(data).data).cast("B")
    if view[:8] == PNG_SIGNATURE and len(view) >= 24:
        width, height = struct.unpack_from(">II", view, 16)
        return height, width
    return _jpeg_size(view) if view[:2] == JPEG_START else None


def _jpeg_size(view: memoryview) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(view) and view[at] == 0xFF:
        marker = view[at + 1]
        if marker in _FRAME_HEADERS:
            height, width = struct.unpack_from(">HH", view, at + 5)
            return height, width
        if marker == 0xFF or marker in _STANDALONE:  # padding, or a marker without content
            at += 1 if marker == 0xFF else 2
        else:
            at += 2 + int.from_bytes(view[at + 2 : at + 4], "big")
    return None


def is_whole(data: bytes) -> bool:
    """Returns whether bytes begin and end as a JPEG or a PNG does."""
    jpeg = data.startswith(JPEG_START) and data.endswith(JPEG_END)
    return jpeg or (data.startswith(PNG_SIGNATURE) and data.endswith(PNG_END))


def resize_image(image: np.ndarray, image_size: tuple[int, int] | None) -> np.ndarray:
    """Resizes an image (H, W, 3) to `image_size` (H, W) by area averaging; None keeps its size.

    Everything that resizes images uses this function, so that policies act on images as they were trained.
    """
    if image_size is None or image.shape[:2] == tuple(image_size):
        return image
    return np.asarray(cv2.resize(image, (image_size[1], image_size[0]), interpolation=cv2.INTER_AREA))
