"""A policy for robots on the network: observations in, chunks of actions out.

    python -m act serve RUN                                       for programs of this machine: ws://127.0.0.1:8765
    ACT_TOKEN=$(openssl rand -hex 16) python -m act serve RUN --host 0.0.0.0      for others, who must know the token

client.py asks it, wire.py says how. Queries are answered one at a time, in the order in which they come, by one
thread. http://HOST:PORT/healthz answers "ok". The connection is not encrypted: across networks that are not yours, use
ssh -L or a proxy that ends TLS.
"""

import hmac
import logging
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve

from act.runtime.agents import DescribedPolicy
from act.serving.loading import open_run
from act.serving.wire import MOST_BYTES, PROTOCOL, decode, encode, unpack_histories

LOOPBACK = ("127.0.0.1", "localhost", "::1")
MIN_TOKEN = 12  # characters
MOST_CLIENTS = 8  # at once; each may have a message of MOST_BYTES in memory
MOST_CONNECTIONS = 4 * MOST_CLIENTS  # at once, with those who have not said yet who they are
READING = 10  # [s] a client may take to read what it asked for
log = logging.getLogger("act.serving.server")


class PolicyServer:
    """Answers queries to `policy`; `about` (JSON-able) is told to every client, with what the policy looks at."""

    def __init__(self, policy: DescribedPolicy, about: Mapping[str, Any], token: str = ""):
        self.policy, self.token = policy, token
        self.spec = policy.spec
        sizes = {"chunk_size": policy.chunk_size, "n_obs_steps": policy.n_obs_steps}
        self.greeting = encode({"protocol": PROTOCOL, **about, **sizes, "spec": self.spec.to_json()})
        self._thread = ThreadPoolExecutor(1, "policy")
        self._places = threading.BoundedSemaphore(MOST_CLIENTS)
        self._clients: set[ServerConnection] = set()

    @contextmanager
    def listen(self, host: str = "127.0.0.1", port: int = 0) -> Iterator[Server]:
        """A server that is bound but does not yet serve: `serve_forever()` does; all clients are gone afterwards.

        Browsers are turned away, for any page may open a connection to this machine; so is who does not know the token.
        OSError if the address is taken.
        """
        how: dict[str, Any] = {"origins": [None], "process_request": self._admit, "compression": None}
        how["family"] = socket.AF_INET6 if ":" in host else socket.AF_INET
        with serve(self._talk, host, port, max_size=MOST_BYTES, max_queue=1, close_timeout=2, **how) as server:
            server.handler = _at_most(MOST_CONNECTIONS, server.handler)
            try:
                yield server
            finally:
                for client in list(self._clients):
                    client.close(CloseCode.GOING_AWAY)

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        if request.path == "/healthz":
            return connection.respond(HTTPStatus.OK, "ok\n")
        given = ", ".join(request.headers.get_all("Authorization"))
        if self.token and not hmac.compare_digest(
            given.encode(errors="surrogateescape"), f"Bearer {self.token}".encode()
        ):
            log.warning("turned away %s: no or another token", connection.remote_address)
            return connection.respond(HTTPStatus.UNAUTHORIZED, "no or another token\n")
        return None

    def _talk(self, connection: ServerConnection) -> None:
        """With one client, until it leaves."""
        who = connection.remote_address
        if not self._places.acquire(blocking=False):
            connection.close(CloseCode.TRY_AGAIN_LATER, f"{MOST_CLIENTS} clients are connected already")
            return
        self._clients.add(connection)
        # One that does not read would hold its place, and the lock that closing it takes, for ever.
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", READING, 0))
        try:
            log.info("connected: %s", who)
            connection.send(self.greeting)
            for data in connection:
                connection.send(encode(self.answer(data)))
            log.info("left: %s", who)
        except ConnectionClosed as end:
            log.info("lost: %s (%s)", who, end)
        finally:
            self._clients.remove(connection)
            self._places.release()

    def answer(self, data: bytes | str) -> dict[str, Any]:
        """To a query; one that cannot be answered gets a sentence, and the connection stays."""
        try:
            histories = unpack_histories(decode(data), self.spec, self.policy.n_obs_steps)
        except ValueError as error:
            log.warning("refused a query: %s", error)
            return {"error": str(error)}
        start = time.perf_counter()
        try:
            chunks = self._thread.submit(self.policy.predict_chunk, histories).result()
        except Exception:
            log.exception("the policy failed")
            return {"error": "the policy failed; the server's log tells why"}
        return {"chunks": chunks, "query_ms": 1e3 * (time.perf_counter() - start)}


def _at_most(most: int, handler: Callable[[socket.socket, Any], None]) -> Callable[[socket.socket, Any], None]:
    """The handler, for so many connections at once; others are closed before anything is read from them."""
    places = threading.BoundedSemaphore(most)

    def handle(connection: socket.socket, address: Any) -> None:
        if not places.acquire(blocking=False):
            connection.close()
            return
        try:
            handler(connection, address)
        finally:
            places.release()

    return handle


def keep_serving(server: Server) -> None:
    """Until `server.shutdown()`; websockets' own loop also ends, silently, when there are no more file descriptors."""
    while True:
        server.serve_forever()
        if server.socket.fileno() < 0:
            return
        log.warning("no connection could be accepted; trying again in a second")
        time.sleep(1)


@dataclass(frozen=True)
class Options:
    """Serves the policy of a run to robots and simulators, here or on the network."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of the training run."""
    engine: Literal["torch", "onnx", "int8"] = "torch"
    """onnx, int8: what act.serving.export wrote."""
    device: str | None = None
    """torch: cpu or cuda; cuda if there is one."""
    host: str = "127.0.0.1"
    """Address; any but the loopback needs a token."""
    port: int = 8765
    token: str = field(default_factory=lambda: os.environ.get("ACT_TOKEN", ""))
    """12 or more letters and digits that a client must know; better given as ACT_TOKEN, which `ps` does not show."""

    def check(self) -> None:
        if not 0 <= self.port < 2**16:
            raise ValueError(f"--port {self.port}: must be 0 (any) to {2**16 - 1}")
        if self.host not in LOOPBACK and not self.token:
            raise ValueError(
                f"--host {self.host} can be reached by others: set ACT_TOKEN, or leave it out and use ssh -L"
            )
        if self.token and (len(self.token) < MIN_TOKEN or not self.token.isalnum() or not self.token.isascii()):
            raise ValueError(
                f"the token must be {MIN_TOKEN} or more letters and digits; openssl rand -hex 16 makes one"
            )


def main(argv: Sequence[str] | None = None) -> int:
    """0: stopped by Ctrl-C; 2: not asked properly."""
    options = tyro.cli(Options, args=argv, use_underscores=True, description=__doc__)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("websockets").setLevel(logging.WARNING)
    try:
        options.check()
        policy, _, weights = open_run(options.run, options.engine, options.device)
        about = {"weights": weights, "engine": options.engine}
        with PolicyServer(policy, about, options.token).listen(options.host, options.port) as server:
            host, port = server.socket.getsockname()[:2]
            print(
                f"{options.run} answers at ws://{f'[{host}]' if ':' in host else host}:{port}; Ctrl-C ends it",
                flush=True,
            )
            keep_serving(server)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped")
    return 0
