"""Access control for the page: a reverse proxy in front of viser, which has none itself.

The proxy listens on the address of the page. It reads the head of each connection's first request and forwards the
connection to viser only if
  - it does not come from a page of another site. Browsers let any site open WebSockets to 127.0.0.1, so the proxy
    checks `Origin` and `Sec-Fetch-Site`; it refuses to be shown in a frame (`Sec-Fetch-Dest`), and, without a token,
    to be reached under a foreign name that resolves to this machine (`Host`), and
  - it has the token, if there is one: once as ?token=... in the address, from then on as a cookie.

viser listens on a loopback port of its own. There it answers only requests that carry the proxy's secret in a header
(`accept_only_forwarded`), so nobody gets around the proxy by trying ports.
"""

import asyncio
import contextlib
import hmac
import http
import inspect
import logging
import secrets
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import websockets.asyncio.server

from sim_envs.teleop.strangers import Lobby, RefusalLog

LOOPBACK = ("127.0.0.1", "localhost", "::1")
MIN_TOKEN = 12  # characters
MAX_HEAD = 16 * 1024  # [bytes] of a request's head
HEAD_TIMEOUT = 5.0  # [s] in which a request's head must arrive
FRAMES = ("iframe", "frame", "embed", "object")  # Sec-Fetch-Dest of a page inside another page
SECRET_HEADER = "X-Teleop-Proxy-Secret"  # marks the requests that the proxy has forwarded
log = logging.getLogger("sim_envs.teleop")


def check_address(host: str, token: str) -> None:
    """ValueError if the page must not be opened at this address, or if the token is too weak."""
    if host not in LOOPBACK and not token:
        raise ValueError(
            f"--host {host} can be reached from other machines: give a --token, or leave --host out and use ssh -L"
        )
    if token and (len(token) < MIN_TOKEN or not token.isalnum() or not token.isascii()):
        raise ValueError(f"--token must be {MIN_TOKEN} or more letters and digits; openssl rand -hex 16 makes one")


