"""A server answers openpi-client, too. OPENPI_PYTHON names the Python of the real one, which needs NumPy below 2.

python3 -m venv .venv-openpi && .venv-openpi/bin/pip install openpi-client==0.1.2 typing_extensions
OPENPI_PYTHON=.venv-openpi/bin/python python -m pytest tests/act/serving/test_openpi.py
"""

import os
import subprocess
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from act.data.images import resize_image
from act.serving import openpi
from act.serving.client import RemotePolicy
from act.serving.openpi import pack, read_query, unpack
from act.serving.server import Options, PolicyServer
from act.serving.wire import MOST_PARTS
from act.types import PolicySpec
from tests.act.serving.test_server import TOKEN, Toy, query, serving

PYTHON = os.environ.get("OPENPI_PYTHON", "")
SPEC = PolicySpec(("top",), (8, 16), qpos_dim=2, recorded_size=(16, 32))
# What openpi-client 0.1.2 sends for {"state": [0.5, -1.0], "images": {"top": 0..23 as (3, 2, 4) uint8},
# "step": numpy.int64(7), "prompt": "transfer"}, and what it must be sent for an answer of one action.
SENT = bytes.fromhex(
    "84a5737461746584c40b5f5f6e6461727261795f5fc3c40464617461c410000000000000e03f000000000000f0bfc4056474797065a33c6638"
    "c40573686170659102a6696d6167657381a3746f7084c40b5f5f6e6461727261795f5fc3c40464617461c418000102030405060708090a0b0c"
    "0d0e0f1011121314151617c4056474797065a37c7531c405736861706593030204a47374657083c40d5f5f6e7067656e657269635f5fc3c404"
    "6461746107c4056474797065a33c6938a670726f6d7074a87472616e73666572"
)
ANSWERED = bytes.fromhex(
    "82a7616374696f6e7384c40b5f5f6e6461727261795f5fc3c40464617461c4080000003f000080bfc4056474797065a33c6634c40573686170"
    "65920102ad7365727665725f74696d696e6781a8696e6665725f6d73cb4004000000000000"
)


class Looking(Toy):
    """Answers with the state, and with the brightness of the image it was given in the last number."""

    spec = PolicySpec(("top",), (8, 16), recorded_size=(16, 32))

    def predict_chunk(self, histories: Any) -> np.ndarray:
        obs = histories[0][-1]
        assert obs["images"]["top"].shape == (8, 16, 3)
        action = np.append(obs["qpos"][:13], obs["images"]["top"].mean())
        return np.tile(action, (1, 3, 1)).astype(np.float32)


def observation(**other: Any) -> dict[str, Any]:
    image = np.full((16, 32, 3), 7, np.uint8)
    return {"state": np.array([0.5, -1.0]), "images": {"top": image}, **other}


def test_what_openpi_client_sends_is_read():
    message = unpack(SENT)
    assert message["state"].tolist() == [0.5, -1.0] and message["step"] == 7 and message["prompt"] == "transfer"
    assert np.array_equal(message["images"]["top"], np.arange(24, dtype=np.uint8).reshape(3, 2, 4))
    ((obs,),) = read_query(SENT, SPEC)
    assert obs["qpos"].dtype == np.float32 and obs["qpos"].tolist() == [0.5, -1.0]
    expected = resize_image(np.ascontiguousarray(message["images"]["top"].transpose(1, 2, 0)), (8, 16))
    assert np.array_equal(obs["images"]["top"], expected)


def test_answers_have_the_bytes_that_openpi_client_reads():
    chunks = np.array([[[0.5, -1.0]]], np.float32)
    assert openpi.write_answer({"chunks": chunks, "query_ms": 2.5}) == ANSWERED
    assert openpi.write_answer({"error": "a sentence"}) == "a sentence"  # text is an error there
    with pytest.raises(TypeError, match="type object cannot be sent"):
        pack({"a": object()})


@pytest.mark.parametrize("size", [(16, 32), (8, 16), (32, 64)])
def test_images_of_any_size_in_both_orders_of_axes_are_read(size: tuple[int, int]):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    for given in (image, image.transpose(2, 0, 1)):
        ((obs,),) = read_query(pack(observation(images={"top": given, "unused": 1})), SPEC)
        assert np.array_equal(obs["images"]["top"], resize_image(image, (8, 16)))


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"state": np.zeros(3)}, r"'state' is \(3,\) float64, expected \(2,\) numbers"),
        ({"state": np.array([0, np.nan])}, "'state' has values that are not finite"),
        ({"state": np.array([0, 1e300])}, "'state' has values that are not finite"),
        ({"state": [0.5, 1]}, "'state' is a list"),
        ({"images": 3}, "'images' is a int, expected a map with top"),
        ({"images": {}}, "the image of camera 'top' is missing"),
        ({"images": {"top": np.zeros((16, 32, 3))}}, "expected .16, 32, 3. uint8"),
        ({"images": {"top": np.zeros((16, 16, 3), np.uint8)}}, "has 16x16 pixels, the policy learned from 16x32"),
        ({"images": {"top": np.zeros((0, 32, 3), np.uint8)}}, "has 0x32 pixels"),
    ],
)
def test_a_query_that_the_policy_cannot_use_is_refused_with_a_sentence(other: dict[str, Any], reason: str):
    with pytest.raises(ValueError, match=reason):
        read_query(pack(observation(**other)), SPEC)


