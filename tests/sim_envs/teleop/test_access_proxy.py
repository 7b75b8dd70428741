"""Who may open the page: tokens, origins, names, and requests that are none."""

import asyncio
import http

import pytest
import websockets.asyncio.server
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from sim_envs.teleop.access_proxy import AccessProxy, check_address

TOKEN = "0123456789abcdef"
COOKIE = f"teleop_8080={AccessProxy(TOKEN).badge}"
OK, NO, BAD = http.HTTPStatus.OK, http.HTTPStatus.FORBIDDEN, http.HTTPStatus.BAD_REQUEST


def head(path="/", **headers):
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:9000", "[::1]:8080"])
def test_the_page_opens_under_the_names_of_this_machine(host):
    assert AccessProxy().verdict(head(Host=host, Origin=f"http://{host}"))[0] == OK


def test_another_site_in_the_same_browser_stays_out():
    assert AccessProxy().verdict(head(Host="127.0.0.1:8080", Origin="https://evil.example"))[0] == NO


def test_another_site_can_neither_frame_the_page_nor_load_parts_of_it():
    host = "127.0.0.1:8080"
    for place in ("iframe", "frame", "embed", "object"):
        for site in ("cross-site", "same-site", "same-origin"):
            assert AccessProxy().verdict(head(Host=host, **{"Sec-Fetch-Dest": place, "Sec-Fetch-Site": site}))[0] == NO
    fetched = {place: {"Sec-Fetch-Dest": place, "Sec-Fetch-Site": "cross-site"} for place in ("document", "script")}
    assert AccessProxy().verdict(head(Host=host, **fetched["script"]))[0] == NO
    assert AccessProxy().verdict(head(Host=host, **fetched["document"]))[0] == OK  # a link
    assert (
        AccessProxy().verdict(head(Host=host, **{"Sec-Fetch-Dest": "websocket", "Sec-Fetch-Site": "same-origin"}))[0]
        == OK
    )


def test_a_foreign_name_that_points_here_stays_out():
    assert AccessProxy().verdict(head(Host="evil.example:8080", Origin="http://evil.example:8080"))[0] == NO


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
def test_with_a_token_only_who_knows_it_comes_in(request_head, status):
    assert AccessProxy(TOKEN).verdict(request_head)[0] == status


@pytest.mark.parametrize("nonsense", [b"\xff\xfe\r\n\r\n", b"\r\n\r\n", b"GET", head("http://[", Host="[")])
def test_what_is_no_request_is_refused(nonsense):
    assert AccessProxy(TOKEN).verdict(nonsense)[0] in (BAD, NO)


def test_any_but_a_loopback_address_needs_a_token_of_some_length():
    check_address("127.0.0.1", "")
    check_address("0.0.0.0", TOKEN)
    with pytest.raises(ValueError, match=r"--host 0\.0\.0\.0 can be reached by others"):
        check_address("0.0.0.0", "")
    with pytest.raises(ValueError, match="12 or more"):
        check_address("127.0.0.1", "short")


async def talk(gate, request_head, answer=b"HTTP/1.1 200 OK\r\n\r\nhello"):
    """What a client gets through the gate from a server behind it that gives one answer and closes."""

    async def inner(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    behind = await asyncio.start_server(inner, "127.0.0.1", 0)
    door = await gate.serve("127.0.0.1", 0, behind.sockets[0].getsockname()[1])
    reader, writer = await asyncio.open_connection(*door.sockets[0].getsockname())
    writer.write(request_head)
    received = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    for server in (door, behind):
        server.close()
    return received


def test_admitted_connections_are_passed_on_refused_ones_are_not(caplog):
    inside = asyncio.run(talk(AccessProxy(), head(Host="localhost")))
    outside = asyncio.run(talk(AccessProxy(), head(Host="evil.example")))
    assert inside.endswith(b"hello")
    assert outside.startswith(b"HTTP/1.1 403 Forbidden")
    assert "evil.example" in caplog.text


def test_who_finds_the_port_behind_the_door_stays_out():
    async def echo(connection):
        await connection.send(await connection.recv())

    async def knock():
        gate = AccessProxy(TOKEN)
        with gate.only_through():
            behind = await websockets.asyncio.server.serve(echo, "127.0.0.1", 0)
        inner = behind.sockets[0].getsockname()[1]
        door = await gate.serve("127.0.0.1", 0, inner)
        outer = door.sockets[0].getsockname()[1]
        for headers in ({}, {"X-Teleop-Door": "a guess"}):
            with pytest.raises(InvalidStatus, match="403"):
                await connect(f"ws://127.0.0.1:{inner}", additional_headers=headers)
        cookie = {"Cookie": f"teleop_{outer}={gate.badge}", "X-Teleop-Door": "a guess"}
        async with connect(f"ws://127.0.0.1:{outer}", additional_headers=cookie) as inside:
            await inside.send("hello")
            assert await inside.recv() == "hello"
        for server in (door, behind):
            server.close()

    asyncio.run(knock())


def test_the_token_in_the_address_becomes_a_cookie():
    answer = asyncio.run(talk(AccessProxy(TOKEN), head(f"/?token={TOKEN}", Host="lab:8080")))
    assert f"Set-Cookie: {COOKIE}; Path=/; HttpOnly".encode() in answer and TOKEN.encode() not in answer
    assert b"Location: /\r\n" in answer
