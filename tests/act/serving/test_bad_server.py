"""A server that sends anything but a policy's answers costs the client one sentence, and never an action."""

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgpack
import numpy as np
import pytest
from websockets.sync.server import ServerConnection, serve

from act.serving.client import RemotePolicy
from act.serving.wire import ARRAY, MOST_BYTES, PROTOCOL, encode
from act.types import PolicySpec
from tests.act.serving.test_server import query

SPEC = PolicySpec((), (8, 8)).to_json()
GREETING = {"protocol": PROTOCOL, "chunk_size": 3, "n_obs_steps": 1, "spec": SPEC, "weights": "a"}
CHUNKS = np.zeros((1, 3, 14), np.float32)
SLACK = 5.0  # [s] more than `timeout` that tests allow a machine on which others compute, too


def spec(**changed: Any) -> bytes:
    return encode({**GREETING, "spec": {**SPEC, **changed}})


def greeting(**changed: Any) -> bytes:
    return encode({**GREETING, **changed})


def spoiled(value: float) -> np.ndarray:
    chunks = CHUNKS.copy()
    chunks[0, 2, 5] = value
    return chunks


def array_of(*parts: Any) -> bytes:
    return msgpack.Packer().pack({"chunks": msgpack.ExtType(ARRAY, msgpack.Packer().pack(parts))})


GREETINGS: dict[str, Any] = {
    "text": "hello",
    "nothing": b"",
    "garbage": b"\xc1\xff\x00",
    "no map": msgpack.packb([1, 2]),
    "an empty map": encode({}),
    "keys that are no strings": msgpack.packb({1: 2}),
    "a deep list": b"\x91" * 5000 + b"\x90",
    "another protocol": greeting(protocol=99),
    "an array as protocol": greeting(protocol=np.zeros(3, np.float32)),
    "an array as weights": greeting(weights=np.zeros(3, np.float32)),
    "nan in its description": greeting(weights=float("nan")),
    "no spec": greeting(spec=None),
    "a list as spec": greeting(spec=[1]),
    "no joints": spec(qpos_dim=0),
    "no actions": spec(action_dim=0),
    "a billion actions": spec(action_dim=10**9),
    "true for a number": spec(action_dim=True),
    "images of a terabyte": spec(image_size=[10**6, 10**6]),
    "images of one long line": spec(image_size=[1, 20_000]),
    "images of another size before, of no number": spec(recorded_size=[]),
    "images that no message holds": spec(recorded_size=[8192, 8192]),
    "a camera twice": spec(cameras=["top", "top"]),
    "a camera that is a number": spec(cameras=[1]),
    "an endless chunk": greeting(chunk_size=10**12),
    "no chunk": greeting(chunk_size=0),
    "an endless history": greeting(n_obs_steps=10**12),
}
ANSWERS: dict[str, Any] = {
    "text": "hello",
    "garbage": b"\xc1\xff\x00",
    "no map": msgpack.packb(7),
    "an empty map": encode({}),
    "an error that is no sentence": encode({"error": {"a": [1]}}),
    "nan": encode({"chunks": spoiled(np.nan)}),
    "infinity": encode({"chunks": spoiled(np.inf)}),
    "another shape": encode({"chunks": np.zeros((1, 3, 7), np.float32)}),
    "another type": encode({"chunks": CHUNKS.astype(np.uint8)}),
    "a list": encode({"chunks": CHUNKS.tolist()}),
    "an array without its data": array_of("<f4", [1, 3, 14], b""),
    "an array of impossible size": array_of("<f4", [0, 2**63, 2**63], b""),
    "another type of array": array_of("|O8", [1], b"12345678"),
    "an unknown extension": msgpack.packb({"chunks": msgpack.ExtType(9, b"")}),
    "more than a message may have": b"\0" * (MOST_BYTES + 1),
}


@contextmanager
def server(talk: Callable[[ServerConnection], None]) -> Iterator[str]:
    with serve(talk, "127.0.0.1", 0, max_size=None, compression=None, close_timeout=0.1) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{listening.socket.getsockname()[1]}"
        finally:
            listening.shutdown()
            thread.join()


@contextmanager
def answering(*messages: Any) -> Iterator[str]:
    """A server that sends the first message on connecting and the others to queries, and then closes."""

    def talk(connection: ServerConnection) -> None:
        connection.send(messages[0])
        for message in messages[1:]:
            connection.recv()
            connection.send(message)

    with server(talk) as address:
        yield address


def assert_one_sentence(error: BaseException, address: str) -> None:
    assert address in str(error) and "\n" not in str(error) and len(str(error)) < 700


