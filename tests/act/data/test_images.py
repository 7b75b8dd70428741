"""Images become JPEG bytes and back, and are always resized in the same way."""

import cv2
import numpy as np
import pytest

from act.data.images import decode_image, encode_image, encoded_size, is_whole, resize_image


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


@pytest.mark.parametrize("extension", [".jpg", ".png"])
def test_the_size_of_an_encoded_image_is_read_from_its_header(extension: str):
    data = cv2.imencode(extension, np.zeros((12, 34, 3), np.uint8))[1].tobytes()
    assert encoded_size(data) == encoded_size(np.frombuffer(data, np.uint8)) == (12, 34)
    assert is_whole(data) and not is_whole(data[:-1]) and encoded_size(data[:9]) is None
    assert decode_image(data).shape == (12, 34, 3)


def test_an_image_that_claims_more_pixels_than_a_camera_has_is_not_decoded():
    data = cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1].tobytes()
    vast = data[:16] + (60_000).to_bytes(4, "big") * 2 + data[24:]
    with pytest.raises(ValueError, match="declares 60000x60000 pixels"):
        decode_image(vast)


def test_other_kinds_of_images_are_refused():
    bitmap = cv2.imencode(".bmp", np.zeros((4, 4, 3), np.uint8))[1].tobytes()
    with pytest.raises(ValueError, match="expected a JPEG or PNG"):
        decode_image(bitmap)


def test_colors_bgr_swaps_red_and_blue():
    image = np.zeros((8, 8, 3), np.uint8)
    image[..., 0] = 200
    data = cv2.imencode(".png", image)[1].tobytes()
    assert decode_image(data)[0, 0].tolist() == [200, 0, 0]
    assert decode_image(data, None, "bgr")[0, 0].tolist() == [0, 0, 200]
