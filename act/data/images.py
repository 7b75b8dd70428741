"""Encodes, decodes and resizes images. Training and rollouts resize in the same way.

RGB arrays are given to `cv2.imencode` and `imdecode` unchanged, as in act++. OpenCV takes them for BGR, so a round trip
through this module is RGB -> RGB, but an ordinary JPEG viewer shows red and blue swapped.
"""

import cv2
import numpy as np

JPEG_QUALITY = 85  # of the images in episodes


def encode_image(image: np.ndarray, quality: int = JPEG_QUALITY) -> bytes:
    """Encodes an image (H, W, 3) uint8 RGB as JPEG bytes. `quality` is 1 to 100."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(
            f"cannot encode an image of shape {image.shape} and type {image.dtype} as JPEG, expected (H, W, 3) uint8"
        )
    _, data = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, quality))
    return data.tobytes()


def decode_image(data: bytes | np.ndarray, image_size: tuple[int, int] | None = None) -> np.ndarray:
    """Decodes JPEG bytes to (H, W, 3) uint8 RGB, resized to `image_size` (H, W) if given.

    Raises ValueError for bytes that are not a JPEG.
    """
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"cannot decode {len(data)} bytes as an image, expected a JPEG")
    return resize_image(np.asarray(image), image_size)


def resize_image(image: np.ndarray, image_size: tuple[int, int] | None) -> np.ndarray:
    """Resizes an image (H, W, 3) to `image_size` (H, W) by area averaging; None keeps its size.

    Everything that resizes images uses this function, so that policies act on images as they were trained.
    """
    if image_size is None or image.shape[:2] == tuple(image_size):
        return image
    return np.asarray(cv2.resize(image, (image_size[1], image_size[0]), interpolation=cv2.INTER_AREA))