@pytest.mark.parametrize("kind", GREETINGS)
def test_a_server_that_describes_no_policy_is_refused_in_one_sentence(kind: str):
    with answering(GREETINGS[kind]) as address:
        with pytest.raises(ConnectionError) as refused:
            RemotePolicy(address, timeout=5)
        assert_one_sentence(refused.value, address)


@pytest.mark.parametrize("kind", ANSWERS)
def test_an_answer_that_is_no_finite_chunk_is_refused_in_one_sentence(kind: str):
    with answering(encode(GREETING), ANSWERS[kind]) as address, RemotePolicy(address, timeout=5) as remote:
        with pytest.raises((ConnectionError, ValueError)) as refused:
            remote.predict_chunk(query())
        assert_one_sentence(refused.value, address)


@pytest.mark.parametrize("query_ms", ["soon", None, [1], float("nan")])
def test_a_duration_that_is_no_number_does_no_harm(query_ms: Any):
    answer = encode({"chunks": CHUNKS, "query_ms": query_ms})
    with answering(encode(GREETING), answer) as address, RemotePolicy(address, timeout=5) as remote:
        np.testing.assert_array_equal(remote.predict_chunk(query()), CHUNKS)
        assert np.isnan(remote.query_ms)


@contextmanager
def raw_server(reply: bytes | None) -> Iterator[str]:
    """Accepts connections and sends `reply` to each, or nothing at all."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        kept: list[socket.socket] = []

        def accept() -> None:
            try:
                while True:
                    kept.append(listening.accept()[0])
                    if reply is not None:
                        kept[-1].recv(4096)
                        kept[-1].sendall(reply)
                        kept[-1].close()
            except OSError:
                return

        threading.Thread(target=accept, daemon=True).start()
        yield f"ws://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
    for connection in kept:
        connection.close()


@pytest.mark.parametrize(
    "reply", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 500 Oh\r\n\r\n", b"HTTP/1.1 301 Moved\r\nLocation: /x\r\n\r\n"]
)
def test_what_is_no_websocket_server_is_refused_in_one_sentence(reply: bytes):
    with raw_server(reply) as address:
        with pytest.raises(ConnectionError) as refused:
            RemotePolicy(address, timeout=5)
        assert_one_sentence(refused.value, address)


@pytest.mark.parametrize("address", ["ws://h:99999", "ws://" + "a" * 70, "ws://[", "ws://"])
def test_an_address_that_cannot_be_is_refused(address: str):
    with pytest.raises((ValueError, ConnectionError)) as refused:
        RemotePolicy(address, timeout=1)
    assert_one_sentence(refused.value, address)


# ------------------------------------------------------------------------------------------------------------ timeouts
def wait_for(done: threading.Event) -> None:
    done.wait(20)


def seconds(call: Callable[[], Any], message: str) -> float:
    began = time.monotonic()
    with pytest.raises(ConnectionError, match=message):
        call()
    return time.monotonic() - began


def test_a_server_that_never_speaks_costs_no_more_than_the_timeout():
    with raw_server(None) as address:
        assert seconds(lambda: RemotePolicy(address, timeout=0.5), "timed out") < 0.5 + SLACK
    done = threading.Event()
    with server(lambda _: wait_for(done)) as address:  # the handshake, and then nothing
        assert seconds(lambda: RemotePolicy(address, timeout=0.5), r"not answered within 0.5 s") < 0.5 + SLACK
        done.set()


def test_a_policy_that_never_answers_costs_the_timeout_and_not_ten_seconds_more():
    done = threading.Event()

    def talk(connection: ServerConnection) -> None:
        connection.send(encode(GREETING))
        connection.recv()
        wait_for(done)

    with server(talk) as address:
        remote = RemotePolicy(address, timeout=2)
        took = seconds(lambda: remote.predict_chunk(query()), r"has not answered within 2 s")
        assert 2 <= took < 2 + SLACK
        began = time.monotonic()
        remote.close()
        assert time.monotonic() - began < SLACK
        done.set()


def test_a_query_that_is_interrupted_leaves_no_answer_for_the_next(monkeypatch: pytest.MonkeyPatch):
    def talk(connection: ServerConnection) -> None:
        connection.send(encode(GREETING))
        for number, _ in enumerate(connection):
            connection.send(encode({"chunks": CHUNKS + number}))

    with server(talk) as address, RemotePolicy(address) as remote:
        with monkeypatch.context() as patch:
            patch.setattr(remote._connection, "recv", interrupted)
            with pytest.raises(KeyboardInterrupt):
                remote.predict_chunk(query())
        np.testing.assert_array_equal(remote.predict_chunk(query()), CHUNKS)  # the first answer of a new connection


def interrupted(*_: Sequence[Any]) -> None:
    raise KeyboardInterrupt
