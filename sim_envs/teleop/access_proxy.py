"""Who may open the page: a small door in front of viser, which itself lets everybody in.

viser listens on a loopback port and answers only requests that bear the mark of this door (`only_through`), a secret of
this process: neither other accounts nor pages of other sites get past it by trying ports. The door listens on the
address of the page, reads the head of each connection's first request, and marks and passes it on only if
  - a page of another site has not made it (`Origin`, `Sec-Fetch-Site`; browsers let any site open WebSockets to
    127.0.0.1), it is not for a frame in such a page (`Sec-Fetch-Dest`), nor to a foreign name that was made to point
    here (`Host`, when there is no token), and
  - it has the token, if there is one: as ?token=... in the address, once; then a cookie stands for it.
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

LOOPBACK = ("127.0.0.1", "localhost", "::1")
MIN_TOKEN = 12  # characters
MAX_HEAD = 16 * 1024  # bytes of a request's head
PATIENCE = 5.0  # [s] a request's head may take
FRAMES = ("iframe", "frame", "embed", "object")  # Sec-Fetch-Dest of a page within a page
MARK = "X-Teleop-Door"  # header of the requests that the door has passed on
log = logging.getLogger("sim_envs.teleop")


def check_address(host: str, token: str) -> None:
    """ValueError if the page must not be opened there."""
    if host not in LOOPBACK and not token:
        raise ValueError(f"--host {host} can be reached by others: give a --token, or leave --host out and use ssh -L")
    if token and (len(token) < MIN_TOKEN or not token.isalnum() or not token.isascii()):
        raise ValueError(f"--token must be {MIN_TOKEN} or more letters and digits; openssl rand -hex 16 makes one")


class AccessProxy:
    """Decides on request heads: `verdict` for one, `serve` to listen and pass connections on to `inner_port`."""

    def __init__(self, token: str = ""):
        self.token = token
        self.secret = secrets.token_hex(16)
        # What the cookie holds, not the token: whatever else this host serves on other ports is sent it, too.
        self.badge = hmac.digest(token.encode(), b"teleop", "sha256").hex()

    def verdict(self, head: bytes) -> tuple[http.HTTPStatus, str]:
        """(OK, ""), or the status to refuse with and its reason; (SEE_OTHER, "") sets the cookie."""
        try:
            return self._judge(head.decode("ascii"))
        except (ValueError, IndexError):  # not ASCII, no path, an address that is none
            return http.HTTPStatus.BAD_REQUEST, "not a request"

    def _judge(self, head: str) -> tuple[http.HTTPStatus, str]:
        target, headers = head.split("\r\n")[0].split(" ")[1], _headers(head)
        host = headers.get("host", "")
        if "origin" in headers and urlsplit(headers["origin"]).netloc != host:
            return http.HTTPStatus.FORBIDDEN, f"origin {headers['origin']:.80}"
        place, site = headers.get("sec-fetch-dest", "document"), headers.get("sec-fetch-site", "none")
        if place in FRAMES or (site == "cross-site" and place != "document"):
            return http.HTTPStatus.FORBIDDEN, f"{site:.80} {place:.80}"
        if not self.token:
            known = urlsplit(f"//{host}").hostname in LOOPBACK
            return (http.HTTPStatus.OK, "") if known else (http.HTTPStatus.FORBIDDEN, f"host {host:.80}")
        if _same(cookie_of(headers.get("cookie", ""), cookie_name(host)), self.badge):
            return http.HTTPStatus.OK, ""
        if _same(parse_qs(urlsplit(target).query).get("token", [""])[0], self.token):
            return http.HTTPStatus.SEE_OTHER, ""
        return http.HTTPStatus.FORBIDDEN, "no or another token"

    @contextlib.contextmanager
    def only_through(self) -> Iterator[None]:
        """Servers of `websockets` that start meanwhile answer 403 to what has not come through this door."""
        serve = websockets.asyncio.server.serve

        def guarded(*args: Any, process_request: Any = None, **how: Any) -> Any:
            async def ask(connection: Any, request: Any) -> Any:
                marks = request.headers.get_all(MARK)
                if not any(hmac.compare_digest(mark.encode(), self.secret.encode()) for mark in marks):
                    log.warning("refused a connection past the door")
                    return connection.respond(http.HTTPStatus.FORBIDDEN, "")
                answer = process_request(connection, request) if process_request else None
                return await answer if inspect.isawaitable(answer) else answer

            return serve(*args, process_request=ask, **how)

        websockets.asyncio.server.serve = guarded  # type: ignore[assignment]
        try:
            yield
        finally:
            websockets.asyncio.server.serve = serve

    async def serve(self, host: str, port: int, inner_port: int) -> asyncio.Server:
        """Starts to listen; OSError if the address is taken."""

        async def admit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            # Whatever a stranger does to a connection is no error of ours; it just ends.
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
                await self._admit(reader, writer, inner_port)
            writer.close()

        return await asyncio.start_server(admit, host, port, limit=MAX_HEAD)

    async def _admit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, inner_port: int) -> None:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
        status, reason = self.verdict(head)
        if status != http.HTTPStatus.OK:
            if reason:
                log.warning("refused a connection from %s: %s", writer.get_extra_info("peername"), reason)
            writer.write(self._answer(status, _headers(head.decode("ascii", "replace")).get("host", "")))
            await writer.drain()
            return
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", inner_port)
        inner_writer.write(head[:-2] + f"{MARK}: {self.secret}\r\n\r\n".encode())
        ways = [asyncio.create_task(carry(*way)) for way in ((reader, inner_writer), (inner_reader, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            inner_writer.close()  # at once: this is how viser, and so the lease, learns that a browser is gone
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    def _answer(self, status: http.HTTPStatus, host: str) -> bytes:
        lines = [f"HTTP/1.1 {status.value} {status.phrase}", "Content-Length: 0", "Connection: close"]
        if status == http.HTTPStatus.SEE_OTHER:
            lines += ["Location: /", f"Set-Cookie: {cookie_name(host)}={self.badge}; Path=/; HttpOnly; SameSite=Lax"]
        return "\r\n".join([*lines, "", ""]).encode()


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(), wanted.encode())


def _headers(head: str) -> dict[str, str]:
    """Of a request, their names in lower case."""
    lines = head.split("\r\n")[1:]
    return {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def cookie_name(host: str) -> str:
    """One for each port, since a browser keeps the cookies of a host's ports together."""
    return f"teleop_{urlsplit(f'//{host}').port or 80}"


def cookie_of(header: str, wanted: str) -> str:
    """A cookie's value in a Cookie header, "" if it is not there; others, which may be malformed, are passed over."""
    pairs = (part.strip().partition("=") for part in header.split(";"))
    return next((value for name, _, value in pairs if name == wanted), "")


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Passes bytes on until one end closes."""
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
