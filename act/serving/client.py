"""A policy on another machine, in the shape of a policy: what runs beside a robot, without torch.

    policy = RemotePolicy("ws://gpu-box:8765", token)              # python -m act serve RUN, over there
    agent = AsyncAgent(policy, ensemble_m=0.01)                    # or PolicyAgent, in a simulator

Needs numpy, OpenCV, msgpack and websockets; docs/realtime.md says how to install no more than that.
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from websockets.exceptions import InvalidStatus, InvalidURI, WebSocketException
from websockets.sync.client import ClientConnection, connect

from act.serving.wire import MOST_BYTES, PROTOCOL, decode, encode, most_at_once, pack_histories
from act.types import Observation, PolicySpec


class RemotePolicy:
    """Asks the server at `address`; answers what the policy there would answer here, bit for bit.

    Only what the policy looks at is sent, images at the size it looks at them: raw, or with `jpeg_quality` (85 in
    demonstrations) a tenth as large, and then not quite bit for bit. `about` is what the server tells of itself;
    `query_ms` how long the policy took for the last answer, without the way there and back. `timeout` [s] is for an
    answer. A connection that was lost is made again, once per query, if the same weights are there.

    ConnectionError when the server cannot be reached, is lost, or runs another policy; ValueError for an address that
    is none and for a query that the server refuses.
    """

    def __init__(self, address: str, token: str | None = None, jpeg_quality: int | None = None, timeout: float = 10.0):
        self.address, self.jpeg_quality, self.timeout = address, jpeg_quality, timeout
        self._token = os.environ.get("ACT_TOKEN", "") if token is None else token
        self.query_ms = float("nan")
        self._connection, self.about = self._connect()
        self.chunk_size, self.n_obs_steps = int(self.about["chunk_size"]), int(self.about["n_obs_steps"])
        self.spec = PolicySpec.from_json(self.about["spec"])

    @property
    def needs_images(self) -> bool:
        return bool(self.spec.cameras)

    def predict_chunk(self, histories: Sequence[Sequence[Observation]]) -> np.ndarray:
        """Chunks (B, K, A) float32 in physical units for B histories of n_obs_steps observations, oldest first.

        More of them than a message may carry are asked in several queries.
        """
        packed = pack_histories(histories, self.spec, self.jpeg_quality)
        most = most_at_once(packed, self.spec)
        answers = [self._query(packed[first : first + most]) for first in range(0, len(packed), most)]
        self.query_ms = sum(query_ms for _, query_ms in answers)
        return np.concatenate([chunks for chunks, _ in answers])

    def _query(self, packed: Sequence[Any]) -> tuple[np.ndarray, float]:
        """Chunks, and how long the policy took for them [ms]."""
        answer = self._ask(encode({"histories": packed}))
        if "error" in answer:
            raise ValueError(f"{self.address} refuses: {answer['error']}")
        chunks, expected = answer.get("chunks"), (len(packed), self.chunk_size, self.spec.action_dim)
        if not isinstance(chunks, np.ndarray) or chunks.shape != expected or chunks.dtype != np.float32:
            raise ConnectionError(f"{self.address} answers no chunks of {expected} float32")
        return chunks, float(answer.get("query_ms", "nan"))

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> "RemotePolicy":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, query: bytes) -> dict[str, Any]:
        try:
            return self._exchange(query)
        except WebSocketException:
            connection, about = self._connect()
            if about != self.about:  # nor is it asked by the next query: an ensemble must not mix two policies
                connection.close()
                raise ConnectionError(f"{self.address} runs another policy now, or with other settings") from None
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
            connection.close()  # what comes late would be taken for the answer to the next query
            raise ConnectionError(f"{self.address} has not answered for {self.timeout:g} s") from None
        except ValueError as error:
            raise ConnectionError(f"{self.address} answers {error}") from None

    def _connect(self) -> tuple[ClientConnection, dict[str, Any]]:
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        how: dict[str, Any] = {"compression": None, "max_size": MOST_BYTES, "proxy": None}
        try:
            connection = connect(self.address, additional_headers=headers, open_timeout=self.timeout, **how)
        except InvalidURI:
            raise ValueError(f"{self.address} is no address; expected one like ws://127.0.0.1:8765") from None
        except InvalidStatus as error:
            known = "it wants a token (ACT_TOKEN), or another one" if error.response.status_code == 401 else error
            raise ConnectionError(f"{self.address} turns us away: {known}") from None
        except (OSError, WebSocketException) as error:
            raise ConnectionError(f"no policy answers at {self.address} ({error}); python -m act serve RUN") from None
        try:
            about = self._receive(connection)
        except WebSocketException as error:
            raise ConnectionError(f"{self.address} hangs up: {error}") from None
        if about.get("protocol") != PROTOCOL:
            raise ConnectionError(f"{self.address} speaks protocol {about.get('protocol')!r}, this is {PROTOCOL}")
        return connection, about
