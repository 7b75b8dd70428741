"""Serves a policy over the network: clients send observations and receive chunks of actions.

    python -m act serve RUN                                       for programs on this machine: ws://127.0.0.1:8765
    ACT_TOKEN=$(openssl rand -hex 16) python -m act serve RUN --host 0.0.0.0      for others, who must know the token

client.py is the client, wire.py defines the messages. One thread answers queries one at a time, in the order of
arrival. http://HOST:PORT/healthz answers "ok". The connection is not encrypted: on networks that you do not control,
use ssh -L or a proxy that ends TLS.
"""

import hmac
import logging
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve

from act import command_line
from act.runtime.agents import DescribedPolicy
from act.runtime.checks import checked_chunks
from act.runtime.query_thread import QueryThread
from act.serving import openpi
from act.serving.access import Lobby, RefusalLog
from act.serving.loading import open_run
from act.serving.wire import MOST_BYTES, PROTOCOL, SUBPROTOCOL, decode, encode, unpack_histories
from act.types import Observation

# sim_envs/teleop/access_proxy.py has the same two constants, because act and sim_envs never import each other.
LOOPBACK = ("127.0.0.1", "localhost", "::1")
MIN_TOKEN = 12  # characters
MOST_CLIENTS = 8  # at once; each may have a message of MOST_BYTES in memory
HEAD = 3.0  # [s] in which a connection must send its request, and the token with it
READING = 10  # [s] that a client may take to read an answer
STOP_EVERY = 0.2  # [s] between two looks whether the server stops, while a query runs
CLOSING = 1.0  # [s] that a client may take to say goodbye
log = logging.getLogger("act.serving.server")
_silent = logging.getLogger("act.serving.server.websockets")  # logs a traceback for every stranger; `refused` does not
_silent.setLevel(logging.CRITICAL)


@dataclass(frozen=True)
class Dialect:
    """What the server says to a client first, and how it reads queries and writes answers."""

    greeting: bytes
    read: Callable[[bytes | str], list[list[Observation]]]  # raises ValueError with a sentence
    write: Callable[[Mapping[str, Any]], bytes | str]  # takes what `PolicyServer.answer` returns


