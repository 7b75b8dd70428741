"""Strangers at the port of the page fill no log, and keep nobody out."""

import asyncio
import logging

import pytest

from sim_envs.teleop import strangers
from sim_envs.teleop.access_proxy import AccessProxy
from sim_envs.teleop.strangers import LOGGED, MOST_PER_ADDRESS, MOST_UNKNOWN, Lobby, RefusalLog

TOKEN = "0123456789abcdef"


class FakeConnection:
    """A StreamWriter of which only one thing is asked: to be closed."""

    def __init__(self) -> None:
        self.transport, self.closed = self, False

    def abort(self) -> None:
        self.closed = True


def enter(lobby: Lobby, hosts: list[str]) -> list[FakeConnection]:
    connections = [FakeConnection() for _ in hosts]
    for connection, host in zip(connections, hosts, strict=True):
        lobby.enter(connection, host)  # type: ignore[arg-type]
    return connections


@pytest.fixture
def lobby() -> Lobby:
    return Lobby(RefusalLog(logging.getLogger("strangers")))


def test_the_oldest_from_the_same_address_goes_first(lobby: Lobby, caplog: pytest.LogCaptureFixture) -> None:
    made = enter(lobby, ["other", *["same"] * (MOST_PER_ADDRESS + 1)])
    assert [connection.closed for connection in made] == [False, True, *[False] * MOST_PER_ADDRESS]
    assert "closed a connection from same that had sent no request, because others came" in caplog.text


def test_the_oldest_of_all_goes_when_the_lobby_is_full(lobby: Lobby) -> None:
    made = enter(lobby, [f"10.0.0.{index}" for index in range(MOST_UNKNOWN + 2)])
    assert [index for index, connection in enumerate(made) if connection.closed] == [0, 1]


def test_whose_request_has_come_is_never_closed(lobby: Lobby) -> None:
    (first,) = enter(lobby, ["same"])
    lobby.leave(first)  # type: ignore[arg-type]
    enter(lobby, ["same"] * 3 * MOST_PER_ADDRESS)
    assert not first.closed


def test_refusals_are_logged_at_a_limited_rate_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    refused = RefusalLog(logging.getLogger("strangers"), lambda: now[0])
    for number in range(1000):
        refused("refused %d", number)
    assert [record.getMessage() for record in caplog.records] == [f"refused {n}" for n in range(LOGGED)]
    now[0] = strangers.LOG_PERIOD
    refused("refused again")
    refused.close()
    counted = f"{1000 - LOGGED} more refusals were not logged"
    assert [record.getMessage() for record in caplog.records[LOGGED:]] == [counted, "refused again"]


async def ask(port: int, request: str) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request.encode())
    answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    await writer.wait_closed()
    return answer


def test_100_refused_requests_are_logged_ten_times(caplog: pytest.LogCaptureFixture) -> None:
    async def knock() -> list[bytes]:
        proxy = AccessProxy(TOKEN)
        listener = await proxy.serve("127.0.0.1", 0, 1)
        port = listener.sockets[0].getsockname()[1]
        answers = [await ask(port, "GET /?token=guess HTTP/1.1\r\nHost: lab\r\n\r\n") for _ in range(100)]
        listener.close()
        proxy.refused.close()
        return answers

    answers = asyncio.run(knock())
    assert all(answer.startswith(b"HTTP/1.1 403 ") for answer in answers)
    messages = [record.getMessage() for record in caplog.records if record.name == "sim_envs.teleop"]
    assert len(messages) == LOGGED + 1 and messages[-1] == f"{100 - LOGGED} more refusals were not logged"


def test_forty_silent_connections_keep_nobody_out() -> None:
    async def knock() -> bytes:
        proxy = AccessProxy(TOKEN)
        listener = await proxy.serve("127.0.0.1", 0, 1)
        port = listener.sockets[0].getsockname()[1]
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(40)]
        answer = await ask(port, f"GET /?token={TOKEN} HTTP/1.1\r\nHost: lab\r\n\r\n")
        ended = sum(reader.at_eof() or reader.exception() is not None for reader, _ in silent)
        assert ended >= 40 - MOST_PER_ADDRESS, "only so many may wait from one address"
        for _, writer in silent:
            writer.close()
        listener.close()
        while len(asyncio.all_tasks()) > 1:  # the other ends of these connections
            await asyncio.sleep(0.01)
        return answer

    assert asyncio.run(knock()).startswith(b"HTTP/1.1 303 ")
