"""Queries a policy on another machine; it has the interface of a policy and runs beside a robot without torch.

It needs numpy, OpenCV, msgpack and websockets. docs/realtime.md shows how to install only these.
"""

import ipaddress
import logging
import math
import os
import socket
import struct
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from websockets.exceptions import InvalidStatus, InvalidURI, WebSocketException
from websockets.sync.client import ClientConnection, connect

from act.runtime.checks import checked_chunks
from act.serving.description import check_json, read_sizes, read_spec
from act.serving.wire import MOST_BYTES, PROTOCOL, SUBPROTOCOL, decode, encode, most_at_once, pack_histories
from act.types import Observation

CLOSING = 0.5  # [s] that the server may take to say goodbye
log = logging.getLogger("act.serving.client")


class RemotePolicy:
    """Sends observations to the policy server at `address` and returns the chunks of the policy there, bit for bit.

    Only the inputs of the policy are sent, with images resized to its `image_size`. When a connection is lost, it is
    made again once per query, and only if the server still has the same weights. What the server sends is checked: an
    answer that is not finite, or not of the policy's size, is an error and never an action.

    Example:
        policy = RemotePolicy("ws://gpu-box:8765")          # on gpu-box: python -m act serve RUN
        agent = AsyncAgent(policy, ensemble_m=0.01)         # or PolicyAgent, in a simulator

    Args:
        address: ws://HOST:PORT, or wss:// behind a proxy that ends TLS.
        token: the token of the server; the environment variable ACT_TOKEN when None.
        jpeg_quality: 1 to 100 sends images as JPEG, about ten times smaller, and the answers then differ slightly
            (demonstrations have 85). None sends raw images.
        timeout: how long making a connection, or a query with everything that belongs to it, may take [s].

    Attributes:
        spec: the inputs and outputs of the policy (PolicySpec).
        chunk_size, n_obs_steps: control steps of an answer, and observations of a history.
        about: what the server sent on connecting: the spec, the engine, the fingerprint of the weights.
        query_ms: how long the policy computed the last answer [ms], without the network.

    Raises:
        ConnectionError: the server cannot be reached, is lost, has another policy now, or sends messages that this
            version cannot read or must not use.
        ValueError: `address` is not an address, `timeout` is not positive, or the server refuses a query.
    """

    def __init__(self, address: str, token: str | None = None, jpeg_quality: int | None = None, timeout: float = 10.0):
        if not 0 < timeout < math.inf:
            raise ValueError(f"timeout={timeout} s: must be positive, e.g. 10")
        self.address, self.jpeg_quality, self.timeout = address, jpeg_quality, timeout
        self._token = os.environ.get("ACT_TOKEN", "") if token is None else token
        self.query_ms, self._closed = float("nan"), False
        if self._token and goes_unencrypted(address):
            log.warning("the token goes to %s unencrypted; use ssh -L, or wss:// and a proxy that ends TLS", address)
        self._connection, self.about = self._connect(time.monotonic() + timeout)
        try:
            self.spec = read_spec(self.about.get("spec"))
            self.chunk_size, self.n_obs_steps = read_sizes(self.about, self.spec)
        except ValueError as error:
            self.close()
            raise ConnectionError(f"{address} describes a policy that this version cannot use: {error}") from None

    @property
    def needs_images(self) -> bool:
        return bool(self.spec.cameras)

    def predict_chunk(self, histories: Sequence[Sequence[Observation]]) -> np.ndarray:
        """Returns chunks (B, K, A) float32 in physical units for B histories of n_obs_steps observations, oldest first.

        More histories than one message may carry are sent in several queries.
        """
        packed = pack_histories(histories, self.spec, self.jpeg_quality)
        most = most_at_once(packed, self.spec)
        answers = [self._query(packed[first : first + most]) for first in range(0, len(packed), most)]
        self.query_ms = sum(query_ms for _, query_ms in answers)
        return np.concatenate([chunks for chunks, _ in answers])

    def _query(self, packed: Sequence[Any]) -> tuple[np.ndarray, float]:
        """Returns chunks (B, K, A), and how long the policy computed them [ms]."""
        answer = self._ask(encode({"histories": packed}), time.monotonic() + self.timeout)
        if "error" in answer:
            raise ValueError(f"{self.address} refuses the query: {str(answer['error'])[:500]}")
        chunks, expected = answer.get("chunks"), (len(packed), self.chunk_size, self.spec.action_dim)
        if not isinstance(chunks, np.ndarray) or chunks.shape != expected or chunks.dtype != np.float32:
            raise ConnectionError(f"{self.address} sent no chunks of shape {expected} and type float32")
        try:
            checked_chunks(chunks, *expected)
        except ValueError as error:
            raise ConnectionError(f"{self.address} sent a chunk that must not be used: {error}") from None
        query_ms = answer.get("query_ms")
        return chunks, float(query_ms) if isinstance(query_ms, (int, float)) else float("nan")

    def close(self) -> None:
        """Closes the connection for good; a query that waits in another thread ends with an error."""
        self._closed = True
        self._connection.close()

    def __enter__(self) -> "RemotePolicy":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, query: bytes, deadline: float) -> dict[str, Any]:
        """Returns the answer to a query; connects again once when the connection is lost."""
        try:
            return self._exchange(query, deadline)
        except WebSocketException:
            if self._closed:
                raise ConnectionError(f"the connection to {self.address} was closed here") from None
            connection, about = self._connect(deadline)
            if about != self.about:  # the old connection stays, so the next query cannot mix two policies either
                connection.close()
                raise ConnectionError(f"{self.address} now runs another policy or other settings") from None
            self._connection = connection
        try:
            return self._exchange(query, deadline)
        except WebSocketException as error:
            raise ConnectionError(f"{self.address} was lost twice in one query: {error}") from None

    def _exchange(self, query: bytes, deadline: float) -> dict[str, Any]:
        try:
            self._connection.send(query)
            return self._receive(self._connection, deadline)
        except WebSocketException:
            raise
        except BaseException:  # Ctrl-C, too: a late answer would be taken for the answer to the next query
            _abandon(self._connection)
            raise

    def _receive(self, connection: ClientConnection, deadline: float) -> dict[str, Any]:
        try:
            return decode(connection.recv(max(0.0, deadline - time.monotonic())))
        except TimeoutError:
            raise ConnectionError(f"{self.address} has not answered within {self.timeout:g} s") from None
        except ValueError as error:
            raise ConnectionError(f"{self.address} sent a message that cannot be read: {error}") from None

    def _connect(self, deadline: float) -> tuple[ClientConnection, dict[str, Any]]:
        """Returns a connection and what the server sent on it first."""
        connection = self._open(deadline)
        try:
            about = self._receive(connection, deadline)
            check_json(about)
            if about.get("protocol") != PROTOCOL:
                raise ConnectionError(f"{self.address} speaks protocol {about.get('protocol')!r}, expected {PROTOCOL}")
        except WebSocketException as error:
            raise ConnectionError(f"{self.address} closed the connection: {error}") from None
        except ValueError as error:
            _abandon(connection)
            raise ConnectionError(f"{self.address} describes no policy: {error}") from None
        except BaseException:
            _abandon(connection)
            raise
        return connection, about

    def _open(self, deadline: float) -> ClientConnection:
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        settings: dict[str, Any] = {"compression": None, "max_size": MOST_BYTES, "proxy": None}
        settings["subprotocols"] = [SUBPROTOCOL]
        settings |= {"open_timeout": max(0.01, deadline - time.monotonic()), "close_timeout": CLOSING}
        try:
            connection = connect(self.address, additional_headers=headers, **settings)
        except InvalidStatus as error:
            wrong_token = error.response.status_code == 401
            reason = "it needs a token (ACT_TOKEN), or another one" if wrong_token else error
            raise ConnectionError(f"{self.address} refuses the connection: {reason}") from None
        except InvalidURI:
            raise ValueError(f"{self.address} is not an address; expected one like ws://127.0.0.1:8765") from None
        except (OSError, WebSocketException) as error:
            raise ConnectionError(
                f"no policy server at {self.address} ({error}); python -m act serve RUN starts one"
            ) from None
        except ValueError:  # a port that is no port, a name that no host has
            raise ValueError(f"{self.address} is not an address; expected one like ws://127.0.0.1:8765") from None
        _limit_sending(connection, self.timeout)
        return connection


def goes_unencrypted(address: str) -> bool:
    """Returns whether what is sent to ws://HOST:PORT leaves this machine in plain text."""
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
    except ValueError:  # not an address; connecting says so
        return False
    if parts.scheme != "ws" or host == "localhost":
        return False
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return True


def _limit_sending(connection: ClientConnection, timeout: float) -> None:
    """Lets `send` fail after `timeout` [s]: a server that never reads would otherwise hold it for ever."""
    seconds = int(timeout)
    limit = struct.pack("ll", seconds, max(1, int(1e6 * (timeout - seconds))))
    with suppress(OSError):  # the server has closed the connection; the next call says so
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)


def _abandon(connection: ClientConnection) -> None:
    """Closes a connection without waiting for the other side."""
    with suppress(OSError):
        connection.socket.shutdown(socket.SHUT_RDWR)
    connection.close()