class PolicyServer:
    """Answers queries with `policy`. Every client receives `about` (JSON values) and the PolicySpec on connecting.

    With `speaks_openpi`, a client that does not ask for the subprotocol "act", as those of this project do, is answered
    in the protocol of openpi-client. Raises ValueError where the policy needs a history, because such a client sends
    one observation at a time.

    Example:
        with PolicyServer(policy, {"weights": digest, "engine": "torch"}).listen(port=8765) as server:
            keep_serving(server)
    """

    def __init__(self, policy: DescribedPolicy, about: Mapping[str, Any], token: str = "", speaks_openpi: bool = False):
        self.policy, self.spec, self.speaks_openpi = policy, policy.spec, speaks_openpi
        if speaks_openpi and policy.n_obs_steps > 1:
            raise ValueError(
                f"--openpi: this policy needs a history of {policy.n_obs_steps} observations, and a client of openpi "
                "sends one at a time; leave --openpi out, and use act.serving.client.RemotePolicy"
            )
        schemes = ("Bearer", "Api-Key") if speaks_openpi else ("Bearer",)
        self._passwords = [f"{scheme} {token}".encode() for scheme in schemes] if token else []
        sizes = {"chunk_size": policy.chunk_size, "n_obs_steps": policy.n_obs_steps}
        about = {**about, **sizes, "spec": self.spec.to_json()}
        self._own = Dialect(encode({"protocol": PROTOCOL, **about}), self._read, encode)
        read_query = partial(openpi.read_query, spec=self.spec)
        self._openpi = Dialect(openpi.pack(about), read_query, openpi.write_answer)
        self._thread, self._stopping = QueryThread(), threading.Event()
        self._refused = RefusalLog(log)
        self._lobby = Lobby(self._refused)
        self._places = threading.BoundedSemaphore(MOST_CLIENTS)
        self._clients: set[ServerConnection] = set()

    @contextmanager
    def listen(self, host: str = "127.0.0.1", port: int = 0) -> Iterator[Server]:
        """Yields a server bound to the address; its `serve_forever()` serves. Leaving disconnects all clients.

        Browsers are refused, because any web page could otherwise connect to this machine; clients without the token
        are refused, too. Places for clients are apart from those for connections that have not shown the token yet
        (access.py). Raises OSError when the address is in use.
        """
        settings: dict[str, Any] = {"origins": [None], "process_request": self._admit, "compression": None}
        settings |= {"select_subprotocol": lambda _, offered: SUBPROTOCOL if SUBPROTOCOL in offered else None}
        settings["family"] = socket.AF_INET6 if ":" in host else socket.AF_INET
        settings |= {"max_size": MOST_BYTES, "max_queue": 1, "open_timeout": HEAD, "close_timeout": CLOSING}
        with serve(self._talk, host, port, logger=_silent, **settings) as server:
            server.handler = self._through_the_lobby(server.handler)
            try:
                yield server
            finally:
                self._stop()

    def _stop(self) -> None:
        """Leaves a query that is running, and disconnects all clients at the same time."""
        self._stopping.set()
        self._lobby.close()
        closing = [
            threading.Thread(target=client.close, args=(CloseCode.GOING_AWAY,)) for client in list(self._clients)
        ]
        for thread in closing:
            thread.start()
        for thread in closing:
            thread.join()
        self._refused.close()

    def _through_the_lobby(self, handler: Callable[[socket.socket, Any], None]) -> Callable[[socket.socket, Any], None]:
        """Limits the connections that a handler reads from before they have shown the token."""

        def handle(connection: socket.socket, address: Any) -> None:
            self._lobby.enter(connection, address[0])
            try:
                handler(connection, address)
            finally:
                if self._lobby.leave(connection):
                    self._refused("refused %s: it sent no request within %g s, or none that can be read", address, HEAD)

        return handle

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        self._lobby.leave(connection.socket)
        if request.path == "/healthz":
            return connection.respond(HTTPStatus.OK, "ok\n")
        given = ", ".join(request.headers.get_all("Authorization")).encode(errors="surrogateescape")
        if self._passwords and not any(hmac.compare_digest(given, password) for password in self._passwords):
            self._refused("refused %s: it sent no token or a wrong one", connection.remote_address)
            return connection.respond(HTTPStatus.UNAUTHORIZED, "the token is missing or wrong\n")
        if "Origin" in request.headers:  # answered with 403, because `origins` is [None]
            self._refused("refused %s: it is a browser", connection.remote_address)
        return None

    def _talk(self, connection: ServerConnection) -> None:
        """Answers the queries of one client until it disconnects."""
        address = connection.remote_address
        if not self._places.acquire(blocking=False):
            connection.close(CloseCode.TRY_AGAIN_LATER, f"the server already has {MOST_CLIENTS} clients")
            return
        self._clients.add(connection)
        # A client that never reads would otherwise hold its place, and the lock that closing it needs, for ever.
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", READING, 0))
        try:
            if self._stopping.is_set():  # it came after `_stop` had closed all others
                connection.close(CloseCode.GOING_AWAY)
                return
            log.info("connected: %s", address)
            dialect = self._openpi if self.speaks_openpi and connection.subprotocol is None else self._own
            connection.send(dialect.greeting)
            for data in connection:
                connection.send(dialect.write(self.answer(data, dialect.read)))
            log.info("disconnected: %s", address)
        except ConnectionClosed as end:
            log.info("lost: %s (%s)", address, end)
        finally:
            self._clients.remove(connection)
            self._places.release()

    def _read(self, data: bytes | str) -> list[list[Observation]]:
        return unpack_histories(decode(data), self.spec, self.policy.n_obs_steps)

    def answer(
        self, data: bytes | str, read: Callable[[bytes | str], list[list[Observation]]] | None = None
    ) -> dict[str, Any]:
        """Returns the answer to a query, or {"error": a sentence} for a wrong query; the connection then stays open."""
        try:
            histories = (read or self._read)(data)
        except ValueError as error:
            self._refused("refused a query: %s", error)
            return {"error": str(error)}
        start = time.perf_counter()
        query = self._thread.submit(self.policy.predict_chunk, histories)
        while not wait([query], STOP_EVERY).done:
            if self._stopping.is_set():
                return {"error": "the server is stopping"}
        try:
            answer = query.result()
        except Exception:
            self._refused("the policy failed", level=logging.ERROR, exc_info=True)
            return {"error": "the policy failed; see the log of the server"}
        query_ms = 1e3 * (time.perf_counter() - start)
        try:
            chunks = checked_chunks(answer, len(histories), self.policy.chunk_size, self.spec.action_dim)
        except ValueError as error:
            self._refused("refused to send an answer: %s", error)
            return {"error": str(error)}
        return {"chunks": np.asarray(chunks, np.float32), "query_ms": query_ms}


