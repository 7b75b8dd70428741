"""Images become JPEG bytes and back, and are always resized in the same way."""

import numpy as np
import pytest

from act.data.images import decode_image, encode_image, resize_image


def test_bytes_that_are_not_a_jpeg_and_arrays_that_are_not_images_are_refused():
    with pytest.raises(ValueError, match="cannot decode 15 bytes as an image, expected a JPEG"):
        decode_image(b"nothing like it")
    assert encode_image(np.zeros((4, 4, 3), np.uint8), 50).startswith(b"\xff\xd8")
    with pytest.raises(ValueError, match=r"shape \(4, 4\) and type float64"):
        encode_image(np.zeros((4, 4)), 50)


def test_images_shrink_by_area_before_and_after_a_jpeg_alike():
    rows = np.arange(8, dtype=np.uint8)[:, None, None] * 16
    image = np.broadcast_to(rows, (8, 12, 3)).copy()
    small = resize_image(image, (4, 6))
    assert small.shape == (4, 6, 3) and small[:, 0, 0].tolist() == [8, 40, 72, 104]  # means of two rows
    assert resize_image(image, (8, 12)) is image and resize_image(image, None) is image
    data = encode_image(image, 100)
    assert np.array_equal(decode_image(data, (4, 6)), resize_image(decode_image(data), (4, 6)))
