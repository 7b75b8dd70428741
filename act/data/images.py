"""Images as JPEG bytes, and the one way of resizing them.

RGB arrays go through `cv2.imencode` and `imdecode` untouched, as in act++: no channel is ever swapped, so our own round
trip is RGB -> RGB (and another JPEG viewer shows red and blue exchanged).
"""

import cv2
import numpy as np

JPEG_QUALITY = 85  # of episodes


def encode_image(image: np.ndarray, quality: int = JPEG_QUALITY) -> bytes:
    """(H, W, 3) uint8 RGB to JPEG bytes; `quality` 1..100."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(
            f"cannot encode an image of shape {image.shape} and type {image.dtype} as JPEG, expected (H, W, 3) uint8"
        )
    _, data = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, quality))
    return data.tobytes()


def decode_image(data: bytes | np.ndarray, image_size: tuple[int, int] | None = None) -> np.ndarray:
    """JPEG bytes to (H, W, 3) uint8 RGB, resized by area to `image_size` (H, W) if given; ValueError if not a JPEG."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError("an image that cannot be decoded")
    return resize_image(np.asarray(image), image_size)


def resize_image(image: np.ndarray, image_size: tuple[int, int] | None) -> np.ndarray:
    """(H, W, 3) to `image_size` by area: the ONE way of resizing, in training and at test."""
    if image_size is None or image.shape[:2] == tuple(image_size):
        return image
    return np.asarray(cv2.resize(image, (image_size[1], image_size[0]), interpolation=cv2.INTER_AREA))
