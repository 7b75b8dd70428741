"""Who may open the page: tokens, origins, host names, and malformed requests."""

import asyncio
import http

import pytest
import websockets.asyncio.server
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from sim_envs.teleop.access_proxy import SECRET_HEADER, AccessProxy, check_address

TOKEN = "0123456789abcdef"
COOKIE = f"teleop_8080={AccessProxy(TOKEN).cookie_value}"
OK, NO, BAD = http.HTTPStatus.OK, http.HTTPStatus.FORBIDDEN, http.HTTPStatus.BAD_REQUEST


def head(path="/", **headers):
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:9000", "[::1]:8080"])
def test_the_page_opens_under_the_names_of_this_machine(host):
    assert AccessProxy().check(head(Host=host, Origin=f"http://{host}"))[0] == OK


def test_another_site_in_the_same_browser_stays_out():
    assert AccessProxy().check(head(Host="127.0.0.1:8080", Origin="https://evil.example"))[0] == NO


def test_another_site_can_neither_frame_the_page_nor_load_parts_of_it():
    host = "127.0.0.1:8080"
    for destination in ("iframe", "frame", "embed", "object"):
        for site in ("cross-site", "same-site", "same-origin"):
            fetch = {"Sec-Fetch-Dest": destination, "Sec-Fetch-Site": site}
            assert AccessProxy().check(head(Host=host, **fetch))[0] == NO
    for destination, site, status in (
        ("script", "cross-site", NO),
        ("document", "cross-site", OK),  # somebody has followed a link
        ("websocket", "same-origin", OK),
    ):
        fetch = {"Sec-Fetch-Dest": destination, "Sec-Fetch-Site": site}
        assert AccessProxy().check(head(Host=host, **fetch))[0] == status


def test_a_foreign_name_that_resolves_to_this_machine_stays_out():
    assert AccessProxy().check(head(Host="evil.example:8080", Origin="http://evil.example:8080"))[0] == NO


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (head(Host="lab:8080"), NO),
        (head(f"/?token={TOKEN}x", Host="lab:8080"), NO),
        (head(f"/?token={TOKEN}", Host="lab:8080"), http.HTTPStatus.SEE_OTHER),
        (head(Host="lab:8080", Cookie=f"a=b; {COOKIE}"), OK),
        (head(Host="lab:8080", Cookie="teleop_8080=guess"), NO),
        (head(Host="lab:8080", Cookie=f"teleop_8080={TOKEN}"), NO),
        (head(Host="lab:8081", Cookie=COOKIE), NO),  # of another page on this machine
        (head(Host="lab:8080", Cookie=f'x={{"a":1}}; a b=c; lone; {COOKIE}'), OK),
        (head(Host="lab:8080", Cookie=COOKIE, Origin="http://evil.example"), NO),
    ],
)
def test_with_a_token_only_those_who_know_it_come_in(request_head, status):
    assert AccessProxy(TOKEN).check(request_head)[0] == status


@pytest.mark.parametrize("nonsense", [b"\xff\xfe\r\n\r\n", b"\r\n\r\n", b"GET", head("http://[", Host="[")])
def test_malformed_requests_are_refused(nonsense):
    assert AccessProxy(TOKEN).check(nonsense)[0] in (BAD, NO)


def test_any_but_a_loopback_address_needs_a_token_of_some_length():
    check_address("127.0.0.1", "")
    check_address("0.0.0.0", TOKEN)
    with pytest.raises(ValueError, match=r"--host 0\.0\.0\.0 can be reached from other machines"):
        check_address("0.0.0.0", "")
    with pytest.raises(ValueError, match="12 or more"):
        check_address("127.0.0.1", "short")


async def talk(proxy, request_head, answer=b"HTTP/1.1 200 OK\r\n\r\nhello"):
    """What a client receives through the proxy from a server behind it that answers once and closes."""

    async def inner(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(inner, "127.0.0.1", 0)
    listener = await proxy.serve("127.0.0.1", 0, server.sockets[0].getsockname()[1])
    reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
    writer.write(request_head)
    received = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    listener.close()
    server.close()
    return received


def test_accepted_connections_are_forwarded_and_refused_ones_are_not(caplog):
    inside = asyncio.run(talk(AccessProxy(), head(Host="localhost")))
    outside = asyncio.run(talk(AccessProxy(), head(Host="evil.example")))
    assert inside.endswith(b"hello")
    assert outside.startswith(b"HTTP/1.1 403 Forbidden")
    assert "evil.example" in caplog.text


def test_nobody_gets_around_the_proxy_through_the_port_behind_it():
    async def echo(connection):
        await connection.send(await connection.recv())

    async def connect_to_both():
        proxy = AccessProxy(TOKEN)
        with proxy.accept_only_forwarded():
            server = await websockets.asyncio.server.serve(echo, "127.0.0.1", 0)
        inner = server.sockets[0].getsockname()[1]
        listener = await proxy.serve("127.0.0.1", 0, inner)
        outer = listener.sockets[0].getsockname()[1]
        for headers in ({}, {SECRET_HEADER: "a guess"}):
            with pytest.raises(InvalidStatus, match="403"):
                await connect(f"ws://127.0.0.1:{inner}", additional_headers=headers)
        cookie = {"Cookie": f"teleop_{outer}={proxy.cookie_value}", SECRET_HEADER: "a guess"}
        async with connect(f"ws://127.0.0.1:{outer}", additional_headers=cookie) as inside:
            await inside.send("hello")
            assert await inside.recv() == "hello"
        listener.close()
        server.close()

    asyncio.run(connect_to_both())


def test_the_token_in_the_address_becomes_a_cookie():
    answer = asyncio.run(talk(AccessProxy(TOKEN), head(f"/?token={TOKEN}", Host="lab:8080")))
    assert f"Set-Cookie: {COOKIE}; Path=/; HttpOnly".encode() in answer and TOKEN.encode() not in answer
    assert b"Location: /\r\n" in answer
