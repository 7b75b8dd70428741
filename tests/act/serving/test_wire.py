"""Messages arrive as they were sent, and everything else is refused."""

import math
from typing import Any

import msgpack
import numpy as np
import pytest

from act.data.images import encode_image
from act.serving import wire
from act.serving.wire import ARRAY, MOST_HISTORIES, decode, encode, pack_histories, unpack_histories
from act.types import PolicySpec

SPEC = PolicySpec(("top", "low"), (16, 24), env_state_dim=7)
rng = np.random.default_rng(0)


def observation() -> dict[str, Any]:
    images = {name: rng.integers(0, 256, (32, 48, 3), dtype=np.uint8) for name in ("low", "top", "unused")}
    return {
        "qpos": rng.normal(size=14),
        "qvel": np.zeros(14),
        "env_state": rng.normal(size=7).astype(np.float32),
        "images": images,
    }


def sent(jpeg_quality: int | None = None) -> dict[str, Any]:
    """Returns a query of one history of one observation, as a server receives it."""
    return decode(encode({"histories": pack_histories([[observation()]], SPEC, jpeg_quality)}))


def test_numbers_and_arrays_arrive_as_they_were():
    arrays = [rng.normal(size=(2, 0, 3)).astype(np.float32), rng.integers(0, 9, (2, 3, 4, 3), dtype=np.uint8)]
    message = decode(encode({"name": "ä", "n": -3, "x": 0.5, "jpeg": b"\0\1", "deep": {"arrays": arrays}}))
    for given, got in zip(arrays, message.pop("deep")["arrays"], strict=True):
        assert got.dtype == given.dtype and np.array_equal(got, given) and got.shape == given.shape
    assert message == {"name": "ä", "n": -3, "x": 0.5, "jpeg": b"\0\1"}


def test_only_arrays_of_two_types_are_sent():
    for value in (np.zeros(2), np.array([object()]), object()):
        with pytest.raises(TypeError, match="cannot be sent"):
            encode({"value": value})


def array(*content: Any) -> bytes:
    return msgpack.packb({"a": msgpack.ExtType(ARRAY, msgpack.packb(content))}) or b""


@pytest.mark.parametrize(
    "data",
    [
        "text",
        b"",
        b"\xc1",
        b"\x81\xa1a",
        msgpack.packb([1, 2]),
        msgpack.packb({"a": msgpack.ExtType(7, b"")}),
        array("<f4", [2], b"\0" * 7),
        array("<f4", [-2, -1], b"\0" * 8),
        array("|O", [1], b"\0" * 8),
        array("<f8", [1], b"\0" * 8),
        array("<f4", ["2"], b"\0" * 8),
        array("|u1", [1, 1, 1, 1, 1], b"\0"),
        array("|u1", [2**62, 4], b""),
        array("|u1", [True, 3], b"\0" * 3),
        b"\x81\xa1a" + b"\x91" * 5000,
        b"\xdf\xff\xff\xff\xff",
        msgpack.packb({"a": [0] * 2000}),
        msgpack.packb({"a": [[[]] * 1000] * 200}),  # 200 kB; 15 MB once it is read, and so on
        array("|u1", [[]] * 900, b""),
    ],
)
def test_bytes_that_are_not_a_message_are_refused(data: Any):
    with pytest.raises(ValueError):
        decode(data)


def test_random_bytes_are_only_ever_refused():
    whole = encode({"histories": pack_histories([[observation()]], SPEC)})
    for _ in range(300):
        data = bytearray(whole[: rng.integers(1, 300)])
        for _ in range(rng.integers(1, 6)):
            data[rng.integers(len(data))] = rng.integers(256)
        try:
            unpack_histories(decode(bytes(data)), SPEC, 1)
        except ValueError:
            continue


def test_an_observation_is_reduced_to_the_inputs_of_the_policy():
    seen = observation()
    message = decode(encode({"histories": pack_histories([[seen]], SPEC)}))
    ((got,),) = unpack_histories(message, SPEC, 1)
    assert list(got) == ["qpos", "env_state", "images"] and list(got["images"]) == ["top", "low"]
    np.testing.assert_array_equal(got["qpos"], seen["qpos"].astype(np.float32))
    assert got["images"]["top"].shape == (16, 24, 3)