def array(**other: Any) -> bytes:
    parts = {b"__ndarray__": True, b"data": b"\0" * 8, b"dtype": "<f4", b"shape": [2]}
    return msgpack.packb({"state": parts | {key.encode(): value for key, value in other.items()}}) or b""


@pytest.mark.parametrize(
    "data",
    [
        "text",
        b"\xc1",
        msgpack.packb([1]),
        array(dtype="|O"),
        array(dtype="<f1"),
        array(dtype="O8"),
        array(shape=[3]),
        array(shape=[-1, -2]),
        array(shape=[2, 1, 1, 1, 1]),
        array(shape=[True, 2]),
        array(data="text"),
        array(more=1),
        msgpack.packb({"a": [[0] * 900 for _ in range(MOST_PARTS // 900 + 1)]}),
        msgpack.packb({"a": {b"__npgeneric__": True, b"data": [1], b"dtype": "<f4"}}),
    ],
)
def test_bytes_that_are_no_message_of_openpi_client_are_refused(data: Any):
    with pytest.raises(ValueError, match=r"not a message|text|expected a map"):
        unpack(data)


def serving_openpi(policy: Any, token: str = "") -> Any:
    return serving(policy, token, speaks_openpi=True)


def test_both_protocols_are_spoken_at_one_port():
    with serving_openpi(Looking(), TOKEN) as address:
        with connect(address, additional_headers={"Authorization": f"Api-Key {TOKEN}"}) as client:
            about = unpack(client.recv())
            assert about["spec"]["cameras"] == ["top"] and about["chunk_size"] == 3
            for state, brightness in ((0.25, 7), (0.5, 9)):
                image = np.full((3, 16, 32), brightness, np.uint8)
                client.send(pack({"state": np.full(14, state), "images": {"top": image}, "prompt": "transfer"}))
                actions = unpack(client.recv())["actions"]
                assert actions.tolist() == [[state] * 13 + [brightness]] * 3
            client.send(pack({"state": np.zeros(3)}))
            assert client.recv() == "'state' is (3,) float64, expected (14,) numbers"
        with RemotePolicy(address, TOKEN) as remote:
            image = np.full((16, 32, 3), 5, np.uint8)
            obs = {"qpos": np.zeros(14, np.float32), "images": {"top": image}}
            assert remote.predict_chunk([[obs]])[0, 0, 13] == 5


def test_openpi_clients_without_the_token_are_refused():
    with serving_openpi(Looking(), TOKEN) as address:
        for wrong in ({}, {"Authorization": "Api-Key other"}, {"Authorization": f"Basic {TOKEN}"}):
            with pytest.raises(InvalidStatus, match="401"):
                connect(address, additional_headers=wrong)
    with serving(Toy(), TOKEN) as address, pytest.raises(InvalidStatus, match="401"):
        connect(address, additional_headers={"Authorization": f"Api-Key {TOKEN}"})  # no --openpi


def test_without_the_flag_every_client_is_answered_in_our_protocol():
    with serving(Toy()) as address, connect(address) as client:
        assert b"protocol" in bytes(client.recv(decode=False))
    with serving_openpi(Toy()) as address, RemotePolicy(address) as remote:
        assert remote.predict_chunk(query()).shape == (1, 3, 14)
    assert not Options(Path("runs/demo")).openpi


def test_a_policy_that_needs_a_history_is_not_served_to_openpi_clients():
    class Remembering(Toy):
        n_obs_steps = 2

    with pytest.raises(ValueError, match="needs a history of 2 observations, and a client of openpi sends one"):
        PolicyServer(Remembering(), {}, speaks_openpi=True)


ASK = """
import sys, numpy as np
from openpi_client.action_chunk_broker import ActionChunkBroker
from openpi_client.websocket_client_policy import WebsocketClientPolicy
policy = WebsocketClientPolicy(sys.argv[1], api_key=sys.argv[2])
assert policy.get_server_metadata()["chunk_size"] == 3
observation = {"state": np.linspace(0, 1, 14), "images": {"top": np.full((3, 16, 32), 9, np.uint8)}, "prompt": "x"}
answer = policy.infer(observation)
assert answer["actions"].shape == (3, 14) and answer["server_timing"]["infer_ms"] > 0
np.save(sys.argv[3], answer["actions"])
broker = ActionChunkBroker(policy, action_horizon=3)
assert [broker.infer(observation)["actions"].shape for _ in range(4)] == [(14,)] * 4
try:
    policy.infer({"state": np.zeros(3)})
except RuntimeError as error:
    assert "expected (14,) numbers" in str(error)
else:
    raise AssertionError("a wrong query was answered")
assert policy.infer(observation)["actions"].shape == (3, 14)
"""


@pytest.mark.skipif(not PYTHON, reason="set OPENPI_PYTHON to a Python that has openpi-client")
def test_the_real_openpi_client_gets_the_answers_of_the_policy(tmp_path: Path):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with serving_openpi(Looking(), TOKEN) as address:
        words = [PYTHON, "-c", ASK, address, TOKEN, str(tmp_path / "actions.npy")]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    expected = np.append(np.linspace(0, 1, 14)[:13], 9).astype(np.float32)
    assert np.array_equal(np.load(tmp_path / "actions.npy"), np.tile(expected, (3, 1)))
