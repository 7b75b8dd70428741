"""Strangers at the port: those without the token take no places from those who have it, and fill no log."""

import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from act.serving import access, server
from act.serving.access import LOGGED, MOST_PER_ADDRESS, MOST_UNKNOWN, Lobby, RefusalLog
from act.serving.client import RemotePolicy
from act.serving.wire import decode, encode
from tests.act.serving.test_server import TOKEN, Toy, query, serving


@pytest.fixture
def lobby() -> Iterator[tuple[Lobby, list[str]]]:
    said: list[str] = []
    yield Lobby(lambda message, *values: said.append(message % values)), said


@contextmanager
def pairs(number: int) -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    made = [socket.socketpair() for _ in range(number)]
    for _, client_end in made:
        client_end.settimeout(0.05)
    yield made
    for pair in made:
        for end in pair:
            end.close()


def is_closed(other_end: socket.socket) -> bool:
    try:
        return other_end.recv(1) == b""
    except TimeoutError:
        return False


def test_the_oldest_from_the_same_address_goes_first(lobby: tuple[Lobby, list[str]]) -> None:
    with pairs(MOST_PER_ADDRESS + 2) as made:
        lobby[0].enter(made[0][0], "other")
        for server_end, _ in made[1:]:
            lobby[0].enter(server_end, "same")
        assert [is_closed(client_end) for _, client_end in made] == [False, True, *[False] * MOST_PER_ADDRESS]
        assert lobby[1] == ["closed a connection from same that had shown no token, because others came"]


def test_the_oldest_of_all_goes_when_the_lobby_is_full(lobby: tuple[Lobby, list[str]]) -> None:
    with pairs(MOST_UNKNOWN + 2) as made:
        for index, (server_end, _) in enumerate(made):
            lobby[0].enter(server_end, f"10.0.0.{index}")
        assert [index for index, (_, client_end) in enumerate(made) if is_closed(client_end)] == [0, 1]


def test_who_has_shown_the_token_is_never_closed(lobby: tuple[Lobby, list[str]]) -> None:
    with pairs(3 * MOST_PER_ADDRESS) as made:
        lobby[0].enter(made[0][0], "same")
        assert lobby[0].leave(made[0][0]) and not lobby[0].leave(made[0][0])
        for server_end, _ in made[1:]:
            lobby[0].enter(server_end, "same")
        assert not is_closed(made[0][1])


def test_refusals_are_logged_at_a_limited_rate_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    refused = RefusalLog(logging.getLogger("strangers"), lambda: now[0])
    for number in range(1000):
        refused("refused %d", number)
    assert [record.getMessage() for record in caplog.records] == [f"refused {n}" for n in range(LOGGED)]
    now[0] = access.LOG_PERIOD
    refused("refused again")
    refused.close()
    assert [record.getMessage() for record in caplog.records[LOGGED:]] == [
        f"{1000 - LOGGED} more refusals were not logged",
        "refused again",
    ]


def address_of(url: str) -> tuple[str, int]:
    return "127.0.0.1", int(url.rsplit(":")[-1])


def test_forty_silent_connections_keep_no_client_out() -> None:
    with serving(Toy(), TOKEN) as url:
        silent = [socket.create_connection(address_of(url), 5) for _ in range(40)]
        for _ in range(12):
            with RemotePolicy(url, TOKEN, timeout=5) as remote:
                assert remote.predict_chunk(query()).shape == (1, 3, 14)
            silent.append(socket.create_connection(address_of(url), 5))
        for connection in silent:
            connection.close()


def test_strangers_end_no_client_that_is_connected() -> None:
    with serving(Toy(), TOKEN) as url, RemotePolicy(url, TOKEN, timeout=5) as remote:
        silent = [socket.create_connection(address_of(url), 5) for _ in range(60)]
        connection = remote._connection
        assert remote.predict_chunk(query()).shape == (1, 3, 14)
        assert remote._connection is connection  # it was never lost
        for stranger in silent:
            stranger.close()


def test_a_connection_that_sends_no_whole_request_is_closed_soon(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server, "HEAD", 0.3)
    with serving(Toy(), TOKEN) as url, socket.create_connection(address_of(url), 10) as slow:
        began = time.monotonic()
        slow.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        assert slow.recv(1) == b"" and time.monotonic() - began < 0.3 + 5
        wait_for(lambda: "sent no request within 0.3 s" in caplog.text)


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_nonsense_at_the_port_fills_no_log_with_tracebacks(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), serving(Toy(), TOKEN) as url:
        for _ in range(3 * LOGGED):
            with socket.create_connection(address_of(url), 5) as stranger:
                stranger.sendall(b"nonsense\r\n\r\n")
                stranger.recv(100)
        wait_for(lambda: caplog.text.count("none that can be read") == LOGGED)
    assert "Traceback" not in caplog.text and "more refusals were not logged" in caplog.text
    assert len(caplog.records) == LOGGED + 1


def test_a_refusal_after_the_end_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    refused = RefusalLog(logging.getLogger("test"))
    refused("%s", "before")
    refused.close()
    refused("%s", "a thread that the server no longer waits for")
    assert caplog.messages == ["before"]


def test_ten_thousand_wrong_messages_get_no_number_that_is_not_finite() -> None:
    """Messages are damaged queries; the policy multiplies what it sees, so that large numbers overflow."""

    class Growing(Toy):
        def predict_chunk(self, histories: Any) -> np.ndarray:
            with np.errstate(over="ignore", invalid="ignore"):
                return np.tile((np.array([h[-1]["qpos"] for h in histories]) * 1e30)[:, None], (1, 3, 1))

    rng, policy = np.random.default_rng(0), server.PolicyServer(Growing(), {})
    logging.disable(logging.CRITICAL)
    try:
        answers = [policy.answer(damaged(rng)) for _ in range(int(os.environ.get("ACT_FUZZ", "2000")))]
    finally:
        logging.disable(logging.NOTSET)
    good = [answer for answer in answers if "chunks" in answer]
    assert all(np.isfinite(answer["chunks"]).all() for answer in good)
    assert all(isinstance(answer["error"], str) for answer in answers if "chunks" not in answer)
    assert 20 < len(good) < len(answers) - 20 and any("inf" in answer.get("error", "") for answer in answers)


def damaged(rng: np.random.Generator) -> bytes:
    """A query with up to three bytes changed, cut off, or with numbers of any size."""
    qpos = rng.normal(size=14) * 10.0 ** rng.integers(-3, 38)
    data = bytearray(encode({"histories": [[{"qpos": qpos.astype(np.float32)}]]}))
    for _ in range(rng.integers(4)):
        data[rng.integers(len(data))] = rng.integers(256)
    return bytes(data[: rng.integers(len(data) // 2, len(data) + 1)]) if rng.random() < 0.1 else bytes(data)


def test_a_server_whose_policy_hangs_can_be_stopped() -> None:
    go = threading.Event()

    class Hanging(Toy):
        def predict_chunk(self, histories: Any) -> np.ndarray:
            go.wait(60)
            return super().predict_chunk(histories)

    with serving(Hanging()) as url:
        clients = [connect(url) for _ in range(3)]
        for client in clients:
            client.recv()
            client.send(encode({"histories": query()}))
        time.sleep(0.2)
        began = time.monotonic()
    assert time.monotonic() - began < 2 + 8  # 2 s on an idle machine
    go.set()
    for client in clients:
        with pytest.raises(ConnectionClosed, match="going away"):
            assert decode(client.recv()) == {"error": "the server is stopping"}  # where it came before the end
            client.recv()
