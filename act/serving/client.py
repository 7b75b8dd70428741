"""Queries a policy on another machine; it has the interface of a policy and runs beside a robot without torch.

It needs numpy, OpenCV, msgpack and websockets. docs/realtime.md shows how to install only these.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from websockets.exceptions import InvalidStatus, InvalidURI, WebSocketException
from websockets.sync.client import ClientConnection, connect

from act.serving.wire import MOST_BYTES, PROTOCOL, decode, encode, most_at_once, pack_histories
from act.types import Observation, PolicySpec


class RemotePolicy:
    """Sends observations to the policy server at `address` and returns the chunks of the policy there, bit for bit.

    Only the inputs of the policy are sent, with images resized to its `image_size`. When a connection is lost, it is
    made again once per query, and only if the server still has the same weights.

    Example:
        policy = RemotePolicy("ws://gpu-box:8765")          # on gpu-box: python -m act serve RUN
        agent = AsyncAgent(policy, ensemble_m=0.01)         # or PolicyAgent, in a simulator

    Args:
        address: ws://HOST:PORT, or wss:// behind a proxy that ends TLS.
        token: the token of the server; the environment variable ACT_TOKEN when None.
        jpeg_quality: 1 to 100 sends images as JPEG, about ten times smaller, and the answers then differ slightly
            (demonstrations have 85). None sends raw images.
        timeout: how long to wait for a connection or an answer [s].

    Attributes:
        spec: the inputs and outputs of the policy (PolicySpec).
        chunk_size, n_obs_steps: control steps of an answer, and observations of a history.
        about: what the server sent on connecting: the spec, the engine, the fingerprint of the weights.
        query_ms: how long the policy computed the last answer [ms], without the network.

    Raises:
        ConnectionError: the server cannot be reached, is lost, has another policy now, or sends messages that this
            version cannot read.
        ValueError: `address` is not an address, or the server refuses a query.
    """

    def __init__(self, address: str, token: str | None = None, jpeg_quality: int | None = None, timeout: float = 10.0):
        self.address, self.jpeg_quality, self.timeout = address, jpeg_quality, timeout
        self._token = os.environ.get("ACT_TOKEN", "") if token is None else token
        self.query_ms = float("nan")
        self._connection, self.about = self._connect()
        try:
            self.spec = read_spec(self.about.get("spec"))
            self.chunk_size, self.n_obs_steps = (_positive(self.about, name) for name in ("chunk_size", "n_obs_steps"))
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
        answer = self._ask(encode({"histories": packed}))
        if "error" in answer:
            raise ValueError(f"{self.address} refuses the query: {answer['error']}")
        chunks, expected = answer.get("chunks"), (len(packed), self.chunk_size, self.spec.action_dim)
        if not isinstance(chunks, np.ndarray) or chunks.shape != expected or chunks.dtype != np.float32:
            raise ConnectionError(f"{self.address} sent no chunks of shape {expected} and type float32")
        return chunks, float(answer.get("query_ms", "nan"))

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()

    def __enter__(self) -> "RemotePolicy":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, query: bytes) -> dict[str, Any]:
        """Returns the answer to a query; connects again once when the connection is lost."""
        try:
            return self._exchange(query)
        except WebSocketException:
            connection, about = self._connect()
            if about != self.about:  # the old connection stays, so the next query cannot mix two policies either
                connection.close()
                raise ConnectionError(f"{self.address} now runs another policy or other settings") from None
            self._connection = connection
        try:
            return self._exchange(query)
        except WebSocketException as error:
            raise ConnectionError(f"{self.address} was lost twice in one query: {error}") from None

    def _exchange(self, query: bytes) -> dict[str, Any]:
        self._connection.send(query)
        return self._receive(self._connection)

    def _receive(self, connection: ClientConnection) -> dict[str, Any]:
        try:
            return decode(connection.recv(self.timeout))
        except TimeoutError:
            connection.close()  # otherwise a late answer would be taken for the answer to the next query
            raise ConnectionError(f"{self.address} has not answered within {self.timeout:g} s") from None
        except ValueError as error:
            raise ConnectionError(f"{self.address} sent a message that cannot be read: {error}") from None

    def _connect(self) -> tuple[ClientConnection, dict[str, Any]]:
        """Returns a connection and what the server sent on it first."""
        connection = self._open()
        try:
            about = self._receive(connection)
        except WebSocketException as error:
            raise ConnectionError(f"{self.address} closed the connection: {error}") from None
        if about.get("protocol") != PROTOCOL:
            connection.close()
            raise ConnectionError(f"{self.address} speaks protocol {about.get('protocol')!r}, expected {PROTOCOL}")
        return connection, about

    def _open(self) -> ClientConnection:
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        settings: dict[str, Any] = {"compression": None, "max_size": MOST_BYTES, "proxy": None}
        try:
            return connect(self.address, additional_headers=headers, open_timeout=self.timeout, **settings)
        except InvalidURI:
            raise ValueError(f"{self.address} is not an address; expected one like ws://127.0.0.1:8765") from None
        except InvalidStatus as error:
            wrong_token = error.response.status_code == 401
            reason = "it needs a token (ACT_TOKEN), or another one" if wrong_token else error
            raise ConnectionError(f"{self.address} refuses the connection: {reason}") from None
        except (OSError, WebSocketException) as error:
            raise ConnectionError(
                f"no policy server at {self.address} ({error}); python -m act serve RUN starts one"
            ) from None


def read_spec(values: Any) -> PolicySpec:
    """Returns the PolicySpec that a server sent as a dict. Raises ValueError naming a key that is wrong."""
    if not isinstance(values, Mapping):
        raise ValueError("its spec is missing")
    expected = [field.name for field in fields(PolicySpec)]
    for name in (*values, *expected):
        if name not in values or name not in expected:
            raise ValueError(f"key {name!r} of its spec is {'missing' if name in expected else 'unknown'}")
    dims = ("qpos_dim", "action_dim", "env_state_dim")
    wrong = [name for name in dims if type(values[name]) is not int or values[name] < 0]
    cameras = values["cameras"]
    if not isinstance(cameras, list) or not all(isinstance(camera, str) for camera in cameras):
        wrong.append("cameras")
    if not _is_size(values["image_size"]):
        wrong.append("image_size")
    if values["recorded_size"] is not None and not _is_size(values["recorded_size"]):
        wrong.append("recorded_size")
    if wrong:
        raise ValueError(f"{wrong[0]!r} of its spec is {values[wrong[0]]!r}")
    return PolicySpec.from_json(values)


def _is_size(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(type(side) is int and side > 0 for side in value)


def _positive(about: Mapping[str, Any], name: str) -> int:
    value = about.get(name)
    if type(value) is not int or value < 1:
        raise ValueError(f"{name!r} is {value!r}")
    return value