def keep_serving(server: Server) -> None:
    """Serves until `server.shutdown()`, also after the process has run out of file descriptors for a while.

    The loop of websockets ends silently in that case, so it is started again.
    """
    while True:
        server.serve_forever()
        if server.socket.fileno() < 0:
            return
        log.warning("no connection could be accepted; trying again in a second")
        time.sleep(1)


@dataclass(frozen=True)
class Options:
    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of the training run."""
    engine: Literal["torch", "onnx", "int8"] = "torch"
    """What computes the answers; onnx and int8 are graphs that `python -m act export` wrote."""
    device: str | None = None
    """Device of --engine torch: cpu or cuda; cuda if there is one."""
    host: str = "127.0.0.1"
    """Address to listen on; any but 127.0.0.1, ::1 and localhost needs a token."""
    port: int = 8765
    """Port to listen on; 0 takes a free one."""
    token: Annotated[str, tyro.conf.arg(help_behavior_hint="(default: ACT_TOKEN)")] = field(
        default_factory=lambda: os.environ.get("ACT_TOKEN", "")
    )
    """Secret of 12 or more letters and digits that clients must know. Prefer ACT_TOKEN, which `ps` does not show."""
    openpi: bool = False
    """Also answer clients of openpi (`openpi_client.websocket_client_policy`); their token is `api_key`."""

    def check(self) -> None:
        """Raises ValueError for wrong values, flags without effect, and a public address without a token."""
        if self.engine != "torch":
            command_line.refuse_without_effect(self, Options(self.run), {"device": "with --engine torch"})
        if not 0 <= self.port < 2**16:
            raise ValueError(f"--port {self.port}: must be 0 (a free one) to {2**16 - 1}")
        if self.host not in LOOPBACK and not self.token:
            raise ValueError(
                f"--host {self.host} is reachable from other machines: set ACT_TOKEN, or use ssh -L without --host"
            )
        if self.token and (len(self.token) < MIN_TOKEN or not self.token.isalnum() or not self.token.isascii()):
            raise ValueError(
                f"the token must be {MIN_TOKEN} or more letters and digits; openssl rand -hex 16 makes one"
            )


def serve_run(options: Options) -> None:
    """Serves the policy of a run until Ctrl-C, which is the ordinary end."""
    options.check()
    try:
        policy, _, weights = open_run(options.run, options.engine, options.device)
        about = {"weights": weights, "engine": options.engine}
        serving = PolicyServer(policy, about, options.token, options.openpi)
        with serving.listen(options.host, options.port) as server:
            host, port = server.socket.getsockname()[:2]
            address = f"ws://{f'[{host}]' if ':' in host else host}:{port}"
            print(f"{options.run} is served at {address}; Ctrl-C ends it", flush=True)
            keep_serving(server)
    except KeyboardInterrupt:
        print("stopped")


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 stopped by Ctrl-C, 2 wrong input."""
    options = command_line.parse(
        Options,
        arguments,
        program="python -m act serve",
        description="Serves the policy of a run to robots and simulators, on this machine or over the network.",
        example="python -m act serve runs/demo",
        page="docs/serving.md",
    )
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("websockets").setLevel(logging.WARNING)
    return command_line.run("serve", lambda: serve_run(options))