def test_jpegs_are_smaller_and_nearly_the_same():
    rows = np.linspace(0, 250, 16 * 24 * 3).reshape(16, 24, 3).astype(np.uint8)
    seen = observation() | {"images": {"top": rows, "low": rows}}
    query = {quality: encode({"histories": pack_histories([[seen]], SPEC, quality)}) for quality in (None, 85)}
    assert len(query[85]) < 0.7 * len(query[None])
    ((got,),) = unpack_histories(decode(query[85]), SPEC, 1)
    assert np.abs(got["images"]["low"].astype(int) - rows).mean() < 4


def test_a_missing_input_is_named_before_anything_is_sent():
    for key, rest in (("env_state", {"images": {}}), ("top", {"env_state": np.zeros(7), "images": {}})):
        with pytest.raises(ValueError, match=f"the policy needs '{key}', but the observation has only qpos"):
            pack_histories([[{"qpos": np.zeros(14), **rest}]], SPEC)


def promise(height: int, width: int) -> bytes:
    """Returns a JPEG of 16 x 24 pixels whose header announces another size."""
    data = bytearray(encode_image(np.zeros((16, 24, 3), np.uint8)))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return bytes(data)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"qpos": np.zeros(13, np.float32)}, "'qpos' is (13,) float32, expected (14,)"),
        ({"qpos": np.zeros(14, np.uint8)}, "'qpos' is (14,) uint8"),
        ({"qpos": [0.0] * 14}, "'qpos' is a list"),
        ({"qpos": np.full(14, np.nan, np.float32)}, "not finite"),
        ({"env_state": None}, "'env_state' is missing"),
        ({"images": 3}, "'images' is a int, expected a map with top, low"),
        ({"images": {"top": np.zeros((16, 24, 3), np.uint8)}}, "camera 'low' is missing"),
        ({"images": {"top": np.zeros((16, 25, 3), np.uint8)}}, "camera 'top' is (16, 25, 3) uint8"),
        ({"images": {"top": b"\x89PNG"}}, "4 bytes that are not a JPEG"),
        ({"images": {"top": promise(65000, 65000)}}, "not a JPEG"),
        ({"images": {"top": promise(3000, 3000)}}, "a JPEG of 3000 x 3000, expected 16 x 24"),
    ],
)
def test_a_wrong_observation_is_refused_with_a_sentence(change: dict[str, Any], expected: str):
    message = sent()
    message["histories"][0][0].update(change)
    with pytest.raises(ValueError) as refused:
        unpack_histories(message, SPEC, 1)
    assert expected in str(refused.value)


def test_a_query_with_too_many_histories_or_a_wrong_length_is_refused():
    for histories in (None, [], {}, [[]], [sent()["histories"][0] * 2], [3], [[3]], [[]] * (MOST_HISTORIES + 1)):
        with pytest.raises(ValueError):
            unpack_histories({"histories": histories}, SPEC, 1)
    assert len(unpack_histories({"histories": [sent()["histories"][0] * 2]}, SPEC, 2)[0]) == 2


def test_a_query_whose_images_would_fill_the_memory_is_refused_undecoded(monkeypatch):
    histories = [[{"images": "not decoded"}] * 2] * 3
    monkeypatch.setattr(wire, "MOST_DECODED", 3 * 2 * len(SPEC.cameras) * math.prod(SPEC.image_size) * 3 - 1)
    with pytest.raises(ValueError, match=r"3 histories of 2 observations have .* send fewer at once"):
        unpack_histories({"histories": histories}, SPEC, 2)
    with pytest.raises(ValueError, match="qpos"):
        unpack_histories({"histories": histories[:2]}, SPEC, 2)


def test_as_many_histories_go_into_a_query_as_the_server_takes():
    spec = PolicySpec(("a", "b", "c", "d"))
    image = np.zeros((480, 640, 3), np.uint8)
    obs: Any = {"qpos": np.zeros(14), "images": dict.fromkeys(spec.cameras, image)}
    for jpeg_quality in (None, 85):
        packed = wire.pack_histories([[obs]] * 70, spec, jpeg_quality)
        most = wire.most_at_once(packed, spec)
        data = wire.encode({"histories": packed[:most]})
        assert len(data) <= wire.MOST_BYTES
        assert (
            len(wire.unpack_histories(wire.decode(data), spec, 1))
            == most
            == (18 if jpeg_quality is None else MOST_HISTORIES)
        )