class AccessProxy:
    """Checks request heads (`check`), and listens and forwards connections to a port of this machine (`serve`)."""

    def __init__(self, token: str = ""):
        self.token = token
        self._secret = secrets.token_hex(16)
        # The cookie holds a digest of the token, since browsers also send it to the other ports of this host.
        self.cookie_value = hmac.digest(token.encode(), b"teleop", "sha256").hex()
        self.refused = RefusalLog(log)
        self._lobby = Lobby(self.refused)

    # -- checks -------------------------------------------------------------------------------------------------------

    def check(self, head: bytes) -> tuple[http.HTTPStatus, str]:
        """(OK, ""), or the status to refuse a request with and the reason; (SEE_OTHER, "") sets the cookie."""
        try:
            return self._check(head.decode("ascii"))
        except (ValueError, IndexError):  # not ASCII, no path, or a malformed address
            return http.HTTPStatus.BAD_REQUEST, "not a request"

    def _check(self, head: str) -> tuple[http.HTTPStatus, str]:
        target, headers = head.split("\r\n")[0].split(" ")[1], _headers(head)
        host = headers.get("host", "")
        if "origin" in headers and urlsplit(headers["origin"]).netloc != host:
            return http.HTTPStatus.FORBIDDEN, f"origin {headers['origin']:.80}"
        destination, site = headers.get("sec-fetch-dest", "document"), headers.get("sec-fetch-site", "none")
        if destination in FRAMES or (site == "cross-site" and destination != "document"):
            return http.HTTPStatus.FORBIDDEN, f"{site:.80} {destination:.80}"
        if not self.token:
            local = urlsplit(f"//{host}").hostname in LOOPBACK
            return (http.HTTPStatus.OK, "") if local else (http.HTTPStatus.FORBIDDEN, f"host {host:.80}")
        if _equal(_cookie(headers.get("cookie", ""), _cookie_name(host)), self.cookie_value):
            return http.HTTPStatus.OK, ""
        if _equal(parse_qs(urlsplit(target).query).get("token", [""])[0], self.token):
            return http.HTTPStatus.SEE_OTHER, ""
        return http.HTTPStatus.FORBIDDEN, "no token, or a wrong one"

    @contextlib.contextmanager
    def accept_only_forwarded(self) -> Iterator[None]:
        """Servers of `websockets` that start in this context answer 403 to requests that the proxy did not forward."""
        serve = websockets.asyncio.server.serve

        def serve_guarded(*args: Any, process_request: Any = None, **options: Any) -> Any:
            async def check_secret(connection: Any, request: Any) -> Any:
                if not any(_equal(value, self._secret) for value in request.headers.get_all(SECRET_HEADER)):
                    self.refused("refused a connection that did not come through the proxy")
                    return connection.respond(http.HTTPStatus.FORBIDDEN, "")
                answer = process_request(connection, request) if process_request else None
                return await answer if inspect.isawaitable(answer) else answer

            return serve(*args, process_request=check_secret, **options)

        # viser starts its server without a hook for such a check, so the function that it calls is replaced.
        websockets.asyncio.server.serve = serve_guarded  # type: ignore[assignment]
        try:
            yield
        finally:
            websockets.asyncio.server.serve = serve

    # -- connections --------------------------------------------------------------------------------------------------

    async def serve(self, host: str, port: int, inner_port: int) -> asyncio.Server:
        """Starts to listen and to forward to `inner_port` of this machine; OSError if the address is taken."""

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            # Whatever a client does to its connection is no error of this program; the connection just ends.
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
                await self._handle(reader, writer, inner_port)
            writer.close()

        return await asyncio.start_server(handle, host, port, limit=MAX_HEAD)

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, inner_port: int) -> None:
        head = await self._request_head(reader, writer)
        status, reason = self.check(head)
        if status == http.HTTPStatus.OK:
            await self._forward(head, reader, writer, inner_port)
            return
        if reason:
            self.refused("refused a connection from %s: %s", writer.get_extra_info("peername"), reason)
        writer.write(self._refusal(status, _headers(head.decode("ascii", "replace")).get("host", "")))
        await writer.drain()

    async def _request_head(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        """The head of the first request; until it comes, the connection may have to make room for others."""
        self._lobby.enter(writer, (writer.get_extra_info("peername") or ("?",))[0])
        try:
            return await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), HEAD_TIMEOUT)
        finally:
            self._lobby.leave(writer)

    async def _forward(
        self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, inner_port: int
    ) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", inner_port)
        inner_writer.write(head[:-2] + f"{SECRET_HEADER}: {self._secret}\r\n\r\n".encode())
        directions = ((reader, inner_writer), (inner_reader, writer))
        copies = [asyncio.create_task(_copy(*direction)) for direction in directions]
        try:
            await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
        finally:
            inner_writer.close()  # at once, so that viser learns that the browser has left and the arms hold still
            for copy in copies:
                copy.cancel()
            await asyncio.gather(*copies, return_exceptions=True)

    def _refusal(self, status: http.HTTPStatus, host: str) -> bytes:
        lines = [f"HTTP/1.1 {status.value} {status.phrase}", "Content-Length: 0", "Connection: close"]
        if status == http.HTTPStatus.SEE_OTHER:  # to the same page without the token, which the cookie replaces
            cookie = f"{_cookie_name(host)}={self.cookie_value}"
            lines += ["Location: /", f"Set-Cookie: {cookie}; Path=/; HttpOnly; SameSite=Lax"]
        return "\r\n".join([*lines, "", ""]).encode()


def _equal(given: str, expected: str) -> bool:
    """Compares in constant time, so that nobody can guess a secret letter by letter."""
    return hmac.compare_digest(given.encode(), expected.encode())


def _headers(head: str) -> dict[str, str]:
    """The headers of a request, with names in lower case."""
    lines = head.split("\r\n")[1:]
    return {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _cookie_name(host: str) -> str:
    """A name with the port, since a browser does not tell the cookies of a host's ports apart."""
    return f"teleop_{urlsplit(f'//{host}').port or 80}"


def _cookie(header: str, wanted: str) -> str:
    """The value of one cookie in a Cookie header, "" if it is missing; other cookies, malformed or not, are skipped."""
    pairs = (part.strip().partition("=") for part in header.split(";"))
    return next((value for name, _, value in pairs if name == wanted), "")


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copies bytes until one end closes."""
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
